//! Byte images as a data source: dequantisation, order, labels.

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Batch, Chains, DataSource, Domain, Error, Key, Labelled, Result, Settings, Split, count_classes,
};
use ebm_data::ImageSet;

use crate::Order;
use crate::order::Sequence;
use crate::points::{batch_with_classes, too_many};

/// What all image sources have in common, to stand among their settings by `#[setting(flatten)]`.
#[derive(Clone, Copy, Debug, PartialEq, Settings)]
pub struct ImageOptions {
    /// Of L levels x = (b + U[0,1))/L afresh each draw; else b/(L − 1).
    #[setting(default = true)]
    pub dequantise: bool,
    /// Order of an epoch.
    #[setting(default = Order::Shuffle)]
    pub order: Order,
    /// Label as one-hot condition.
    #[setting(default = false)]
    pub labels: bool,
    /// How grey values become 0 or 1; absent: they stay grey. Then nothing is dequantised.
    pub binary: Option<Binary>,
}

/// How a grey value u in [0, 1] becomes 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Binary {
    /// 1 with probability u: afresh at each draw for training, once for what is measured.
    Drawn,
    /// 1 from the middle on.
    Threshold,
}

impl Binary {
    /// Bytes of so many levels as 0 or 1; `out` holds uniform numbers where they are drawn.
    fn all(self, bytes: &[u8], levels: f32, out: &mut [f32]) {
        for (o, b) in out.iter_mut().zip(bytes) {
            let grey = f32::from(*b) / (levels - 1.0);
            let one = match self {
                Binary::Drawn => *o < grey,
                Binary::Threshold => grey >= 0.5,
            };
            *o = f32::from(u8::from(one));
        }
    }
}

/// Byte images that need not be in memory.
///
/// ```
/// use ebm_core::{DataSource, Key, Result};
/// use ebm_sources::{ImageOptions, ImageSource, Order, kit::{Images, Sequence}};
///
/// /// Image `i` is of the value `i` throughout: made when it is asked for.
/// struct Flat(usize);
/// impl Images for Flat {
///     fn len(&self) -> usize {
///         self.0
///     }
///     fn shape(&self) -> (usize, usize, usize) {
///         (1, 2, 2)
///     }
///     fn labels(&self) -> Option<&[u32]> {
///         None
///     }
///     fn read(&self, rows: &[usize]) -> Result<Vec<u8>> {
///         Ok(rows.iter().flat_map(|row| [*row as u8; 4]).collect())
///     }
/// }
///
/// let sequence = Sequence::new(Order::Shuffle, 100);
/// let source = ImageSource::over("flat", Box::new(Flat(100)), None, ImageOptions::default(), sequence)?;
/// assert_eq!(source.batch(0, 0, 8, Key::root(1))?.x.dims(), [8, 1, 2, 2]);
/// # Ok::<(), ebm_core::Error>(())
/// ```
#[allow(clippy::len_without_is_empty)]
pub trait Images: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;
    /// `(C, H, W)` of one.
    fn shape(&self) -> (usize, usize, usize);
    /// Number of grey levels.
    fn levels(&self) -> u32 {
        256
    }
    /// Class of each, if known.
    fn labels(&self) -> Option<&[u32]>;
    /// Number of classes, 0 without labels.
    fn classes(&self) -> usize {
        self.labels().and_then(|l| l.iter().max()).map_or(0, |m| *m as usize + 1)
    }
    /// Names of the classes by their number; empty if they have none.
    fn class_names(&self) -> &[String] {
        &[]
    }
    /// Whether they are read and decoded when they are asked for.
    fn streams(&self) -> bool {
        false
    }
    /// The values `(n, C, H, W)` of these images, in row-major order.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn read(&self, rows: &[usize]) -> Result<Vec<u8>>;
}

