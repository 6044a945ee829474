//! The laws of a part that is built, on inputs that the kit chooses: one function a family.
//!
//! [`conformance!`](crate::conformance) calls them for every kind that a crate registers; call them for a part that is not
//! registered, or that stands at settings which its example has not.

mod energy;
mod entropy;
mod objective;
mod observer;
mod optimiser;
mod policy;
mod replay;
mod sampler;
mod source;
mod stationary;
pub(crate) mod targets;
mod transition;

pub use energy::energy;
pub use entropy::entropy;
pub use objective::objective;
pub use observer::observer;
pub use optimiser::optimiser;
pub use policy::policy;
pub use replay::replay;
pub use sampler::sampler;
pub use source::source;
pub use transition::transition;
