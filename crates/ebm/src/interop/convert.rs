//! Checkpoints of other programs to run directories, and back.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use ebm_exchange::{Exchange, Outgoing, WeightFile, exchanges};
use ebm_model::{Model, Opening};
use ebm_train::{TrainState, Weights, checkpoint, run};
use serde::Serialize;
use serde_json::Value;

use crate::config::source::Source;
use crate::error::{Error, Result};
use crate::run::open::build;
use crate::run::run_directory::RunDirectory;
use crate::tensors::numbers;
use crate::whole_file;

/// What became of a foreign checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Import {
    /// The run directory.
    pub directory: PathBuf,
    /// Updates that the weights have behind them.
    pub step: u64,
    /// Trainable parameters.
    pub parameters: usize,
    /// The program, as the crate that knows it calls it.
    pub program: String,
    /// What was left out, and what begins afresh.
    pub remarks: Vec<Remark>,
}

/// What one should know of a checkpoint that became a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
#[non_exhaustive]
pub enum Remark {
    /// Neither the file nor the call said after how many updates it was written.
    StepUnknown,
    /// The number of updates is one in the file's name.
    StepByName {
        /// That number.
        step: u64,
    },
    /// The run has done all its steps.
    Complete {
        /// The configured number of steps.
        steps: u64,
        /// Updates that the weights have behind them.
        step: u64,
    },
    /// Of the program or the parts.
    Other(String),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::StepUnknown => f.write_str("the file does not say after how many updates: counted as 0"),
            Remark::StepByName { step } => {
                write!(f, "the number of updates, {step}, is taken from the file's name")
            }
            Remark::Complete { steps, step } => {
                write!(f, "run.steps is {steps}: it goes on with more than {step}")
            }
            Remark::Other(text) => f.write_str(text),
        }
    }
}

impl From<Remark> for String {
    fn from(remark: Remark) -> Self {
        remark.to_string()
    }
}

/// What was given to another program.
#[derive(Clone, Debug, Serialize)]
pub struct Export {
    /// The file.
    pub file: PathBuf,
    /// Number of tensors in it.
    pub tensors: usize,
    /// Updates that the weights have behind them.
    pub step: u64,
    /// The program, as the crate that knows it calls it.
    pub program: String,
    /// What was filled up.
    pub remarks: Vec<String>,
}

/// What weights that are matched by order and shape are said to be of.
const SEQUENTIAL: &str = "torch.nn.Sequential";

/// The linked exchange that knows this energy.
fn exchange(energy: &Value) -> Result<&'static Exchange> {
    let all = exchanges();
    if let Some(found) = all.iter().find(|e| (e.fits)(energy)) {
        return Ok(found);
    }
    let kind = energy.get("kind").and_then(Value::as_str).unwrap_or_default();
    let known: Vec<String> = all.iter().map(|e| format!("{} ({})", e.name, e.about)).collect();
    Err(match known.is_empty() {
        true => Error::unfit(
            "checkpoint",
            "no linked crate knows another program's; link one, such as `use ebm_plugins as _;`",
        ),
        false => Error::unfit(
            format!("energy `{kind}`"),
            format!(
                "as configured it is not one of a program whose checkpoints are known: {}",
                known.join(", ")
            ),
        ),
    })
}

/// What is taken of a foreign checkpoint, and what becomes of it.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The key under which the weights are, which are then taken alone; without it live weights and their average, where
    /// one place of the file has them.
    pub key: Option<String>,
    /// Updates that the weights have behind them; without it as many as the file says, or none.
    pub step: Option<u64>,
    /// The run directory; without it `<runs>/<name>-<seed>-<n>`.
    pub out: Option<PathBuf>,
    /// Folder of numbered run directories; `runs` without it.
    pub runs: Option<PathBuf>,
}

/// The keys of a weight file with the number of tensors below each, in words.
///
/// # Errors
/// If it is no weight file, or is damaged.
pub fn keys(file: &Path) -> Result<String> {
    Ok(WeightFile::open(file)?.keys())
}

