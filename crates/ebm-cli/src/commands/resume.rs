//! `ebm resume`.

use std::path::PathBuf;

use clap::Args;
use ebm::core::agree;

use super::train;
use crate::output::Output;
use crate::{Outcome, args, ranks, signals};
use ebm::run::TrainOptions;

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The run directory.
    run: PathBuf,
    /// Number of training updates of the whole run; the configured number without it.
    #[arg(long)]
    steps: Option<u64>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Resume {
    pub fn run(self, out: &mut Output) -> Outcome {
        ranks::run(|ranks| {
            let changes = agree(ranks.as_ref(), args::numbers(self.steps, None, self.device.as_deref()))?;
            let options =
                TrainOptions { stop: Some(signals::stop()), ranks: Some(ranks), ..TrainOptions::default() };
            train::tell(out, &ebm::run::resume(&self.run, &changes, &options)?, self.json)
        })
    }
}
