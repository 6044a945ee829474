//! Pictures that are read one by one when they are asked for, wherever they are packed: files of a folder, or ranges
//! of an archive's bytes.

use std::io::{Read, Seek, SeekFrom};
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use flate2::read::DeflateDecoder;

use super::decode::{FolderOptions, Gauge};
use super::layout::Layout;
use crate::error::Origin;
use crate::sets::report::{Parts, Report};
use crate::{DataError, ImageSet, Result};

/// How the bytes of a picture are packed in the file beside the picture's own packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As they are.
    None,
    /// A member of a zip archive that is stored, with its checksum.
    Stored { crc: u32 },
    /// A deflated member with its length and checksum.
    Deflated { len: u64, crc: u32 },
    /// A `tf.train.Example` of TensorFlow, of which the picture is a part.
    Example,
}

/// Where the bytes of one picture are.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// A range of a file, whose length it was compared with.
    Range { file: Arc<Path>, name: Box<str>, at: u64, len: u64, packing: Packing },
}

impl Place {
    /// As it is shown in messages: `set.zip/a/1.png`.
    pub fn shown(&self) -> PathBuf {
        match self {
            Place::File(path) => path.clone(),
            Place::Range { file, name, .. } => file.join(&**name),
        }
    }

    /// The packed picture.
    pub fn read(&self) -> Result<Vec<u8>> {
        let (file, at, len, packing) = match self {
            Place::File(path) => return crate::regular::read(path),
            Place::Range { file, at, len, packing, .. } => (file, *at, *len, *packing),
        };
        let mut from = crate::regular::open(file)?;
        from.seek(SeekFrom::Start(at)).map_err(DataError::io(file, "read"))?;
        let mut raw = Vec::new();
        let got = from.take(len).read_to_end(&mut raw).map_err(DataError::io(file, "read"))? as u64;
        let damaged = |found: String| {
            Origin(&self.shown()).format(at, "the member", found, "sound bytes; fetch the archive again")
        };
        if got < len {
            return Err(damaged(format!("{got} bytes of {len}")));
        }
        let crc = match packing {
            Packing::None => return Ok(raw),
            Packing::Example => return super::example::picture(&raw, &self.shown()),
            Packing::Stored { crc } => crc,
            Packing::Deflated { len, crc } => {
                let mut plain = Vec::new();
                DeflateDecoder::new(&raw[..])
                    .take(len.saturating_add(1))
                    .read_to_end(&mut plain)
                    .map_err(|e| damaged(e.to_string()))?;
                if plain.len() as u64 != len {
                    return Err(damaged(format!("not of the {len} bytes it claims")));
                }
                raw = plain;
                crc
            }
        };
        let mut sum = flate2::Crc::new();
        sum.update(&raw);
        if sum.sum() != crc {
            return Err(damaged("of another checksum".into()));
        }
        Ok(raw)
    }
}

/// Pictures that are worth a thread.
const LEAST: usize = 4;

