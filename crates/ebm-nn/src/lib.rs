//! Differentiable layers and network plans for energies.
//!
#![doc = include_str!("../README.md")]

mod builder;
mod check;
mod cost;
mod effective;
mod forward;
mod fusion;
mod images;
pub mod layers;
mod plan_net;
mod shape;
mod slope;

pub use builder::{Conv, NetBuilder, Weight};
pub use check::{check_params, plan_tensors, validate};
pub use cost::Cost;
pub use plan_net::PlanNet;
pub use shape::PlanTensor;
