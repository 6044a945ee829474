//! A wish to stop that long work listens to: between steps, inside of programs of many steps, while samples are drawn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;

use crate::{
    Batch, Conditionals, Density, EnergyFn, EnergySpec, Error, Key, Pairs, ParamSet, Result, RowProgram,
    Slope, ThetaGrad, Walked, WeightFn,
};

/// A wish to stop. Clones share it, so one that is set anywhere is heard everywhere; it is never taken back.
///
/// ```
/// let stop = ebm_core::Stop::default();
/// let heard = stop.clone();
/// assert!(heard.check().is_ok());
/// stop.set();
/// assert!(heard.is_set() && heard.check().is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Wishes to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody wishes to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on unless somebody wishes to stop.
    ///
    /// # Errors
    /// [`Error::Stopped`] if somebody does.
    pub fn check(&self) -> Result<()> {
        if self.is_set() { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// Two wishes are equal if they are the same one.
impl PartialEq for Stop {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// An energy whose calls end with [`Error::Stopped`] once somebody wishes to stop. Whatever a program does between two calls,
/// its energy is asked again and again, so that a program of any length and any kind hears it.
pub struct Stoppable<'a> {
    inner: &'a dyn EnergyFn,
    stop: Stop,
}

impl<'a> Stoppable<'a> {
    /// `inner`, whose callers want to hear of `stop`.
    pub fn new(inner: &'a dyn EnergyFn, stop: &Stop) -> Self {
        Stoppable { inner, stop: stop.clone() }
    }
}

impl EnergyFn for Stoppable<'_> {
    fn spec(&self) -> &EnergySpec {
        self.inner.spec()
    }

    fn params(&self) -> &ParamSet {
        self.inner.params()
    }

    fn outline(&self) -> Result<crate::Outline> {
        self.inner.outline()
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.stop.check()?;
        self.inner.terms(at)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.stop.check()?;
        self.inner.slope(at)
    }

    fn identity(&self) -> Option<crate::operators::Identity> {
        self.inner.identity()
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        self.stop.check()?;
        self.inner.grad_theta(at, w)
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.stop.check()?;
        self.inner.grad_theta_slope(at, v)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.stop.check()?;
        self.inner.hvp(at, v)
    }

    fn energy(&self, at: &Batch) -> Result<Tensor> {
        self.stop.check()?;
        self.inner.energy(at)
    }

    fn plan(&self) -> Option<&crate::plan::NetPlan> {
        self.inner.plan()
    }

    /// An engine that runs the whole program is told of the wish, and leaves its loop for it.
    fn walk(&self, at: &Batch, program: &RowProgram, key: Key) -> Result<Option<Walked>> {
        let heard = RowProgram { stop: self.stop.clone(), ..program.clone() };
        let walked = crate::operators::walk(self.inner, at, &heard, key)?;
        // What an engine gives back that left its loop are no samples.
        self.stop.check()?;
        Ok(walked)
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.inner.refreshed_buffers()
    }

    fn density(&self) -> Option<&dyn Density> {
        self.inner.density()
    }

    fn conditionals(&self) -> Option<&dyn Conditionals> {
        self.inner.conditionals().map(|_| self as &dyn Conditionals)
    }

    fn engine(&self) -> String {
        self.inner.engine()
    }

    fn layers(&self, batch: usize) -> String {
        self.inner.layers(batch)
    }
}

impl Stoppable<'_> {
    fn laws(&self) -> Result<&dyn Conditionals> {
        let none = || Error::config("energy", "knows no laws of coordinates given all others");
        self.inner.conditionals().ok_or_else(none)
    }
}

/// Sweeps of blocks ask for no energy, so their draws hear the wish.
impl Conditionals for Stoppable<'_> {
    fn blocks(&self) -> usize {
        self.inner.conditionals().map_or(0, |laws| laws.blocks())
    }

    fn redraw(&self, at: &Batch, block: usize, key: Key) -> Result<Tensor> {
        self.stop.check()?;
        self.laws()?.redraw(at, block, key)
    }

    fn along(&self, beta: f64, fields: &Tensor) -> Result<Arc<dyn EnergyFn>> {
        self.laws()?.along(beta, fields)
    }

    fn log_z_of_fields(&self, fields: &Tensor) -> Result<f64> {
        self.laws()?.log_z_of_fields(fields)
    }

    fn pairs(&self) -> Result<Option<Pairs>> {
        self.stop.check()?;
        self.laws()?.pairs()
    }
}
