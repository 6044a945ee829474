//! Feature networks by a path, and classifiers trained on labelled data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use ebm_core::{DataSource, Split};
use ebm_features::{
    ClassifierOptions, Description, FeatureError, Labelled, Network, Progress, examine, most_probable,
};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::inputs::fit::Fit;
use crate::inputs::lines::lines;
use crate::inputs::named::open_as;
use crate::inputs::set::{Inputs, Piece};
use crate::tensors::floats;
use crate::whole_file;

/// What stands before the path of Inception-v3's weights.
const INCEPTION: &str = "inception-v3:";
/// One in this many training images is held out where nothing else is.
const HELD_OUT_EVERY: usize = 10;
/// Classes that a classifier can have.
const MOST_CLASSES: usize = 65_536;
/// Samples that are classified together.
const TOGETHER: usize = 256;

/// Opens the feature network that `what` names: a folder with `network.toml`, a description file, or
/// `inception-v3:WEIGHTS`, the built-in Inception-v3 with the weights of a file. Weights are safetensors or PyTorch's.
///
/// # Errors
/// If a file is not there or is damaged, or weights do not fit.
pub fn open_network(what: &str, device: &Device) -> Result<Network> {
    let (description, weights): (Description, PathBuf) = match what.strip_prefix(INCEPTION) {
        Some(path) => (ebm_features::inception()?, path.into()),
        None => {
            let path = Path::new(what);
            if path.is_dir() && !path.join("network.toml").is_file() {
                return Err(Error::Usage(format!(
                    "{what}: found no network.toml in it, wanted a feature network, such as `ebm classifier train` makes"
                )));
            }
            Network::files(path)?
        }
    };
    let bytes =
        std::fs::read(&weights).map_err(|source| FeatureError::Io { path: weights.clone(), source })?;
    let digest = ebm_features::sha256(&bytes);
    drop(bytes);
    let tensors = ebm_nn::read_tensors(&weights, None)?;
    Ok(Network::new(description, tensors, Some(digest), device)?)
}

/// What to train a classifier on, and where to.
#[derive(Clone, Debug, Default)]
pub struct ClassifierTraining {
    /// A linked kind, perhaps with settings, a folder or a file, as of `--data` of training.
    pub data: String,
    /// Classes of the training images, where the data have none: IDX or `.npy`.
    pub labels: Option<PathBuf>,
    /// Images to examine it on; without them the data's held-out part, or every tenth training image, which is then not
    /// trained on.
    pub held_out: Option<String>,
    /// Their classes, where they have none.
    pub held_out_labels: Option<PathBuf>,
    /// The folder to make.
    pub out: PathBuf,
    /// Name of the network; without it that of the folder.
    pub name: Option<String>,
    /// Training; a width of 0 is 16 for grey images and 32 for colours.
    pub options: ClassifierOptions,
    /// The command line, for the summary.
    pub command: String,
}

/// What came of it; `summary.json`.
#[derive(Clone, Debug, Serialize)]
pub struct ClassifierSummary {
    /// Name of the network.
    pub name: String,
    /// What it was trained on.
    pub data: String,
    /// What it was examined on.
    pub held_out: String,
    /// Number of training images.
    pub train_count: usize,
    /// Number of held-out images.
    pub held_out_count: usize,
    /// Share of held-out images whose class was found.
    pub held_out_accuracy: f64,
    /// Their mean cross-entropy, in nats.
    pub held_out_loss: f64,
    /// Mean cross-entropy over the last epoch, in nats.
    pub train_loss: f64,
    /// Row: class of a held-out image; column: what it was taken for.
    pub confusion: Vec<Vec<usize>>,
    /// Number of classes.
    pub classes: usize,
    /// `[C, H, W]`.
    pub input: [usize; 3],
    /// Number of features.
    pub features: usize,
    /// Epochs.
    pub epochs: usize,
    /// Images of an update.
    pub batch: usize,
    /// Adam's first rate.
    pub rate: f64,
    /// Channels of the first convolution.
    pub width: usize,
    /// The seed.
    pub seed: u64,
    /// SHA-256 over the weights, as `Network::digest` has it.
    pub weights_digest: String,
    /// Version of the program.
    pub version: String,
    /// The command line.
    pub command: String,
}

