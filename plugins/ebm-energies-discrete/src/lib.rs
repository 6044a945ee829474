//! Energies of spins, of sites with several states and of binary units, whose conditional laws are known.
//!
#![doc = include_str!("../README.md")]

mod deep_rbm;
mod graph;
mod ising;
mod known;
mod pairwise;
mod potts;
mod rbm;

pub use deep_rbm::DeepRbm;
pub use graph::{Graph, GraphSettings};
pub use ising::Ising;
pub use potts::Potts;
pub use rbm::{Rbm, Visible};
