//! Transitions driven by an energy, and sampling programs over transitions.
//!
#![doc = include_str!("../README.md")]

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
