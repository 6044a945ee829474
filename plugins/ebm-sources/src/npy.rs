//! `npy`: an array of samples in NumPy's format, with its classes and its held-out half.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Domain, Error, Result, Settings, plugin};
use ebm_data::npy::{Classes, Npy, NpyValues, channels_last};
use ebm_data::npz::Npz;
use ebm_data::split;

use crate::labels::{Given, MissingLabels};
use crate::points::{Labels, finite};
use crate::standard::{Axis, along, known};
use crate::{ImageOptions, ImageSource, PointSource, data_error, placed, remark_dim, some_are_left};

/// Settings of `npy`.
#[derive(Clone, Debug, Settings)]
pub struct NpyArray {
    /// File of training samples; relative to the configuration file.
    pub path: PathBuf,
    /// Name of the array in an .npz archive; absent: the only one there is.
    pub array: Option<String>,
    /// File of held-out samples; absent, with held_out_array: the archive of the training samples.
    pub held_out: Option<PathBuf>,
    /// Name of the held-out array; absent: that of the training array.
    pub held_out_array: Option<String>,
    /// Without a held-out part: hold out every this many; 0 for none.
    #[setting(default = 0, at_least = 0)]
    pub held_out_every: usize,
    /// File of the classes of training samples; absent, with label_array: the archive of the samples.
    pub label_file: Option<PathBuf>,
    /// Name of the array of classes in an .npz archive; absent: the only one there is.
    pub label_array: Option<String>,
    /// File of the classes of held-out samples; absent, with held_out_label_array: the archive of these samples.
    pub held_out_label_file: Option<PathBuf>,
    /// Name of the array of classes of held-out samples.
    pub held_out_label_array: Option<String>,
    /// What becomes of samples whose class is missing (a number below 0, or not-a-number) where there are classes.
    #[setting(default = MissingLabels::Refuse)]
    pub missing_labels: MissingLabels,
    /// Number of grey levels of bytes; absent: 2 if they are only 0 and 1, else 256.
    #[setting(at_least = 2, at_most = 256)]
    pub levels: Option<usize>,
    /// Where the channels of pictures stand; absent: first, unless the shape looks like the other, which is refused.
    pub layout: Option<Layout>,
    /// Deviation of Gaussian noise added to floats afresh at each draw.
    #[setting(default = 0.0, at_least = 0.0)]
    pub noise: f64,
    /// Along which axis of a sample numbers get mean 0 and deviation 1 over the training samples; absent: along none.
    pub standardise: Option<Axis>,
    /// Which values numbers take, if not any: then moves and starts keep to them.
    pub values: Option<Values>,
    /// How images are drawn.
    #[setting(flatten, default)]
    pub images: ImageOptions,
}

/// Which values numbers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Values {
    /// 0 or 1.
    Binary,
    /// -1 or +1.
    Spins,
    /// One-hot vectors along the last axis.
    OneHot,
}

/// Where the channels of pictures stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Layout {
    /// (N, C, H, W).
    ChannelsFirst,
    /// (N, H, W, C).
    ChannelsLast,
}