/// Makes the run directory of `source`, its weights those of the foreign checkpoint `file`.
///
/// # Errors
/// If the configuration is wrong, the checkpoint does not fit it, or the directory exists; then nothing is written.
pub fn import(file: &Path, source: &Source, options: &ImportOptions) -> Result<Import> {
    let (step, out) = (options.step, options.out.as_deref());
    if let Some(out) = out {
        RunDirectory::check_free(out)?;
    }
    let plan = build(source)?;
    let energy = plan.config().tree()?.get("energy").cloned().unwrap_or_default();
    let (params, key) = (plan.energy().params(), options.key.as_deref());
    let (program, incoming) = match (exchange(&energy), plan.energy().plan()) {
        (Ok(exchange), _) => (exchange.name, (exchange.read)(file, key, params)),
        // Layers of the user's own, by order and shape.
        (Err(_), Some(layers)) => (SEQUENTIAL, ebm_exchange::sequential::read(file, key, layers, params)),
        (Err(e), None) => return Err(e),
    };
    let incoming = incoming.map_err(|e| about(file, e))?;
    let mut remarks: Vec<Remark> = incoming.remarks.into_iter().map(Remark::Other).collect();
    let mut state = TrainState::new(&plan).map_err(|e| source.place(e))?;
    let like = |name: &str, t: &Tensor| -> ebm_core::Result<Tensor> {
        let Some(mine) = state.params.get(name) else { return Ok(t.clone()) };
        Ok(t.to_dtype(mine.dtype())?.to_device(mine.device())?)
    };
    let sets = [("", Some(&incoming.live)), (" of the average", incoming.average.as_ref())];
    let moments = incoming.optimiser.as_ref().map(|(_, moments)| &moments.tensors);
    for (of, tensors) in sets.into_iter().chain([(" of the optimiser", moments)]) {
        for (name, tensor) in tensors.into_iter().flatten() {
            finite(file, name, of, tensor)?;
        }
    }
    let live = converted(&incoming.live, &like)?;
    if let Some(average) = &mut state.average {
        let given = incoming.average.as_ref().unwrap_or(&incoming.live);
        let given = converted(given, &like)?;
        for (name, value) in average.iter_mut() {
            if let Some(new) = given.get(name) {
                *value = new.copy().map_err(ebm_core::Error::from)?;
            }
        }
    } else if incoming.average.is_some() {
        remarks.push(Remark::Other(
            "the configured optimiser keeps no average: that of the file is left out".into(),
        ));
    }
    state.params.restore(&live)?;
    state.step = step.or(incoming.step).unwrap_or(0);
    match (step, incoming.step) {
        (None, None) => remarks.push(Remark::StepUnknown),
        (None, Some(step)) if incoming.step_by_name => remarks.push(Remark::StepByName { step }),
        _ => {}
    }
    // Random numbers are functions of the count of attempts, data of the place in the epoch.
    state.attempts = state.step;
    let batches = plan.data().batches(plan.config().run.batch).max(1) as u64;
    (state.epoch, state.cursor) = (state.step / batches, (state.step % batches) as usize);
    if let Some((kind, moments)) = incoming.optimiser {
        let configured = plan.config().tree()?;
        if configured.pointer("/optimiser/kind").and_then(Value::as_str) == Some(kind.as_str()) {
            let place = |name: &str, t: &Tensor| {
                // Moments have the number type and place of their parameter.
                let parameter = name.split_once('.').map_or(name, |(_, p)| p);
                like(parameter, t)
            };
            let tensors = converted(&moments.tensors, &place)?;
            state.optimiser = ebm_core::OptimiserState { step: moments.step, tensors };
            remarks.push(Remark::Other(format!("the optimiser goes on after {} updates", moments.step)));
        } else {
            remarks.push(Remark::Other(format!(
                "the file's optimiser is `{kind}`, the configured one begins afresh"
            )));
        }
    }
    let columns = &plan.facts().columns;
    if !columns.is_empty() {
        // The network gets what stands for the cells, whatever its author trained it on.
        remarks.push(Remark::Other(format!(
            "the network takes these numbers, column by column, and gives energies of them; if it was trained on others, set data.standardise = false or train it on these: {}",
            columns.formulas().join("; ")
        )));
    }
    if state.replay.is_some() {
        remarks.push(Remark::Other(
            "such a file holds no chains: the replay buffer begins as the configuration fills it".into(),
        ));
    }
    if state.step >= plan.config().run.steps {
        remarks.push(Remark::Complete { steps: plan.config().run.steps, step: state.step });
    }
    let run_section = &plan.config().run;
    let runs = options.runs.clone().unwrap_or_else(|| PathBuf::from("runs"));
    // A run that has its configuration and no checkpoint would begin anew, with other weights.
    let directory = RunDirectory::place(out, &runs, &run_section.name, run_section.seed)?;
    whole_file::make_folder(&directory, |folder| {
        run::prepare(&plan, folder)?;
        checkpoint::save(&plan, &state, &run::checkpoints_of(folder))?;
        Ok(())
    })?;
    Ok(Import {
        directory,
        step: state.step,
        parameters: state.params.count(),
        program: program.into(),
        remarks,
    })
}

/// Refuses a tensor with a value that is not finite: it would make every energy one.
fn finite(file: &Path, name: &str, of: &str, tensor: &Tensor) -> Result<()> {
    let values = numbers(tensor)?;
    let Some(at) = values.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let mut index = vec![0; tensor.dims().len()];
    tensor.dims().iter().enumerate().rev().fold(at, |rest, (axis, size)| {
        index[axis] = rest % size;
        rest / size
    });
    let message = format!(
        "holds {} at {index:?} of the weights for `{name}`{of}, wanted finite numbers: take a checkpoint from before the training diverged",
        values[at]
    );
    Err(ebm_core::Error::data(file, message).into())
}

