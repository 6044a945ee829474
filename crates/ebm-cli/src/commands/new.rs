//! `ebm new`: files to begin with.

mod plugin;
mod run;

use clap::{Args, Subcommand};

use crate::outcome::Outcome;
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct New {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A crate with a plugin of your own: its kind, a program that knows it, its conformance test, a run.
    Plugin(plugin::NewPlugin),
    /// A configuration with comments, for your data and a way to train.
    Run(run::NewRun),
}

impl New {
    pub fn run(self, out: &mut Output) -> Outcome {
        match self.what {
            What::Plugin(c) => c.run(out),
            What::Run(c) => c.run(out),
        }
    }
}
