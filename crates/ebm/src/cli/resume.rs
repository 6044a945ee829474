//! `ebm resume`.

use std::path::PathBuf;

use clap::Args;
use ebm_core::agree;

use super::output::Output;
use super::{Outcome, settings, signals, together, train};
use crate::run::TrainOptions;

#[derive(Debug, Args)]
pub(super) struct Resume {
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
        together::run(|ranks| {
            let changes = agree(ranks.as_ref(), settings::numbers(self.steps, None, self.device.as_deref()))?;
            let options =
                TrainOptions { stop: Some(signals::stop()), ranks: Some(ranks), ..TrainOptions::default() };
            train::tell(out, &crate::run::resume(&self.run, &changes, &options)?, self.json)
        })
    }
}
