//! `ebm sample`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::Args;
use ebm::Error;
use ebm::model::{SampleOptions, drawn_under, natural_file, sample, starts};

use crate::args::{DrawArgs, ForceArg, ModelArgs};
use crate::outcome::{End, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Sample {
    #[command(flatten)]
    model: ModelArgs,
    /// Number of samples; 64, or as many as there are starting points, without it.
    #[arg(long = "n", short = 'n')]
    count: Option<usize>,
    #[command(flatten)]
    draw: DrawArgs,
    /// Where to: .png for a picture, .npy for the numbers, .csv for a table in its own units; without it samples.csv of a model of
    /// a table, samples.png of what is a picture, and else samples.npy.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where the chains start: an array (n, ...) with the shape of samples in each row and a row for each chain, in the units in
    /// which `--out` writes samples (of a table its own); without it fresh starts, as the model's chains begin.
    #[arg(long, value_name = "FILE.npy")]
    start: Option<PathBuf>,
    /// All states after the warm-up (half of the program) as an array x (chains, draws, ...), with what the steps say under
    /// ArviZ's names.
    #[arg(long, value_name = "FILE.npz")]
    draws: Option<PathBuf>,
    /// The first chains over time, a row a chain.
    #[arg(long, value_name = "FILE.png")]
    strip: Option<PathBuf>,
    /// All chains over time.
    #[arg(long, value_name = "FILE.gif")]
    animation: Option<PathBuf>,
    /// Each sample with the nearest training sample to its right; says whether samples are nearer than held-out data.
    #[arg(long, value_name = "FILE.png")]
    neighbours: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArg,
}

impl Sample {
    pub fn run(self, out: &mut Output) -> Outcome {
        if self.count == Some(0) {
            return Err(Error::invalid("count", 0, "at least 1").into());
        }
        let model = self.model.open()?;
        let start = self.start.as_deref().map(|path| starts(&model, path)).transpose()?;
        let count = self.count.unwrap_or(start.as_ref().map_or(64, |s| s.dims()[0]));
        let file = self.out.unwrap_or_else(|| natural_file(&model).into());
        let options = SampleOptions {
            count,
            steps: self.draw.steps,
            seed: self.draw.seed.seed,
            out: file.clone(),
            overwrite: self.force.force,
            draws: self.draws,
            start,
            strip: self.strip,
            animation: self.animation,
            neighbours: self.neighbours,
            progress: std::io::stderr().is_terminal().then_some(progress),
        };
        let drawn = sample(&model, &options)?;
        out.line(format!("{} {:?}", file.display(), drawn.dims()))?;
        if let Some(conditions) = drawn_under(&model, count, self.draw.seed.seed)? {
            out.line(format!("given {conditions}"))?;
        }
        out.flush()?;
        Ok(End::Done)
    }
}

/// A line that counts steps, for people who wait.
fn progress(done: u64) {
    if done.is_multiple_of(20) {
        let _ = write!(std::io::stderr(), "\rstep {done}\r");
    }
}
