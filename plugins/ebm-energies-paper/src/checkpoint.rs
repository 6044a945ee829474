//! Weights of the published program, or any file under its names, into an energy's parameters.

use std::path::Path;

use ebm_core::{Error, ParamSet, Result};
use ebm_nn::read_tensors;

use crate::names::published_of;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Parameters and buffers that were written, by their names here.
    pub written: Vec<String>,
    /// Tensors of the file that the energy has no use for: label maps of an unconditional network,
    /// constant filters and so on.
    pub ignored: Vec<String>,
}

/// Writes the tensors of `path` into `params` under the published names (see [`names`](crate::names));
/// works for a network that stands alone and for one whose parts are `small`, `mid` and `large`.
///
/// `path` is a `.pth` of the published program or safetensors under its names; `key` picks the
/// dictionary: `model_state_dict_0` for live weights, `ema_model_state_dict_0` for their average.
/// Numbers are converted to the parameters' dtype. Nothing is written unless everything fits.
///
/// # Errors
/// If the file cannot be read, lacks a parameter, or has one of another shape.
pub fn import_checkpoint(params: &ParamSet, path: impl AsRef<Path>, key: Option<&str>) -> Result<Imported> {
    let path = path.as_ref();
    let mut tensors = read_tensors(path, key)?;
    let mut found = Vec::new();
    for name in params.names() {
        let published = published_of(name);
        let Some(value) = tensors.remove(&published) else {
            let hint = tensors.keys().next().map_or(String::new(), |k| format!("; it has `{k}`"));
            return Err(Error::data(
                path,
                format!(
                    "has no tensor `{published}` for the parameter `{name}`{hint}: is it another network, or does it need a key?"
                ),
            ));
        };
        let want = params.get(name).map_or(&[][..], |t| t.dims());
        if value.dims() != want {
            return Err(Error::shape(
                &published,
                value.dims(),
                format!("{want:?} for `{name}`"),
                "the weights belong to a network of another size",
            ));
        }
        found.push((name.to_string(), value));
    }
    for (name, value) in &found {
        params.set(name, value)?;
    }
    Ok(Imported {
        written: found.into_iter().map(|(name, _)| name).collect(),
        ignored: tensors.into_keys().collect(),
    })
}
