//! Energies over energies: sum, soft-min, negate, temperature, multi-scale, pull-back, frozen,
//! conditioned, marginal, noise-conditioned. Each is an energy again, closed under the five calls, and nests freely.
//!
#![doc = include_str!("../README.md")]

mod conditioned;
mod frozen;
mod marginal;
mod multi_scale;
mod noise_conditioned;
mod pull_back;
mod scaled;
mod soft_min;
mod sum;

pub use conditioned::ConditionedConfig;
pub use frozen::FrozenConfig;
pub use marginal::MarginalConfig;
pub use multi_scale::MultiScale;
pub use noise_conditioned::{FEATURES, NoiseConditioned, NoiseConditionedSettings};
pub use pull_back::{PullBackConfig, View};
pub use scaled::{Negate, Temperature};
pub use soft_min::{SoftMinConfig, SoftMinPart};
pub use sum::{PartConfig, SumConfig};