#[plugin(
    "npy",
    summary = "samples in a NumPy file (.npy, or one array of an .npz): floats, or bytes as images",
    source = "NumPy enhancement proposal 1",
    example = "path = \"train.npy\""
)]
impl DataConfig for NpyArray {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        some_are_left(cx, self.held_out_every)?;
        let (path, own) = named(&self.path);
        let array = self.array.as_deref().or(own);
        let held_own = self.held_out.as_deref().and_then(|path| named(path).1);
        let held_name = self.held_out_array.as_deref().or(held_own);
        let held_path = self.held_out.as_deref().map(|path| cx.resolve(named(path).0));
        let path = cx.resolve(path);
        // One of the two files may be plain; the name is then that of the other's array.
        let elsewhere = !is_archive(&path) && held_path.as_deref().is_some_and(is_archive);
        let own = array.filter(|_| !elsewhere);
        let train = self.oriented(cx, read(cx, &path, own, "array")?)?;
        let held = match (&held_path, held_name) {
            (None, None) => None,
            (held_path, name) => {
                let file = held_path.as_ref().unwrap_or(&path);
                if is_archive(file) && *file == path && name.or(array) == array {
                    let names =
                        arrays(file).map_or(String::new(), |all| format!("; the archive holds {all}"));
                    let message = format!("would be the training array itself: name the held-out one{names}");
                    return Err(cx.refuse("held_out_array", message));
                }
                let name = name.or(array.filter(|_| is_archive(file)));
                Some(self.oriented(cx, read(cx, file, name, "held_out_array")?)?)
            }
        };
        if held.is_some() && self.held_out_every > 0 {
            let message =
                "takes samples out of training, but there is a held-out array already: leave one out";
            return Err(cx.refuse("held_out_every", message));
        }
        let counts = (rows(&train), held.as_ref().map(rows));
        let labels = self.labels(cx, &path, held_path.as_deref(), counts)?;
        match train.values() {
            NpyValues::U8(_) | NpyValues::Bool(_) => self.pictures(cx, train, held, labels),
            _ => self.numbers(cx, train, held, labels),
        }
    }
}

/// Classes of training and of held-out samples.
type Pair = (Given, Given);

/// Number of samples of an array.
fn rows(array: &Npy) -> usize {
    array.dims().first().copied().unwrap_or(0)
}

impl NpyArray {
    /// The array with channels first.
    fn oriented(&self, cx: &BuildCx, array: Npy) -> Result<Npy> {
        match (self.layout, array.dims()) {
            (Some(Layout::ChannelsLast), _) => array.channels_first().map_err(data_error),
            (None, dims) if channels_last(dims) => {
                let message = format!(
                    "is missing, and the shape {dims:?} looks like (N, H, W, C): set \"channels-last\", or \"channels-first\" if these are {} channels",
                    dims[1]
                );
                Err(cx.refuse("layout", message))
            }
            _ => Ok(array),
        }
    }

    fn labels(
        &self,
        cx: &mut BuildCx,
        train: &Path,
        held: Option<&Path>,
        (count, held_count): (usize, Option<usize>),
    ) -> Result<Pair> {
        let beside = held.unwrap_or(train);
        let labels = classes(cx, (&self.label_file, &self.label_array), "label_array", train)?;
        let setting = "held_out_label_array";
        let mut held = classes(cx, (&self.held_out_label_file, &self.held_out_label_array), setting, beside)?;
        if let (Some((_, labels)), Some((file, classes))) = (&labels, &mut held) {
            let same = std::mem::take(classes).under(&labels.names);
            *classes = same.map_err(|e| data_error(e.in_file(file)))?;
        }
        let missing = self.missing_labels;
        let labels = Given::settled(cx, labels, "label_array", count, (missing, self.images.labels))?;
        // Hidden classes of a test part stop nobody.
        let held = match held_count {
            Some(count) => Given::settled(cx, held, setting, count, (missing, false))?,
            None if held.is_some() => {
                let message =
                    "names classes of held-out samples, but there are none: name held_out_array or held_out";
                return Err(cx.refuse(setting, message));
            }
            None => Given::default(),
        };
        Ok((labels, held))
    }

