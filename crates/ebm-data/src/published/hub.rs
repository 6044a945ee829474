//! Published sets of the Hugging Face hub through candle-datasets, kept in the formats that this crate reads.
//!
//! Only with the feature `hub`. Downloads lie in the hub's own cache (`HF_HOME`), where a broken one goes on; what
//! is there already needs no network.

use std::fs;
use std::path::{Path, PathBuf};

use candle_datasets::vision::{self, Dataset};
use sha2::{Digest, Sha256};

use crate::{DataError, Result};

/// A set by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// MNIST (LeCun, Cortes, Burges), 60,000 and 10,000 images `(1, 28, 28)`.
    Mnist,
    /// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), 60,000 and 10,000 images `(1, 28, 28)`.
    FashionMnist,
    /// CIFAR-10 (Krizhevsky 2009), 50,000 and 10,000 images `(3, 32, 32)`.
    Cifar10,
}

/// A file that [`get`] wrote.
#[derive(Clone, Debug)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Whether that is the digest of the file its author published; `None` where none is known.
    pub known: Option<bool>,
}

/// Digests of the four files of MNIST, unpacked.
const MNIST: [(&str, &str); 4] = [
    ("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    ("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    ("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
];

impl Published {
    /// All sets.
    pub const ALL: [Published; 3] = [Published::Mnist, Published::FashionMnist, Published::Cifar10];

    /// The set's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Published::Mnist => "mnist",
            Published::FashionMnist => "fashion-mnist",
            Published::Cifar10 => "cifar10",
        }
    }

    /// Training and held-out images of the whole set.
    pub fn counts(self) -> (usize, usize) {
        if self == Published::Cifar10 { (50_000, 10_000) } else { (60_000, 10_000) }
    }

    fn load(self) -> Result<Dataset> {
        let load = || match self {
            Published::Mnist => vision::mnist::load(),
            Published::FashionMnist => vision::fashion_mnist::load(),
            Published::Cifar10 => vision::cifar::load(),
        };
        let failed = |found: String| {
            DataError::mismatch(
                format!("{} from the Hugging Face hub", self.name()),
                found,
                "a download or files in the hub's cache; is huggingface.co reachable from here? If not, set HF_ENDPOINT \
                 to a mirror, or copy HF_HOME (~/.cache/huggingface) from a machine that has the set; a damaged \
                 download is deleted there by hand",
            )
        };
        // The loader panics on a picture that is none.
        match std::panic::catch_unwind(load) {
            Ok(set) => set.map_err(|e| failed(e.to_string())),
            Err(_) => Err(failed("a picture that cannot be read".into())),
        }
    }
}

/// Downloads a set, unless it is in the hub's cache, and writes it to the new folder `to`: IDX files for the kind
/// `idx`, or the binary files of CIFAR-10 for the kind `cifar10`. The folder appears whole or not at all.
///
/// # Errors
/// If `to` exists, the hub cannot be reached and the set is not in its cache, or a file cannot be written.
pub fn get(set: Published, to: impl AsRef<Path>) -> Result<Vec<Written>> {
    let to = to.as_ref();
    if to.exists() {
        return Err(DataError::mismatch(
            to.display().to_string(),
            "something there already",
            "a new folder; nothing is overwritten",
        ));
    }
    write(set, &set.load()?, to, set.counts())
}

