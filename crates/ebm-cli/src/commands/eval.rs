//! `ebm eval`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::output::Output;
use crate::{End, Outcome, args};
use ebm::measure::{AnnealOptions, LikelihoodOptions, OodOptions};
use ebm::model::{Model, ThresholdOptions};
use ebm::{Error, Result};

mod chains;
mod figures;
mod plane;
mod samples;

#[derive(Debug, Args)]
pub(crate) struct Eval {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tell what a model was trained on from what it was not: AUROC, AUPR, FPR at 95 % TPR, histograms.
    Ood(Ood),
    /// Fit a threshold with a given false-positive rate on held-out samples and keep it in the run, for `ebm score
    /// --threshold`.
    Threshold(Fit),
    /// Bracket the normalising constant by annealed importance sampling both ways; log-likelihood of held-out data.
    LogZ(LogZ),
    /// Compare a density of the plane with another one, by quadrature and by samples.
    Plane(plane::Plane),
    /// Measure samples against data: distances between features, fidelity, diversity, classes.
    Samples(samples::SamplesCommand),
    /// Measure how chains mix: effective sample sizes, split R-hat, autocorrelation times, acceptance.
    Chains(chains::ChainsCommand),
}

impl Eval {
    pub fn run(self, out: &mut Output) -> Outcome {
        match self.action {
            Action::Ood(ood) => ood.run(out),
            Action::Threshold(fit) => fit.run(out),
            Action::LogZ(log_z) => log_z.run(out),
            Action::Plane(plane) => plane.run(out),
            Action::Samples(samples) => samples.run(out),
            Action::Chains(chains) => chains.run(out),
        }
    }
}

#[derive(Debug, Args)]
struct Ood {
    /// A run directory, or a configuration (whose energy may name the weights of runs).
    #[arg(value_name = "RUN|CONFIG.toml")]
    target: PathBuf,
    /// The inside set: a linked kind, .npy, .npz, IDX, CIFAR-10, a folder of pictures; the held-out part of the run's
    /// data without it.
    #[arg(long = "in", value_name = "NAME|PATH")]
    inside: Option<String>,
    /// Outside sets: as --in, or made from the inside set: rule:uniform, rule:constant, rule:noise[:DEVIATION],
    /// rule:blur[:SHARE OF THE SIDE], rule:interpolation[:WEIGHT].
    #[arg(long = "out", value_name = "NAME|PATH|RULE", num_args = 1.., required = true)]
    outside: Vec<String>,
    /// Scores: energy, terms (each part of the energy), term.NAME, grad-norm, typicality.
    #[arg(
        long = "score",
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "energy,terms,grad-norm,typicality"
    )]
    scores: Vec<String>,
    /// Samples of a set that are used at most, at equal distances; 0 for all.
    #[arg(long = "n", short = 'n', value_name = "N", default_value_t = 10_000)]
    count: u64,
    /// Resize images of another size and convert their colours.
    #[arg(long)]
    fit: bool,
    /// Spread bytes over their level, as in training, instead of taking its middle.
    #[arg(long)]
    dequantise: bool,
    /// Resamples of the bootstrap.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    resamples: usize,
    /// Level of the intervals.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    level: f64,
    /// Seed of rules, dequantisation and bootstrap.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Samples that are scored together; as in training without it.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
    /// Write everything, histograms included, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw histograms: .png or .svg.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

impl Ood {
    fn run(self, out: &mut Output) -> Outcome {
        if self.resamples < 2 {
            return Err(Error::Usage(format!("--resamples {}: wanted at least 2", self.resamples)).into());
        }
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(Error::Usage(format!("--level {}: wanted a share in (0, 1)", self.level)).into());
        }
        ebm::whole_file::apart(&[("--json", self.json.as_deref()), ("--picture", self.picture.as_deref())])?;
        if let Some(path) = &self.json {
            ebm::whole_file::free("--json", path, self.force)?;
        }
        if let Some(path) = &self.picture {
            picture(path)?;
            ebm::whole_file::free("--picture", path, self.force)?;
        }
        let model = Model::open(&self.target, &args::numbers(None, None, self.device.as_deref())?)?;
        let options = OodOptions {
            inside: self.inside,
            outside: self.outside,
            scores: self.scores,
            count: (self.count > 0).then_some(self.count),
            batch: self.batch,
            fit: self.fit,
            dequantise: self.dequantise,
            resamples: self.resamples,
            level: self.level,
            seed: self.seed,
        };
        let report = ebm::measure::ood(&model, &options)?;
        if let Some(path) = &self.json {
            ebm::data::atomic::write(path, ebm::whole_file::json(&report)?.as_bytes())?;
        }
        if let Some(path) = &self.picture {
            report.draw(path)?;
        }
        out.line(report.table())?;
        out.flush()?;
        Ok(End::Done)
    }
}

