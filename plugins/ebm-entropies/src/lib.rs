//! Entropy estimators: nearest-neighbour distances to earlier samples.
//!
#![doc = include_str!("../README.md")]

mod kozachenko_leonenko;
mod nearest_neighbour;
mod neighbours;

pub use kozachenko_leonenko::KozachenkoLeonenko;
pub use nearest_neighbour::NearestNeighbour;