/// What `append` appends for each of these, one after the other, made by all cores; the first error if there is any.
pub(crate) fn by_all_cores<T: Sync>(
    of: &[T],
    append: impl Fn(&T, &mut Vec<u8>) -> Result<()> + Sync,
) -> Result<Vec<u8>> {
    let part = |of: &[T]| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        of.iter().try_for_each(|one| append(one, &mut bytes))?;
        Ok(bytes)
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = of.len().div_ceil(cores).max(LEAST);
    if of.len() <= share {
        return part(of);
    }
    thread::scope(|scope| {
        let part = &part;
        let threads: Vec<_> = of.chunks(share).map(|of| scope.spawn(move || part(of))).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.append(&mut thread.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(all)
    })
}

/// The pictures of a set, read one by one when they are asked for: for sets larger than memory.
#[derive(Clone, Debug)]
pub struct Pictures {
    places: Vec<Place>,
    labels: Option<Vec<u32>>,
    names: Vec<String>,
    gauge: Gauge,
}

impl Pictures {
    /// Pictures of these places; the first settles size and colours.
    pub(crate) fn new(
        places: Vec<Place>,
        labels: Option<Vec<u32>>,
        names: Vec<String>,
        options: &FolderOptions,
    ) -> Result<Self> {
        let first =
            places.first().ok_or_else(|| DataError::mismatch("a set of pictures", "none", "at least one"))?;
        let (gauge, _) = Gauge::of(&first.read()?, &first.shown(), options)?;
        Ok(Pictures { places, labels, names, gauge })
    }

    /// The parts of a set, as its layout tells.
    pub(crate) fn parts(
        mut places: Vec<Option<Place>>,
        layout: Layout,
        report: Report,
        options: &FolderOptions,
    ) -> Result<Parts<Self>> {
        let mut part = |rows: &[usize], gauge: Option<&Gauge>| -> Result<Option<Self>> {
            if rows.is_empty() {
                return Ok(None);
            }
            let taken: Vec<Place> = rows.iter().filter_map(|i| places[*i].take()).collect();
            let labels = rows.iter().map(|i| layout.labels[*i]).collect();
            let names = layout.classes.clone();
            match gauge {
                None => Self::new(taken, labels, names, options).map(Some),
                Some(gauge) => Ok(Some(Pictures { places: taken, labels, names, gauge: gauge.clone() })),
            }
        };
        let training = part(&layout.training, None)?;
        let training = training
            .ok_or_else(|| DataError::mismatch("the pictures to train on", "none", "at least one picture"))?;
        let held_out = part(&layout.held_out, Some(&training.gauge))?;
        Ok(Parts { training, held_out, report })
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none, which [`open`](Self::open) refuses.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// `(C, H, W)` of every picture.
    pub fn shape(&self) -> (usize, usize, usize) {
        self.gauge.shape
    }

    /// Class of every picture `(N,)`, if folders or the archive tell.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// Names of the classes; empty if there are none.
    pub fn class_names(&self) -> &[String] {
        &self.names
    }

    /// Appends the values `(C, H, W)` of picture `i`.
    ///
    /// # Errors
    /// If there is no such picture, or it is damaged or of another size or sort than the first.
    pub fn image(&self, i: usize, to: &mut Vec<u8>) -> Result<()> {
        let place = self.places.get(i).ok_or_else(|| {
            DataError::mismatch("index of a picture", i.to_string(), format!("below {}", self.len()))
        })?;
        to.extend(self.gauge.take(&place.read()?, &place.shown())?);
        Ok(())
    }

    /// The values `(n, C, H, W)` of these pictures, decoded by all cores.
    ///
    /// # Errors
    /// As [`image`](Self::image), of the first of them that has one.
    pub fn images(&self, rows: &[usize]) -> Result<Vec<u8>> {
        by_all_cores(rows, |i, bytes| self.image(*i, bytes))
    }

    /// The same pictures in three channels, grey ones with three equal ones; unless one channel was asked for.
    pub fn in_colour(&self) -> Self {
        Pictures { gauge: self.gauge.in_colour(), ..self.clone() }
    }

    /// All pictures in memory, 256 levels, with their labels; in three channels if any of them is coloured and
    /// [`Channels::AsFirst`](super::Channels::AsFirst) holds.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn read(&self) -> Result<ImageSet> {
        match self.read_as_they_are() {
            Err(e) => {
                let coloured = self.in_colour();
                if coloured.shape().0 == self.shape().0 {
                    Err(e)
                } else {
                    coloured.read_as_they_are().map_err(|_| e)
                }
            }
            set => set,
        }
    }

    fn read_as_they_are(&self) -> Result<ImageSet> {
        let rows: Vec<usize> = (0..self.len()).collect();
        let set = ImageSet::new(self.images(&rows)?, self.shape(), 256)?;
        match &self.labels {
            Some(labels) => set.with_labels(labels.clone(), self.names.clone()),
            None => Ok(set),
        }
    }

    /// `(training, held-out)`: pictures 0, k, 2k, … are held out, see [`every`](crate::split::every).
    ///
    /// # Errors
    /// If `k` is below 2.
    pub fn split_every(&self, k: usize) -> Result<(Self, Self)> {
        let (train, held) = crate::split::every(self.len(), k)?;
        let part = |rows: &[usize]| Pictures {
            places: rows.iter().map(|&i| self.places[i].clone()).collect(),
            labels: self.labels.as_ref().map(|l| rows.iter().map(|&i| l[i]).collect()),
            names: self.names.clone(),
            gauge: self.gauge.clone(),
        };
        Ok((part(&train), part(&held)))
    }
}
