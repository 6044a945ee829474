//! The `ebm` command with a policy that fails on one rank, for `scripts/check-ranks.sh`.

use ebm::core::{Action, BuildCx, Error, Param, Policy, PolicyConfig, Report, Result, register, typetag};
use ebm::ranks::Launch;
use ebm_plugins as _;
use serde::{Deserialize, Serialize};

/// Settings of `failing`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failing {
    /// `error`, `panic` or `kill`.
    how: String,
    rank: usize,
    step: u64,
}

#[typetag::serde(name = "failing")]
impl PolicyConfig for Failing {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Policy>> {
        Ok(Box::new(self.clone()))
    }
}

register! {
    PolicyConfig, "failing" => Failing,
    summary: "fails on one rank",
    source: "this project",
    example: "how = \"error\"\nrank = 1\nstep = 3",
    params: [
        Param::choice("how", &["error", "panic", "kill"], "what happens"),
        Param::int("rank", "where").at_least(0.0),
        Param::int("step", "when").at_least(1.0),
    ],
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
