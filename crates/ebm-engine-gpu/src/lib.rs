//! GPUs: opening one, saying why there is none, and the operators of energies on it.
//!
#![doc = include_str!("../README.md")]

mod backends;
#[cfg(any(test, feature = "nccl"))]
mod between;
#[cfg(any(test, feature = "cudnn"))]
mod choice;
#[cfg(feature = "cuda")]
mod cuda;
mod kernels;
mod launcher;
mod measure;
#[cfg(test)]
mod tests;

pub use backends::{Cuda, Metal};
pub use kernels::operators;
pub use launcher::{Arg, InMemory, KERNELS, Launcher};
