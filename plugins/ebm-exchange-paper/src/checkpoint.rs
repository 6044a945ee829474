//! Weights of the published program, or any file under its names, into an energy's parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ebm_core::candle::Tensor;
use ebm_core::{Error, ParamSet, Result, Role};
use ebm_energies_paper::names::published_of;
use ebm_exchange::WeightFile;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Parameters and buffers that were written, by their names here.
    pub written: Vec<String>,
    /// Tensors of the file that the energy has no use for: label maps of an unconditional network,
    /// constant filters and so on.
    pub ignored: Vec<String>,
}

/// Writes the tensors of `path` into `params` under the published names (see [`names`](ebm_energies_paper::names));
/// works for a network that stands alone and for one whose parts are `small`, `mid` and `large`.
///
/// `path` is a `.pth` of the published program or safetensors under its names, in whatever wrappers; `key` picks the
/// dictionary: `model_state_dict_0` for live weights, which are taken without it, `ema_model_state_dict_0` for their
/// average. Numbers are converted to the parameters' dtype. Nothing is written unless everything fits.
///
/// # Errors
/// If the file cannot be read, lacks a parameter, or has one of another shape.
pub fn import_checkpoint(params: &ParamSet, path: impl AsRef<Path>, key: Option<&str>) -> Result<Imported> {
    let path = path.as_ref();
    let mut file = WeightFile::open(path)?;
    let chosen = file.find(&published(params), key)?;
    let (found, ignored) = fit(&mut file, &chosen.live, params)?;
    for (name, value) in &found {
        params.set(name, value)?;
    }
    Ok(Imported { written: found.into_keys().collect(), ignored })
}

/// The published names of all `params`.
pub(crate) fn published(params: &ParamSet) -> Vec<String> {
    params.names().map(published_of).collect()
}

/// Values of all `params` out of the tensors that a file has under published names behind `prefix`, in their own dtype, and the
/// names that are left over.
pub(crate) fn fit(
    file: &mut WeightFile,
    prefix: &str,
    params: &ParamSet,
) -> Result<(BTreeMap<String, Tensor>, Vec<String>)> {
    let mut found = BTreeMap::new();
    let mut left: BTreeSet<String> = file.below(prefix).into_iter().collect();
    for name in params.names() {
        let published = published_of(name);
        left.remove(&published);
        let value = file.tensor(prefix, &published)?;
        let value = value.ok_or_else(|| Error::data(&published, "is no tensor of the file"))?;
        let want = params.get(name).map_or(&[][..], |t| t.dims());
        if value.dims() != want {
            return Err(Error::shape(
                &published,
                value.dims(),
                format!("{want:?} for `{name}`"),
                "the weights belong to a network of another size",
            ));
        }
        found.insert(name.to_string(), value);
    }
    Ok((found, left.into_iter().collect()))
}

/// The trainable ones of `tensors`: buffers have no average.
pub(crate) fn average_of(params: &ParamSet, tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    tensors.into_iter().filter(|(name, _)| params.role(name) == Some(Role::Trainable)).collect()
}
