//! Training objectives, one file a term: contrast, squared energies, KL, entropy, labels; their sums, and contrastive
//! divergence as one.
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

mod contrast;
mod contrastive;
mod energy_l2;
mod entropy;
mod kl;
mod label;
mod numbers;
mod reach;
mod sum;

pub use contrast::Contrast;
pub use contrastive::{Contrastive, EntropyTerm};
pub use energy_l2::EnergyL2;
pub use entropy::{Entropy, EntropySettings};
pub use kl::Kl;
pub use label::LabelTerm;
pub use sum::{Sum, SumSettings, Term, TermSettings};
