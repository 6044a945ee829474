//! A device word and an engine of one's own: the processor once more, with twins that count their slopes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ebm_core::backend::{Backend, Entry, NoDevice};
use ebm_core::candle::{Device, Tensor};
use ebm_core::plan::NetPlan;
use ebm_core::{
    Accelerated, Batch, EnergyFn, EnergySpec, Engine, ParamSet, Result, Slope, ThetaGrad, WeightFn, inventory,
};

// ANCHOR: backend
/// Brings the device words `toy` and `toy:N`.
struct Toy;

impl Backend for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }
    fn words(&self) -> &'static [&'static str] {
        &["toy", "toy:N"]
    }
    fn open(&self, number: usize) -> std::result::Result<Device, NoDevice> {
        match number {
            // A GPU's author opens it here and installs its operators.
            0 => Ok(Device::Cpu),
            n => Err(NoDevice::NotThere(format!("there is one toy, number 0, and no number {n}"))),
        }
    }
    fn engine(&self) -> Option<Arc<dyn Engine>> {
        Some(Arc::new(Counting))
    }
}

inventory::submit! { Entry { backend: &Toy, origin: env!("CARGO_PKG_NAME") } }
// ANCHOR_END: backend

// ANCHOR: engine
struct Counting;

impl Engine for Counting {
    fn name(&self) -> &str {
        "toy"
    }
    fn accelerate(&self, energy: &Arc<dyn EnergyFn>) -> Result<Accelerated> {
        // An engine that compiles networks asks for `energy.plan()` and refuses what it does not cover.
        Ok(Accelerated::Twin(Arc::new(Counted { graph: energy.clone(), slopes: AtomicU64::new(0) })))
    }
}
// ANCHOR_END: engine

/// Passes every call on.
struct Counted {
    graph: Arc<dyn EnergyFn>,
    slopes: AtomicU64,
}

impl EnergyFn for Counted {
    fn spec(&self) -> &EnergySpec {
        self.graph.spec()
    }
    fn params(&self) -> &ParamSet {
        self.graph.params()
    }
    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.graph.terms(at)
    }
    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.slopes.fetch_add(1, Ordering::Relaxed);
        self.graph.slope(at)
    }
    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        self.graph.grad_theta(at, w)
    }
    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.graph.grad_theta_slope(at, v)
    }
    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.graph.hvp(at, v)
    }
    fn plan(&self) -> Option<&NetPlan> {
        self.graph.plan()
    }
    fn engine(&self) -> String {
        format!("toy, {} slopes so far", self.slopes.load(Ordering::Relaxed))
    }
}
