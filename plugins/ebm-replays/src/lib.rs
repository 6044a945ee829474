//! Replay buffers: memory of earlier chains, from which training continues.
//!
//! | kind | what |
//! |---|---|
//! | `ring` | overwrites the oldest |
//! | `reservoir` | a uniform sample of all chains there ever were |
//! | `random-overwrite` | overwrites random slots once full |
//! | `in-place` | chains go back to the slots they came from: persistent chains |
//!
//! ```
//! use ebm_core::candle::{DType, Device, Tensor};
//! use ebm_core::{BuildCx, Key, ReplayBuffer, ReplayConfig};
//! use ebm_replays::RingConfig;
//!
//! let mut cx = BuildCx::new(&[2], DType::F32, &Device::Cpu, Key::root(0));
//! let mut ring = RingConfig::new(3).build(&mut cx)?;
//! ring.put(None, &Tensor::new(&[[1f32, 1.0], [2.0, 2.0]], &Device::Cpu)?, Key::root(1))?;
//! ring.put(None, &Tensor::new(&[[3f32, 3.0], [4.0, 4.0]], &Device::Cpu)?, Key::root(2))?;
//! assert_eq!(ring.len(), 3); // the oldest is gone
//! assert!(ring.draw(4, Key::root(3))?.is_none()); // fewer than asked for
//! # Ok::<(), ebm_core::Error>(())
//! ```
//!
//! All buffers keep samples as floats or as bytes (a quarter of the memory), with the
//! published program's rounding as an option. They lie on the device of the run: on a GPU a draw gathers and a put
//! scatters there, and only checkpoints take samples to the host.

mod in_place;
pub mod kit;
mod random_overwrite;
mod reservoir;
mod ring;
#[cfg(test)]
mod tests;

pub use in_place::{InPlace, InPlaceConfig, Order};
pub use kit::Storage;
pub use random_overwrite::{RandomOverwrite, RandomOverwriteConfig};
pub use reservoir::{Reservoir, ReservoirConfig};
pub use ring::{Ring, RingConfig};
