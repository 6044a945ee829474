//! Transitions driven by an energy, and sampling programs over transitions.
//!
//! | kind | family | what |
//! |---|---|---|
//! | `langevin` | transition | gradient step with noise of its own size (published form), clamped |
//! | `ula` | transition | Langevin with matched noise, no accept test |
//! | `mala` | transition | Langevin with accept test, step size adapted |
//! | `hmc` | transition | leapfrog trajectories with accept test, or the published forms |
//! | `nuts` | transition | trajectories as long as they go on, step size and metric learnt |
//! | `mclmc` | transition | microcanonical Langevin: motion at one energy without rejections |
//! | `riemannian-hmc` | transition | trajectories in a metric of the place, by Hessian-vector products |
//! | `preconditioned-langevin` | transition | Langevin without a test in a metric that is learnt |
//! | `gradient-flow` | transition | the flow of the gradient without noise |
//! | `underdamped` | transition | Langevin with momenta and friction (BAOAB) |
//! | `svgd` | transition | particles that follow the slope and keep apart |
//! | `metropolis` | transition | an accept test around any proposal that knows its ratio |
//! | `difference-jump` | transition | jumps by the difference of two other chains or samples |
//! | `chain` | sampler | steps of one transition |
//! | `rounds` | sampler | blocks of steps with transitions in between (generation) |
//! | `tempering` | sampler | a program at one temperature after the other, hot to cold |
//! | `sequential-monte-carlo` | sampler | the same with a population that is weighed and resampled on the way |
//! | `probability-flow` | sampler | down the noise levels of a noise-conditioned energy |
//! | `replica-exchange` | sampler | a program at several temperatures at once, chains change places |
//!
//! ```
//! use std::collections::BTreeMap;
//! use ebm_core::candle::{DType, Device, Tensor};
//! use ebm_core::{Batch, Blind, DrawRequest, Key, Sampler};
//! use ebm_samplers::{Chain, Mala};
//!
//! let e = ebm_testkit::toy::bowl(2, 4.0)?; // a Gaussian of variance ¼
//! let start = Batch::new(Tensor::zeros((2000, 2), DType::F64, &Device::Cpu)?)?;
//! let (mut blind, mut memory) = (Blind, BTreeMap::new());
//! let drawn = Chain::new(Box::new(Mala::new(0.1)), 30)
//!     .draw(&e, start, Key::root(1), &mut DrawRequest::new(&mut blind, &mut memory))?;
//! let variance = drawn.last.at.x.sqr()?.mean_all()?.to_scalar::<f64>()?;
//! assert!((variance - 0.25).abs() < 0.02);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chain;
mod difference_jump;
mod gradient_flow;
mod hmc;
mod hmc_published;
pub mod kit;
mod langevin;
mod mala;
mod mclmc;
mod metropolis;
mod nuts;
mod preconditioned_langevin;
mod probability_flow;
mod replica_exchange;
mod riemannian_hmc;
mod rounds;
mod sequential_monte_carlo;
mod svgd;
mod tempering;
mod ula;
mod underdamped;

pub use chain::{Chain, ChainConfig};
pub use difference_jump::{DifferenceJump, DifferenceJumpConfig, Pairs};
pub use gradient_flow::{FlowMethod, GradientFlow};
pub use hmc::{Hmc, HmcConfig};
pub use hmc_published::{Form, PublishedHmc};
pub use langevin::{Langevin, LangevinConfig};
pub use mala::{Mala, MalaConfig};
pub use mclmc::Mclmc;
pub use metropolis::{Metropolis, MetropolisConfig};
pub use nuts::{Nuts, NutsConfig};
pub use preconditioned_langevin::PreconditionedLangevin;
pub use probability_flow::{Method, ProbabilityFlow};
pub use replica_exchange::{ReplicaExchange, ReplicaExchangeConfig};
pub use riemannian_hmc::{RiemannianHmc, RiemannianHmcConfig};
pub use rounds::{Rounds, RoundsConfig};
pub use sequential_monte_carlo::{SequentialMonteCarlo, SequentialMonteCarloConfig};
pub use svgd::Svgd;
pub use tempering::{Tempering, TemperingConfig};
pub use ula::UlaConfig;
pub use underdamped::Underdamped;
