//! Energies as modules of PyTorch: a folder with one Python file and its weights.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use ebm_exchange::torch::{PYTHON, WEIGHTS, module};
use serde::Serialize;

use super::convert::encoded;
use crate::error::{Blocked, Error, Result};
use crate::model::open::Model;
use crate::whole_file;

/// What was given to PyTorch.
#[derive(Clone, Debug, Serialize)]
pub struct TorchExport {
    /// The folder.
    pub directory: PathBuf,
    /// Number of tensors of the module's state.
    pub tensors: usize,
    /// Numbers in them.
    pub numbers: usize,
}

/// Makes the folder `to` with `energy.py`, which rebuilds the energy of `model` as a `torch.nn.Module`, and
/// `weights.safetensors`, which it loads; `of` is what the model is called there.
///
/// # Errors
/// If a part of the energy has no such form (it is named), or the folder is there; then nothing is written.
pub fn export_torch(model: &Model, of: &str, to: &Path) -> Result<TorchExport> {
    if to.exists() {
        return Err(Error::Output { setting: "to", path: to.to_path_buf(), why: Blocked::There });
    }
    let step = model.step().map_or(String::new(), |n| format!(" at step {n}"));
    let mut about = format!("The energy of {of}{step} for PyTorch.");
    if let Some((low, high)) = model.facts().range {
        about += &format!("\n\nSamples have values in [{low}, {high}], as in training.");
    }
    let columns = &model.facts().columns;
    if !columns.is_empty() {
        about += &format!(
            "\n\nSamples are not rows of the table but what stands for them in training, column by column:\n{}",
            columns.formulas().join("\n")
        );
    }
    let names = &model.facts().class_names;
    if !names.is_empty() && model.energy().spec().condition.length() == Some(names.len()) {
        about += &format!("\n\nConditions are one-hot: {}.", ebm_core::class_list(names));
    }
    // A name may hold what would end the text.
    let about = about.replace(['\\', '"'], "'");
    let made = module(model.energy().as_ref(), model.dtype(), &about).map_err(|e| with_kind(model, e))?;
    let facts = [("format", "pt".to_string()), ("of", of.to_string())];
    let bytes = encoded(&made.tensors, facts)?;
    whole_file::make_folder(to, |folder| {
        whole_file::make("to", &folder.join(PYTHON), made.python.as_bytes())?;
        whole_file::make("to", &folder.join(WEIGHTS), &bytes)
    })?;
    let numbers = made.tensors.values().map(Tensor::elem_count).sum();
    Ok(TorchExport { directory: to.to_path_buf(), tensors: made.tensors.len(), numbers })
}

/// The refusal of a part of an energy with the part's kind behind its place in the configuration.
fn with_kind(model: &Model, e: ebm_core::Error) -> ebm_core::Error {
    match e {
        ebm_core::Error::Capability { who, what, from, hint } => {
            let kind = kind_of(model, from.trim_matches('`'));
            let from = kind.map_or(from.clone(), |kind| format!("{from} (kind `{kind}`)"));
            ebm_core::Error::Capability { who, what, from, hint }
        }
        other => other,
    }
}

/// The kind of the part at a dotted path of the model's configuration, such as `energy.parts[1].energy`.
fn kind_of(model: &Model, path: &str) -> Option<String> {
    let tree = model.config().tree().ok()?;
    let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
    tree.pointer(&pointer)?.get("kind")?.as_str().map(String::from)
}
