//! `parquet`: image sets as the Hugging Face hub keeps them, held in memory as far as they fit.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ebm_core::{BuildCx, DataConfig, DataSource, Result, Settings, plugin};
use ebm_data::folder::FolderOptions;
use ebm_data::parquet::{ParquetImages, ParquetOptions, parts};
use ebm_data::split;

use crate::folder::channels;
use crate::images::Images;
use crate::labels::{Missing, MissingLabels};
use crate::order::Sequence;
use crate::points::too_many;
use crate::{ImageOptions, ImageSource, Order, TWICE, apart, data_error, placed, say, some_are_left};

/// Settings of `parquet`.
#[derive(Clone, Debug, Settings)]
pub struct Parquet {
    /// A file, or a folder: files named as test, validation, val, dev or eval are held out; relative to the configuration file.
    pub root: PathBuf,
    /// File or folder of held-out images instead.
    pub held_out: Option<PathBuf>,
    /// Without a held-out part: hold out every this many; 0 for none.
    #[setting(default = 0, at_least = 0)]
    pub held_out_every: usize,
    /// Column of pictures; absent: the only one there is.
    pub image: Option<String>,
    /// Column of classes; absent: label, if it is there.
    pub label: Option<String>,
    /// What becomes of pictures whose class is missing (empty, below 0, or not-a-number).
    #[setting(default = MissingLabels::Refuse)]
    pub missing_labels: MissingLabels,
    /// [height, width] to which pictures are resized; absent: all must have one size.
    #[setting(at_least = 1, at_most = 8192, unit = "pixels")]
    pub size: Option<[usize; 2]>,
    /// Three channels, of grey pictures equal ones, whatever the first picture has.
    #[setting(default = false)]
    pub colour: bool,
    /// One channel, whatever the first picture has.
    #[setting(default = false)]
    pub grey: bool,
    /// MiB of decoded training images to hold; of larger sets, as many row groups as fit are shuffled together.
    #[setting(default = 2048, at_least = 1, at_most = 1_000_000_000, unit = "MiB")]
    pub memory: usize,
    /// How images are drawn.
    #[setting(flatten, default)]
    pub images: ImageOptions,
}

#[plugin(
    "parquet",
    summary = "pictures inside of Parquet files, as the Hugging Face hub keeps image sets; larger sets than memory by row groups",
    source = "Apache Parquet format; Hugging Face `datasets`",
    example = "root = \"data/mnist\""
)]
impl DataConfig for Parquet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let resize = self.size.map(|[h, w]| (h, w));
        let mut options = ParquetOptions {
            image: self.image.clone(),
            label: self.label.clone(),
            labels: self.images.labels,
            some_labels: self.missing_labels == MissingLabels::Drop,
            classes: None,
            pictures: FolderOptions {
                channels: channels(cx, self.colour, self.grey)?,
                resize,
                ..FolderOptions::default()
            },
        };
        let mut found = parts(cx.resolve(&self.root)).map_err(data_error)?;
        if let Some(path) = &self.held_out {
            let other = parts(cx.resolve(path)).map_err(data_error)?;
            found.held_out = Some([other.training, other.held_out.unwrap_or_default()].concat());
        }
        let train = ParquetImages::open(&found.training, &options).map_err(data_error)?;
        // Hidden labels of a test part stop nobody, and its classes are those of training.
        options.labels = false;
        options.some_labels = false;
        options.classes = Some(train.class_names().to_vec()).filter(|names| !names.is_empty());
        let held = found.held_out.map(|files| ParquetImages::open(&files, &options));
        let held = held.transpose().map_err(data_error)?;
        found.report.training = train.by_file();
        found.report.held_out = held.as_ref().map(ParquetImages::by_file).unwrap_or_default();
        say(cx, &found.report);
        if let Some(labels) = train.labels().filter(|_| self.images.labels) {
            let place = |image| {
                let (file, row) = train.place(image);
                format!("the label of row {row} of {}", file.display())
            };
            let most = labels.iter().max().map_or(0, |most| *most as usize + 1);
            if let Some(message) = too_many(labels, train.class_names().len().max(most), place) {
                return Err(cx.refuse("labels", message));
            }
        }
        let memory = self.memory.saturating_mul(1 << 20);
        if let Some(first) = train.without_class().first().copied() {
            return self.with_classes(cx, &train, held, first);
        }
        if self.held_out_every == 0 {
            return Self::source(cx, train, held, self.images, memory);
        }
        if held.is_some() {
            return Err(cx.refuse("held_out_every", TWICE));
        }
        let bytes = train.len().saturating_mul(image_len(&train));
        if bytes > memory {
            return self.apart_on_disk(cx, train, memory);
        }
        let train = train.read().map_err(data_error)?;
        let (train, held) = apart(cx, train, None, self.held_out_every)?;
        placed(cx, "parquet", ImageSource::new("parquet", train, held, self.images))
    }
}

