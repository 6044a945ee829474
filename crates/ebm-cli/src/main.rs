//! The `ebm` command: the standard set of plugins and the command line of the facade.

use ebm_plugins as _;

fn main() -> std::process::ExitCode {
    ebm::cli::main()
}
