//! Holds plugins to the laws of their families.
//!
//! `ebm_testkit::conformance!(my_crate);` in a file of `tests/` does so with every kind that the crate registers. [`laws`] has the laws
//! of a part that is built, on inputs that the kit chooses; the checks below take inputs of your own:
//!
//! ```
//! use ebm_testkit::{check_energy, toy};
//! use ebm_core::{Batch, Key, candle::{DType, Device}, Chains};
//!
//! let e = toy::mlp(3, 8, 2, 7)?;
//! let x = Key::root(1).normal(&Chains::range(0, 4), &[3], DType::F64, &Device::Cpu)?;
//! check_energy(&e, &Batch::new(x)?)?; // five calls, batching, order of rows
//! # Ok::<(), ebm_testkit::Failure>(())
//! ```
//!
//! Checks return a [`Failure`] that names the law, the place and both numbers.

mod cases;
mod component;
mod conformance;
mod difference;
mod energy;
mod failure;
mod gap;
mod law;
pub mod laws;
mod objective;
mod planted;
mod refusal;
mod replay;
mod sampler;
mod source;
pub mod toy;
mod transition;

pub use cases::cases;
pub use component::{check_component, check_components};
pub use conformance::Conformance;
pub use difference::{relative_gap, theta_difference, x_difference};
pub use energy::{Checked, check_energy, check_energy_within};
pub use failure::{Failure, Verdict};
pub use gap::{Estimate, Gap, derivative, theta_gap, x_gap};
pub use law::{Moments, check_variance, moments, run};
pub use objective::{Fulfilled, check_objective, fulfil_plainly};
pub use replay::check_replay;
pub use sampler::check_sampler;
pub use source::check_source;
pub use transition::check_transition;