impl Parquet {
    /// Those of a set in memory that have a class.
    fn with_classes(
        &self,
        cx: &mut BuildCx,
        train: &ParquetImages,
        held: Option<ParquetImages>,
        first: usize,
    ) -> Result<Arc<dyn DataSource>> {
        let bytes = train.len().saturating_mul(image_len(train));
        if bytes > self.memory.saturating_mul(1 << 20) {
            let needs = bytes.div_ceil(1 << 20);
            let message = format!("\"drop\" needs all images in memory: set memory to {needs} MiB");
            return Err(cx.refuse("missing_labels", message));
        }
        let none = train.without_class();
        let (file, first) = train.place(first);
        cx.note(Missing { file, none: none.len(), of: train.len(), first }.dropped());
        let kept: Vec<usize> = (0..train.len()).filter(|row| none.binary_search(row).is_err()).collect();
        let train = train.read().and_then(|all| all.select(&kept)).map_err(data_error)?;
        let held = held.map(|held| held.read()).transpose().map_err(data_error)?;
        let (train, held) = apart(cx, train, held, self.held_out_every)?;
        placed(cx, "parquet", ImageSource::new("parquet", train, held, self.images))
    }

    fn source(
        cx: &BuildCx,
        train: ParquetImages,
        held: Option<ParquetImages>,
        options: ImageOptions,
        memory: usize,
    ) -> Result<Arc<dyn DataSource>> {
        let image = image_len(&train);
        let window = memory / image;
        // Held-out images are few, and asked for from the first on: a group at a time is enough.
        let held = held.map(|h| -> Box<dyn Images> { Box::new(Groups::new(h, 0)) });
        if window >= train.len() {
            let sequence = Sequence::new(options.order, train.len());
            let train = Box::new(train.read().map_err(data_error)?);
            return placed(cx, "parquet", ImageSource::over("parquet", train, held, options, sequence));
        }
        streams(cx, &train, options, window)?;
        let sequence = Sequence::in_blocks(train.groups(), window);
        let train = Box::new(Groups::new(train, memory));
        placed(cx, "parquet", ImageSource::over("parquet", train, held, options, sequence))
    }
}

impl Parquet {
    /// Of a set larger than memory every so many images are held out where they lie.
    fn apart_on_disk(
        &self,
        cx: &BuildCx,
        train: ParquetImages,
        memory: usize,
    ) -> Result<Arc<dyn DataSource>> {
        some_are_left(cx, self.held_out_every)?;
        let window = memory / image_len(&train);
        streams(cx, &train, self.images, window)?;
        let sizes = train.groups();
        let (kept, out) = split::every(train.len(), self.held_out_every).map_err(data_error)?;
        let mut first = 0;
        let blocks = sizes.iter().map(|n| {
            first += n;
            kept.partition_point(|row| *row < first) - kept.partition_point(|row| *row < first - n)
        });
        // Groups are read whole: as many are taken together as fit with what is left out of them.
        let largest = sizes.iter().max().copied().unwrap_or(1);
        let together = (window - window / self.held_out_every).saturating_sub(window / largest);
        let sequence = Sequence::in_blocks(blocks.collect(), together);
        // Held-out images are asked for all at once, which reads each group; they leave training's groups where they are.
        let out = Some(Box::new(Sifted::new(Groups::new(train.clone(), 0), out)) as Box<dyn Images>);
        let kept = Box::new(Sifted::new(Groups::new(train, memory), kept));
        placed(cx, "parquet", ImageSource::over("parquet", kept, out, self.images, sequence))
    }
}

/// Refuses what cannot be had of a set larger than memory, of which `window` images fit.
fn streams(cx: &BuildCx, train: &ParquetImages, options: ImageOptions, window: usize) -> Result<()> {
    let image = image_len(train);
    let total = (train.len() * image).div_ceil(1 << 20);
    if options.order == Order::Replacement {
        let message = format!(
            "\"replacement\" needs all images in memory: set memory to {total} MiB, or order to \"shuffle\""
        );
        return Err(cx.refuse("order", message));
    }
    if let Some(largest) = train.groups().into_iter().max().filter(|n| *n > window) {
        let needs = (largest * image).div_ceil(1 << 20);
        let message = format!(
            "is below the {needs} MiB of the largest row group ({largest} images): raise it, or write the files with smaller row groups"
        );
        return Err(cx.refuse("memory", message));
    }
    Ok(())
}

/// Some of the images of a set.
struct Sifted {
    all: Groups,
    rows: Vec<usize>,
    labels: Option<Vec<u32>>,
}

