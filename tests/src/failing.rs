//! The `ebm` command with a policy that fails on one rank, for `scripts/check-ranks.sh`.

use ebm::ranks::Launch;
use ebm_core::{Action, BuildCx, Error, Policy, PolicyConfig, Report, Result, Settings, plugin};
use ebm_plugins as _;

/// Fails on one rank.
#[derive(Clone, Debug, Settings)]
struct Failing {
    /// What happens.
    #[setting(words = &["error", "panic", "kill"])]
    how: String,
    /// Where.
    rank: usize,
    /// When.
    #[setting(at_least = 1)]
    step: u64,
}

#[plugin("failing", source = "this project", example = "how = \"error\"\nrank = 1\nstep = 3")]
impl PolicyConfig for Failing {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Policy>> {
        Ok(Box::new(self.clone()))
    }
}

impl Policy for Failing {
    fn decide(&self, _: &mut serde_json::Value, report: &Report) -> Result<Vec<Action>> {
        if report.step != self.step || Launch::detect().map_or(0, |l| l.rank) != self.rank {
            return Ok(Vec::new());
        }
        match self.how.as_str() {
            "error" => Err(Error::config("failing", "fails on purpose")),
            "panic" => panic!("panics on purpose"),
            _ => {
                let own = std::process::id().to_string();
                let _ = std::process::Command::new("kill").args(["-KILL", &own]).status();
                Ok(Vec::new())
            }
        }
    }

    fn name(&self) -> String {
        "failing".into()
    }
}

fn main() -> std::process::ExitCode {
    ebm_cli::main()
}
