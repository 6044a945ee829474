//! Moves of chains whose samples are spins, states or binary values.
//!
//! | kind | what | needs |
//! |---|---|---|
//! | `gibbs` | sites at random are redrawn from their laws, by energies | any energy |
//! | `block-gibbs` | a sweep over blocks of independent coordinates | an energy with conditional laws |
//! | `gibbs-with-gradients` | one site changes, chosen by the slope, with an accept test | any energy |
//! | `discrete-langevin` | all sites may change at once, by the slope, with an accept test | any energy |
//! | `swendsen-wang` | whole clusters of like sites change | pairs of spins or states |
//!
//! All but unadjusted `discrete-langevin` leave `exp(−E)` as it is. A row's numbers depend on the key and its chain alone.

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