impl Sifted {
    fn new(all: Groups, rows: Vec<usize>) -> Self {
        let labels = all.labels().map(|labels| rows.iter().map(|row| labels[*row]).collect());
        Sifted { all, rows, labels }
    }
}

impl Images for Sifted {
    fn len(&self) -> usize {
        self.rows.len()
    }
    fn shape(&self) -> (usize, usize, usize) {
        self.all.shape()
    }
    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }
    fn classes(&self) -> usize {
        self.all.classes()
    }
    fn class_names(&self) -> &[String] {
        self.all.class_names()
    }
    fn streams(&self) -> bool {
        self.all.streams()
    }
    fn read(&self, rows: &[usize]) -> Result<Vec<u8>> {
        self.all.read(&rows.iter().map(|row| self.rows[*row]).collect::<Vec<_>>())
    }
}

/// Bytes of one image.
fn image_len(images: &ParquetImages) -> usize {
    let (c, h, w) = images.shape();
    c * h * w
}

/// Images of which some row groups are in memory.
struct Groups {
    images: ParquetImages,
    /// First image of each group.
    firsts: Vec<usize>,
    /// Bytes that may be held; the group in use is held in any case.
    memory: usize,
    /// Groups in memory, the one used last at the end.
    held: Mutex<Vec<(usize, Vec<u8>)>>,
}

impl Groups {
    fn new(images: ParquetImages, memory: usize) -> Self {
        let firsts = images.groups().into_iter().scan(0, |next, n| {
            *next += n;
            Some(*next - n)
        });
        Groups { firsts: firsts.collect(), images, memory, held: Mutex::new(Vec::new()) }
    }
}

impl Images for Groups {
    fn len(&self) -> usize {
        self.images.len()
    }
    fn shape(&self) -> (usize, usize, usize) {
        self.images.shape()
    }
    fn labels(&self) -> Option<&[u32]> {
        self.images.labels()
    }
    fn classes(&self) -> usize {
        let numbered = self.labels().and_then(|l| l.iter().max()).map_or(0, |m| *m as usize + 1);
        self.class_names().len().max(numbered)
    }
    fn class_names(&self) -> &[String] {
        self.images.class_names()
    }
    fn streams(&self) -> bool {
        true
    }