fn picture(path: &Path) -> Result<()> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("png" | "svg") => Ok(()),
        _ => Err(Error::Usage(format!("--picture {}: wanted a file ending in .png or .svg", path.display()))),
    }
}

#[derive(Debug, Args)]
struct Fit {
    /// The run directory.
    run: PathBuf,
    /// Held-out samples, as of `ebm eval ood`; the held-out part of the run's data without it.
    #[arg(long = "in", value_name = "NAME|PATH")]
    inside: Option<String>,
    /// Share of new inside samples that may be taken for outside.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    fpr: f64,
    /// The score: energy, term.NAME, grad-norm or typicality.
    #[arg(long, value_name = "NAME", default_value = "energy")]
    score: String,
    /// Samples that are used at most, at equal distances; 0 for all.
    #[arg(long = "n", short = 'n', value_name = "N", default_value_t = 0)]
    count: u64,
    /// Resize images of another size and convert their colours; `ebm score --threshold` then does so too.
    #[arg(long)]
    fit: bool,
    /// Samples that are scored together; as in training without it.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Fit {
    fn run(self, out: &mut Output) -> Outcome {
        let model = Model::open(&self.run, &args::numbers(None, None, self.device.as_deref())?)?;
        let options = ThresholdOptions {
            inside: self.inside,
            fpr: self.fpr,
            score: self.score,
            count: (self.count > 0).then_some(self.count),
            batch: self.batch,
            fit: self.fit,
        };
        let (t, path) = ebm::model::fit_threshold(&model, &self.run, &options)?;
        if self.json {
            out.json(&t)?;
            return Ok(End::Done);
        }
        out.line(format!(
            "{} above {} is outside: of new inside samples at most {} % are taken for outside (rank {} of {} samples of \
             {}, of which {:.2} % lie above)",
            t.score,
            t.threshold,
            100.0 * t.fpr,
            t.rank,
            t.count,
            t.set,
            100.0 * t.above
        ))?;
        out.line(format!(
            "{}; use it with `ebm score {} ... --threshold`",
            path.display(),
            self.run.display()
        ))?;
        out.flush()?;
        Ok(End::Done)
    }
}

#[derive(Debug, Args)]
struct LogZ {
    /// A run directory, or a configuration (whose energy may name the weights of runs).
    #[arg(value_name = "RUN|CONFIG.toml")]
    target: PathBuf,
    /// Where annealing begins: an energy with a known density, in TOML; without it `uniform` over the range of the
    /// data, or a `gaussian` as wide as the data if they have none.
    #[arg(long, value_name = "TOML")]
    base: Option<String>,
    /// The move at each rung, a transition in TOML that leaves exp(-E) as it is; without it `hmc` of ten steps, whose size
    /// adapts.
    #[arg(long, value_name = "TOML")]
    moves: Option<String>,
    /// Distributions between base and energy.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    rungs: usize,
    /// Rungs at (j/N)^POWER: more than 1 puts them nearer to the base.
    #[arg(long, default_value_t = 2.0)]
    power: f64,
    /// Chains each way.
    #[arg(long, value_name = "N", default_value_t = 64)]
    chains: usize,
    /// Temperature T of exp(-E/T).
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Seed; that of the run without it.
    #[arg(long)]
    seed: Option<u64>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl LogZ {
    fn run(self, out: &mut Output) -> Outcome {
        let model = Model::open(&self.target, &args::numbers(None, None, self.device.as_deref())?)?;
        let options = LikelihoodOptions {
            base: self.base,
            moves: self.moves,
            anneal: AnnealOptions { chains: self.chains, rungs: self.rungs, power: self.power },
            temperature: self.temperature,
            seed: self.seed,
        };
        let found = ebm::measure::likelihood(&model, &options)?;
        out.found(self.json, &found, || found.table())
    }
}