    /// Bytes as images; of two levels if there are no others.
    fn pictures(
        &self,
        cx: &mut BuildCx,
        train: Npy,
        held: Option<Npy>,
        labels: Pair,
    ) -> Result<Arc<dyn DataSource>> {
        if self.values.is_some() {
            let message =
                "is of numbers, but these are bytes, which are images: set `binary` for black and white";
            return Err(cx.refuse("values", message));
        }
        if self.noise > 0.0 {
            let message =
                "is added to floats, but these are bytes, which get noise within a level: set it to 0.0";
            return Err(cx.refuse("noise", message));
        }
        if self.standardise.is_some() {
            let message = "is of numbers, but these are bytes, which are images: leave it out";
            return Err(cx.refuse("standardise", message));
        }
        let levels = self.levels.map_or(train.levels(), |levels| levels as u32);
        if levels == 2 && self.levels.is_none() && matches!(train.values(), NpyValues::U8(_)) {
            cx.note("the bytes are only 0 and 1: black and white, images of 2 levels");
        }
        let labelled = |array: Npy, given: Given| {
            let mut set = array.into_images_of(levels)?;
            if let Some(kept) = &given.kept {
                set = set.select(kept)?;
            }
            match given.labels {
                Some(labels) => set.with_labels(labels, given.names),
                None => Ok(set),
            }
        };
        let mut train = labelled(train, labels.0).map_err(data_error)?;
        let mut held = held.map(|h| labelled(h, labels.1)).transpose().map_err(data_error)?;
        remark_dim(cx, &train, |most| format!("then set levels = {}", u32::from(most) + 1));
        if self.held_out_every > 0 {
            let (t, h) = train.split_every(self.held_out_every).map_err(data_error)?;
            (train, held) = (t, Some(h));
        }
        placed(cx, "npy", ImageSource::new("npy", train, held, self.images))
    }

    fn numbers(
        &self,
        cx: &BuildCx,
        train: Npy,
        held: Option<Npy>,
        labels: Pair,
    ) -> Result<Arc<dyn DataSource>> {
        if self.levels.is_some() {
            return Err(
                cx.refuse("levels", "is the number of levels of bytes, but these are no bytes: leave it out")
            );
        }
        let numbers = |array: Npy, file: &Option<PathBuf>, kept: Option<&[usize]>| {
            let file = cx.resolve(file.as_ref().unwrap_or(&self.path));
            if let [_] = array.dims() {
                let hint = "put one sample a row, such as by numpy.reshape(-1, 1)";
                return Err(Error::shape(file.display().to_string(), array.dims(), "(N, D, ...)", hint));
            }
            let set = array.into_array().map_err(data_error)?;
            finite(&file, &set)?;
            match kept {
                Some(kept) => set.select(kept).map_err(data_error),
                None => Ok(set),
            }
        };
        let mut held = held.map(|h| numbers(h, &self.held_out, labels.1.kept.as_deref())).transpose()?;
        let mut train = numbers(train, &None, labels.0.kept.as_deref())?;
        let mut labels =
            Labels { train: labels.0.labels, held_out: labels.1.labels, classes: 0, names: labels.0.names };
        if self.held_out_every > 0 {
            let (rows, out) = split::every(train.len(), self.held_out_every).map_err(data_error)?;
            let part = |rows: &[usize]| labels.train.as_ref().map(|l| rows.iter().map(|i| l[*i]).collect());
            (labels.train, labels.held_out) = (part(&rows), part(&out));
            held = Some(train.select(&out).map_err(data_error)?);
            train = train.select(&rows).map_err(data_error)?;
        }
        if self.standardise.is_some() && self.values.is_some() {
            return Err(
                cx.refuse("standardise", "would change the values that `values` states: leave one out")
            );
        }
        let columns = self.standardise.map(|axis| along(cx, axis, &train)).transpose()?;
        if let Some(columns) = &columns {
            train = known(columns, train)?;
            held = held.map(|held| known(columns, held)).transpose()?;
        }
        if self.images.labels {
            let most = labels.train.as_ref().and_then(|l| l.iter().max()).copied();
            let Some(most) = most else {
                return Err(cx.refuse(
                    "labels",
                    "asks for labels, but there are none: name label_array or label_file",
                ));
            };
            labels.classes = labels.names.len().max(most as usize + 1);
        }
        let last = train.dims().last().copied().unwrap_or(0);
        let domain = self.values.map(|values| match values {
            Values::Binary => Domain::Binary,
            Values::Spins => Domain::Spins,
            Values::OneHot => Domain::Categorical(last),
        });
        if domain.is_some() && self.noise > 0.0 {
            return Err(cx.refuse("noise", "would leave the values that `values` states: set it to 0.0"));
        }
        let source = PointSource::new("npy", train, held, self.images.order, self.noise);
        let source = match domain {
            Some(domain) => source.and_then(|s| s.on(domain)),
            None => source,
        };
        let source = source.map(|s| s.with_labels(labels));
        placed(cx, "npy", source.map(|s| if let Some(c) = columns { s.with_columns(c) } else { s }))
    }
}

