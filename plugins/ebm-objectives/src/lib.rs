//! Training objectives, one file a term.
//!
#![doc = include_str!("../README.md")]

mod conditional_noise_contrast;
mod contrast;
mod contrastive;
mod denoising;
mod energy_discrepancy;
mod energy_l2;
mod entropy;
mod flips;
mod flow;
mod kl;
mod label;
mod moments;
mod noise_contrast;
mod noise_levels;
mod numbers;
mod particles;
mod pseudo_likelihood;
mod ratio_matching;
mod reach;
mod recovery;
mod sliced;
mod sum;

pub use conditional_noise_contrast::ConditionalNoiseContrast;
pub use contrast::Contrast;
pub use contrastive::{Contrastive, EntropyTerm};
pub use denoising::{DenoisingScoreMatching, DenoisingSettings};
pub use energy_discrepancy::EnergyDiscrepancy;
pub use energy_l2::EnergyL2;
pub use entropy::{Entropy, EntropySettings};
pub use flow::{EnergyMatching, EquilibriumMatching, Pairing};
pub use kl::Kl;
pub use label::LabelTerm;
pub use moments::Moments;
pub use noise_contrast::{NoiseContrast, NoiseContrastSettings};
pub use noise_levels::{NoiseLevels, NoiseLevelsSettings};
pub use pseudo_likelihood::PseudoLikelihood;
pub use ratio_matching::RatioMatching;
pub use recovery::{RecoveryLikelihood, Start};
pub use sliced::SlicedScoreMatching;
pub use sum::{Sum, SumSettings, Term, TermSettings};
