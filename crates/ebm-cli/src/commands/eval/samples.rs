//! `ebm eval samples`.

use std::path::PathBuf;

use clap::Args;

use super::figures::Figures;
use crate::Outcome;
use crate::args;
use crate::output::Output;
use ebm::inputs::Inputs;
use ebm::measure::{Measured, SampleMeasureOptions};
use ebm::model::Model;

#[derive(Debug, Args)]
pub(crate) struct SamplesCommand {
    /// A run directory or a configuration, of which samples are drawn; or samples that are there: .npy, .npz, IDX, pictures,
    /// a linked kind.
    #[arg(value_name = "RUN|CONFIG.toml|FILE|NAME")]
    target: String,
    /// The data: as --in of `ebm eval ood`; the held-out part of the run's data without it.
    #[arg(long, value_name = "NAME|PATH")]
    against: Option<String>,
    /// values, pixels, cells:N, signs, a classifier's folder, a network description, inception-v3:WEIGHTS; without it pixels
    /// and signs of images, values of others.
    #[arg(long, value_name = "NAME|DIR|FILE", num_args = 1..)]
    features: Vec<String>,
    /// Samples: drawn, or used of a set at most, at equal distances.
    #[arg(long = "n", short = 'n', value_name = "N", default_value_t = 1000)]
    count: usize,
    /// Samples of the data that are used at most, at equal distances.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    against_n: u64,
    /// Steps of the generation program; as configured without it.
    #[arg(long)]
    steps: Option<usize>,
    /// Pairs of subsets that the kernel distance is taken over.
    #[arg(long, value_name = "N", default_value_t = 100)]
    subsets: usize,
    /// Temperature T of exp(-E/T), for the likelihood in the plane.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Resize images of another size and convert their colours.
    #[arg(long)]
    fit: bool,
    /// Seed of samples, subsets and halves; of the samples that of the run without it.
    #[arg(long)]
    seed: Option<u64>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
    #[command(flatten)]
    figures: Figures,
}

impl SamplesCommand {
    pub fn run(self, out: &mut Output) -> Outcome {
        self.figures.free()?;
        let path = PathBuf::from(&self.target);
        let is_model = path.join("config.toml").is_file()
            || (path.extension().is_some_and(|e| e == "toml") && path.is_file())
            || ebm::model::reads_as_line(&path);
        let options = SampleMeasureOptions {
            against: self.against,
            features: self.features,
            count: self.count,
            against_count: self.against_n,
            fit: self.fit,
            steps: self.steps,
            subsets: self.subsets,
            temperature: self.temperature,
            seed: self.seed,
        };
        let found = match is_model {
            true => {
                let model = Model::open(&path, &args::numbers(None, None, self.device.as_deref())?)?;
                ebm::measure::measure_samples(&Measured::Model(&model), &options)?
            }
            false => ebm::measure::measure_samples(&Measured::Set(&Inputs::open(&self.target)?), &options)?,
        };
        self.figures.write(out, &found, found.table())
    }
}