/// Classes of a file, or of an array of the archive `beside` them, and the file.
fn classes(
    cx: &BuildCx,
    (file, name): (&Option<PathBuf>, &Option<String>),
    setting: &str,
    beside: &Path,
) -> Result<Option<(PathBuf, Classes)>> {
    if file.is_none() && name.is_none() {
        return Ok(None);
    }
    let file = file.as_ref().map_or_else(|| beside.to_path_buf(), |f| cx.resolve(f));
    let found = match array_of(cx, &file, name.as_deref(), setting)? {
        Some((mut archive, array)) => (file.join(format!("{array}.npy")), archive.classes(&array)),
        None => (file.clone(), Classes::read(&file)),
    };
    Ok(Some((found.0, found.1.map_err(data_error)?)))
}

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"))
}

/// Names of the arrays of an archive, in words.
fn arrays(path: &Path) -> Option<String> {
    is_archive(path).then(|| Npz::open(path).map(|npz| npz.names().join(", ")).ok()).flatten()
}

/// A file, and the array that a name behind a colon picks of an archive: `set.npz:images`.
fn named(path: &Path) -> (&Path, Option<&str>) {
    let parted = path.to_str().and_then(|text| text.rsplit_once(':'));
    match parted {
        Some((file, array)) if is_archive(Path::new(file)) && !path.exists() => {
            (Path::new(file), Some(array))
        }
        _ => (path, None),
    }
}

/// An array of a file; `setting` names it in an archive.
fn read(cx: &BuildCx, path: &Path, name: Option<&str>, setting: &str) -> Result<Npy> {
    match array_of(cx, path, name, setting)? {
        Some((mut archive, array)) => archive.array(&array).map_err(data_error),
        None => Npy::read(path).map_err(data_error),
    }
}

