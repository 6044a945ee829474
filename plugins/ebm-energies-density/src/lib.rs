//! Energies with known answers: normalised log-density, independent exact draws, mean and variance.
//!
//! They are targets for comparing samplers and yardsticks for training.
//!
//! ```
//! use ebm_core::candle::{DType, Device};
//! use ebm_core::{Batch, BuildCx, Chains, EnergyConfig, Key};
//! use ebm_energies_density::Funnel;
//!
//! let energy = Funnel::default().build(&mut BuildCx::new(&[10], DType::F64, &Device::Cpu, Key::root(0)))?;
//! let density = energy.density().ok_or("a closed form has a density")?;
//! let x = density.draw(&Chains::range(0, 1000), Key::root(1).at("draws"))?;
//! let entropy = -density.log_density(&Batch::new(x)?)?.mean_all()?.to_scalar::<f64>()?;
//! // Ten normal values, the first three times as wide, the others as wide as one on average of logs.
//! assert!((entropy - (14.189 + 3f64.ln())).abs() < 2.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Another one takes a `Forward`, a [`KnownDensity`] and [`Closed`].

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
