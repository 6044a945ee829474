//! Moves of chains whose samples are spins, states or binary values.
//!
#![doc = include_str!("../README.md")]

mod accept;
mod block_gibbs;
mod discrete_langevin;
mod gibbs;
mod gibbs_with_gradients;
mod sites;
mod swendsen_wang;

pub use block_gibbs::BlockGibbs;
pub use discrete_langevin::DiscreteLangevin;
pub use gibbs::Gibbs;
pub use gibbs_with_gradients::GibbsWithGradients;
pub use swendsen_wang::SwendsenWang;
