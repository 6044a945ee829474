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

/// The `[data]` section for `what`: a linked kind, with settings (`npy:path=a.npy,noise=0.1`) or without; a folder of
/// pictures, of the files of MNIST or a set of its form, CIFAR-10, CIFAR-100, ImageNet-32, SVHN or Parquet; or a file:
/// `.npy`, `.npz` (`set.npz:images` names an array), `.parquet`, a table (`.csv`, `.tsv`, Parquet without pictures), `.mat` of SVHN, `.bin` of CIFAR-10, an archive of pictures,
/// or IDX.
///
/// # Errors
/// If it is neither a kind nor a path that exists, or a setting is not one.
pub fn data_setting(what: &str) -> Result<Value> {
    setting_of("data", what)
}

/// The same for another setting, which errors name.
fn setting_of(setting: &'static str, what: &str) -> Result<Value> {
    let table = |pairs: &[(&str, &str)]| {
        Value::Table(pairs.iter().map(|(k, v)| ((*k).to_string(), Value::from(*v))).collect::<Table>())
    };
    if kind_of(what).is_some() {
        return with_settings(what);
    }
    let path = Path::new(what);
    if path.is_dir() {
        return match ebm_data::mnist::find(path)? {
            Some(files) => Ok(idx(&files)),
            None => Ok(table(&[("kind", folder_kind(path)), ("root", what)])),
        };
    }
    if !path.exists() {
        if let Some((file, array)) = what.rsplit_once(':')
            && file.ends_with(".npz")
            && Path::new(file).is_file()
        {
            return Ok(table(&[("kind", "npy"), ("path", file), ("array", array)]));
        }
        let kind = unknown_kind(Family::Data, what.split_once(':').map_or(what, |(kind, _)| kind));
        let wanted =
            format!("a file, a folder or a linked kind: no file or folder of this name is there, and {kind}");
        return Err(Error::invalid(setting, what, wanted));
    }
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "npy" | "npz" => Ok(table(&[("kind", "npy"), ("path", what)])),
        _ if ebm_data::table::is_table(path) => Ok(table(&[("kind", "table"), ("path", what)])),
        "parquet" => Ok(table(&[("kind", "parquet"), ("root", what)])),
        "mat" => Ok(table(&[("kind", "svhn"), ("root", what)])),
        "bin" => Ok(table(&[("kind", "cifar10"), ("root", what)])),
        _ if ebm_data::pictures::is_archive(path) => Ok(table(&[("kind", "image-folder"), ("root", what)])),
        _ => Ok(table(&[("kind", "idx"), ("images", what)])),
    }
}

/// The section of a kind with the settings behind its name; values are TOML, or text.
fn with_settings(what: &str) -> Result<Value> {
    let (kind, settings) = what.split_once(':').unwrap_or((what, ""));
    let changes: Vec<String> = between_commas(settings).map(|setting| format!("data.{setting}")).collect();
    let section: Table = [("kind".to_string(), Value::from(kind))].into_iter().collect();
    let document: Table = [("data".to_string(), Value::Table(section))].into_iter().collect();
    let mut document = Source::text(what, document.to_string()).with(changes)?.document()?;
    document.remove("data").ok_or_else(|| Error::invalid("data", what, "settings of data"))
}

/// Settings that are places; with a `root`, the others count from there.
const PLACES: [&str; 7] =
    ["root", "path", "held_out", "images", "label_file", "held_out_images", "held_out_labels"];

/// The section of [`data_setting`] in a configuration whose paths count from `base`: as a file in that folder writes them.
///
/// # Errors
/// As [`data_setting`].
pub fn data_setting_from(base: &Path, what: &str) -> Result<Value> {
    let mut setting = data_setting(what)?;
    if let Value::Table(section) = &mut setting {
        let rooted = section.contains_key("root");
        let place = |name: &str| PLACES.contains(&name) && (!rooted || ["root", "held_out"].contains(&name));
        for (_, value) in section.iter_mut().filter(|(name, _)| place(name)) {
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

/// The setting for files in the format of MNIST.
fn idx(files: &ebm_data::mnist::Files) -> Value {
    let mut all = Table::new();
    all.insert("kind".into(), "idx".into());
    let mut insert = |key: &str, path: Option<&Path>| {
        if let Some(path) = path {
            all.insert(key.into(), path.display().to_string().into());
        }
    };
    insert("images", Some(&files.training.images));
    insert("label_file", files.training.labels.as_deref());
    let held = files.held_out.as_ref();
    insert("held_out_images", held.map(|h| h.images.as_path()));
    insert("held_out_labels", held.and_then(|h| h.labels.as_deref()));
    Value::Table(all)
}

/// The kind of data that a folder holds, by the names of its files.
fn folder_kind(path: &Path) -> &'static str {
    match () {
        () if ebm_data::cifar::cifar10_folder(path).is_some() => "cifar10",
        () if ebm_data::cifar::cifar100_folder(path).is_some() => "cifar100",
        () if !ebm_data::imagenet32::files(path, ebm_data::cifar::Part::Train).is_empty() => "imagenet32",
        () if path.join("train_32x32.mat").is_file() => "svhn",
        () if ebm_data::parquet::is_repository(path) => "parquet",
        () => "image-folder",
    }
}

/// Opens data by a name or a path.
///
/// # Errors
/// As [`data_setting`], or if the files cannot be read.
pub fn open_data(what: &str) -> Result<Arc<dyn DataSource>> {
    open_as("data", what)
}

/// As [`open_data`], with what its readers have to say: samples by file, what was left out, what is unusual.
///
/// # Errors
/// As [`open_data`].
pub fn open_data_noting(what: &str) -> Result<(Arc<dyn DataSource>, Vec<String>)> {
    build(what, data_setting(what)?)
}

/// Opens what a setting names.
///
/// # Errors
/// As [`open_data`].
pub(crate) fn open_as(setting: &'static str, what: &str) -> Result<Arc<dyn DataSource>> {
    Ok(build(what, setting_of(setting, what)?)?.0)
}

/// The linked kind that `what` names, with settings behind it or without.
pub(crate) fn kind_of(what: &str) -> Option<&'static Component> {
    catalogue::find(Family::Data, what.split_once(':').map_or(what, |(kind, _)| kind))
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

fn build(what: &str, setting: Value) -> Result<(Arc<dyn DataSource>, Vec<String>)> {
    let mut document = Table::new();
    document.insert("data".into(), setting);
    let source = Source::text(what, document.to_string());
    let config: Box<dyn DataConfig> = source.read_part("data", Family::Data)?;
    let cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0).at("data"));
    let mut cx = cx.with_path("data");
    let data = config.build(&mut cx).map_err(|e| source.place(e))?;
    let notes = cx.notes().iter().map(|n| n.strip_prefix("data: ").unwrap_or(n).to_string()).collect();
    Ok((data, notes))
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
