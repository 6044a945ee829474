//! What the transitions and programs of this crate are made of, for those of other crates.
//!
//! | what | for |
//! |---|---|
//! | [`Decision`] | the Metropolis test and what follows from it |
//! | [`StepSize`] | a step size that moves towards an acceptance, for all chains or for each |
//! | [`Tuning`] | a step size with the [`Metric`] that it is measured in |
//! | [`Integrator`] | a trajectory of Hamiltonian dynamics |
//! | [`rows`] | the arithmetic of a step in one loop over the rows |
//! | [`Cooled`], [`on_rung`], [`temperatures`] | programs on a ladder of temperatures |

mod accept;
mod adapt;
mod covariance;
mod dual_averaging;
pub(crate) mod factor;
mod integrator;
pub(crate) mod ladder;
pub(crate) mod lanes;
pub(crate) mod metric;
pub(crate) mod places;
pub mod rows;
pub(crate) mod rungs;
mod trajectory;
mod tuning;
mod windows;

pub use accept::{Decision, diagnosed, outside};
pub use adapt::{AdaptSettings, Adaptation, Sizes, StepSize};
pub use factor::{Factor, Frame};
pub use integrator::{Integrator, Phase};
pub use ladder::{Cooled, Curves, LadderSettings, end_energy, on_rung, temperatures};
pub use metric::{Metric, MetricKind};
pub use tuning::{Tuned, Tuning};
