//! `ebm sample`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::Args;

use crate::output::Output;
use crate::{End, Outcome, args};
use ebm::Error;
use ebm::model::Model;
use ebm::model::SampleOptions;

#[derive(Debug, Args)]
pub(crate) struct Sample {
    /// A run directory, a configuration (whose energy may name the weights of runs), or a composition: a line such as
    /// 'runs/a given 3 and not 0.3 * runs/b' (see `ebm compose --help`).
    #[arg(value_name = "RUN|CONFIG.toml")]
    target: PathBuf,
    /// Number of samples.
    #[arg(long = "n", short = 'n', default_value_t = 64)]
    count: usize,
    /// Steps of the program; as configured without it.
    #[arg(long)]
    steps: Option<usize>,
    /// Seed; that of the run without it.
    #[arg(long)]
    seed: Option<u64>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
    /// Where to: .png for a picture, .npy for the numbers.
    #[arg(long, value_name = "FILE", default_value = "samples.png")]
    out: PathBuf,
    /// The first chains over time, a row a chain.
    #[arg(long, value_name = "FILE.png")]
    strip: Option<PathBuf>,
    /// All chains over time.
    #[arg(long, value_name = "FILE.gif")]
    animation: Option<PathBuf>,
    /// Each sample with the nearest training sample to its right; says whether samples are nearer than held-out data.
    #[arg(long, value_name = "FILE.png")]
    neighbours: Option<PathBuf>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

impl Sample {
    pub fn run(self, out: &mut Output) -> Outcome {
        if self.count == 0 {
            return Err(Error::Usage("--n 0: wanted at least 1".into()).into());
        }
        let model = Model::open(&self.target, &args::numbers(None, None, self.device.as_deref())?)?;
        let options = SampleOptions {
            count: self.count,
            steps: self.steps,
            seed: self.seed,
            out: self.out.clone(),
            overwrite: self.force,
            strip: self.strip,
            animation: self.animation,
            neighbours: self.neighbours,
            progress: std::io::stderr().is_terminal().then_some(progress),
        };
        let drawn = ebm::model::sample(&model, &options)?;
        out.line(format!("{} {:?}", self.out.display(), drawn.dims()))?;
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
