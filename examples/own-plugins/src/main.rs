//! The `ebm` command with the plugins of this crate.

use ebm_plugins as _;
use own_plugins as _;

fn main() -> std::process::ExitCode {
    ebm_cli::main()
}
