//! `npy`: an array of samples in NumPy's format, with its classes and its held-out half.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Error, Result, Settings, plugin};
use ebm_data::npy::{Classes, Npy, NpyValues, channels_last};
use ebm_data::npz::Npz;
use ebm_data::split;

use crate::points::{Labels, finite};
use crate::{ImageOptions, ImageSource, PointSource, data_error, placed, some_are_left};

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
    /// Where the channels of pictures stand; absent: first, unless the shape looks like the other, which is refused.
    pub layout: Option<Layout>,
    /// Deviation of Gaussian noise added to floats afresh at each draw.
    #[setting(default = 0.0, at_least = 0.0)]
    pub noise: f64,
    /// How images are drawn.
    #[setting(flatten, default)]
    pub images: ImageOptions,
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
        let labels = self.labels(cx, &path, held_path.as_deref())?;
        match train.values() {
            NpyValues::U8(_) | NpyValues::Bool(_) => self.pictures(cx, train, held, labels),
            _ => self.numbers(cx, train, held, labels),
        }
    }
}

/// Classes of training and of held-out samples.
type Pair = (Option<Classes>, Option<Classes>);

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

    fn labels(&self, cx: &BuildCx, train: &Path, held: Option<&Path>) -> Result<Pair> {
        let one = |file: &Option<PathBuf>,
                   name: &Option<String>,
                   setting,
                   beside: &Path|
         -> Result<Option<Classes>> {
            if file.is_none() && name.is_none() {
                return Ok(None);
            }
            let file = file.as_ref().map_or_else(|| beside.to_path_buf(), |f| cx.resolve(f));
            let found = match array_of(cx, &file, name.as_deref(), setting)? {
                Some((mut archive, array)) => archive.classes(&array),
                None => Classes::read(&file),
            };
            Ok(Some(found.map_err(data_error)?))
        };
        let beside = held.unwrap_or(train);
        let labels = one(&self.label_file, &self.label_array, "label_array", train)?;
        let held =
            one(&self.held_out_label_file, &self.held_out_label_array, "held_out_label_array", beside)?;
        let held = match &labels {
            Some(labels) => held.map(|held| held.under(&labels.names)).transpose().map_err(data_error)?,
            None => held,
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
        if self.noise > 0.0 {
            let message =
                "is added to floats, but these are bytes, which get noise within a level: set it to 0.0";
            return Err(cx.refuse("noise", message));
        }
        let levels = train.levels();
        if levels == 2 && matches!(train.values(), NpyValues::U8(_)) {
            cx.note("the bytes are only 0 and 1: black and white, images of 2 levels");
        }
        let labelled = |array: Npy, labels: Option<Classes>| {
            let set = array.into_images_of(levels).map_err(data_error)?;
            match labels {
                Some(classes) => set.with_labels(classes.labels, classes.names).map_err(data_error),
                None => Ok(set),
            }
        };
        let mut train = labelled(train, labels.0)?;
        let mut held = held.map(|h| labelled(h, labels.1)).transpose()?;
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
        let names = labels.0.as_ref().map(|classes| classes.names.clone()).unwrap_or_default();
        let numbers_of = |classes: Option<Classes>| classes.map(|classes| classes.labels);
        let mut labels =
            Labels { train: numbers_of(labels.0), held_out: numbers_of(labels.1), classes: 0, names };
        let numbers = |array: Npy, file: &Option<PathBuf>| {
            let set = array.into_array().map_err(data_error)?;
            let file = file.as_ref().unwrap_or(&self.path);
            finite(&cx.resolve(file), &set)?;
            Ok::<_, Error>(set)
        };
        let mut held = held.map(|h| numbers(h, &self.held_out)).transpose()?;
        let mut train = numbers(train, &None)?;
        for (setting, labels, len) in [
            ("label_array", &labels.train, Some(train.len())),
            ("held_out_label_array", &labels.held_out, held.as_ref().map(|h| h.len())),
        ] {
            let counts = labels.as_ref().map(Vec::len);
            if counts.is_some() && counts != len {
                let message = format!(
                    "holds {} classes, expected {} as there are samples",
                    counts.unwrap_or(0),
                    len.unwrap_or(0)
                );
                return Err(cx.refuse(setting, message));
            }
        }
        if self.held_out_every > 0 {
            let (rows, out) = split::every(train.len(), self.held_out_every).map_err(data_error)?;
            let part = |rows: &[usize]| labels.train.as_ref().map(|l| rows.iter().map(|i| l[*i]).collect());
            (labels.train, labels.held_out) = (part(&rows), part(&out));
            held = Some(train.select(&out).map_err(data_error)?);
            train = train.select(&rows).map_err(data_error)?;
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
        let source = PointSource::new("npy", train, held, self.images.order, self.noise);
        placed(cx, "npy", source.map(|s| s.with_labels(labels)))
    }
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
