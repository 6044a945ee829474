//! Energies with known answers: normalised log-density, independent exact draws, mean and variance.
//!
#![doc = include_str!("../README.md")]

mod banana;
#[cfg(test)]
mod check_tests;
mod checkerboard;
mod closed;
mod dense;
mod double_well;
mod eight_schools;
mod funnel;
mod gaussian;
mod grid25;
mod ill_conditioned;
mod mixture;
mod moons;
mod pinwheel;
mod quadratic;
mod rings;
mod stream;
mod uniform;

pub use banana::Banana;
pub use checkerboard::Checkerboard;
pub use closed::{Closed, Drawer, KnownDensity};
pub use double_well::DoubleWell;
pub use eight_schools::EightSchools;
pub use funnel::Funnel;
pub use gaussian::Gaussian;
pub use grid25::Grid25;
pub use ill_conditioned::IllConditionedGaussian;
pub use mixture::{GaussianMixture, RoundGaussian};
pub use moons::Moons;
pub use pinwheel::Pinwheel;
pub use rings::Rings;
pub use stream::Stream;
pub use uniform::Uniform;
