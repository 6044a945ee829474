//! What checkpoints hold, and how they are read: part by part, each file against its digest.
//!
//! `step-00001000/` has `state.safetensors` (`params.*`, `average.*`, `sampler.*`, `facts.*`), which is what a model needs (and, for
//! parameters of the objective itself, `objective.params.*` and `objective.average.*`),
//! `optimiser.safetensors` (`optimiser.*`), `replay.safetensors` and `report.json` (the last report), which only a continued
//! training does, `state.json` (numbers, digests, versions) and `config.toml`. Format 1 had the optimiser's tensors in `state.safetensors` and no facts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::safetensors::SliceSafetensors;
use ebm_core::candle::{Device, Tensor};
use ebm_core::{Columns, Domain, Error, Places, Report, Result, way};
use serde::{Deserialize, Serialize};

use crate::digest::{self, sha256};
use crate::facts::Facts;

/// Format number of the checkpoints that this version writes; it reads all from 1 on.
pub const FORMAT: u32 = 2;

/// What a model needs.
pub const STATE: &str = "state.safetensors";
/// Moments of the optimiser.
pub const OPTIMISER: &str = "optimiser.safetensors";
/// Earlier chains.
pub const REPLAY: &str = "replay.safetensors";
/// The report of the last step.
pub const REPORT: &str = "report.json";
/// Numbers, digests, versions.
pub const MANIFEST: &str = "state.json";
/// The configuration, complete.
pub const CONFIG: &str = "config.toml";
/// What only a training needs begins with one of these.
const TRAINING: [&str; 2] = ["optimiser.", "objective."];
/// The folder of the checkpoints of a run directory.
const FOLDER: &str = "checkpoints";
/// The folder of its last healthy states, which are checkpoints too.
pub const HEALTHY: &str = "healthy";

/// What tells a set of samples from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Number of training samples.
    pub samples: u64,
    /// SHA-256 of rows that lie all over the set, conditions included.
    pub rows: String,
}

/// What `state.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format number of the checkpoint.
    pub format: u32,
    /// Updates so far.
    pub step: u64,
    /// Steps tried so far.
    pub attempts: u64,
    /// Epoch of the next data batch.
    pub epoch: u64,
    /// Index of the next data batch.
    pub cursor: usize,
    /// Updates of the optimiser.
    pub optimiser_step: u64,
    /// Factor of the learning rate set by policies.
    pub rate_factor: f64,
    /// Name and memory of each policy.
    pub policies: Vec<(String, serde_json::Value)>,
    /// What watches over the run has seen and done; nothing in checkpoints of programs before it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub care: serde_json::Value,
    /// Whether there is a moving average.
    pub average: bool,
    /// Shape of one sample.
    pub sample_shape: Vec<usize>,
    /// Length of the condition; 0 for none.
    pub condition: usize,
    /// Names of the classes by their number; empty if they have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// Training samples of each class; empty if conditions are no classes, and of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_counts: Vec<u64>,
    /// What tells the training data from others; of earlier versions none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Fingerprint>,
    /// Range of sample values, if bounded.
    pub range: Option<(f64, f64)>,
    /// Smallest and largest value of some training samples where no range is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<(f64, f64)>,
    /// Which values samples take, where more is known of them than their range; of earlier versions none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// Number of grey values of dequantised images.
    #[serde(default)]
    pub levels: Option<u32>,
    /// The columns of the table that samples were made of; empty of samples in the units of their files.
    #[serde(default, skip_serializing_if = "Columns::is_empty")]
    pub columns: Columns,
    /// Way from the checkpoint to the folder from which relative paths of the configuration count; absolute in format 1.
    pub base: PathBuf,
    /// Digest of the settings that a continuation must share.
    pub config_digest: String,
    /// Crates that brought plugins, with versions.
    pub crates: BTreeMap<String, String>,
    /// SHA-256 of each file.
    pub files: BTreeMap<String, String>,
}

/// The manifest with its own digest, so that a changed number is noticed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    digest: String,
    manifest: serde_json::Value,
}

