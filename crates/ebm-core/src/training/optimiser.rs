//! Optimisers with explicit state, and learning-rate schedules.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::{ParamSet, Result, Settings};
use candle_core::Tensor;

/// Moments of an optimiser by name, all in a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct OptimiserState {
    /// Number of updates so far.
    pub step: u64,
    /// Named tensors such as `exp_avg_sq.layer1.weight`.
    pub tensors: BTreeMap<String, Tensor>,
}

// ANCHOR: update
/// What an update reads.
#[derive(Clone, Copy)]
pub struct Update<'a> {
    /// The parameters.
    pub params: &'a ParamSet,
    /// Their gradients; a parameter without one stays.
    pub grads: &'a BTreeMap<String, Tensor>,
    /// Moments.
    pub state: &'a OptimiserState,
    /// Learning rate after schedule and policies.
    pub rate: f64,
    /// Factor of all gradients, at most 1: clipping by the global norm.
    pub factor: f64,
    /// The moving average and the share of it that stays.
    pub average: Option<(&'a BTreeMap<String, Tensor>, f64)>,
}
// ANCHOR_END: update

impl<'a> Update<'a> {
    /// An update by the whole gradients, without an average.
    pub fn new(
        params: &'a ParamSet,
        grads: &'a BTreeMap<String, Tensor>,
        state: &'a OptimiserState,
        rate: f64,
    ) -> Self {
        Update { params, grads, state, rate, factor: 1.0, average: None }
    }

    /// The gradients times the clipping factor.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn clipped(&self) -> Result<Cow<'_, BTreeMap<String, Tensor>>> {
        if self.factor >= 1.0 {
            return Ok(Cow::Borrowed(self.grads));
        }
        let scaled = |(name, g): (&String, &Tensor)| Ok((name.clone(), g.affine(self.factor, 0.0)?));
        Ok(Cow::Owned(self.grads.iter().map(scaled).collect::<Result<_>>()?))
    }

    /// The update that makes the parameters `params` and the moments `state`, with the moving average of all.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn done(&self, params: BTreeMap<String, Tensor>, state: OptimiserState) -> Result<Updated> {
        let average = self.averaged(&params, BTreeMap::new())?;
        Ok(Updated { params, state, average })
    }

    /// The moving average `e ← keep·e + (1 − keep)·θ` after an update that makes the parameters `new`; entries that are `done` already stay.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn averaged(
        &self,
        new: &BTreeMap<String, Tensor>,
        mut done: BTreeMap<String, Tensor>,
    ) -> Result<Option<BTreeMap<String, Tensor>>> {
        let Some((old, keep)) = self.average else { return Ok(None) };
        for (name, e) in old {
            if done.contains_key(name) {
                continue;
            }
            let e = match new.get(name).or_else(|| self.params.get(name)) {
                Some(theta) => (e.affine(keep, 0.0)? + theta.affine(1.0 - keep, 0.0)?)?,
                None => e.clone(),
            };
            done.insert(name.clone(), e);
        }
        Ok(Some(done))
    }
}

/// What an update would write.
#[derive(Clone, Debug)]
pub struct Updated {
    /// New values of the parameters that had a gradient.
    pub params: BTreeMap<String, Tensor>,
    /// New moments.
    pub state: OptimiserState,
    /// The new moving average, if there is one.
    pub average: Option<BTreeMap<String, Tensor>>,
}

// ANCHOR: optimiser
/// Turns gradients into new parameters. Pure: nothing is written until the trainer commits.
pub trait Optimiser: Send + Sync {
    /// New values of the parameters that have a gradient, the next moments, and the moving average of every parameter that has one.
    ///
    /// [`Update::clipped`] gives the gradients and [`Update::done`] the average; an optimiser that does all of it in one pass over
    /// the numbers gives the same to the last bit.
    ///
    /// # Errors
    /// If shapes differ or an operation fails.
    fn update(&self, u: &Update<'_>) -> Result<Updated>;

    /// The learning rate at `step` of `of`, before policies.
    fn rate(&self, step: u64, of: u64) -> f64;

    /// Largest global gradient norm; larger gradients are scaled down to it. `None`: no clipping.
    fn clip_norm(&self) -> Option<f64> {
        None
    }

    /// Decay of the exponential moving average of the parameters; `None`: no average.
    fn average(&self) -> Option<f64> {
        None
    }

    /// The optimiser's name for messages.
    fn name(&self) -> String;
}
// ANCHOR_END: optimiser

/// A learning-rate schedule as a factor of the base rate.
#[derive(Clone, Debug, PartialEq, Settings)]
pub struct Schedule {
    /// Form of the decay from 1.
    pub shape: Shape,
    /// Factor of the rate at the end of the run.
    #[setting(default = 0.0, at_least = 0.0)]
    pub end: f64,
    /// Updates of linear warm-up from 0.
    #[setting(default = 0, unit = "updates")]
    pub warmup: u64,
}

/// Form of a decay from 1 to [`Schedule::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Shape {
    /// Stays at 1.
    Constant,
    /// A straight line.
    Linear,
    /// Half a cosine.
    Cosine,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule { shape: Shape::Constant, end: 1.0, warmup: 0 }
    }
}

impl Schedule {
    /// The factor at `step` of `of`.
    pub fn factor(&self, step: u64, of: u64) -> f64 {
        let t = if of > 0 { (step as f64 / of as f64).min(1.0) } else { 0.0 };
        let decay = match self.shape {
            Shape::Constant => 1.0,
            Shape::Linear => 1.0 + (self.end - 1.0) * t,
            Shape::Cosine => self.end + (1.0 - self.end) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos()),
        };
        let warm = if self.warmup > 0 { ((step + 1) as f64 / self.warmup as f64).min(1.0) } else { 1.0 };
        decay * warm
    }
}
