//! Data by a name or a path.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::candle::{DType, Device};
use ebm_core::{BuildCx, Component, DataConfig, DataSource, Family, Key, catalogue, way};
use toml::{Table, Value};

use crate::config::Path as Place;
use crate::config::overrides::Override;
use crate::config::source::Source;
use crate::config::validate::unknown_kind;
use crate::error::{Error, Result};

/// The `[data]` section for `what`: a linked kind with its default settings, a folder (of images, or of the files of
/// MNIST, CIFAR-10, CIFAR-100 or Parquet) or a file (`.npy`, `.npz`, `.parquet`, IDX).
///
/// # Errors
/// If it is neither a kind nor a path that exists.
pub fn data_setting(what: &str) -> Result<Value> {
    setting_of("data", what)
}

/// The same for another setting, which errors name.
fn setting_of(setting: &'static str, what: &str) -> Result<Value> {
    let table = |pairs: &[(&str, &str)]| {
        Value::Table(pairs.iter().map(|(k, v)| ((*k).to_string(), Value::from(*v))).collect::<Table>())
    };
    if catalogue::find(Family::Data, what).is_some() {
        return Ok(table(&[("kind", what)]));
    }
    let path = Path::new(what);
    if path.is_dir() {
        if let Some(files) = idx_files(path) {
            return Ok(files);
        }
        return Ok(table(&[("kind", folder_kind(path)), ("root", what)]));
    }
    if !path.exists() {
        let kind = unknown_kind(Family::Data, what);
        let wanted =
            format!("a file, a folder or a linked kind: no file or folder of this name is there, and {kind}");
        return Err(Error::invalid(setting, what, wanted));
    }
    match Path::new(what).extension().and_then(|e| e.to_str()) {
        Some("npy" | "npz") => Ok(table(&[("kind", "npy"), ("path", what)])),
        Some("parquet") => Ok(table(&[("kind", "parquet"), ("root", what)])),
        _ => Ok(table(&[("kind", "idx"), ("images", what)])),
    }
}

/// The section of [`data_setting`] in a configuration whose paths count from `base`: see [`seen_from`].
///
/// # Errors
/// As [`data_setting`].
pub fn data_setting_from(base: &Path, what: &str) -> Result<Value> {
    let mut setting = data_setting(what)?;
    if let Value::Table(section) = &mut setting {
        for (_, value) in section.iter_mut().filter(|(name, _)| *name != "kind") {
            if let Some(path) = value.as_str().map(|path| seen_from(base, Path::new(path))) {
                *value = path.display().to_string().into();
            }
        }
    }
    Ok(setting)
}

impl Source {
    /// The same with other data, named as in [`data_setting`]. Where the section is of the same
    /// kind its other settings stay: it is the same data at another place.
    ///
    /// # Errors
    /// As [`data_setting`], or if the text is not TOML.
    pub fn with_data(mut self, what: &str) -> Result<Self> {
        let setting = data_setting_from(self.places.first(), what)?;
        let (at, text) = (Place::default().key("data"), format!("data {what}"));
        let document = self.document()?;
        let kind = |section: &Value| section.get("kind").cloned();
        match (document.get("data"), &setting) {
            (Some(old), Value::Table(new)) if kind(old) == kind(&setting) => {
                let places = new.iter().filter(|(name, _)| *name != "kind");
                self.overrides.extend(places.map(|(k, v)| Override::new(at.key(k), v.clone(), &text)));
            }
            _ => self.overrides.push(Override::new(at, setting, text)),
        }
        Ok(self)
    }
}

