//! `ebm eval threshold`.

use std::path::PathBuf;

use clap::Args;
use ebm::model::{ThresholdOptions, fit_threshold};

use crate::args::RunChanges;
use crate::outcome::{End, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Fit {
    /// The run directory.
    run: PathBuf,
    /// Held-out samples, as of `ebm eval ood`; the held-out part of the run's data without it.
    #[arg(long = "in", value_name = "NAME|PATH")]
    inside: Option<String>,
    /// Share of new inside samples that may be taken for outside.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    fpr: f64,
    /// The score: energy, term.NAME, grad-norm or typicality.
    #[arg(long, value_name = "NAME", default_value = "energy")]
    score: String,
    /// Samples that are used at most, at equal distances; 0 for all.
    #[arg(long = "n", short = 'n', value_name = "N", default_value_t = 0)]
    count: u64,
    /// Resize images of another size and convert their colours; `ebm score --threshold` then does so too.
    #[arg(long)]
    fit: bool,
    /// Samples that are scored together; as in training without it.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    #[command(flatten)]
    changes: RunChanges,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Fit {
    pub fn run(self, out: &mut Output) -> Outcome {
        let model = self.changes.open(&self.run)?;
        let options = ThresholdOptions {
            inside: self.inside,
            fpr: self.fpr,
            score: self.score,
            count: (self.count > 0).then_some(self.count),
            batch: self.batch,
            fit: self.fit,
        };
        let (t, path) = fit_threshold(&model, &self.run, &options)?;
        if self.json {
            out.json(&t)?;
            return Ok(End::Done);
        }
        if let Some(middle) = t.typical_energy {
            out.line(format!(
                "typicality is |E - {middle}|; energies from {} to {} are typical",
                middle - t.threshold,
                middle + t.threshold
            ))?;
        }
        out.line(format!(
            "{} above {} is outside: of new inside samples at most {} % are taken for outside (rank {} of {} samples of \
             {}, of which {:.2} % lie above)",
            t.score,
            t.threshold,
            100.0 * t.fpr,
            t.rank,
            t.count,
            t.set,
            100.0 * t.above
        ))?;
        let given = t.given.as_ref().map_or_else(String::new, |g| format!(" --given {g}"));
        out.line(format!(
            "{}; use it with `ebm score {} ...{given} --threshold`",
            path.display(),
            self.run.display()
        ))?;
        out.flush()?;
        Ok(End::Done)
    }
}
