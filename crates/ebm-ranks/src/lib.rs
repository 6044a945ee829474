//! Ranks that train one model together: over MPI, over TCP, as threads, and how a process was launched.
//!
#![doc = include_str!("../README.md")]

#[cfg(feature = "mpi")]
mod floats;
mod launch;
#[cfg(feature = "mpi")]
mod mpi;
mod tcp;
mod threads;

pub use launch::{Launch, open};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use tcp::Tcp;
pub use threads::Threads;