fn converted(
    tensors: &BTreeMap<String, Tensor>,
    like: &dyn Fn(&str, &Tensor) -> ebm_core::Result<Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    let all: ebm_core::Result<_> = tensors.iter().map(|(k, v)| Ok((k.clone(), like(k, v)?))).collect();
    Ok(all?)
}

/// The error of a checkpoint that does not fit names the file.
fn about(file: &Path, e: ebm_core::Error) -> Error {
    match e {
        ebm_core::Error::Config { path, message } if path == "key" => Error::missing(&["key"], message),
        e @ ebm_core::Error::Capability { .. } => e.into(),
        e
        @ (ebm_core::Error::Data { .. } | ebm_core::Error::DataFile(_) | ebm_core::Error::Absent { .. }) => {
            e.into()
        }
        e => ebm_core::Error::data(file, e.to_string()).into(),
    }
}

/// The same safetensors file with the keys of its header in order. The library writes facts in the order of a hash map, which
/// differs from run to run, and with it the file's digest. None if it is no such file.
fn in_order(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_at_checked(8)?;
    let length = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (header, data) = rest.split_at_checked(length)?;
    let header = ebm_train::digest::sorted(&serde_json::from_slice(header).ok()?);
    let mut text = header.to_string().into_bytes();
    // As the library does, so that tensors are aligned.
    text.resize(text.len().next_multiple_of(8), b' ');
    Some([&(text.len() as u64).to_le_bytes()[..], &text, data].concat())
}

/// Tensors as a safetensors file with these facts, the same bytes each time.
pub(super) fn encoded<const N: usize>(
    tensors: &BTreeMap<String, Tensor>,
    facts: [(&str, String); N],
) -> Result<Vec<u8>> {
    let facts = facts.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    let bytes = safetensors::serialize(tensors.iter().map(|(k, v)| (k.as_str(), v)), Some(facts))
        .map_err(|e| ebm_core::Error::plugin("convert", e))?;
    in_order(&bytes).ok_or_else(|| Error::unfit("the tensors", "were not written as safetensors"))
}

/// Writes the weights of a run under another program's names into the safetensors file `file`.
///
/// # Errors
/// If `run` is no run directory, its energy is not one of a program that is known, or the file exists.
pub fn export(run: &Path, file: &Path, weights: Weights) -> Result<Export> {
    if file.extension().and_then(|e| e.to_str()) != Some("safetensors") {
        return Err(Error::invalid("to", file.display(), "a file ending in .safetensors"));
    }
    whole_file::new("to", file)?;
    let trained = Model::open(run, Opening { weights: Some(weights), ..Opening::on(&Device::Cpu) })?;
    let tree = trained.config().tree()?;
    let energy = tree.get("energy").cloned().unwrap_or_default();
    let exchange = exchange(&energy)?;
    let params = trained.energy().params().snapshot()?;
    let outgoing = Outgoing { energy: &energy, sample_shape: trained.sample_shape(), weights: &params };
    let mut written = (exchange.write)(&outgoing)?;
    if weights == Weights::Average && !trained.manifest().is_some_and(|m| m.average) {
        written.remarks.push("the run keeps no average: these are the live weights".into());
    }
    let step = trained.step().unwrap_or(0);
    let facts = [
        ("format", "pt".to_string()),
        ("program", exchange.name.to_string()),
        ("step", step.to_string()),
        ("weights", if weights == Weights::Live { "live" } else { "average" }.to_string()),
    ];
    let bytes = encoded(&written.tensors, facts)?;
    // Only a file that is not there is made: `new` above was the friendly answer, this is the safe one.
    whole_file::make("to", file, &bytes)?;
    Ok(Export {
        file: file.to_path_buf(),
        tensors: written.tensors.len(),
        step,
        program: exchange.name.into(),
        remarks: written.remarks,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn a_file_has_the_same_bytes_each_time() {
        let tensors = ["b", "a"].map(|n| (n, Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap()));
        let write = || {
            let facts = (0..20).map(|i| (format!("fact{i}"), i.to_string())).collect();
            let named = tensors.iter().map(|(n, t)| (*n, t));
            in_order(&safetensors::serialize(named, Some(facts)).unwrap()).unwrap()
        };
        let bytes = write();
        assert!((0..4).all(|_| write() == bytes));
        let wrong = Tensor::new(&[[1f32, 2.0, 3.0], [4.0, f32::NAN, 5.0]], &Device::Cpu).unwrap();
        let text = finite(Path::new("w.pt"), "a.weight", "", &wrong).unwrap_err().to_string();
        assert!(
            text.contains("w.pt") && text.contains("NaN at [1, 1] of the weights for `a.weight`"),
            "{text}"
        );
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.tensor("a").unwrap().shape(), [2]);
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["fact7"], "7");
        assert!(in_order(&bytes[..4]).is_none());
    }
}
