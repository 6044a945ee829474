//! `ebm eval stein`.

use clap::Args;
use ebm::measure::{SteinOptions, SteinReport, stein};

use super::figures::Figures;
use crate::args::{DrawArgs, ModelArgs};
use crate::outcome::Outcome;
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct SteinCommand {
    #[command(flatten)]
    model: ModelArgs,
    /// Samples that are there, as --in of `ebm eval ood`; drawn from the model without it.
    #[arg(long, value_name = "NAME|PATH")]
    samples: Option<String>,
    /// Samples, at most 10,000.
    #[arg(long = "n", short = 'n', value_name = "N", default_value_t = 1000)]
    count: usize,
    /// Temperature T of exp(-E/T).
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Length of the kernel; the median distance of the samples without it.
    #[arg(long)]
    length: Option<f64>,
    /// Probability that a sign of the bootstrap changes from one sample to the next: 0.5 for independent samples, about
    /// 1/(autocorrelation time) for consecutive draws of a chain.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    change: f64,
    /// Resamples of the bootstrap.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    resamples: usize,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    figures: Figures,
}

impl SteinCommand {
    pub fn run(self, out: &mut Output) -> Outcome {
        self.figures.free()?;
        let model = self.model.open()?;
        let options = SteinOptions {
            samples: self.samples,
            count: self.count,
            steps: self.draw.steps,
            temperature: self.temperature,
            length: self.length,
            change: self.change,
            resamples: self.resamples,
            seed: self.draw.seed.seed,
        };
        let found = stein(&model, &options)?;
        self.figures.write(out, &found, table(&found))
    }
}

/// The figures as lines.
fn table(found: &SteinReport) -> String {
    let d = &found.discrepancy;
    let mut text = format!(
        "{} samples of {} against exp(-E/{}); inverse multiquadric kernel of length {:.4}\n",
        found.count, found.samples, found.temperature, found.length
    );
    for (name, value) in [
        ("KSD², unbiased", d.u),
        ("KSD², at least 0", d.v),
        ("KSD", d.v.max(0.0).sqrt()),
        ("p-value", d.p_value),
    ] {
        text += &format!("{name:<18} {value:>12.5}\n");
    }
    text += "a small p-value: the samples are not of the energy; weights of modes that lie far apart it does not see\n";
    text
}
