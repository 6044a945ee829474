//! `ebm convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ebm::interop::{ImportOptions, Remark, export, import, keys};
use ebm::train::Weights;

use crate::args::Changes;
use crate::outcome::{End, Failure, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// A checkpoint of another program (with --config), or a run directory (with --to).
    #[arg(value_name = "FILE|RUN")]
    from: PathBuf,
    /// The configuration whose energy takes the weights; makes a run directory.
    #[arg(long, value_name = "CONFIG.toml", conflicts_with = "to")]
    config: Option<PathBuf>,
    /// The new run directory; `runs/<name>-<seed>-<n>` without it.
    #[arg(long, value_name = "DIR", requires = "config")]
    out: Option<PathBuf>,
    /// The key of the file under which the weights are, such as ema_model_state_dict_0; without it it is found by the names
    /// of the tensors.
    #[arg(long, value_name = "KEY", requires = "config")]
    key: Option<String>,
    /// After how many updates the checkpoint was written; without it the number behind such a word in its name
    /// as in model_12000 or step-400.
    #[arg(long, value_name = "N", requires = "config")]
    step: Option<u64>,
    #[command(flatten)]
    changes: Changes,
    /// Write the run's weights under the other program's names.
    #[arg(long, value_name = "FILE.safetensors")]
    to: Option<PathBuf>,
    /// Which weights to write.
    #[arg(long, value_enum, default_value = "average")]
    weights: Which,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// Their moving average.
    Average,
    /// Those of the last update.
    Live,
}

impl Convert {
    pub fn run(self, out: &mut Output) -> Outcome {
        let remarks: Vec<String> = match (&self.config, &self.to) {
            (Some(config), _) => {
                let source = self.changes.source(Some(config))?;
                let (key, to) = (self.key.clone(), self.out.clone());
                let options = ImportOptions { key, step: self.step, out: to, runs: None };
                let taken = import(&self.from, &source, &options)?;
                if self.json {
                    out.json(&taken)?;
                    return Ok(End::Done);
                }
                out.line(format!(
                    "{}: a run at step {} with {} parameters of {}",
                    taken.directory.display(),
                    taken.step,
                    taken.parameters,
                    self.from.display()
                ))?;
                taken.remarks.iter().map(remark).collect()
            }
            (None, Some(to)) => {
                let weights = match self.weights {
                    Which::Average => Weights::Average,
                    Which::Live => Weights::Live,
                };
                let given = export(&self.from, to, weights)?;
                if self.json {
                    out.json(&given)?;
                    return Ok(End::Done);
                }
                out.line(format!(
                    "{}: {} tensors of step {} under the names of {}",
                    given.file.display(),
                    given.tensors,
                    given.step,
                    given.program
                ))?;
                given.remarks
            }
            (None, None) => {
                let holds = keys(&self.from)
                    .map_or(String::new(), |keys| format!("; {} holds {keys}", self.from.display()));
                let wanted = "wanted --config CONFIG.toml (a checkpoint becomes a run) or --to FILE.safetensors (a run \
                              becomes a checkpoint)";
                return Err(Failure::Usage(format!("{wanted}{holds}")));
            }
        };
        for remark in remarks {
            out.line(format!("note: {remark}"))?;
        }
        out.flush()?;
        Ok(End::Done)
    }
}

/// A remark with what to type.
fn remark(of: &Remark) -> String {
    match of {
        Remark::StepUnknown | Remark::StepByName { .. } => format!("{of} (`--step N` says it)"),
        Remark::Complete { steps, step } => {
            format!("run.steps is {steps}: continue with `ebm resume --steps N`, N above {step}")
        }
        other => other.to_string(),
    }
}