impl Images for ImageSet {
    fn len(&self) -> usize {
        self.len()
    }
    fn shape(&self) -> (usize, usize, usize) {
        self.shape()
    }
    fn levels(&self) -> u32 {
        self.levels()
    }
    fn labels(&self) -> Option<&[u32]> {
        self.labels()
    }
    fn classes(&self) -> usize {
        self.classes()
    }
    fn class_names(&self) -> &[String] {
        self.class_names()
    }
    fn read(&self, rows: &[usize]) -> Result<Vec<u8>> {
        let mut all = Vec::with_capacity(rows.len() * self.sample_len());
        rows.iter().for_each(|row| all.extend_from_slice(self.image(*row).unwrap_or(&[])));
        Ok(all)
    }
}

/// A data source over byte images, in memory or read when drawn; values in [0, 1].
pub struct ImageSource {
    name: String,
    train: Box<dyn Images>,
    held_out: Option<Box<dyn Images>>,
    options: ImageOptions,
    shape: [usize; 3],
    classes: usize,
    sequence: Sequence,
}

impl ImageSource {
    /// The source `name` over training images and, if there are any, held-out ones.
    ///
    /// # Errors
    /// If there are no images, or labels are asked for and missing.
    pub fn new(
        name: &str,
        train: ImageSet,
        held_out: Option<ImageSet>,
        options: ImageOptions,
    ) -> Result<Self> {
        let sequence = Sequence::new(options.order, train.len().max(1));
        let held_out = held_out.map(|h| -> Box<dyn Images> { Box::new(h) });
        Self::over(name, Box::new(train), held_out, options, sequence)
    }

    /// The source over any images, in the order of `sequence`.
    ///
    /// # Errors
    /// As [`ImageSource::new`].
    pub fn over(
        name: &str,
        train: Box<dyn Images>,
        held_out: Option<Box<dyn Images>>,
        options: ImageOptions,
        sequence: Sequence,
    ) -> Result<Self> {
        if train.len() == 0 {
            return Err(Error::config(name, "holds no training images"));
        }
        let classes = if options.labels { train.classes() } else { 0 };
        if options.labels && classes == 0 {
            return Err(Error::config(
                format!("{name}.labels"),
                "asks for labels, but the set has none; name a label file or set labels = false",
            ));
        }
        let place = |row| format!("the label of training image {row}");
        let labels = train.labels().filter(|_| options.labels).unwrap_or(&[]);
        if let Some(message) = too_many(labels, classes, place) {
            return Err(Error::config(format!("{name}.labels"), message));
        }
        let (c, h, w) = train.shape();
        if let Some(held) = held_out.as_ref().filter(|held| held.shape() != (c, h, w)) {
            let (hc, hh, hw) = held.shape();
            let expected = format!("(N, {c}, {h}, {w}) as the training images");
            return Err(Error::shape(name, &[held.len(), hc, hh, hw], expected, "check the held-out files"));
        }
        Ok(ImageSource { name: name.into(), train, held_out, options, shape: [c, h, w], classes, sequence })
    }
}

impl DataSource for ImageSource {
    fn len(&self) -> usize {
        self.train.len()
    }

    fn sample_shape(&self) -> &[usize] {
        &self.shape
    }

    fn condition(&self) -> usize {
        self.classes
    }

    fn batch(&self, epoch: u64, index: usize, size: usize, key: Key) -> Result<Batch> {
        self.rows(epoch, index, size, 0, size, key)
    }