impl Manifest {
    /// The text of `state.json`.
    ///
    /// # Errors
    /// If a policy's memory cannot be written as JSON.
    pub fn sealed(&self) -> Result<Vec<u8>> {
        let json = |e: serde_json::Error| Error::plugin("checkpoint", e);
        let manifest = serde_json::to_value(self).map_err(json)?;
        serde_json::to_vec_pretty(&Sealed { digest: seal(&manifest), manifest }).map_err(json)
    }
}

fn seal(manifest: &serde_json::Value) -> String {
    sha256(digest::sorted(manifest).to_string().as_bytes())
}

/// What `report.json` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastReport {
    /// The numbers of the last step but for wall times, which no other run has. One that is not finite is `null`.
    values: BTreeMap<String, Option<f64>>,
    /// Whether an observer was stopped in the middle of what it made of the step; a continuation tells it again.
    pub untold: bool,
    /// How many of the newest checkpoints were to be kept, and every which step for good.
    pub keep: Option<(usize, u64)>,
}

impl LastReport {
    /// What is kept of a report.
    pub fn new(report: &Report, untold: bool, keep: Option<(usize, u64)>) -> Self {
        let lasting = report.values.iter().filter(|(name, _)| !name.starts_with("seconds"));
        let values = lasting.map(|(name, v)| (name.clone(), v.is_finite().then_some(*v))).collect();
        LastReport { values, untold, keep }
    }

    /// The report, of step `step` of `of`.
    pub fn report(&self, step: u64, of: u64) -> Report {
        let values = self.values.iter().map(|(name, v)| (name.clone(), v.unwrap_or(f64::NAN))).collect();
        Report { step, of, values }
    }
}

/// How much of a checkpoint is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What a model needs.
    Model,
    /// Everything, to continue the training.
    Whole,
}

/// A checkpoint whose files, as far as they were read, were found whole.
pub struct Contents {
    /// Where it lies.
    pub path: PathBuf,
    /// Its numbers.
    pub manifest: Manifest,
    /// Its configuration's text.
    pub config: String,
    /// Tensors by `part.name`, on the CPU, without those of the buffer.
    pub tensors: BTreeMap<String, Tensor>,
    /// Tensors of the buffer, on the CPU.
    pub replay: Option<BTreeMap<String, Tensor>>,
    /// The report of the last step; none before the first one, and in checkpoints of programs that kept none.
    pub last: Option<LastReport>,
}

impl Contents {
    /// Tensors under `prefix.`, without it.
    pub fn part(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let strip = |name: &str| name.strip_prefix(prefix)?.strip_prefix('.').map(str::to_string);
        self.tensors.iter().filter_map(|(k, v)| Some((strip(k)?, v.clone()))).collect()
    }

    /// What it keeps of the samples.
    pub fn facts(&self) -> Facts {
        let m = &self.manifest;
        let tensor = |name: &str| self.tensors.get(&format!("facts.{name}")).cloned();
        Facts {
            sample_shape: m.sample_shape.clone(),
            condition: m.condition,
            class_names: m.class_names.clone(),
            class_counts: m.class_counts.clone(),
            range: m.range,
            seen: m.seen,
            domain: m.domain,
            mean: tensor("mean"),
            levels: m.levels,
            columns: m.columns.clone(),
            conditions: tensor("conditions"),
            reference: tensor("reference"),
        }
    }

    /// Where files that its configuration names are looked for.
    pub fn places(&self) -> Places {
        places(&self.path, &self.manifest.base)
    }
}

/// Where files that the configuration of the checkpoint at `path` names are looked for: in the folder of the configuration, to
/// which `base` is the way from the checkpoint; in the current folder; in the run directory and the folder around it.
pub fn places(path: &Path, base: &Path) -> Places {
    let run = match path.parent() {
        Some(folder) if folder.ends_with(FOLDER) || folder.ends_with(HEALTHY) => {
            folder.parent().unwrap_or(folder)
        }
        _ => path,
    };
    places_of_run(run, &path.join(base))
}

/// Where files that the configuration of the run directory `run` names are looked for, which lay in the folder `first`; then as
/// [`places`].
pub fn places_of_run(run: &Path, first: &Path) -> Places {
    // As seen from the current folder, for messages and what is made of them.
    let here = |folder: PathBuf| {
        if folder.is_dir() { way(Path::new("."), &folder).unwrap_or(folder) } else { folder }
    };
    let first = Places::new(here(first.to_path_buf())).then(".");
    first.then(here(run.join("."))).then(here(run.join("..")))
}

