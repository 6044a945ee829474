//! Ranks that train one model together: over MPI, over TCP, as threads, and how a process was launched.
//!
//! ```
//! use ebm_core::{Collective, Sums};
//! use ebm_ranks::Threads;
//!
//! // Three ranks add one number each; all get the sum.
//! let sums = Threads::run(3, |ranks| {
//!     let mine = Sums { tensors: vec![], numbers: vec![ranks.rank() as f64] };
//!     ranks.sum(Some(mine)).map(|all| all.map(|s| s.numbers[0]))
//! });
//! assert_eq!(sums.into_iter().collect::<Result<Vec<_>, _>>()?, [Some(3.0); 3]);
//! # Ok::<(), ebm_core::Error>(())
//! ```

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
