//! Training objectives: contrastive divergence with its KL and entropy terms.
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

mod contrastive;
mod label;
mod numbers;

pub use contrastive::{Contrastive, EntropyTerm, KlTerm};
pub use label::LabelTerm;
