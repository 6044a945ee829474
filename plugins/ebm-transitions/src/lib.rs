//! Transitions without an energy of their own, and combinators of transitions.
//!
#![doc = include_str!("../README.md")]

mod anneal;
mod blur;
mod children;
mod colour;
mod crop;
mod flip;
mod gaussian_noise;
mod kept;
pub mod kit;
mod mix;
mod repeat;
mod simclr;
#[cfg(test)]
mod tests;
mod then;
mod uniform_restart;
mod with_probability;

pub use anneal::{Anneal, AnnealConfig, Shape};
pub use blur::BlurConfig;
pub use colour::ColourConfig;
pub use crop::CropConfig;
pub use flip::{Axis, FlipConfig};
pub use gaussian_noise::{GaussianNoise, GaussianNoiseConfig};
pub use kit::Augment;
pub use mix::{Mix, MixConfig};
pub use repeat::{Repeat, RepeatConfig};
pub use simclr::SimclrConfig;
pub use then::{Then, ThenConfig};
pub use uniform_restart::{UniformRestart, UniformRestartConfig};
pub use with_probability::WithProbabilityConfig;
