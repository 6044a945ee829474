//! Energies of spins, of sites with several states and of binary units, whose conditional laws are known.
//!
//! | kind | samples | energy |
//! |---|---|---|
//! | `ising` | spins ±1 | couplings and fields on a lattice or any graph |
//! | `potts` | one-hot states along the last axis | the same for several states |
//! | `rbm` | binary, or real with Gaussian units | hidden binary units summed over |
//! | `deep-rbm` | binary | binary units in layers, every second layer summed over |
//!
//! ```
//! # use ebm_energies_discrete as _;
//! use ebm_core::candle::{DType, Device};
//! use ebm_core::{Batch, BuildCx, Chains, EnergyConfig, Key};
//!
//! let config: Box<dyn EnergyConfig> = toml::from_str("kind = \"ising\"\ncoupling = 0.6\nlattice = [4, 4]")?;
//! let spins = config.build(&mut BuildCx::new(&[16], DType::F64, &Device::Cpu, Key::root(0)))?;
//! let chains = Chains::range(0, 8);
//! let start = spins.spec().domain.uniform(&chains, &[16], DType::F64, &Device::Cpu, Key::root(1))?;
//! let mut at = Batch::new(start.ok_or("spins have a uniform law")?)?;
//! let laws = spins.conditionals().ok_or("their laws are known")?;
//! for sweep in 0..20 {
//!     for colour in 0..laws.blocks() {
//!         at = at.with_x(laws.redraw(&at, colour, Key::root(2).at(sweep as u64).at(colour))?);
//!     }
//! }
//! // Strong couplings align most neighbours: a mean energy well below that of independent spins, 0.
//! assert!(spins.energy(&at)?.mean_all()?.to_scalar::<f64>()? < -10.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod deep_rbm;
mod graph;
mod ising;
mod known;
mod pairwise;
mod potts;
mod rbm;

pub use deep_rbm::DeepRbm;
pub use graph::{Graph, GraphSettings};
pub use ising::Ising;
pub use potts::Potts;
pub use rbm::{Rbm, Visible};
