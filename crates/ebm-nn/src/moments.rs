//! Reads the state of an optimiser from PyTorch's checkpoints.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use candle_core::pickle::Object;
use ebm_core::{Error, Result};

use crate::legacy_torch;

/// Items of a dictionary that Python's pickle writes at a time.
const PICKLE_BATCH: usize = 1000;

/// The state of one parameter.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    /// Number of updates.
    pub step: Option<u64>,
    /// Tensors such as `exp_avg_sq`.
    pub tensors: BTreeMap<String, Tensor>,
}

/// The state of a PyTorch optimiser with one group of parameters.
#[derive(Clone, Debug, Default)]
pub struct OptimiserFile {
    /// Names of the tensors of the model's dictionary, in their order: the order of its parameters, buffers among them.
    pub names: Vec<String>,
    /// State of each parameter in the order of the group; `None` for one that never had a gradient.
    pub moments: Vec<Option<Moments>>,
    /// Decays of the group, if it names them.
    pub betas: Option<(f64, f64)>,
}

/// Reads the optimiser under `key` of the PyTorch checkpoint at `path`, of the model under `model`.
///
/// # Errors
/// If the file cannot be read, has no such keys, or the optimiser is not of the usual form.
pub fn read_optimiser(path: impl AsRef<Path>, model: &str, key: &str) -> Result<OptimiserFile> {
    let path = path.as_ref();
    let fail = |message: String| Error::data(path, message);
    let mut source = Source::open(path)?;
    let mut root = source.root.take().ok_or_else(|| fail("holds no object".into()))?;
    let model = get(&mut root, model).ok_or_else(|| fail(format!("has no `{model}`")))?;
    let listed: Vec<String> = entries(model)
        .into_iter()
        .filter_map(|(k, _)| k.unicode().ok())
        // An attribute of PyTorch's dictionaries, which the reader puts behind their items.
        .filter(|n| n != "_metadata")
        .map(|n| n.strip_prefix("module.").map_or(n.clone(), ToString::to_string))
        .collect();
    // candle takes the items of each batch off the stack from behind.
    let names = listed.chunks(PICKLE_BATCH).flat_map(|batch| batch.iter().rev().cloned()).collect();
    let mut optimiser = get(&mut root, key).ok_or_else(|| fail(format!("has no `{key}`")))?;
    let form = |what: &str| fail(format!("its `{key}` has no {what} of the usual form"));
    let mut states = entries(get(&mut optimiser, "state").ok_or_else(|| form("`state`"))?);
    let Some(Object::List(groups)) = get(&mut optimiser, "param_groups") else {
        return Err(form("`param_groups`"));
    };
    let mut group = groups.into_iter().next().ok_or_else(|| form("group"))?;
    let betas = match get(&mut group, "betas") {
        Some(Object::Tuple(b)) => match &b[..] {
            [a, b] => number(a).zip(number(b)),
            _ => None,
        },
        _ => None,
    };
    let Some(Object::List(ids)) = get(&mut group, "params") else { return Err(form("list of parameters")) };
    let mut moments = Vec::new();
    for id in ids {
        let Some(at) = states.iter().position(|(k, _)| *k == id) else {
            moments.push(None);
            continue;
        };
        let mut one = Moments::default();
        for (name, value) in entries(states.swap_remove(at).1) {
            let Ok(name) = name.unicode() else { continue };
            if let Some(v) = number(&value) {
                if name == "step" {
                    one.step = Some(v as u64);
                }
                continue;
            }
            if let Some(t) = source.tensor(path, &name, value)? {
                if name == "step" {
                    one.step = t
                        .to_dtype(candle_core::DType::F64)?
                        .flatten_all()?
                        .to_vec1::<f64>()?
                        .first()
                        .map(|v| *v as u64);
                } else {
                    one.tensors.insert(name, t);
                }
            }
        }
        moments.push(Some(one));
    }
    Ok(OptimiserFile { names, moments, betas })
}

/// The value of `key` in a dictionary, taken out.
fn get(object: &mut Object, key: &str) -> Option<Object> {
    let Object::Dict(all) = object else { return None };
    let at = all.iter().position(|(k, _)| *k == Object::Unicode(key.to_string()))?;
    Some(all.swap_remove(at).1)
}

fn entries(object: Object) -> Vec<(Object, Object)> {
    match object {
        Object::Dict(all) => all,
        _ => Vec::new(),
    }
}

fn number(object: &Object) -> Option<f64> {
    match object {
        Object::Int(v) => Some(f64::from(*v)),
        Object::Long(v) => Some(*v as f64),
        Object::Float(v) => Some(*v),
        _ => None,
    }
}

/// A checkpoint of either format.
struct Source {
    root: Option<Object>,
    /// Bytes by storage id of the older format.
    storages: BTreeMap<String, Vec<u8>>,
    /// The archive of the newer one, with the folder of its object.
    archive: Option<(zip::ZipArchive<BufReader<std::fs::File>>, PathBuf)>,
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        let fail =
            |message: String| Error::data(path, format!("cannot be read as PyTorch weights: {message}"));
        let mut start = [0u8; 4];
        let mut file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        let got = file.read(&mut start).map_err(|e| Error::io(path, e))?;
        if legacy_torch::is_legacy(&start[..got]) {
            let (root, storages) = legacy_torch::open(path)?;
            return Ok(Source { root: Some(root), storages, archive: None });
        }
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|e| fail(e.to_string()))?;
        let mut name = None;
        for i in 0..archive.len() {
            let entry = archive.by_index(i).map_err(|e| fail(e.to_string()))?;
            let entry = entry.name().map_err(|e| fail(e.to_string()))?.into_owned();
            if entry.ends_with("data.pkl") {
                name = Some(entry);
            }
        }
        let name = name.ok_or_else(|| fail("has no data.pkl".into()))?;
        let folder = PathBuf::from(name.trim_end_matches(".pkl"));
        let entry = archive.by_name(&name).map_err(|e| fail(e.to_string()))?;
        let root = legacy_torch::object(&mut BufReader::new(entry)).map_err(|e| fail(e.to_string()))?;
        Ok(Source { root: Some(root), storages: BTreeMap::new(), archive: Some((archive, folder)) })
    }

    /// The tensor `value`, if it is one.
    fn tensor(&mut self, path: &Path, name: &str, value: Object) -> Result<Option<Tensor>> {
        let fail =
            |message: String| Error::data(path, format!("tensor `{name}` of the optimiser: {message}"));
        let folder = self.archive.as_ref().map_or(PathBuf::new(), |(_, f)| f.clone());
        let Some(info) = value
            .into_tensor_info(Object::Unicode(name.to_string()), &folder)
            .map_err(|e| fail(e.to_string()))?
        else {
            return Ok(None);
        };
        let data = match &mut self.archive {
            Some((archive, _)) => {
                let mut entry = archive.by_name(&info.path).map_err(|e| fail(e.to_string()))?;
                let mut data = Vec::new();
                entry.read_to_end(&mut data).map_err(|e| Error::io(path, e))?;
                data
            }
            None => {
                let id = info.path.rsplit('/').next().unwrap_or_default();
                self.storages.get(id).cloned().ok_or_else(|| fail(format!("has no storage `{id}`")))?
            }
        };
        legacy_torch::tensor(&info, &data).map(Some).map_err(|e| fail(e.to_string()))
    }
}
