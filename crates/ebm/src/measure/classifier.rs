//! Classifiers trained on labelled images: feature networks for measures.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::{DataSource, Split};
use ebm_features::{ClassifierOptions, Labelled, Network, Progress, examine};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::inputs::class_names::renumbered;
use crate::inputs::named::open_as;
use crate::tensors::floats;
use crate::whole_file;

/// One in this many training images is held out where nothing else is.
const HELD_OUT_EVERY: usize = 10;
/// Classes that a classifier can have.
const MOST_CLASSES: usize = 65_536;
/// Classes that a message lists at most.
const SHOWN: usize = 10;

/// What to train a classifier on, and where to.
#[derive(Clone, Debug, Default)]
pub struct ClassifierTraining {
    /// A linked kind, perhaps with settings, a folder or a file, as of [`data_setting`](crate::inputs::data_setting).
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
/// If the folder is there, data cannot be read, are no images or have no classes, a held-out class has no training image, or an option
/// is out of range.
pub fn train_classifier(
    training: &ClassifierTraining,
    each: &mut dyn FnMut(Progress),
) -> Result<ClassifierSummary> {
    let t = training;
    whole_file::new("out", &t.out)?;
    let source = open_as("data", &t.data)?;
    let mut train = Set::read(&source, Split::Train, ("data", &t.data), ("labels", t.labels.as_deref()))?;
    let (mut held, held_name) = held_out(t, &source, &mut train)?;
    held.labels = renumbered(held.labels, &held.names, &train.names, &held_name)?;
    let shape = train.shape;
    if held.shape != shape {
        let wanted = format!("images of shape {shape:?}, as the training images, found {:?}", held.shape);
        return Err(Error::invalid("held_out", held_name, wanted));
    }
    let most = train.labels.iter().chain(&held.labels).max().map_or(0, |l| *l as usize);
    if !(1..MOST_CLASSES).contains(&most) {
        let last = MOST_CLASSES - 1;
        let wanted = format!("at least two classes and none above {last}, found classes from 0 to {most}");
        return Err(Error::invalid("data", &t.data, wanted));
    }
    all_are_taught(&train, &held, &held_name)?;
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
    let tensors = network.weights().iter().map(|(k, t)| (k.as_str(), t));
    let weights =
        safetensors::serialize(tensors, None).map_err(|e| ebm_core::Error::plugin("classifier", e))?;
    whole_file::make_folder(out, |folder| {
        whole_file::replace(&folder.join(&network.description().weights), &weights)?;
        whole_file::replace(&folder.join("network.toml"), network.description().to_toml().as_bytes())?;
        whole_file::replace(&folder.join("summary.json"), whole_file::json(summary)?.as_bytes())
    })
}

/// Images with classes, in memory.
struct Set {
    values: Vec<f32>,
    labels: Vec<u32>,
    /// Names of the classes; empty if they have none, or come from a file of their own.
    names: Vec<String>,
    shape: [usize; 3],
}

impl Set {
    fn read(
        source: &Arc<dyn DataSource>,
        split: Split,
        (setting, name): (&'static str, &str),
        (labels_setting, path): (&'static str, Option<&Path>),
    ) -> Result<Self> {
        let wrong = |wanted: String| Error::invalid(setting, name, wanted);
        let shape = match *source.sample_shape() {
            [c @ (1 | 3), h, w] => [c, h, w],
            [h, w] if h > 1 && w > 1 => [1, h, w],
            ref other => {
                return Err(wrong(format!("images of 1 or 3 channels, found samples of shape {other:?}")));
            }
        };
        let stored = source.stored(split, usize::MAX)?.filter(|l| l.x.dims()[0] > 0);
        let stored = stored.ok_or_else(|| wrong("images, found none".into()))?;
        let n = stored.x.dims()[0];
        let labels = match path {
            Some(path) => read_labels(path)?,
            None => stored.labels.ok_or_else(|| {
                Error::missing(&[labels_setting], format!("the images of {name} have no classes"))
            })?,
        };
        if labels.len() != n {
            let found = labels.len();
            let of = path.map_or_else(String::new, |p| format!(" in {}", p.display()));
            return Err(wrong(format!("{n} classes, one for each image, found {found} classes{of}")));
        }
        let values = floats(&stored.x)?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let image = at / shape.iter().product::<usize>();
            let message = format!("image {image} holds the value {}, wanted finite numbers", values[at]);
            return Err(ebm_core::Error::data(name, message).into());
        }
        let names = if path.is_none() { source.class_names().to_vec() } else { Vec::new() };
        Ok(Set { values, labels, names, shape })
    }

    fn view(&self) -> Labelled<'_> {
        Labelled { values: &self.values, shape: self.shape, labels: &self.labels }
    }

