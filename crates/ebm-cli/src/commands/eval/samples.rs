//! `ebm eval samples`.

use std::path::Path;

use clap::Args;
use ebm::inputs::Inputs;
use ebm::measure::{Figure, SampleMeasureOptions, SampleMeasures, Subject, measure_samples};
use ebm::model::reads_as_line;

use super::figures::Figures;
use crate::args::RunChanges;
use crate::outcome::Outcome;
use crate::output::Output;

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
    /// Pairs of random subsets over which the kernel distance is taken too, as other programs print it; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    subsets: usize,
    /// Rows of a subset; 1,000, or half of the smaller set, without it.
    #[arg(long, value_name = "N")]
    subset_size: Option<usize>,
    /// Temperature T of exp(-E/T), for the likelihood in the plane.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Resize images of another size and convert their colours.
    #[arg(long)]
    fit: bool,
    /// Seed of samples, subsets and halves; of the samples that of the run without it.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    changes: RunChanges,
    #[command(flatten)]
    figures: Figures,
}

impl SamplesCommand {
    pub fn run(self, out: &mut Output) -> Outcome {
        self.figures.free()?;
        let path = Path::new(&self.target);
        let is_model = path.join("config.toml").is_file()
            || (path.extension().is_some_and(|e| e == "toml") && path.is_file())
            || reads_as_line(path);
        let options = SampleMeasureOptions {
            against: self.against,
            features: self.features,
            count: self.count,
            against_count: self.against_n,
            fit: self.fit,
            steps: self.steps,
            subsets: self.subsets,
            subset_size: self.subset_size,
            temperature: self.temperature,
            seed: self.seed,
        };
        let found = match is_model {
            true => {
                let model = self.changes.open(path)?;
                measure_samples(&Subject::Model(&model), &options)?
            }
            false => measure_samples(&Subject::Set(&Inputs::open(&self.target)?), &options)?,
        };
        self.figures.write(out, &found, table(&found))
    }
}

/// A line a measure.
fn table(found: &SampleMeasures) -> String {
    let mut text = format!(
        "{}: {} samples; against {}: {}\n",
        found.samples.0, found.samples.1, found.against.0, found.against.1
    );
    if let Some((name, n)) = &found.training {
        text += &format!("training column: {n} samples of {name}; ");
    }
    text += &format!(
        "halves: {} and {} samples of {}; Fréchet and Wasserstein distances carried to {} against all\n",
        found.against.1 / 2,
        found.against.1.div_ceil(2),
        found.against.0,
        found.samples.1
    );
    for (names, (data, drawn)) in found.fewer_rows() {
        text +=
            &format!("{}: {drawn} of the samples against {data} of {}\n", names.join(", "), found.against.0);
    }
    let wide = found.rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0).max(7);
    text += &format!("{:<wide$} {:>21} {:>21} {:>21}\n", "measure", "samples", "training", "halves");
    let show = |f: Option<Figure>| match f {
        None => "-".to_string(),
        Some(Figure { value, sd: None, .. }) => number(value),
        Some(Figure { value, sd: Some(sd), .. }) => format!("{} ± {}", number(value), number(sd)),
    };
    for r in &found.rows {
        let cells = [Some(r.samples), r.training, r.halves].map(show);
        text += &format!("{:<wide$} {:>21} {:>21} {:>21}\n", r.name, cells[0], cells[1], cells[2]);
    }
    if found.rows.iter().any(|r| r.name.starts_with("ClassScore")) {
        text += "ClassScore: one part a 500 samples, in order, ± the spread of the parts (torchmetrics: 10 parts, shuffled, n - 1)\n";
    }
    if found.rows.iter().any(|r| r.name.starts_with("KernelSubsets")) {
        text += "KernelSubsets: mean over random subsets, ± their spread, as torchmetrics prints it; Kernel is of all rows, ± its error\n";
    }
    if let Some(p) = &found.plane {
        for (name, value) in [
            ("log Z by quadrature", p.log_z),
            ("log-likelihood", p.ll),
            ("best temperature", p.t_best),
            ("log-likelihood at it", p.ll_best_t),
            ("mass outside", p.leak),
            ("MMD² of exact draws", p.mmd2_grid),
        ] {
            text += &format!("{name:<wide$} {:>21}\n", number(value));
        }
        if let Some(units) = found.own_units {
            let name = "in the table's units";
            text += &format!("{name:<wide$} {:>21}\n", number(p.ll - units));
        }
    }
    if let Some(why) = &found.no_plane {
        text += &format!("log Z by quadrature: none; {why}\n");
    }
    text
}

/// Four digits behind the point, or three in all of what would vanish there.
fn number(v: f64) -> String {
    if v != 0.0 && v.abs() < 0.01 { format!("{v:.2e}") } else { format!("{v:.4}") }
}
