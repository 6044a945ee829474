//! Data by a name or a path, as on the command line.

use std::path::Path;
use std::sync::Arc;

use ebm_core::candle::{DType, Device};
use ebm_core::{BuildCx, DataConfig, DataSource, Family, Key, catalogue};
use toml::{Table, Value};

use crate::config::unknown_kind;
use crate::{Error, Result, Source};

/// The `[data]` section for `what`: a linked kind with its default settings, a folder of images, or a file
/// (`.npy`, `.npz`, IDX).
///
/// # Errors
/// If it is neither a kind nor a path that exists.
pub fn data_setting(what: &str) -> Result<Value> {
    let table = |pairs: &[(&str, &str)]| {
        Value::Table(pairs.iter().map(|(k, v)| ((*k).to_string(), Value::from(*v))).collect::<Table>())
    };
    if catalogue::find(Family::Data, what).is_some() {
        return Ok(table(&[("kind", what)]));
    }
    let path = std::path::absolute(what).map_err(Error::io(what))?;
    let full = path.display().to_string();
    if path.is_dir() {
        return Ok(table(&[("kind", "image-folder"), ("root", &full)]));
    }
    if !path.exists() {
        let kind = unknown_kind(Family::Data, what);
        return Err(Error::Usage(format!("--data {what}: no file or folder of this name, and {kind}")));
    }
    match Path::new(what).extension().and_then(|e| e.to_str()) {
        Some("npy" | "npz") => Ok(table(&[("kind", "npy"), ("path", &full)])),
        _ => Ok(table(&[("kind", "idx"), ("images", &full)])),
    }
}

/// Opens data by a name or a path.
///
/// # Errors
/// As [`data_setting`], or if the files cannot be read.
pub fn open_data(what: &str) -> Result<Arc<dyn DataSource>> {
    let mut document = Table::new();
    document.insert("data".into(), data_setting(what)?);
    let source = Source::text(format!("--data {what}"), document.to_string());
    let config: Box<dyn DataConfig> = source.read_part("data", Family::Data)?;
    let mut cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0).at("data"));
    config.build(&mut cx).map_err(|e| source.place(e))
}