/// The archive at `path` with the name of an array in it: the one that is named, or the only one; `None` for a plain file.
fn array_of(
    cx: &BuildCx,
    path: &Path,
    name: Option<&str>,
    setting: &str,
) -> Result<Option<(Npz<BufReader<File>>, String)>> {
    if !is_archive(path) {
        if name.is_some() {
            let message = "names an array of an .npz archive, but this is a plain .npy file: leave it out";
            return Err(cx.refuse(setting, message));
        }
        return Ok(None);
    }
    let archive = Npz::open(path).map_err(data_error)?;
    let names = archive.names();
    match (name, &names[..]) {
        (Some(name), _) => Ok(Some((archive, name.to_string()))),
        (None, [one]) => Ok(Some((archive, one.clone()))),
        (None, []) => {
            let message = format!("is missing, and {} holds no arrays", path.display());
            Err(cx.refuse(setting, message))
        }
        (None, _) => {
            let shown = path.display();
            let message = format!(
                "is missing; {shown} holds the arrays {}: name one, or write {shown}:NAME for the file",
                names.join(", ")
            );
            Err(cx.refuse(setting, message))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Key, Split};

    use super::*;

    fn file(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let len = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
    }

    /// A folder with bytes 0 to 16 as four pictures, as many vectors, and labels of several kinds.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let doubles = |v: &[f64]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let vectors = doubles(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]);
        for (name, bytes) in [
            ("x.npy", file("|u1", "(4, 1, 2)", &[0, 1, 2, 3, 4, 5, 6, 16])),
            ("rows.npy", file("|u1", "(4, 4)", &[255; 16])),
            ("v.npy", file("<f8", "(4, 2)", &vectors)),
            ("flat.npy", file("<f8", "(8,)", &vectors)),
            ("one.npy", file("<f8", "()", &doubles(&[1.0]))),
            ("whole.npy", file("<f8", "(4,)", &doubles(&[0.0, 1.0, 1.0, 2.0]))),
            ("half.npy", file("<f8", "(4,)", &doubles(&[0.0, 0.5, 1.0, 2.0]))),
            ("none.npy", file("<f8", "(4,)", &doubles(&[0.0, f64::NAN, -1.0, 2.0]))),
            ("large.npy", file("<f8", "(4,)", &doubles(&[0.0, 7.0, 1e9, 2.0]))),
        ] {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn made(folder: &Path, text: &str) -> (Result<Arc<dyn DataSource>>, String) {
        let cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_path("data");
        let mut cx = cx.with_places(folder);
        let config: NpyArray = toml::from_str(text).unwrap();
        (config.build(&mut cx), cx.notes().join("\n"))
    }

    fn refused(folder: &Path, text: &str, parts: &[&str]) {
        let error = made(folder, text).0.err().unwrap_or_else(|| panic!("{text} is taken")).to_string();
        parts.iter().for_each(|part| assert!(error.contains(part), "{part} is not in: {error}"));
    }

    #[test]
    fn labels_that_are_missing_or_no_classes_say_where_and_what_to_do() {
        let folder = folder();
        let at = folder.path();
        for set in ["path = \"x.npy\"", "path = \"v.npy\""] {
            let with = |labels: &str, more: &str| format!("{set}\nlabel_file = \"{labels}.npy\"\n{more}");
            let source = made(at, &with("whole", "labels = true")).0.unwrap();
            assert_eq!(source.condition(), 3);
            refused(at, &with("half", ""), &["half.npy: the label of row 1: found 0.5"]);
            refused(
                at,
                &with("large", "labels = true"),
                &["row 2 of", "large.npy is 1000000000", "labels = false"],
            );
            assert!(made(at, &with("large", "")).0.is_ok());
            refused(
                at,
                &with("none", "labels = true"),
                &["data.missing_labels", "none.npy", "row 1", "\"drop\""],
            );
            let (source, notes) = made(at, &with("none", ""));
            let stored = source.unwrap().stored(Split::Train, 9).unwrap().unwrap();
            assert!(stored.labels.is_none() && notes.contains("2 of 4 classes"), "{notes}");
            let (source, notes) = made(at, &with("none", "labels = true\nmissing_labels = \"drop\""));
            let stored = source.unwrap().stored(Split::Train, 9).unwrap().unwrap();
            assert_eq!((stored.x.dims()[0], stored.labels.unwrap()), (2, vec![0, 2]));
            assert!(notes.contains("left out"), "{notes}");
        }
    }

    #[test]
    fn arrays_of_another_shape_are_named_by_their_file() {
        let folder = folder();
        refused(folder.path(), "path = \"flat.npy\"", &["flat.npy", "[8]", "numpy.reshape(-1, 1)"]);
        refused(folder.path(), "path = \"one.npy\"", &["one.npy"]);
        refused(folder.path(), "path = \"rows.npy\"", &["rows.npy", "numpy.reshape(-1, 2, 2)"]);
    }

    #[test]
    fn bytes_of_few_levels_draw_a_remark_and_may_say_how_many_they_have() {
        let folder = folder();
        let (_, notes) = made(folder.path(), "path = \"x.npy\"");
        assert!(notes.contains("16 of 255 (0.0627)") && notes.contains("levels = 17"), "{notes}");
        let (source, notes) = made(folder.path(), "path = \"x.npy\"\nlevels = 17\ndequantise = false");
        assert!(notes.is_empty(), "{notes}");
        let x = source.unwrap().stored(Split::Train, 4).unwrap().unwrap().x;
        assert_eq!(x.max_all().unwrap().to_scalar::<f32>().unwrap(), 1.0);
        refused(folder.path(), "path = \"x.npy\"\nlevels = 4", &["x.npy", "below levels = 4"]);
        refused(folder.path(), "path = \"v.npy\"\nlevels = 4", &["data.levels", "no bytes"]);
    }
}