    fn read(&self, rows: &[usize]) -> Result<Vec<u8>> {
        let len = image_len(&self.images);
        let sizes = self.images.groups();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::with_capacity(rows.len() * len);
        for row in rows {
            let group = self.firsts.partition_point(|first| first <= row).saturating_sub(1);
            match held.iter().position(|(g, _)| *g == group) {
                Some(at) if at + 1 == held.len() => {}
                Some(at) => {
                    let used = held.remove(at);
                    held.push(used);
                }
                None => {
                    // Room is made before the group is read: never more than `memory` at a time.
                    let needs = sizes.get(group).copied().unwrap_or(0) * len;
                    let mut bytes: usize = held.iter().map(|h| h.1.len()).sum();
                    while !held.is_empty() && bytes + needs > self.memory {
                        bytes -= held.remove(0).1.len();
                    }
                    held.push((group, self.images.group(group).map_err(data_error)?));
                }
            }
            let at = (row - self.firsts[group]) * len;
            if let Some(image) = held.last().and_then(|(_, bytes)| bytes.get(at..at + len)) {
                all.extend_from_slice(image);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Key, Split};

    use super::*;

    /// 30 grey pictures of 1×2 in row groups of 4, and 3 held-out ones, as `datasets` writes them:
    /// `Dataset.from_dict({"image": [...], "label": [...]}, features).to_parquet(path, batch_size=4)`.
    const TRAIN: &[u8] = include_bytes!("../tests/train.parquet");
    const TEST: &[u8] = include_bytes!("../tests/test.parquet");

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train-00000-of-00001.parquet"), TRAIN).unwrap();
        std::fs::write(folder.path().join("test-00000-of-00001.parquet"), TEST).unwrap();
        folder
    }

    fn config(root: &std::path::Path) -> Parquet {
        let text = format!("root = {root:?}\nlabels = true\ndequantise = false");
        toml::from_str(&text).unwrap()
    }

    /// The source with this many bytes for images, which the settings count in MiB.
    fn source(root: &std::path::Path, memory: usize, order: Order) -> Result<Arc<dyn DataSource>> {
        let (train, held) = ebm_data::parquet::files(root).unwrap();
        let open = |f: &[PathBuf]| ParquetImages::open(f, &ParquetOptions::default()).unwrap();
        let cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_path("data");
        Parquet::source(
            &cx,
            open(&train),
            Some(open(&held)),
            ImageOptions { dequantise: false, order, labels: true, binary: None },
            memory,
        )
    }

    fn epoch(source: &dyn DataSource, epoch: u64) -> Vec<i32> {
        let mut all = Vec::new();
        for index in 0..source.batches(5) {
            let batch = source.batch(epoch, index, 5, Key::root(0)).unwrap();
            let x = batch.x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let cond = batch.cond.unwrap().to_vec2::<f32>().unwrap();
            for (x, cond) in x.chunks(2).zip(cond) {
                let v = (x[0] * 255.0).round() as i32;
                // Picture v has the values v and 255 − v and the class v mod 3.
                assert_eq!((x[1] * 255.0).round() as i32, 255 - v);
                assert_eq!(cond[v as usize % 3], 1.0);
                all.push(v);
            }
        }
        all
    }

    #[test]
    fn a_set_that_fits_is_read_as_a_whole() {
        let folder = folder();
        let source = config(folder.path())
            .build(&mut BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)))
            .unwrap();
        assert_eq!((source.len(), source.sample_shape(), source.condition()), (30, &[1, 1, 2][..], 3));
        let held = source.stored(Split::HeldOut, 99).unwrap().unwrap();
        assert_eq!((held.x.dims(), held.labels.unwrap()), (&[3, 1, 1, 2][..], vec![1, 2, 0]));
        let mut all = epoch(&*source, 0);
        all.sort_unstable();
        assert_eq!(all, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_larger_set_shows_every_image_once_an_epoch_in_any_order_of_asking() {
        let folder = folder();
        // Room for two groups of four images of two bytes, of eight.
        let small = source(folder.path(), 16, Order::Shuffle).unwrap();
        let (a, b) = (epoch(&*small, 0), epoch(&*small, 1));
        assert_ne!(a, b);
        for mut all in [a.clone(), b] {
            all.sort_unstable();
            assert_eq!(all, (0..30).collect::<Vec<_>>());
        }
        // Asked for in the middle, as a resumed run does, and beside a picture of the stored images.
        let again = source(folder.path(), 16, Order::Shuffle).unwrap();
        again.stored(Split::Train, 30).unwrap();
        let batch = again.batch(0, 3, 5, Key::root(0)).unwrap().x.flatten_all().unwrap();
        let first: Vec<i32> =
            batch.to_vec1::<f32>().unwrap().chunks(2).map(|x| (x[0] * 255.0).round() as i32).collect();
        assert_eq!(first, a[15..20]);
    }

    #[test]
    fn never_more_is_held_than_allowed() {
        let folder = folder();
        let (train, _) = ebm_data::parquet::files(folder.path()).unwrap();
        let groups = Groups::new(ParquetImages::open(&train, &ParquetOptions::default()).unwrap(), 16);
        for row in [0, 29, 5, 13, 0, 20, 21, 9] {
            let bytes = groups.read(&[row]).unwrap();
            assert_eq!(bytes, [row as u8, 255 - row as u8]);
            assert!(groups.held.lock().unwrap().iter().map(|h| h.1.len()).sum::<usize>() <= 16);
        }
    }

    #[test]
    fn every_so_many_images_of_a_larger_set_are_held_out_as_of_one_in_memory() {
        let folder = folder();
        std::fs::remove_file(folder.path().join("test-00000-of-00001.parquet")).unwrap();
        let (train, _) = ebm_data::parquet::files(folder.path()).unwrap();
        let mut config = config(folder.path());
        config.held_out_every = 6;
        let mut cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_path("data");
        let whole = config.build(&mut cx).unwrap();
        let open = ParquetImages::open(&train, &ParquetOptions::default()).unwrap();
        let small = config.apart_on_disk(&cx, open, 16).unwrap();
        let out = |source: &dyn DataSource| {
            let held = source.stored(Split::HeldOut, 99).unwrap().unwrap();
            (held.x.flatten_all().unwrap().to_vec1::<f32>().unwrap(), held.labels)
        };
        assert_eq!(out(&*whole), out(&*small));
        let (mut a, mut b) = (epoch(&*whole, 0), epoch(&*small, 0));
        a.sort_unstable();
        b.sort_unstable();
        assert_eq!(a, (0..30).filter(|v| v % 6 != 0).collect::<Vec<_>>());
        assert_eq!(a, b);
    }

    #[test]
    fn what_does_not_fit_is_said_with_the_way_out() {
        let folder = folder();
        let text = source(folder.path(), 16, Order::Replacement).err().unwrap().to_string();
        assert!(text.contains("data.order") && text.contains("set memory to 1 MiB"), "{text}");
        let text = source(folder.path(), 7, Order::Shuffle).err().unwrap().to_string();
        assert!(text.contains("largest row group (4 images)"), "{text}");
    }
}
