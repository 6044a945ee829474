//! `ebm eval two-sample`.

use std::path::Path;

use clap::{Args, ValueEnum};
use ebm::eval::TestClassifier;
use ebm::inputs::Inputs;
use ebm::measure::{Subject, TwoSampleOptions, TwoSampleReport, two_sample};
use ebm::model::reads_as_line;

use super::figures::Figures;
use crate::args::{DrawArgs, RunChanges};
use crate::outcome::{Failure, Outcome};
use crate::output::Output;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Classifier {
    /// Majority of the nearest rows.
    Nearest,
    /// Logistic regression.
    Logistic,
}

#[derive(Debug, Args)]
pub(crate) struct TwoSampleCommand {
    /// A run directory or a configuration, of which samples are drawn; or samples that are there: .npy, .npz, IDX, pictures,
    /// a linked kind.
    #[arg(value_name = "RUN|CONFIG.toml|FILE|NAME")]
    target: String,
    /// The other set: as --in of `ebm eval ood`; the held-out part of the run's data without it.
    #[arg(long, value_name = "NAME|PATH")]
    against: Option<String>,
    /// What looks for a difference in the values.
    #[arg(long, value_enum, default_value_t = Classifier::Nearest)]
    classifier: Classifier,
    /// Samples of each set at most: drawn, or at equal distances.
    #[arg(long = "n", short = 'n', value_name = "N", default_value_t = 1000)]
    count: usize,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    changes: RunChanges,
    #[command(flatten)]
    figures: Figures,
}

impl TwoSampleCommand {
    pub fn run(self, out: &mut Output) -> Outcome {
        self.figures.free()?;
        let options = TwoSampleOptions {
            against: self.against,
            count: self.count,
            steps: self.draw.steps,
            classifier: match self.classifier {
                Classifier::Nearest => TestClassifier::Nearest { neighbours: None },
                Classifier::Logistic => TestClassifier::Logistic { penalty: 1.0 },
            },
            seed: self.draw.seed.seed,
        };
        let path = Path::new(&self.target);
        let is_model = path.join("config.toml").is_file()
            || path.extension().is_some_and(|e| e == "toml")
            || reads_as_line(path);
        let found = match is_model {
            true => two_sample(&Subject::Model(&self.changes.open(path)?), &options)?,
            false if self.changes.any() => {
                return Err(Failure::Usage(format!(
                    "--set, --data or --device: found the samples {}, which are there as they are; wanted a run",
                    self.target
                )));
            }
            false => two_sample(&Subject::Set(&Inputs::open(&self.target)?), &options)?,
        };
        self.figures.write(out, &found, table(&found))
    }
}

/// The figures as lines.
fn table(found: &TwoSampleReport) -> String {
    let ((a, n), (b, m), t) = (&found.samples, &found.against, &found.test);
    let i = t.accuracy;
    format!(
        "{a}: {n}; against {b}: {m}; trained on {} rows, tested on {}\n{:<10} {:>9.4}  [{:.4}, {:.4}] at 95 %; 0.5 where nothing tells the sets apart\n{:<10} {:>9.4}\n",
        t.trained, t.tested, "accuracy", i.value, i.low, i.high, "p-value", t.p_value
    )
}
