//! Safetensors: a file, or several that an index names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::safetensors::BufferedSafetensors;
use candle_core::{Device, Tensor};
use ebm_core::{Error, Result};
use ebm_data::foreign;
use safetensors::Dtype;
use serde::Deserialize;

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |e| Error::data(path, format!("cannot be read: {e}"))
}

/// The first bytes of a file, by which it is known.
pub(super) fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let file = ebm_core::regular::open(path).map_err(unreadable(path))?;
    file.take(512).read_to_end(&mut head).map_err(unreadable(path))?;
    Ok(head)
}

/// Which of several files has which tensor, as `model.safetensors.index.json` says.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Files in memory.
pub(super) struct Safetensors {
    files: Vec<(PathBuf, BufferedSafetensors)>,
}

impl Safetensors {
    /// The file at `path`, or those of the index at `path`, which lie beside it.
    pub fn open(path: &Path) -> Result<Self> {
        if !head(path)?.trim_ascii_start().starts_with(b"{") {
            return Ok(Safetensors { files: vec![(path.into(), file(path)?)] });
        }
        let text = ebm_core::regular::read(path).map_err(unreadable(path))?;
        let index: Index = serde_json::from_slice(&text).map_err(|e| {
            let wanted = "a file of `torch.save`, safetensors, or the index of several of these";
            Error::data(path, format!("is JSON without a `weight_map` ({e}); expected {wanted}"))
        })?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        let mut files = Vec::new();
        for name in names {
            // Only names: an index leads nowhere else.
            if Path::new(name).file_name().is_none_or(|plain| plain != name.as_str()) {
                return Err(Error::data(path, format!("names the file `{name}`, wanted one beside it")));
            }
            let beside = path.with_file_name(name);
            files.push((beside.clone(), file(&beside)?));
        }
        Ok(Safetensors { files })
    }

    /// Names of all tensors, in order.
    pub fn names(&self) -> Vec<String> {
        let all = self.files.iter().flat_map(|(_, file)| file.tensors()).map(|(name, _)| name);
        all.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// The tensor `name`, on the CPU.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let found =
            self.files.iter().find_map(|(path, file)| Some((path, file, file.get(name).ok()?.dtype())));
        let (path, file, kind) =
            found.ok_or_else(|| Error::data(name, "is a tensor of none of the files"))?;
        let refused = |e| Error::data(path, format!("the tensor `{name}` of type {kind:?} is not read: {e}"));
        match file.get(name) {
            Ok(view) if view.dtype() == Dtype::F8_E4M3 => super::wide(view.data(), view.shape()),
            _ => file.load(name, &Device::Cpu).map_err(refused),
        }
    }
}

fn file(path: &Path) -> Result<BufferedSafetensors> {
    let bytes = ebm_core::regular::read(path).map_err(unreadable(path))?;
    let known = foreign::what_is(&bytes[..bytes.len().min(512)], path);
    let known = known.filter(|f| !f.what.contains("safetensors"));
    BufferedSafetensors::new(bytes).map_err(|e| match known {
        Some(foreign) => Error::data(path, format!("is {foreign}; expected safetensors")),
        None => Error::data(path, format!("is neither a file of `torch.save` nor sound safetensors: {e}")),
    })
}
