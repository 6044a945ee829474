//! The contract of the ebm framework: what an energy, a transition, a sampler, an entropy
//! estimator, an objective, a buffer, a data source, an observer and a policy are.
//!
#![doc = include_str!("../README.md")]

mod batch;
pub mod bounds;
mod devices;
mod diff;
pub mod energy;
mod error;
mod finite;
mod key;
mod kinds;
mod params;
pub mod plan;
pub mod regular;
mod sampling;
mod squares;
pub mod tie;
mod training;

// The derived code names this crate so, here as elsewhere.
extern crate self as ebm_core;

pub use batch::{Batch, flat_rows, per_row, row_mean, row_sum, within};
pub use candle_core as candle;
pub use devices::engine::{Accelerated, Engine};
pub use devices::{RowNumber, RowProduct, backend, host, machine, operators, total};
pub use diff::{Diff, Dual, swish_slope};
pub use ebm_derive::Settings;
/// Makes a type a kind of a family: stands at `impl EnergyConfig for Type` or that of another family, and puts the kind
/// into the catalogue. The type derives [`Settings`]; the line that lists of plugins show is the first paragraph of its
/// doc comment, or `summary`.
///
/// ```
/// use std::sync::Arc;
/// use ebm_core::candle::Tensor;
/// use ebm_core::{BuildCx, Diff, EnergyConfig, EnergyFn, Forward, Result, Settings, View, plugin};
///
/// /// A quadratic bowl around the origin: E(x) = ½ k |x|².
/// #[derive(Clone, Debug, Settings)]
/// struct Bowl {
///     /// Inverse variance k.
///     #[setting(above = 0.0)]
///     stiffness: f64,
/// }
///
/// impl Forward for Bowl {
///     fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
///         x.flatten()?.square()?.sum_last()?.scale(0.5 * self.stiffness)
///     }
/// }
///
/// #[plugin("bowl", source = "textbook", example = "stiffness = 1.0")]
/// impl EnergyConfig for Bowl {
///     fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
///         cx.autograd(self.clone(), &["bowl"])
///     }
/// }
/// # fn main() {}
/// ```
pub use ebm_derive::plugin;
pub use energy::autograd::{Autograd, Forward};
pub use energy::compose::{Conditioned, Frozen, Part, SoftMin, Sum};
pub use energy::conditionals::{Conditionals, Pairs};
pub use energy::domain::{Domain, one_hot};
pub use energy::opaque::Opaque;
pub use energy::outline::{Formula, Outline, OutlinePart};
pub use energy::pull_back::{Map, PullBack, Separable};
pub use energy::rows::RowSlopes;
pub use energy::weights::{AllWeights, RowWeights, WeightFn};
pub use energy::{
    Condition, Density, EnergyFn, EnergySpec, Exactness, RowProgram, RowStep, Slope, ThetaGrad, Walked,
};
pub use error::{Error, Result};
pub use finite::{finite, first_bad, first_bad_of_all};
pub use inventory;
pub use key::{Chains, Key, Label, normal_rows, normals, philox4x32};
pub use kinds::build::BuildCx;
pub use kinds::catalogue::{Component, Family, Param, ParamKind};
pub use kinds::config::{
    DataConfig, EnergyConfig, EntropyConfig, ObjectiveConfig, ObserverConfig, OptimiserConfig, PolicyConfig,
    ReplayConfig, SamplerConfig, TransitionConfig,
};
pub use kinds::given::{Given, class_list};
pub use kinds::init::Init;
pub use kinds::places::{Places, way};
pub use kinds::settings::Settings;
pub use kinds::{catalogue, settings};
pub use params::{ParamSet, Role, View};
pub use sampling::draws::{Draws, Keep};
pub use sampling::drive::{Program, common_bounds, drive, one_step};
pub use sampling::entropy::{EntropyEstimate, EntropyEstimator};
pub use sampling::law::Law;
pub use sampling::learning::Learning;
pub use sampling::link::{Link, SlopeDemand, Trail, Transpose};
pub use sampling::population::{effective_share, furthest, systematic};
pub use sampling::replay::ReplayBuffer;
pub use sampling::sampler::{Blind, DrawRequest, Drawn, Probe, Sampler};
pub use sampling::sensitivity::Sensitivity;
pub use sampling::stop::{Stop, Stoppable};
pub use sampling::transition::{Adjust, ChainState, StepInfo, Stepped, Transition};
pub use squares::{relative_change, squares_of_each, squares_of_many, sum_of_squares};
pub use training::columns::{Cell, Cells, Column, Columns, NoSuchCell};
pub use training::data::{DataSource, Labelled, MOMENTS_OF, Split, centre_and_spread, count_classes};
pub use training::health::{Cause, Finding, Level};
pub use training::objective::{
    ChainStart, Demand, Demands, Needs, Objective, OwnFn, Portion, StepInput, TermName, ValueFn, What,
};
pub use training::optimiser::{Optimiser, OptimiserState, Schedule, Shape, Update, Updated};
pub use training::ranks::{Alone, Collective, Sums, agree, tree};
pub use training::report::{Action, Event, Look, Observer, Policy, Report, RunPaths, RunView};
pub use typetag;