/// Trains a classifier and writes `network.toml`, `weights.safetensors` and `summary.json` into a new folder.
///
/// # Errors
/// If the folder is there, data cannot be read, are no images or have no classes, or an option is out of range.
pub fn train_classifier(
    training: &ClassifierTraining,
    each: &mut dyn FnMut(Progress),
) -> Result<ClassifierSummary> {
    let t = training;
    if t.out.exists() {
        return Err(Error::Usage(format!("--out {}: already exists; choose another place", t.out.display())));
    }
    if let Some(folder) = t.out.parent()
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        return Err(Error::Usage(format!("--out {}: its folder is not there", t.out.display())));
    }
    whole_file::writable("--out", &t.out)?;
    let source = open_as("--data", &t.data)?;
    let mut train = Set::read(&source, Split::Train, "--data", &t.data, "--labels", t.labels.as_deref())?;
    let (held, held_name) = held_out(t, &source, &mut train)?;
    let shape = train.shape;
    if held.shape != shape {
        return Err(Error::Usage(format!(
            "--held-out {held_name}: found images of shape {:?}, wanted {shape:?}, as the training images",
            held.shape
        )));
    }
    let most = train.labels.iter().chain(&held.labels).max().map_or(0, |l| *l as usize);
    if !(1..MOST_CLASSES).contains(&most) {
        return Err(Error::Usage(format!(
            "--data {}: found classes from 0 to {most}, wanted at least two, and none above {}",
            t.data,
            MOST_CLASSES - 1
        )));
    }
    let folder = t.out.file_name().map_or("classifier".into(), |n| n.to_string_lossy().into_owned());
    let name = t.name.clone().unwrap_or(folder);
    let mut last = Progress { epoch: 0, of: 0, loss: f64::NAN };
    let mut options = t.options.clone();
    options.width = match (options.width, shape[0]) {
        (0, 1) => 16,
        (0, _) => 32,
        (width, _) => width,
    };
    let network = ebm_features::train(&name, &train.view(), most + 1, &options, &mut |p| {
        last = p;
        each(p);
    })?;
    let found = examine(&network, &held.view())?;
    let summary = ClassifierSummary {
        name,
        data: t.data.clone(),
        held_out: held_name,
        train_count: train.labels.len(),
        held_out_count: found.count,
        held_out_accuracy: found.accuracy,
        held_out_loss: found.loss,
        train_loss: last.loss,
        confusion: found.confusion,
        classes: most + 1,
        input: shape,
        features: network.width(),
        epochs: last.of,
        batch: t.options.batch,
        rate: t.options.rate,
        width: options.width,
        seed: t.options.seed,
        weights_digest: network.digest()?,
        version: env!("CARGO_PKG_VERSION").into(),
        command: t.command.clone(),
    };
    write(&t.out, &network, &summary)?;
    Ok(summary)
}

fn write(out: &Path, network: &Network, summary: &ClassifierSummary) -> Result<()> {
    std::fs::create_dir(out).map_err(Error::io(out))?;
    let path = out.join(&network.description().weights);
    let tensors = network.weights().iter().map(|(k, t)| (k.clone(), t.clone())).collect();
    candle_core::safetensors::save(&tensors, &path).map_err(ebm_core::Error::from)?;
    // A folder without a description is no network, so it comes after the weights.
    whole_file::replace(&out.join("network.toml"), network.description().to_toml().as_bytes())?;
    whole_file::replace(&out.join("summary.json"), whole_file::json(summary)?.as_bytes())
}

/// Images with classes, in memory.
struct Set {
    values: Vec<f32>,
    labels: Vec<u32>,
    shape: [usize; 3],
}

impl Set {
    fn read(
        source: &Arc<dyn DataSource>,
        split: Split,
        option: &str,
        name: &str,
        labels_option: &str,
        path: Option<&Path>,
    ) -> Result<Self> {
        let wrong = |message: String| Error::Usage(format!("{option} {name}: {message}"));
        let shape = match *source.sample_shape() {
            [c @ (1 | 3), h, w] => [c, h, w],
            [h, w] if h > 1 && w > 1 => [1, h, w],
            ref other => {
                return Err(wrong(format!(
                    "found samples of shape {other:?}, wanted images of 1 or 3 channels"
                )));
            }
        };
        let stored = source.stored(split, usize::MAX)?.filter(|l| l.x.dims()[0] > 0);
        let stored = stored.ok_or_else(|| wrong("holds no images".into()))?;
        let n = stored.x.dims()[0];
        let labels = match path {
            Some(path) => read_labels(path)?,
            None => stored.labels.ok_or_else(|| {
                wrong(format!("its images have no classes; name a file of them by {labels_option}"))
            })?,
        };
        if labels.len() != n {
            let found = labels.len();
            let of = path.map_or_else(String::new, |p| format!(" in {}", p.display()));
            return Err(wrong(format!("found {found} classes{of}, wanted {n}, one for each image")));
        }
        let values = floats(&stored.x)?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let image = at / shape.iter().product::<usize>();
            let message = format!("image {image} holds the value {}, wanted finite numbers", values[at]);
            return Err(ebm_core::Error::data(name, message).into());
        }
        Ok(Set { values, labels, shape })
    }

    fn view(&self) -> Labelled<'_> {
        Labelled { values: &self.values, shape: self.shape, labels: &self.labels }
    }

    fn select(&self, rows: &[usize]) -> Self {
        let len: usize = self.shape.iter().product();
        Set {
            values: rows.iter().flat_map(|r| &self.values[r * len..(r + 1) * len]).copied().collect(),
            labels: rows.iter().map(|r| self.labels[*r]).collect(),
            shape: self.shape,
        }
    }
}

