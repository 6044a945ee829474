//! Fused CPU engine: compiled twins of network plans.
//!
//! An energy that describes itself as a [plan](ebm_core::plan::NetPlan) of layers can be compiled:
//! weights are packed once per parameter version, layers are fused, and tensors stay in cache. The
//! [`dense`] path takes fully connected plans, the [`conv`] path everything on images. Both work on
//! flat `f32` slices and depend on candle only in their adapters.
//!
//! ```
//! use ebm_core::plan::{Activation, NetPlan, Node, Op, PlanTerm, Products, WeightRule};
//! use ebm_engine_cpu::conv::{Call, CpuPlan, Workspace};
//! use ebm_engine_cpu::{pool::Pool, simd::Isa};
//!
//! let node = |name: &str, op, inputs: &[usize], shape: &[usize]| Node {
//!     name: name.into(), op, inputs: inputs.to_vec(), shape: shape.to_vec(),
//! };
//! let conv = Op::Conv {
//!     weight: "w".into(), bias: None, kernel: 3, stride: 1, padding: 1, rule: WeightRule::Plain,
//! };
//! let net = NetPlan {
//!     input: vec![1, 4, 4],
//!     condition: 0,
//!     nodes: vec![
//!         node("x", Op::Input, &[], &[1, 4, 4]),
//!         node("conv", conv, &[0], &[1, 4, 4]),
//!         node("square", Op::Activate(Activation::Square), &[1], &[1, 4, 4]),
//!         node("e", Op::SpatialSum, &[2], &[1]),
//!     ],
//!     terms: vec![PlanTerm { name: "e".into(), node: 3 }],
//!     products: Products::Full,
//! };
//! let plan = CpuPlan::compile(&net, Isa::detect())?;
//! // Only the centre tap: E(x) = Σ (2x)², whose slope is 8x.
//! let mut w = [0.0; 9];
//! w[4] = 2.0;
//! let packed = plan.pack(|name| (name == "w").then_some(&w[..]))?;
//! let (x, mut terms, mut slope) = ([0.5; 16], [0.0], [0.0; 16]);
//! let call = Call { x: &x, cond: None };
//! plan.slope(&packed, &mut Workspace::new(), Pool::global(), call, &mut terms, &mut slope)?;
//! assert!((terms[0] - 16.0).abs() < 1e-4 && (slope[5] - 4.0).abs() < 1e-4);
//! # Ok::<(), ebm_engine_cpu::conv::Unsupported>(())
//! ```

pub mod conv;
pub mod dense;
mod engine;
mod peak;
pub mod pool;
pub mod simd;
mod walked;

pub use conv::CpuEnergy;
pub use engine::CpuEngine;
pub use peak::peak_flops;