    fn rows(
        &self,
        epoch: u64,
        index: usize,
        size: usize,
        first: usize,
        count: usize,
        key: Key,
    ) -> Result<Batch> {
        let start = index * size + first;
        let rows = self.sequence.at(epoch, start, count, key);
        let len = self.shape.iter().product();
        let levels = self.train.levels() as f32;
        let images = self.train.read(&rows)?;
        let mut x = vec![0f32; rows.len() * len];
        let noise = key.at("dequantise").at(epoch);
        let coins = key.at("binary").at(epoch);
        for (position, (bytes, out)) in images.chunks(len).zip(x.chunks_mut(len)).enumerate() {
            if let Some(binary) = self.options.binary {
                if binary == Binary::Drawn {
                    coins.fill_uniform((start + position) as u64, out);
                }
                binary.all(bytes, levels, out);
            } else if self.options.dequantise {
                noise.fill_uniform((start + position) as u64, out);
                out.iter_mut().zip(bytes).for_each(|(o, b)| *o = (f32::from(*b) + *o) / levels);
            } else {
                out.iter_mut().zip(bytes).for_each(|(o, b)| *o = f32::from(*b) / (levels - 1.0));
            }
        }
        let [c, h, w] = self.shape;
        let x = Tensor::from_vec(x, (rows.len(), c, h, w), &Device::Cpu)?;
        let batch = Batch::new(x)?.with_chains(Chains::range(start as u64, rows.len()));
        match self.train.labels() {
            Some(labels) if self.options.labels => {
                batch_with_classes(batch, rows.iter().map(|row| labels[*row]), self.classes)
            }
            _ => Ok(batch),
        }
    }

    fn streams(&self) -> bool {
        self.train.streams()
    }

    fn stored(&self, split: Split, limit: usize) -> Result<Option<Labelled>> {
        let set = match split {
            Split::Train => &self.train,
            Split::HeldOut => match &self.held_out {
                Some(set) => set,
                None => return Ok(None),
            },
        };
        let n = set.len().min(limit);
        let levels = set.levels() as f32;
        let middle = |b: &u8| match self.options.dequantise {
            true => (f32::from(*b) + 0.5) / levels,
            false => f32::from(*b) / (levels - 1.0),
        };
        let bytes = set.read(&(0..n).collect::<Vec<_>>())?;
        let x: Vec<f32> = match self.options.binary {
            None => bytes.iter().map(middle).collect(),
            Some(binary) => {
                // What is measured is the same in all runs: its coins are of no run.
                let coins = Key::root(0).at("binary").at(usize::from(split == Split::HeldOut));
                let (len, mut x) = (self.shape.iter().product::<usize>(), vec![0f32; bytes.len()]);
                for (row, (bytes, out)) in bytes.chunks(len.max(1)).zip(x.chunks_mut(len.max(1))).enumerate()
                {
                    coins.fill_uniform(row as u64, out);
                    binary.all(bytes, levels, out);
                }
                x
            }
        };
        let [c, h, w] = self.shape;
        Ok(Some(Labelled {
            x: Tensor::from_vec(x, (n, c, h, w), &Device::Cpu)?,
            labels: set.labels().map(|l| l[..n].to_vec()),
        }))
    }

    fn held_out(&self) -> Result<usize> {
        Ok(self.held_out.as_ref().map_or(0, |held| held.len()))
    }

    fn range(&self) -> Option<(f64, f64)> {
        Some((0.0, 1.0))
    }

    fn class_counts(&self) -> Result<Vec<u64>> {
        Ok(count_classes(self.train.labels().unwrap_or(&[]), self.classes))
    }

    fn domain(&self) -> Domain {
        self.options.binary.map_or(Domain::Box(0.0, 1.0), |_| Domain::Binary)
    }

    fn class_names(&self) -> &[String] {
        self.train.class_names()
    }