fn held_out(t: &ClassifierTraining, source: &Arc<dyn DataSource>, train: &mut Set) -> Result<(Set, String)> {
    let labels = t.held_out_labels.as_deref();
    let there = |source: &Arc<dyn DataSource>| -> Result<bool> {
        Ok(source.stored(Split::HeldOut, 1)?.is_some_and(|l| l.x.dims()[0] > 0))
    };
    if let Some(what) = &t.held_out {
        let other = open_as("--held-out", what)?;
        let split = if there(&other)? { Split::HeldOut } else { Split::Train };
        return Ok((
            Set::read(&other, split, "--held-out", what, "--held-out-labels", labels)?,
            what.clone(),
        ));
    }
    if there(source)? {
        let held =
            Set::read(source, Split::HeldOut, "held-out part of", &t.data, "--held-out-labels", labels)?;
        return Ok((held, format!("{} (held out)", t.data)));
    }
    if labels.is_some() {
        return Err(Error::Usage(
            "--held-out-labels: found no held-out images; name them by --held-out".into(),
        ));
    }
    if train.labels.len() < 2 * HELD_OUT_EVERY {
        let (found, least) = (train.labels.len(), 2 * HELD_OUT_EVERY);
        return Err(Error::Usage(format!(
            "--data {}: found {found} images, wanted at least {least}, of which some can be held out",
            t.data
        )));
    }
    let (rest, held) = ebm_data::split::every(train.labels.len(), HELD_OUT_EVERY)?;
    let held = train.select(&held);
    *train = train.select(&rest);
    Ok((held, format!("{} (every tenth)", t.data)))
}

fn read_labels(path: &Path) -> Result<Vec<u32>> {
    let npy = path.extension().is_some_and(|e| e == "npy");
    // A file that was read does not know its name any more.
    let named = |e: ebm_data::DataError| Error::from(ebm_core::Error::data(path, e.to_string()));
    match npy {
        true => ebm_data::npy::Npy::read(path)?.into_labels().map_err(named),
        false => ebm_data::idx::Idx::read(path)?.into_labels().map_err(named),
    }
}

/// The class of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRow {
    /// The file, or the name of the sample in a stream.
    pub file: PathBuf,
    /// Number of the sample in its file, from 0.
    pub index: u64,
    /// The most probable class.
    pub class: usize,
    /// Its name.
    pub name: String,
    /// Its probability.
    pub probability: f32,
}

/// Number of classes of a network that must have some.
///
/// # Errors
/// If it has none.
pub fn classes_of(network: &Network) -> Result<usize> {
    let message =
        || format!("{}: its description names no logits, wanted a network with classes", network.name());
    network.classes().ok_or_else(|| Error::Usage(message()))
}

/// Takes the rows of a piece.
pub type ClassSink<'a> = dyn FnMut(&[ClassRow]) -> Result<()> + 'a;

/// Gives the class of every sample of `set` (`None`: of the lines of standard input) to `sink`, in order, a few at a time.
///
/// # Errors
/// If the network has no classes, a file cannot be read, samples do not fit, or `sink` fails.
pub fn classify(network: &Network, set: Option<&Inputs>, fit: bool, sink: &mut ClassSink<'_>) -> Result<()> {
    let classes = classes_of(network)?;
    let shape = network.description().input;
    let fit = Fit { shape: shape.to_vec(), resize: fit };
    let mut take = |piece: Piece| {
        let seen = network.see(&piece.values, shape)?;
        let probabilities = seen.probabilities.unwrap_or_default();
        let rows: Vec<ClassRow> = piece
            .places
            .into_iter()
            .zip(probabilities.chunks_exact(classes))
            .map(|((file, index), p)| {
                let class = most_probable(p);
                ClassRow { file, index, class, name: network.class(class), probability: p[class] }
            })
            .collect();
        sink(&rows)
    };
    match set {
        Some(set) => set.each(TOGETHER, None, &fit, &mut take),
        None => lines(std::io::stdin().lock(), TOGETHER, &fit, &mut take),
    }
}