/// The files of a loaded set of so many images, in a new folder.
fn write(set: Published, all: &Dataset, to: &Path, counts: (usize, usize)) -> Result<Vec<Written>> {
    let train = part(set, &all.train_images, &all.train_labels, counts.0)?;
    let held = part(set, &all.test_images, &all.test_labels, counts.1)?;
    let mut files = Vec::new();
    if set == Published::Cifar10 {
        let records = |(images, labels): &(Vec<u8>, Vec<u8>)| -> Vec<u8> {
            images
                .chunks(3072)
                .zip(labels)
                .flat_map(|(x, l)| std::iter::once(*l).chain(x.iter().copied()))
                .collect()
        };
        let all = records(&train);
        let piece = 3073 * counts.0.div_ceil(5);
        for (i, records) in all.chunks(piece).enumerate() {
            files.push((format!("data_batch_{}.bin", i + 1), records.to_vec()));
        }
        files.push(("test_batch.bin".into(), records(&held)));
    } else {
        for (part, (images, labels)) in [("train", train), ("t10k", held)] {
            let n = labels.len();
            files.push((format!("{part}-images-idx3-ubyte"), idx(&[n, 28, 28], &images)));
            files.push((format!("{part}-labels-idx1-ubyte"), idx(&[n], &labels)));
        }
    }
    let parent = match to.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(DataError::io(parent, "make"))?;
    let folder = tempfile::Builder::new()
        .prefix(".getting-")
        .tempdir_in(parent)
        .map_err(DataError::io(parent, "make a folder in"))?;
    let mut written = Vec::new();
    for (name, bytes) in files {
        crate::atomic::write(&folder.path().join(&name), &bytes)?;
        let sha256: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        let known =
            MNIST.iter().find(|(n, _)| set == Published::Mnist && *n == name).map(|(_, d)| *d == sha256);
        written.push(Written { path: to.join(name), sha256, known });
    }
    // An empty folder that somebody made meanwhile would be replaced, anything else is an error.
    let made = folder.keep();
    fs::rename(&made, to).map_err(|e| {
        let _ = fs::remove_dir_all(&made);
        DataError::io(to, "rename to")(e)
    })?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A temporary folder is private; what was asked for is as readable as its files.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(to, open).map_err(DataError::io(to, "set the permissions of"))?;
    }
    Ok(written)
}

fn idx(dims: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| out.extend((*d as u32).to_be_bytes()));
    out.extend(bytes);
    out
}

