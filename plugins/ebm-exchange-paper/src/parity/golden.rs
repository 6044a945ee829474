//! A golden file: its settings, and its tensors in the number type of the run.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use ebm_core::candle::{DType, Device, Tensor, safetensors::load_buffer};
use ebm_core::{Error, Result};

/// Settings, inputs and outputs of one golden file.
pub(crate) struct Golden {
    path: PathBuf,
    settings: HashMap<String, String>,
    tensors: HashMap<String, Tensor>,
    dtype: DType,
}

/// The bytes of the file at `path`.
fn bytes(path: &Path) -> Result<Vec<u8>> {
    ebm_core::regular::read(path).map_err(|e| Error::data(path, format!("cannot be read: {e}")))
}

fn header(path: &Path, bytes: &[u8]) -> Result<HashMap<String, String>> {
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).map_err(|e| {
        let length = bytes.len();
        Error::data(path, format!("found {length} bytes that are no whole safetensors file ({e}), wanted one with a golden file's settings"))
    })?;
    Ok(header.metadata().clone().unwrap_or_default())
}

/// The settings in the header of the safetensors file at `path`; empty if it has none.
pub(crate) fn settings(path: &Path) -> Result<HashMap<String, String>> {
    header(path, &bytes(path)?)
}

impl Golden {
    pub fn open(path: &Path, dtype: DType) -> Result<Self> {
        let bytes = bytes(path)?;
        let settings = header(path, &bytes)?;
        if settings.is_empty() {
            return Err(Error::data(path, "has no settings in its header; it is no golden file"));
        }
        let tensors = load_buffer(&bytes, &Device::Cpu)
            .map_err(|e| Error::data(path, format!("its tensors cannot be read: {e}")))?;
        Ok(Golden { path: path.to_path_buf(), settings, tensors, dtype })
    }

    /// A file in memory.
    #[cfg(test)]
    pub fn of(settings: HashMap<String, String>, tensors: HashMap<String, Tensor>, dtype: DType) -> Self {
        Golden { path: "in memory".into(), settings, tensors, dtype }
    }

    /// An error of this file.
    pub fn fail(&self, message: impl Into<String>) -> Error {
        Error::data(&self.path, message)
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The setting `key`.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.settings.get(key).map(String::as_str).ok_or_else(|| self.fail(format!("has no setting `{key}`")))
    }

    pub fn number(&self, key: &str) -> Result<f64> {
        let text = self.text(key)?;
        text.parse().map_err(|_| self.fail(format!("setting `{key}` is `{text}`, wanted a number")))
    }

    pub fn count(&self, key: &str) -> Result<usize> {
        let text = self.text(key)?;
        text.parse().map_err(|_| self.fail(format!("setting `{key}` is `{text}`, wanted a whole number")))
    }

    pub fn is(&self, key: &str) -> bool {
        self.settings.get(key).is_some_and(|v| matches!(v.as_str(), "True" | "true" | "1"))
    }

    /// The JSON list of names `key`; empty if absent.
    pub fn names(&self, key: &str) -> Result<Vec<String>> {
        match self.settings.get(key) {
            None => Ok(Vec::new()),
            Some(text) => {
                serde_json::from_str(text).map_err(|e| self.fail(format!("setting `{key}` is no list: {e}")))
            }
        }
    }

    /// The JSON table of numbers `key`; empty if absent.
    pub fn numbers(&self, key: &str) -> Result<BTreeMap<String, f64>> {
        serde_json::from_str(self.settings.get(key).map_or("{}", String::as_str))
            .map_err(|e| self.fail(format!("setting `{key}` is no table of numbers: {e}")))
    }

    /// An input in the number type of the run; packed images are bytes, value `byte/255` in f32.
    pub fn input(&self, name: &str) -> Result<Tensor> {
        if let Some(bytes) = self.tensors.get(&format!("{name}_u8")) {
            let full = Tensor::new(255f32, &Device::Cpu)?;
            // A division, not a product with the reciprocal: the two round differently.
            return Ok(bytes.to_dtype(DType::F32)?.broadcast_div(&full)?.to_dtype(self.dtype)?);
        }
        Ok(self.raw(name)?.to_dtype(self.dtype)?)
    }

    fn raw(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| self.fail(format!("has no tensor `{name}`")))
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// An output in double precision.
    pub fn output(&self, name: &str) -> Result<Tensor> {
        Ok(self.raw(name)?.to_dtype(DType::F64)?)
    }

    /// An output to compare with `found`: it must have its shape.
    pub fn like(&self, name: &str, found: &Tensor) -> Result<Tensor> {
        let want = self.output(name)?;
        self.shaped(name, &want, found.dims())?;
        Ok(want)
    }

    /// Checks the shape of the tensor called `name`.
    pub fn shaped(&self, name: &str, tensor: &Tensor, dims: &[usize]) -> Result<()> {
        if tensor.dims() == dims {
            return Ok(());
        }
        Err(self.fail(format!(
            "tensor `{name}` has shape {:?}, wanted {dims:?} by the file's settings",
            tensor.dims()
        )))
    }

    /// An output of one number.
    pub fn scalar(&self, name: &str) -> Result<f64> {
        let all = self.output(name)?.flatten_all()?.to_vec1::<f64>()?;
        all.first().copied().ok_or_else(|| self.fail(format!("tensor `{name}` is empty, wanted one number")))
    }

    /// All tensors under `prefix.`, without it, in double precision.
    pub fn group(&self, prefix: &str) -> Result<BTreeMap<String, Tensor>> {
        let start = format!("{prefix}.");
        self.tensors
            .iter()
            .filter_map(|(name, t)| Some((name.strip_prefix(&start)?.to_string(), t)))
            .map(|(name, t)| Ok((name, t.to_dtype(DType::F64)?)))
            .collect()
    }

    /// Every 4th row and column if the file's image outputs are stored so.
    pub fn thinned(&self, image: &Tensor) -> Result<Tensor> {
        if !self.is("packed") {
            return Ok(image.clone());
        }
        let (_, _, h, w) = image.dims4()?;
        let every = |n: usize| -> Result<Tensor> {
            let at: Vec<u32> = (0..n as u32).step_by(4).collect();
            Ok(Tensor::new(at.as_slice(), image.device())?)
        };
        Ok(image.index_select(&every(h)?, 2)?.index_select(&every(w)?, 3)?)
    }
}