/// The way from a checkpoint at `path` to the folder of its configuration, for [`Manifest::base`].
pub fn base_of(path: &Path, places: &Places) -> PathBuf {
    way(path, places.first()).unwrap_or_else(|| PathBuf::from("."))
}

/// The folder of a checkpoint of `step` below `folder`.
pub fn folder_of(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step:08}"))
}

/// The folder of a run's checkpoints.
pub fn checkpoints_of(directory: &Path) -> PathBuf {
    directory.join(FOLDER)
}

/// Name of an entry of a shard in a checkpoint; a run of one shard has plain names.
pub fn name_in(shard: usize, of: usize, name: &str) -> String {
    if of == 1 { name.to_string() } else { format!("shard{shard}/{name}") }
}

/// The entries of a shard, under their own names.
pub fn entries_of(shard: usize, of: usize, all: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let prefix = name_in(shard, of, "");
    all.iter().filter_map(|(k, v)| Some((k.strip_prefix(&prefix)?.to_string(), v.clone()))).collect()
}

/// Steps and folders of the checkpoints below `folder`, oldest first; empty if there are none.
pub fn list(folder: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut all: Vec<(u64, PathBuf)> = entries
        .filter_map(|e| {
            let path = e.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let step = match name.strip_prefix("step-") {
                Some(step) => step.parse().ok()?,
                None => set_aside(folder, name)?,
            };
            path.is_dir().then_some((step, path))
        })
        .collect();
    all.sort();
    all
}

/// The step of a checkpoint that was set aside for another of the same step, whose writer was killed before it came.
fn set_aside(folder: &Path, name: &str) -> Option<u64> {
    let step = name.strip_prefix(".step-")?.strip_suffix(".old")?.parse().ok()?;
    (!folder_of(folder, step).exists()).then_some(step)
}

/// The numbers of the newest checkpoint of the run directory `path`, or of the checkpoint at `path`, and where it lies; its
/// other files are not looked at.
///
/// # Errors
/// If there is none, or its numbers cannot be read.
pub fn manifest_of(path: &Path) -> Result<(PathBuf, Manifest)> {
    let newest = list(&checkpoints_of(path)).pop();
    let at = newest.map_or_else(|| path.to_path_buf(), |(_, newest)| newest);
    let manifest = manifest(&at)?;
    Ok((at, manifest))
}

/// Reads a checkpoint, or what a model needs of it, and checks every file that is read against its digest.
///
/// # Errors
/// [`Error::Data`] with the file and what is wrong with it.
pub fn read(path: &Path, depth: Depth) -> Result<Contents> {
    let manifest = manifest(path)?;
    let listed = |name: &str| manifest.files.contains_key(name);
    let missing = |name: &str| Error::data(path.join(name), "is not listed in state.json");
    if let Some(name) = [CONFIG, STATE].into_iter().find(|name| !listed(name)) {
        return Err(missing(name));
    }
    let (mut config, mut tensors, mut replay, mut last) = (String::new(), BTreeMap::new(), None, None);
    for (name, want) in &manifest.files {
        if depth == Depth::Model && ![CONFIG, STATE].contains(&name.as_str()) {
            continue;
        }
        let (file, bytes) = (path.join(name), whole(&path.join(name), want)?);
        let training = |tensor: &str| TRAINING.iter().any(|part| tensor.starts_with(part));
        let wanted = |tensor: &str| depth == Depth::Whole || !training(tensor);
        let load = || tensors_where(&bytes, wanted).map_err(|e| not_safetensors(&file, &e));
        match name.as_str() {
            CONFIG => {
                config = String::from_utf8(bytes).map_err(|_| Error::data(&file, "is not UTF-8 text"))?;
            }
            STATE | OPTIMISER => tensors.extend(load()?),
            REPLAY => replay = Some(load()?),
            REPORT => {
                let report = serde_json::from_slice(&bytes);
                last = Some(report.map_err(|e| Error::data(&file, format!("is no report: {e}")))?);
            }
            _ => {}
        }
    }
    Ok(Contents { path: path.to_path_buf(), manifest, config, tensors, replay, last })
}

