//! `ebm resume`.

use std::path::PathBuf;

use clap::Args;
use ebm::run::TrainOptions;

use super::train;
use crate::args::DeviceArg;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::{args, ranks, signals};

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The run directory.
    run: PathBuf,
    /// Number of training updates of the whole run; the configured number without it.
    #[arg(long)]
    steps: Option<u64>,
    #[command(flatten)]
    device: DeviceArg,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Resume {
    pub fn run(self, out: &mut Output) -> Outcome {
        ranks::run(|ranks| {
            let mut changes = self.device.changes();
            changes.extend(args::steps(self.steps)?);
            let options =
                TrainOptions { stop: Some(signals::stop()), ranks: Some(ranks), ..TrainOptions::default() };
            train::tell(out, &ebm::run::resume(&self.run, &changes, &options)?, self.json)
        })
    }
}
