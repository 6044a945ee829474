//! `ebm eval`.

use clap::{Args, Subcommand};

use crate::outcome::Outcome;
use crate::output::Output;

mod chains;
mod classes;
mod figures;
mod log_z;
mod ood;
mod plane;
mod samples;
mod stein;
mod threshold;
mod two_sample;

#[derive(Debug, Args)]
pub(crate) struct Eval {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tell what a model was trained on from what it was not: AUROC, AUPR, FPR at 95 % TPR, histograms.
    Ood(ood::Ood),
    /// Fit a threshold with a given false-positive rate on held-out samples and keep it in the run, for `ebm score
    /// --threshold`.
    Threshold(threshold::Fit),
    /// Bracket the normalising constant by annealed importance sampling both ways; log-likelihood of held-out data.
    LogZ(log_z::LogZ),
    /// Compare a density of the plane with another one, by quadrature and by samples.
    Plane(plane::Plane),
    /// Measure samples against data: distances between features, fidelity, diversity, classes.
    Samples(samples::SamplesCommand),
    /// Measure how chains mix: effective sample sizes, split R-hat, autocorrelation times, acceptance.
    Chains(chains::ChainsCommand),
    /// Classify labelled samples by a conditional energy: accuracy, log loss, calibration.
    Classes(classes::ClassesCommand),
    /// Test samples against the energy itself, without its constant: kernel Stein discrepancy.
    Stein(stein::SteinCommand),
    /// Test whether two sets of samples can be told apart by a classifier.
    TwoSample(two_sample::TwoSampleCommand),
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
            Action::Classes(classes) => classes.run(out),
            Action::Stein(stein) => stein.run(out),
            Action::TwoSample(test) => test.run(out),
        }
    }
}