    fn select(&self, rows: &[usize]) -> Self {
        let len: usize = self.shape.iter().product();
        Set {
            values: rows.iter().flat_map(|r| &self.values[r * len..(r + 1) * len]).copied().collect(),
            labels: rows.iter().map(|r| self.labels[*r]).collect(),
            names: self.names.clone(),
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
        let other = open_as("held_out", what)?;
        let split = if there(&other)? { Split::HeldOut } else { Split::Train };
        return Ok((
            Set::read(&other, split, ("held_out", what), ("held_out_labels", labels))?,
            what.clone(),
        ));
    }
    if there(source)? {
        let held = Set::read(source, Split::HeldOut, ("data", &t.data), ("held_out_labels", labels))?;
        return Ok((held, format!("{} (held out)", t.data)));
    }
    if labels.is_some() {
        return Err(Error::missing(
            &["held_out"],
            "classes of held-out images are given, and the data have no such images",
        ));
    }
    if train.labels.len() < 2 * HELD_OUT_EVERY {
        let (found, least) = (train.labels.len(), 2 * HELD_OUT_EVERY);
        let wanted = format!("at least {least} images, of which some can be held out, found {found} images");
        return Err(Error::invalid("data", &t.data, wanted));
    }
    let (rest, held) = ebm_data::split::every(train.labels.len(), HELD_OUT_EVERY)?;
    let held = train.select(&held);
    *train = train.select(&rest);
    Ok((held, format!("{} (every tenth)", t.data)))
}

/// Refuses held-out classes that no training image has, which could only be missed, and remarks upon numbers that no image is of.
fn all_are_taught(train: &Set, held: &Set, held_name: &str) -> Result<()> {
    let taught: BTreeSet<u32> = train.labels.iter().copied().collect();
    let listed = |classes: &mut dyn Iterator<Item = u32>| {
        let name = |c: u32| train.names.get(c as usize).cloned().unwrap_or_else(|| c.to_string());
        let mut listed: Vec<String> = classes.take(SHOWN + 1).map(name).collect();
        if listed.len() > SHOWN {
            listed[SHOWN] = "...".into();
        }
        listed.join(", ")
    };
    let unknown: BTreeSet<u32> = held.labels.iter().copied().filter(|c| !taught.contains(c)).collect();
    if !unknown.is_empty() {
        let found = listed(&mut unknown.into_iter());
        let wanted = format!(
            "images of classes that training images have, found also {found}, which none has; leave these images out, train on \
             some of them, or hold out others by `held_out`"
        );
        return Err(Error::invalid("held_out", held_name, wanted));
    }
    let most = taught.last().copied().unwrap_or(0);
    let idle = listed(&mut (0..most).filter(|c| !taught.contains(c)));
    if !idle.is_empty() {
        tracing::warn!(
            "no training image is of class {idle}; the classifier has an output for it all the same"
        );
    }
    Ok(())
}

fn read_labels(path: &Path) -> Result<Vec<u32>> {
    let npy = path.extension().is_some_and(|e| e == "npy");
    match npy {
        true => Ok(ebm_data::npy::Npy::read(path)?.into_labels()?),
        false => Ok(ebm_data::idx::Idx::read(path)?.into_labels().map_err(|e| e.in_file(path))?),
    }
}
