//! CIFAR-10 and CIFAR-100 in their binary form: one or two label bytes, then 3,072 bytes R, G, B.
//!
//! Source: A. Krizhevsky's description of `cifar-10-binary.tar.gz` and `cifar-100-binary.tar.gz`.

use std::path::Path;

use super::cifar::{CIFAR10_CLASSES, Granularity, Part};
use crate::unpack::Unpacked;
use crate::{ImageSet, Result};

const PIXELS: usize = 3 * 32 * 32;

/// No published file has more than 153.7 MB; a packed stream may claim anything.
const LONGEST: u64 = 1 << 30;

/// CIFAR-10 images from these files, in this order.
///
/// # Errors
/// If a file is missing, is no whole number of records, or has a label above 9.
pub fn read_cifar10_files(files: &[impl AsRef<Path>]) -> Result<ImageSet> {
    let mut records = Records::new(&[10], 0);
    files.iter().try_for_each(|f| records.read(f.as_ref()))?;
    records.finish(CIFAR10_CLASSES.map(String::from).to_vec())
}

/// CIFAR-100 `(3, 32, 32)` of a part from the folder of the binary version; class names from the texts beside it, if
/// they are there.
pub(super) fn read_cifar100(folder: &Path, part: Part, labels: Granularity) -> Result<ImageSet> {
    let (used, names, classes) = match labels {
        Granularity::Coarse => (0, "coarse_label_names.txt", 20),
        Granularity::Fine => (1, "fine_label_names.txt", 100),
    };
    let mut records = Records::new(&[20, 100], used);
    records.read(&folder.join(match part {
        Part::Train => "train.bin",
        Part::Test => "test.bin",
    }))?;
    let names = folder.join(names);
    let names = if names.exists() { read_names(&names, classes)? } else { Vec::new() };
    records.finish(names)
}

fn read_names(path: &Path, classes: usize) -> Result<Vec<String>> {
    let mut from = Unpacked::open(path)?;
    let text = from.until_end(1 << 16, "the list of names")?;
    let text = String::from_utf8_lossy(&text);
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect();
    if names.len() != classes {
        let found = format!("{} names", names.len());
        return Err(from.origin().format(0, "the list of names", found, classes.to_string()));
    }
    Ok(names)
}

/// Records gathered so far from one or more files.
struct Records {
    /// Number of classes of each label byte.
    classes: &'static [u8],
    /// Which label byte is kept.
    used: usize,
    images: Vec<u8>,
    labels: Vec<u32>,
}

impl Records {
    fn new(classes: &'static [u8], used: usize) -> Self {
        Self { classes, used, images: Vec::new(), labels: Vec::new() }
    }

    fn read(&mut self, path: &Path) -> Result<()> {
        let from = Unpacked::open(path)?;
        self.append(from)
    }

    fn append(&mut self, mut from: Unpacked<'_>) -> Result<()> {
        let origin = from.origin();
        let size = self.classes.len() + PIXELS;
        let bytes = from.until_end(LONGEST, "the file")?;
        if bytes.is_empty() || bytes.len() % size != 0 {
            return Err(origin.format(
                (bytes.len() - bytes.len() % size) as u64,
                "the last record",
                format!("{} bytes", bytes.len() % size),
                format!("whole records of {size} bytes; is this the binary version?"),
            ));
        }
        for (i, record) in bytes.chunks_exact(size).enumerate() {
            for (j, (&label, &classes)) in record.iter().zip(self.classes).enumerate() {
                if label >= classes {
                    return Err(origin.format(
                        (i * size + j) as u64,
                        format!("label of image {i}"),
                        label.to_string(),
                        format!("below {classes}; is this the right version of CIFAR?"),
                    ));
                }
            }
            self.labels.push(u32::from(record[self.used]));
            self.images.extend_from_slice(&record[self.classes.len()..]);
        }
        Ok(())
    }

    fn finish(self, names: Vec<String>) -> Result<ImageSet> {
        ImageSet::new(self.images, (3, 32, 32), 256)?.with_labels(self.labels, names)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn record(labels: &[u8], value: u8) -> Vec<u8> {
        let mut out = labels.to_vec();
        out.extend(std::iter::repeat_n(value, PIXELS));
        out
    }

    #[test]
    fn the_wrong_version_and_a_cut_file_are_told_by_their_place() {
        let parse = |bytes: &[u8]| {
            let mut r = Records::new(&[10], 0);
            r.append(Unpacked::from_bytes(bytes, Path::new("f"))).map(|()| r.labels)
        };
        let two = [record(&[1], 0), record(&[10], 0)].concat();
        assert_eq!(
            parse(&two).unwrap_err().to_string(),
            "f: byte 3073: label of image 1 is 10, expected below 10; is this the right version of CIFAR?"
        );
        assert!(
            parse(&two[..4000]).unwrap_err().to_string().contains("byte 3073: the last record is 927 bytes")
        );
        assert!(parse(&[]).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut r = Records::new(&[20, 100], 1);
            let _ = r.append(Unpacked::from_bytes(&bytes, Path::new("f")));
        }
    }
}
