//! Training objectives, one file a term.
//!
//! | kind | what | samples |
//! |---|---|---|
//! | `contrast`, `energy-l2`, `kl`, `entropy` | the terms of contrastive divergence | yes |
//! | `contrastive` | their sum, as published | yes |
//! | `label` | labels told from energies | no |
//! | `denoising-score-matching`, `sliced-score-matching` | slopes against those of the data | no |
//! | `noise-contrast`, `conditional-noise-contrast` | data told from noise | no |
//! | `energy-discrepancy` | data against what is around them | no |
//! | `energy-matching`, `equilibrium-matching` | slopes along the way from noise to data | no |
//! | `recovery-likelihood` | data against what chains recover from noisy copies | of its own energy |
//! | `pseudo-likelihood`, `ratio-matching` | discrete data against their neighbours | no |
//! | `sum` | several, with weights over time | as they need |
//!
//! ```
//! use ebm_core::{BuildCx, Key, ObjectiveConfig, candle::{DType, Device}};
//! use ebm_objectives::Contrastive;
//! let cd = Contrastive { energy_l2: 1.0, ..Contrastive::default() };
//! let mut cx = BuildCx::new(&[2], DType::F32, &Device::Cpu, Key::root(0));
//! let needs = cd.build(&mut cx)?.needs();
//! assert!(needs.samples && needs.trail == 0);
//! # Ok::<(), ebm_core::Error>(())
//! ```
//!
//! Alone, on any energy:
//!
//! ```
//! use ebm_core::candle::{DType, Device, Tensor};
//! use ebm_core::{Batch, Key, Objective, StepInput};
//! use ebm_objectives::DenoisingScoreMatching;
//! let e = ebm_testkit::toy::mlp(2, 5, 1, 3)?;
//! let data = Batch::new(Tensor::zeros((8, 2), DType::F64, &Device::Cpu)?)?;
//! let input = StepInput::new(&data, None, None, 0);
//! let demands = DenoisingScoreMatching::new(0.1).demands(&e, &input, Key::root(0))?;
//! let (gradients, losses) = ebm_testkit::fulfil_plainly(&e, demands)?;
//! assert!(losses["dsm"] > 0.0 && !gradients.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
