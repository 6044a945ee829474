//! Replay buffers: memory of earlier chains, from which training continues.
//!
#![doc = include_str!("../README.md")]

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