/// Bytes of the images `(N, C, H, W)` and their labels.
fn part(
    set: Published,
    images: &candle_core::Tensor,
    labels: &candle_core::Tensor,
    count: usize,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let failed = |e: candle_core::Error| DataError::mismatch(set.name(), e.to_string(), "a tensor of images");
    // candle-datasets 0.11.1 hands CIFAR-10 out with rows and columns exchanged.
    let images =
        if set == Published::Cifar10 { images.transpose(2, 3).map_err(failed)? } else { images.clone() };
    let values = images.flatten_all().and_then(|t| t.to_vec1::<f32>()).map_err(failed)?;
    let labels = labels.to_vec1::<u8>().map_err(failed)?;
    let size = if set == Published::Cifar10 { 3072 } else { 784 };
    if labels.len() != count || values.len() != count * size || labels.iter().any(|l| *l > 9) {
        let found = format!("{} values and {} labels", values.len(), labels.len());
        let expected = format!(
            "{count} images of {size} values with labels 0 to 9; delete the set from the hub's cache"
        );
        return Err(DataError::mismatch(format!("{} from the hub", set.name()), found, expected));
    }
    // v/255 in f32 is nearer to its own v than to any other: rounding gives the byte back.
    Ok((values.iter().map(|v| (v * 255.0).round() as u8).collect(), labels))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Cursor;
    use std::sync::Arc;

    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use image::{DynamicImage, GrayImage, RgbImage};

    use super::*;

    fn parquet(path: &Path, column: &str, pictures: &[DynamicImage]) {
        let schema = format!(
            "message schema {{ required group {column} {{ required binary bytes; }} required int64 label; }}"
        );
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = fs::File::create(path).unwrap();
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let mut writer = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let bytes = |p: &DynamicImage| {
            let mut out = Vec::new();
            p.write_to(&mut Cursor::new(&mut out), image::ImageFormat::Png).unwrap();
            ByteArray::from(out)
        };
        let bytes: Vec<ByteArray> = pictures.iter().map(bytes).collect();
        let mut next = group.next_column().unwrap().unwrap();
        next.typed::<ByteArrayType>().write_batch(&bytes, None, None).unwrap();
        next.close().unwrap();
        let labels: Vec<i64> = (0..pictures.len() as i64).collect();
        let mut next = group.next_column().unwrap().unwrap();
        next.typed::<Int64Type>().write_batch(&labels, None, None).unwrap();
        next.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
    }

    /// Puts a file where the hub's client keeps it: `datasets--OWNER--NAME/{refs,snapshots}`.
    fn cache(home: &Path, set: &str, file: &str, column: &str, pictures: &[DynamicImage]) {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let root = home.join("hub").join(format!("datasets--{set}"));
        fs::create_dir_all(root.join("refs/refs/convert")).unwrap();
        fs::write(root.join("refs/refs/convert/parquet"), commit).unwrap();
        parquet(&root.join("snapshots").join(commit).join(file), column, pictures);
    }

    // One test, because the place of the cache is a variable of the whole process.
    #[test]
    fn what_lies_in_the_cache_becomes_files_that_we_read() {
        let home = tempfile::tempdir().unwrap();
        let run = |test: &str| {
            let me = std::env::current_exe().unwrap();
            let ran = std::process::Command::new(me)
                .args(["--exact", "--ignored", test])
                .env("HF_HOME", home.path())
                .env_remove("HF_HUB_CACHE")
                // Nothing answers at port 9 of this machine.
                .env("HF_ENDPOINT", "http://127.0.0.1:9")
                .output()
                .unwrap();
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
        };
        run("hub::tests::without_cache");
        let grey =
            |k: u8| DynamicImage::from(GrayImage::from_fn(28, 28, |x, y| [(x + 30 * y) as u8 ^ k].into()));
        for (part, n) in [("train", 3), ("test", 2)] {
            let pictures: Vec<_> = (0..n).map(grey).collect();
            cache(home.path(), "ylecun--mnist", &format!("mnist/{part}/0000.parquet"), "image", &pictures);
        }
        let rgb =
            |k: u8| DynamicImage::from(RgbImage::from_fn(32, 32, |x, y| [x as u8, y as u8 + 100, k].into()));
        for (part, n) in [("train", 5), ("test", 1)] {
            let pictures: Vec<_> = (0..n).map(rgb).collect();
            cache(home.path(), "cifar10", &format!("plain_text/{part}/0000.parquet"), "img", &pictures);
        }
        run("hub::tests::with_cache");
    }

    #[test]
    #[ignore = "run by the test above with a cache of its own"]
    fn without_cache() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("mnist");
        let text = get(Published::Mnist, &to).unwrap_err().to_string();
        assert!(text.contains("mnist from the Hugging Face hub") && text.contains("HF_ENDPOINT"), "{text}");
        assert!(!to.exists());
    }

    #[test]
    #[ignore = "run by the test above with a cache of its own"]
    fn with_cache() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("data/mnist");
        // A set that is not whole is refused by its public form.
        let text = get(Published::Mnist, &to).unwrap_err().to_string();
        assert!(text.contains("expected 60000 images"), "{text}");
        assert!(!to.exists());
        let files = write(Published::Mnist, &Published::Mnist.load().unwrap(), &to, (3, 2)).unwrap();
        assert_eq!((files.len(), files[0].known), (4, Some(false)));
        let set = crate::idx::read_images(to.join("train-images-idx3-ubyte"), None).unwrap();
        assert_eq!((set.len(), set.shape()), (3, (1, 28, 28)));
        let at = |k: usize, x: usize, y: usize| set.image(k).unwrap()[28 * y + x];
        assert_eq!((at(0, 1, 0), at(0, 0, 1), at(2, 5, 3)), (1, 30, (5 + 90) ^ 2));
        let text = get(Published::Mnist, &to).unwrap_err().to_string();
        assert!(text.contains("nothing is overwritten"), "{text}");

        let to = folder.path().join("cifar");
        write(Published::Cifar10, &Published::Cifar10.load().unwrap(), &to, (5, 1)).unwrap();
        let set = crate::cifar::read_cifar10(&to, crate::cifar::Part::Train).unwrap();
        assert_eq!(set.labels().unwrap(), [0, 1, 2, 3, 4]);
        // Columns to the right are red, rows downwards are green.
        let image = set.image(4).unwrap();
        assert_eq!((image[7], image[32 * 7], image[1024 + 7], image[1024 + 32 * 7]), (7, 0, 100, 107));
        assert_eq!(image[2048], 4);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