/// The bytes of a file with this digest.
fn whole(file: &Path, want: &str) -> Result<Vec<u8>> {
    let found = ebm_core::regular::read(file)
        .map_err(|e| Error::data(file, format!("cannot be read ({e}); the checkpoint is incomplete")))?;
    let digest = sha256(&found);
    if digest == *want {
        return Ok(found);
    }
    let want = want.get(..12).unwrap_or(want);
    let found = format!("SHA-256 of its {} bytes is {}…", found.len(), &digest[..12]);
    Err(Error::data(file, format!("is damaged: {found}, expected {want}…")))
}

fn not_safetensors(file: &Path, e: &Error) -> Error {
    Error::data(file, format!("is not a safetensors file: {e}"))
}

/// The tensors of the bytes of a safetensors file, on the CPU.
///
/// # Errors
/// If the bytes are none.
pub fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    tensors_where(bytes, |_| true)
}

fn tensors_where(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Tensor>> {
    let file = SliceSafetensors::new(bytes)?;
    let names = file.tensors().into_iter().map(|(name, _)| name).filter(|name| wanted(name));
    names.map(|name| Ok((name.clone(), file.load(&name, &Device::Cpu)?))).collect()
}

/// Reads `state.json` alone.
///
/// # Errors
/// [`Error::Data`] if it is missing, damaged, or of another format.
pub fn manifest(path: &Path) -> Result<Manifest> {
    let file = path.join(MANIFEST);
    let text = ebm_core::regular::read(&file)
        .map_err(|e| Error::data(&file, format!("cannot be read ({e}); the checkpoint is incomplete")))?;
    let sealed: Sealed = serde_json::from_slice(&text)
        .map_err(|e| Error::data(&file, format!("is damaged: not the expected JSON: {e}")))?;
    if seal(&sealed.manifest) != sealed.digest {
        return Err(Error::data(&file, "is damaged: its digest does not fit its contents"));
    }
    match sealed.manifest.get("format").and_then(serde_json::Value::as_u64) {
        Some(f) if (1..=u64::from(FORMAT)).contains(&f) => {}
        f => {
            let found = f.map_or("none".to_string(), |f| f.to_string());
            let message = format!(
                "has format {found}, but this version reads formats 1 to {FORMAT}; use the version that wrote it"
            );
            return Err(Error::data(&file, message));
        }
    }
    serde_json::from_value(sealed.manifest).map_err(|e| Error::data(&file, format!("is damaged: {e}")))
}

/// The newest whole checkpoint below `folder`, and what is wrong with newer ones.
pub struct Newest {
    /// The checkpoint.
    pub contents: Contents,
    /// Newer checkpoints that are damaged, with the reason.
    pub damaged: Vec<(PathBuf, String)>,
}

/// Finds the newest checkpoint below `folder` that is whole as far as it is read.
///
/// # Errors
/// If there is none; the message has the reason for each that was refused.
pub fn newest(folder: &Path, depth: Depth) -> Result<Newest> {
    let mut damaged = Vec::new();
    for (_, path) in list(folder).into_iter().rev() {
        match read(&path, depth) {
            Ok(contents) => return Ok(Newest { contents, damaged }),
            Err(e) => {
                tracing::warn!(checkpoint = %path.display(), "refused: {e}");
                damaged.push((path, e.to_string()));
            }
        }
    }
    if damaged.is_empty() {
        let message = "holds no whole checkpoint: the run ended before its first one; train it anew at another place, or remove this \
                       run first";
        return Err(Error::data(folder, message));
    }
    let reasons: String = damaged.iter().map(|(_, why)| format!("; {why}")).collect();
    Err(Error::data(folder, format!("holds no whole checkpoint{reasons}")))
}

/// The checkpoint at `path`, or the newest whole one of the run directory `path`.
///
/// # Errors
/// If `path` is neither, or none is whole.
pub fn open(path: &Path, depth: Depth) -> Result<Newest> {
    if path.join(MANIFEST).exists() {
        return Ok(Newest { contents: read(path, depth)?, damaged: Vec::new() });
    }
    if !path.is_dir() {
        return Err(Error::data(
            path,
            "is not a run directory; give the directory of a run, or one of its checkpoints",
        ));
    }
    newest(&checkpoints_of(path), depth)
}