    fn levels(&self) -> Option<u32> {
        (self.options.dequantise && self.options.binary.is_none()).then(|| self.train.levels())
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(options: ImageOptions) -> ImageSource {
        let set = ImageSet::new((0..20).collect(), (1, 1, 2), 20).unwrap();
        let set = set.with_labels((0..10).map(|i| i % 3).collect(), vec![]).unwrap();
        ImageSource::new("test", set, None, options).unwrap()
    }

    const PLAIN: ImageOptions =
        ImageOptions { dequantise: true, order: Order::Shuffle, labels: true, binary: None };

    #[test]
    fn an_epoch_shows_every_image_once_and_another_epoch_another_order() {
        let s = source(PLAIN);
        let firsts = |epoch| -> Vec<i32> {
            (0..5)
                .flat_map(|i| {
                    let x = s.batch(epoch, i, 2, Key::root(1)).unwrap().x.flatten_all().unwrap();
                    let v = x.to_vec1::<f32>().unwrap();
                    [v[0], v[2]].map(|v| (v * 20.0).floor() as i32)
                })
                .collect()
        };
        let (a, b) = (firsts(0), firsts(1));
        assert_ne!(a, b);
        for mut order in [a, b] {
            order.sort_unstable();
            assert_eq!(order, (0..10).map(|i| 2 * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_batch_is_a_function_of_its_numbers_and_noise_is_fresh_each_epoch() {
        let s = source(PLAIN);
        let get =
            |e, i| s.batch(e, i, 5, Key::root(2)).unwrap().x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(get(3, 1), get(3, 1));
        let fractions: Vec<f32> =
            [get(0, 0), get(1, 0)].concat().iter().map(|v| (v * 20.0).fract()).collect();
        assert!(fractions.windows(2).any(|w| w[0] != w[1]));
        assert!(fractions.iter().all(|f| (0.0..1.0).contains(f)));
    }

    #[test]
    fn rows_of_a_batch_are_those_of_the_batch() {
        let s = source(PLAIN);
        let whole = s.batch(2, 1, 5, Key::root(2)).unwrap().narrow(1, 3).unwrap();
        let part = s.rows(2, 1, 5, 1, 3, Key::root(2)).unwrap();
        let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(&whole.x), numbers(&part.x));
        assert_eq!(numbers(&whole.cond.unwrap()), numbers(&part.cond.unwrap()));
        assert_eq!(whole.chains, part.chains);
    }

    #[test]
    fn labels_come_as_one_hot_rows_and_stored_values_at_the_middle_of_their_level() {
        let s = source(PLAIN);
        let cond = s.batch(0, 0, 10, Key::root(0)).unwrap().cond.unwrap();
        assert_eq!(cond.dims(), [10, 3]);
        assert_eq!(cond.sum_all().unwrap().to_scalar::<f32>().unwrap(), 10.0);
        let stored = s.stored(Split::Train, 1).unwrap().unwrap();
        assert_eq!(stored.x.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.025, 0.075]);
        assert!(s.stored(Split::HeldOut, 1).unwrap().is_none());
    }

    #[test]
    fn binary_images_are_drawn_afresh_for_training_and_once_for_measures() {
        let of = |binary| {
            let set = ImageSet::new((0..20).collect(), (1, 4, 5), 20).unwrap();
            let options = ImageOptions { binary: Some(binary), labels: false, ..PLAIN };
            ImageSource::new("test", set, None, options).unwrap()
        };
        let s = of(Binary::Drawn);
        assert_eq!((s.domain(), s.levels()), (Domain::Binary, None));
        let numbers = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let batch = |epoch| numbers(s.batch(epoch, 0, 1, Key::root(2)).unwrap().x);
        let epochs: Vec<Vec<f32>> = (0..400).map(batch).collect();
        assert_eq!(Domain::Binary.outside(&epochs.concat(), 20), 0);
        // The value of pixel i is i/19: a standard error of at most 1/40.
        for i in 0..20 {
            let mean = epochs.iter().map(|e| e[i]).sum::<f32>() / 400.0;
            assert!((mean - i as f32 / 19.0).abs() < 0.1, "{i}: {mean}");
        }
        let stored = |s: &ImageSource| numbers(s.stored(Split::Train, 1).unwrap().unwrap().x);
        assert_eq!(stored(&s), stored(&s));
        let half: Vec<f32> = (0..20).map(|i| if i < 10 { 0.0 } else { 1.0 }).collect();
        assert_eq!(stored(&of(Binary::Threshold)), half);
    }

    #[test]
    fn labels_that_are_not_there_are_refused() {
        let set = ImageSet::new(vec![0; 4], (1, 1, 2), 2).unwrap();
        let text = ImageSource::new("idx", set, None, PLAIN).err().unwrap().to_string();
        assert!(text.contains("idx.labels") && text.contains("labels = false"), "{text}");
    }
}
