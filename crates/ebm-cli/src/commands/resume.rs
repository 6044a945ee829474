//! `ebm resume`.

use std::path::PathBuf;

use clap::Args;
use ebm::run::TrainOptions;

use super::train;
use crate::args::RunChanges;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::{args, ranks, signals};

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The run directory.
    run: PathBuf,
    /// Number of training updates of the whole run; the configured number without it. Where schedules follow the length,
    /// `--set run.schedule_steps=N` says what becomes of them.
    #[arg(long)]
    steps: Option<u64>,
    #[command(flatten)]
    changes: RunChanges,
    /// Go on though the data are not those of its training.
    #[arg(long)]
    other_data: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Resume {
    pub fn run(self, out: &mut Output) -> Outcome {
        ranks::run(|ranks| {
            let mut changes = self.changes.list()?;
            changes.extend(args::steps(self.steps)?);
            let data = self.changes.data.clone();
            let (stop, ranks) = (signals::stop(), Some(ranks));
            let other_data = self.other_data;
            let options = TrainOptions {
                data,
                other_data,
                stop,
                begun: Some(signals::begun),
                ranks,
                ..TrainOptions::default()
            };
            train::tell(out, &ebm::run::resume(&self.run, &changes, &options)?, self.json)
        })
    }
}
