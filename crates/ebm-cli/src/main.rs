//! The `ebm` command: the standard set of plugins and the command line.

use ebm_plugins as _;

fn main() -> std::process::ExitCode {
    ebm_cli::main()
}
