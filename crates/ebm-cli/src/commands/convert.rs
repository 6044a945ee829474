//! `ebm convert`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ebm::Model;
use ebm::config::Override;
use ebm::interop::{ImportOptions, Remark, export, export_torch, import, keys};
use ebm::train::Weights;

use crate::args::Changes;
use crate::outcome::{End, Failure, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// A checkpoint of another program (with --config), or a run directory (with --to); with `--to torch` also a configuration
    /// or a composition.
    #[arg(value_name = "FILE|RUN")]
    from: PathBuf,
    /// The new folder of `--to torch`.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
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
    /// Write the run's weights under the other program's names, or, with `torch`, the energy as a module of PyTorch: DIR
    /// with energy.py and weights.safetensors.
    #[arg(long, value_name = "FILE.safetensors|torch")]
    to: Option<PathBuf>,
    /// Which weights to write; their average without it, or as `generate.weights` says with `--to torch`.
    #[arg(long, value_enum)]
    weights: Option<Which>,
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
            (None, Some(to)) if to == Path::new("torch") => return self.write_module(out),
            (None, Some(to)) => {
                if let Some(directory) = &self.directory {
                    let text = format!("{}: wanted one file or run, or `--to torch`", directory.display());
                    return Err(Failure::Usage(text));
                }
                let weights = match self.weights {
                    Some(Which::Live) => Weights::Live,
                    _ => Weights::Average,
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
                let wanted = "wanted --config CONFIG.toml (a checkpoint becomes a run), --to FILE.safetensors (a run \
                              becomes a checkpoint) or --to torch DIR (a run becomes a module)";
                return Err(Failure::Usage(format!("{wanted}{holds}")));
            }
        };
        for remark in remarks {
            out.line(format!("note: {remark}"))?;
        }
        out.flush()?;
        Ok(End::Done)
    }

    /// The energy as a module.
    fn write_module(self, out: &mut Output) -> Outcome {
        let Some(directory) = &self.directory else {
            return Err(Failure::Usage("--to torch: wanted the folder to make, as in --to torch DIR".into()));
        };
        let mut changes = self.changes.listed()?;
        if let Some(weights) = self.weights {
            let name = if matches!(weights, Which::Live) { "live" } else { "average" };
            let place = ebm::config::Path::default().key("generate").key("weights");
            changes.push(Override::new(place, name, format!("--weights {name}")));
        }
        let model = Model::open(&self.from, &changes)?;
        let given = export_torch(&model, &self.from.display().to_string(), directory)?;
        if self.json {
            out.json(&given)?;
            return Ok(End::Done);
        }
        let (tensors, numbers) = (given.tensors, given.numbers);
        out.line(format!(
            "{}: energy.py and {tensors} tensors of {numbers} numbers",
            given.directory.display()
        ))?;
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
