//! `ebm classifier`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ebm::features::ClassifierOptions;
use ebm::measure::{ClassRow, ClassifierTraining, open_network};
use ebm::run::open_device;
use serde_json::json;

use crate::args::DeviceArg;
use crate::filter;
use crate::outcome::{End, Outcome};
use crate::output::{Output, field, say};

#[derive(Debug, Args)]
pub(crate) struct Classifier {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Train a small convolutional classifier on labelled images: a feature network of `ebm eval samples`.
    Train(Train),
    /// Print the most probable class of samples and its probability; a filter for pipelines.
    Classify(Classify),
}

impl Classifier {
    pub fn run(self, out: &mut Output) -> Outcome {
        match self.action {
            Action::Train(train) => train.run(out),
            Action::Classify(classify) => classify.run(out),
        }
    }
}

#[derive(Debug, Args)]
struct Train {
    /// Labelled images: a linked kind, perhaps with settings (`cifar10:root=DIR`), a folder with a sub-folder for each
    /// class, the folder of a published set, a file.
    #[arg(long, value_name = "NAME|PATH")]
    data: String,
    /// Classes of the images, where they have none: IDX or .npy.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Images to examine it on; without them the data's held-out part, or every tenth image, which is then not trained on.
    #[arg(long, value_name = "NAME|PATH")]
    held_out: Option<String>,
    /// Their classes, where they have none.
    #[arg(long, value_name = "FILE")]
    held_out_labels: Option<PathBuf>,
    /// The folder to make: network.toml, weights.safetensors, summary.json.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the network, as it stands in the names of measures; without it that of the folder.
    #[arg(long)]
    name: Option<String>,
    /// Times each image is seen; without it as many as make some 300,000 images, 2 to 20.
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Images of an update.
    #[arg(long, value_name = "N", default_value_t = ClassifierOptions::default().batch)]
    batch: usize,
    /// Adam's rate at the beginning; it falls to 0.
    #[arg(long, default_value_t = ClassifierOptions::default().rate)]
    rate: f64,
    /// Channels of the first convolution; 16 for grey images and 32 for colours without it.
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Features: the width of the last hidden layer.
    #[arg(long, value_name = "N", default_value_t = ClassifierOptions::default().features)]
    features: usize,
    /// Seed of weights and order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

impl Train {
    fn run(self, out: &mut Output) -> Outcome {
        let training = ClassifierTraining {
            data: self.data,
            labels: self.labels,
            held_out: self.held_out,
            held_out_labels: self.held_out_labels,
            out: self.out.clone(),
            name: self.name,
            options: ClassifierOptions {
                epochs: self.epochs,
                batch: self.batch,
                rate: self.rate,
                width: self.width.unwrap_or_default(),
                features: self.features,
                seed: self.seed,
            },
            command: std::env::args().collect::<Vec<_>>().join(" "),
        };
        let summary = ebm::measure::train_classifier(&training, &mut |p| {
            say(&format!("epoch {} of {}: loss {:.4}", p.epoch, p.of, p.loss));
        })?;
        out.found(self.json, &summary, || {
            format!(
                "{}: {:.2} % of {} images of {} are classified rightly ({} classes, {} features, trained on {} images)",
                self.out.display(),
                100.0 * summary.held_out_accuracy,
                summary.held_out_count,
                summary.held_out,
                summary.classes,
                summary.features,
                summary.train_count
            )
        })
    }
}

#[derive(Debug, Args)]
struct Classify {
    /// A classifier's folder, a network description, or inception-v3:WEIGHTS.
    #[arg(value_name = "DIR|network.toml")]
    network: String,
    /// As of `ebm score`: linked kinds of data, .npy, .npz or IDX files, CIFAR-10, pictures, folders of pictures; `-` reads
    /// paths of pictures or JSON from standard input, one a line.
    #[arg(required = true, value_name = "NAME|PATH|-")]
    inputs: Vec<String>,
    /// Resize images of another size and convert their colours.
    #[arg(long)]
    fit: bool,
    /// Print a line of JSON for each sample instead of CSV.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArg,
}

impl Classify {
    fn run(self, out: &mut Output) -> Outcome {
        let device = open_device(self.device.device.as_deref().unwrap_or("cpu"))?.device;
        let network = open_network(&self.network, &device)?;
        // Before the head of the table.
        ebm::measure::classes_of(&network)?;
        let sets = filter::sets(&self.inputs)?;
        if !self.json {
            out.line("file,index,class,probability")?;
            out.flush()?;
        }
        for set in &sets {
            filter::rows(
                out,
                |row| line(row, self.json),
                |sink| ebm::measure::classify(&network, set.as_ref(), self.fit, sink),
            )?;
        }
        out.flush()?;
        Ok(End::Done)
    }
}

fn line(row: &ClassRow, json: bool) -> String {
    if json {
        let file = row.file.display().to_string();
        return json!({ "file": file, "index": row.index, "class": row.name, "probability": row.probability })
            .to_string();
    }
    format!(
        "{},{},{},{}",
        field(&row.file.display().to_string()),
        row.index,
        field(&row.name),
        row.probability
    )
}
