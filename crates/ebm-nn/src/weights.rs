//! Reads named tensors from weight files of other programs: safetensors and PyTorch's two formats.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use candle_core::{Device, Tensor, pickle, safetensors};
use ebm_core::{Error, Result};

use crate::legacy_torch;

/// All tensors of the file at `path` by name, on the CPU in their own dtype.
///
/// The format is recognised by its first bytes: PyTorch's zip archives (1.6 and later), its older
/// stream of pickles, otherwise safetensors. `key` picks one dictionary of a PyTorch checkpoint, such
/// as `ema_model_state_dict_0`; safetensors files have none, `key` must then be `None`. A prefix
/// `module.` (PyTorch's data parallelism) is dropped.
///
/// # Errors
/// If the file cannot be read, is none of these, or has no such key.
pub fn read_tensors(path: impl AsRef<Path>, key: Option<&str>) -> Result<BTreeMap<String, Tensor>> {
    let path = path.as_ref();
    let mut start = [0u8; 4];
    let mut file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let got = file.read(&mut start).map_err(|e| Error::io(path, e))?;
    let tensors: Vec<(String, Tensor)> = if got == 4 && &start == b"PK\x03\x04" {
        read_archive(path, key)?
    } else if legacy_torch::is_legacy(&start) {
        legacy_torch::read(path, key)?
    } else {
        if let Some(key) = key {
            return Err(Error::data(
                path,
                format!("is no PyTorch checkpoint, so it has no key `{key}`; leave the key out"),
            ));
        }
        let all = safetensors::load(path, &Device::Cpu)
            .map_err(|e| Error::data(path, format!("is neither PyTorch weights nor safetensors: {e}")))?;
        all.into_iter().collect()
    };
    if tensors.is_empty() {
        return Err(Error::data(
            path,
            match key {
                Some(key) => format!("has no tensors under `{key}`"),
                None => "has no tensors at its top level; a checkpoint may need a key such as `model_state_dict_0`".into(),
            },
        ));
    }
    let bare = |name: String| name.strip_prefix("module.").map_or(name.clone(), ToString::to_string);
    Ok(tensors.into_iter().map(|(name, t)| (bare(name), t)).collect())
}

/// The tensors of a PyTorch zip archive. candle reads the pickle; its own tensor reader takes no general
/// strides.
fn read_archive(path: &Path, key: Option<&str>) -> Result<Vec<(String, Tensor)>> {
    let fail = |message: String| Error::data(path, format!("cannot be read as PyTorch weights: {message}"));
    let infos = pickle::read_pth_tensor_info(path, false, key).map_err(|e| fail(e.to_string()))?;
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file)).map_err(|e| fail(e.to_string()))?;
    infos
        .into_iter()
        .map(|info| {
            let mut entry =
                archive.by_name(&info.path).map_err(|e| fail(format!("tensor `{}`: {e}", info.name)))?;
            let mut data = Vec::new();
            entry.read_to_end(&mut data).map_err(|e| Error::io(path, e))?;
            let t = legacy_torch::tensor(&info, &data)
                .map_err(|e| fail(format!("tensor `{}`: {e}", info.name)))?;
            Ok((info.name, t))
        })
        .collect()
}
