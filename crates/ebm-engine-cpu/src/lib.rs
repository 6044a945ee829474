//! Fused CPU engine: compiled twins of network plans.
//!
//! An energy that describes itself as a [plan](ebm_core::plan::NetPlan) of layers can be compiled:
//! weights are packed once per parameter version, layers are fused, and tensors stay in cache. One path takes fully
//! connected plans, one everything on images. Both work on flat `f32` slices and depend on candle only in their adapters.
//!
//! ```
//! use ebm_core::candle::{DType, Device};
//! use ebm_core::plan::Activation;
//! use ebm_core::{Accelerated, BuildCx, Engine, Key};
//! use ebm_engine_cpu::CpuEngine;
//! use ebm_nn::{Conv, NetBuilder};
//!
//! let mut cx = BuildCx::new(&[1, 8, 8], DType::F32, &Device::Cpu, Key::root(0));
//! let mut net = NetBuilder::new(&mut cx);
//! net.conv("conv", Conv::new(16, 3))?.activate(Activation::Swish)?;
//! net.spatial_mean()?.linear("head", 1)?.term("energy");
//! let energy = net.finish()?;
//! match CpuEngine::new().accelerate(&energy)? {
//!     Accelerated::Twin(twin) => assert!(twin.engine().starts_with("fused convolutional")),
//!     Accelerated::Graph(why) => panic!("{why}"),
//! }
//! # Ok::<(), ebm_core::Error>(())
//! ```

mod backend;
mod conv;
#[cfg(test)]
mod counting;
mod dense;
mod engine;
mod peak;
mod pointwise;
mod pool;
mod range;
#[cfg(test)]
#[allow(dead_code)] // the example uses more of it
#[path = "../examples/slope/resnet.rs"]
mod resnet;
mod simd;
#[cfg(test)]
mod testing;
mod twin;
mod unsupported;

pub use engine::CpuEngine;
pub use simd::Isa;
