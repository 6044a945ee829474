//! Transitions without an energy of their own, and combinators of transitions.
//!
//! | kind | what |
//! |---|---|
//! | `gaussian-noise` | a random walk |
//! | `uniform-restart` | chains start again from uniform noise |
//! | `crop`, `flip`, `colour`, `blur` | image augmentation, one kind each |
//! | `simclr` | the four in the order of the published program |
//! | `then`, `repeat` | one after the other |
//! | `mix`, `with-probability` | each chain takes one at random |
//! | `anneal` | step size and noise along a program |
//!
//! ```
//! use ebm_core::candle::{DType, Device};
//! use ebm_core::{BuildCx, Key, TransitionConfig};
//! use ebm_samplers as _; // brings `mala`
//! use ebm_transitions as _;
//!
//! let text = r#"
//! kind = "then"
//! transitions = [
//!   { kind = "repeat", times = 2, transition = { kind = "mala", step_size = 0.01 } },
//!   { kind = "with-probability", probability = 0.05, transition = { kind = "uniform-restart" } },
//! ]"#;
//! let config: Box<dyn TransitionConfig> = toml::from_str(text)?;
//! let step = config.build(&mut BuildCx::new(&[2], DType::F32, &Device::Cpu, Key::root(1)))?;
//! assert!(step.needs_energy());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
