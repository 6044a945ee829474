//! Differentiable layers and network plans for energies.
//!
//! A network is built once and gives its energy, its parameters and its plan together:
//!
//! ```
//! use ebm_core::candle::{DType, Device, Tensor};
//! use ebm_core::plan::Activation::Swish;
//! use ebm_core::{Batch, BuildCx, Key};
//! use ebm_nn::{Cost, NetBuilder};
//!
//! let mut cx = BuildCx::new(&[2], DType::F64, &Device::Cpu, Key::root(0));
//! let mut net = NetBuilder::new(&mut cx);
//! net.linear("layer1", 16)?.activate(Swish)?.linear("head", 1)?.term("energy");
//! let energy = net.finish()?;
//!
//! let at = Batch::new(Tensor::new(&[[0.5, -1.0]], &Device::Cpu)?)?;
//! assert_eq!(energy.slope(&at)?.grad.dims(), [1, 2]);
//! let plan = energy.plan().expect("a built network has a plan");
//! assert_eq!(Cost::of(plan)?.parameters, 2 * 16 + 16 + 16 + 1);
//! # Ok::<(), ebm_core::Error>(())
//! ```
//!
//! [`layers`] holds the operations as functions over [`Diff`](ebm_core::Diff), for forward passes
//! written by hand; [`PlanNet`] interprets a plan; [`NetBuilder`] writes one; [`validate`] and
//! [`Cost`] look at it.

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