/// `path` as a file in `folder` writes it: as it is where it is absolute or the folder is the current one, and else the way
/// there, so that both may move together.
pub(crate) fn seen_from(folder: &Path, path: &Path) -> PathBuf {
    let here = path.is_absolute() || !folder.is_dir() || way(folder, Path::new(".")) == Some(".".into());
    let (Some(parent), Some(name), false) = (path.parent(), path.file_name(), here) else {
        return path.into();
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match way(folder, parent) {
        Some(way) if way == Path::new(".") => name.into(),
        Some(way) => way.join(name),
        None => path.into(),
    }
}

/// The setting for the files of MNIST in a folder, if they are there.
fn idx_files(folder: &Path) -> Option<Value> {
    let mut all = Table::new();
    all.insert("kind".into(), "idx".into());
    for (key, name) in [
        ("images", "train-images-idx3-ubyte"),
        ("label_file", "train-labels-idx1-ubyte"),
        ("held_out_images", "t10k-images-idx3-ubyte"),
        ("held_out_labels", "t10k-labels-idx1-ubyte"),
    ] {
        let found =
            ["", ".gz"].map(|end| folder.join(format!("{name}{end}"))).into_iter().find(|p| p.is_file());
        if let Some(path) = found {
            all.insert(key.into(), path.display().to_string().into());
        }
    }
    all.contains_key("images").then_some(Value::Table(all))
}

/// The kind of data that a folder holds, by the names of its files.
fn folder_kind(path: &Path) -> &'static str {
    let holds = |name: &str| path.join(name).is_file();
    if holds("data_batch_1.bin") {
        return "cifar10";
    }
    if holds("train.bin") && holds("test.bin") {
        return "cifar100";
    }
    let parquet = |e: std::fs::DirEntry| e.path().extension().is_some_and(|x| x == "parquet");
    let mut entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    if entries.any(parquet) { "parquet" } else { "image-folder" }
}

/// Opens data by a name or a path.
///
/// # Errors
/// As [`data_setting`], or if the files cannot be read.
pub fn open_data(what: &str) -> Result<Arc<dyn DataSource>> {
    build(what, data_setting(what)?, &[])
}

/// Opens what a setting names, also a kind with settings.
///
/// # Errors
/// As [`open_data`] and [`open_kind`].
pub(crate) fn open_as(setting: &'static str, what: &str) -> Result<Arc<dyn DataSource>> {
    match kind_of(what) {
        Some(_) => open_kind(what),
        None => build(what, setting_of(setting, what)?, &[]),
    }
}

/// The linked kind that `what` names, with settings behind it or without.
pub(crate) fn kind_of(what: &str) -> Option<&'static Component> {
    catalogue::find(Family::Data, what.split_once(':').map_or(what, |(kind, _)| kind))
}

/// Opens a linked kind with settings of its own, such as `idx:images=a,held_out_images=b`; values are TOML, or text.
///
/// # Errors
/// If there is no such kind, a setting is wrong, or its files cannot be read.
pub(crate) fn open_kind(what: &str) -> Result<Arc<dyn DataSource>> {
    let (kind, settings) = what.split_once(':').unwrap_or((what, ""));
    let mut changes = Vec::new();
    for setting in between_commas(settings) {
        changes.push(format!("data.{setting}"));
    }
    let table: Table = [("kind".to_string(), Value::from(kind))].into_iter().collect();
    build(what, Value::Table(table), &changes)
}

/// What stands between commas, but for those inside of brackets.
fn between_commas(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    let parts = text.split(move |c| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

fn build(what: &str, setting: Value, changes: &[String]) -> Result<Arc<dyn DataSource>> {
    let mut document = Table::new();
    document.insert("data".into(), setting);
    let source = Source::text(what, document.to_string()).with(changes)?;
    let config: Box<dyn DataConfig> = source.read_part("data", Family::Data)?;
    let mut cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0).at("data"));
    config.build(&mut cx).map_err(|e| source.place(e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lists_are_one_setting() {
        let parts: Vec<&str> = between_commas("root=a, patch=[3,2],,only=[1],grey=true").collect();
        assert_eq!(parts, ["root=a", "patch=[3,2]", "only=[1]", "grey=true"]);
    }

    #[test]
    fn folders_are_known_by_their_files() {
        let kind = |names: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            names.iter().for_each(|n| std::fs::write(folder.path().join(n), "").unwrap());
            let setting = data_setting(folder.path().to_str().unwrap()).unwrap();
            (setting["kind"].as_str().unwrap().to_string(), setting.as_table().unwrap().len())
        };
        let idx = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"];
        assert_eq!(kind(&idx), ("idx".into(), 4));
        assert_eq!(kind(&["data_batch_1.bin"]).0, "cifar10");
        assert_eq!(kind(&["train.bin", "test.bin"]).0, "cifar100");
        assert_eq!(kind(&["train-0.parquet", "notes.txt"]).0, "parquet");
        assert_eq!(kind(&["a.png"]), ("image-folder".into(), 2));
    }
}
