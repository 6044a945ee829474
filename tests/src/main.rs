//! The `ebm` command, built for its tests.

use ebm_plugins as _;

fn main() -> std::process::ExitCode {
    ebm_cli::main()
}
