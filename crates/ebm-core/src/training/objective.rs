//! What to differentiate: an objective returns demands, the trainer fulfils them.

mod demands;
mod needs;

use std::sync::Arc;

use candle_core::Tensor;

pub use demands::{Demand, Demands, OwnFn, TermName, ValueFn, What};
pub use needs::Needs;

use crate::{Batch, Drawn, EnergyFn, Key, ParamSet, Result};

/// Which rows of a batch a rank has when several ranks share the batch. A loss is a mean over all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Rows before the first one here.
    pub first: usize,
    /// Rows of the whole batch.
    pub of: usize,
}

impl Portion {
    /// How many of the first `count` rows of the whole batch are among the `here` rows of this portion; they are
    /// its first ones.
    pub fn leading(&self, count: usize, here: usize) -> usize {
        count.min(self.of).saturating_sub(self.first).min(here)
    }
}

/// The inputs of one step.
#[derive(Clone)]
#[non_exhaustive]
pub struct StepInput<'a> {
    /// Training samples.
    pub data: &'a Batch,
    /// Model samples, if the objective needs them.
    pub drawn: Option<&'a Drawn>,
    /// The energy that the chains of `drawn` followed, where it was the objective's own.
    pub chains: Option<&'a dyn EnergyFn>,
    /// Reference samples `(M, ...)`, once the buffer holds enough.
    pub bank: Option<&'a Tensor>,
    /// How many samples the replay buffers hold; `None` where nobody counts.
    pub held: Option<usize>,
    /// Number of the training step, from 0.
    pub step: u64,
    /// Number of steps of the run; 0 where there is no end.
    pub of: u64,
    /// Which rows of a larger batch these are; `None` if they are all.
    pub portion: Option<Portion>,
}

impl<'a> StepInput<'a> {
    /// The inputs of step `step`.
    pub fn new(data: &'a Batch, drawn: Option<&'a Drawn>, bank: Option<&'a Tensor>, step: u64) -> Self {
        StepInput { data, drawn, chains: None, bank, held: None, step, of: 0, portion: None }
    }

    /// The same as rows of a larger batch.
    #[must_use]
    pub fn with_portion(mut self, portion: Portion) -> Self {
        self.portion = Some(portion);
        self
    }

    /// The same in a run of `of` steps.
    #[must_use]
    pub fn with_length(mut self, of: u64) -> Self {
        self.of = of;
        self
    }

    /// The same with replay buffers that hold `held` samples.
    #[must_use]
    pub fn with_held(mut self, held: usize) -> Self {
        self.held = Some(held);
        self
    }

    /// The same with chains that followed the energy `chains`.
    #[must_use]
    pub fn with_chains(mut self, chains: Option<&'a dyn EnergyFn>) -> Self {
        self.chains = chains;
        self
    }

    /// Which rows of a larger batch those of `at` are.
    pub fn portion_of(&self, at: &Batch) -> Portion {
        self.portion.unwrap_or(Portion { first: 0, of: at.len() })
    }
}

/// Where the chains of a step start, and which energy they follow.
pub struct ChainStart {
    /// The energy of the chains, such as `E(x) + ‖x − y‖²/2σ²` around noisy data `y`. Its parameters are those of the
    /// energy that is trained, and it differs from it by what does not depend on them.
    pub energy: Arc<dyn EnergyFn>,
    /// Where they start, one for each row of the data.
    pub from: Batch,
}

// ANCHOR: objective
/// Says what to differentiate; the trainer decides how (merged, split, on which device).
///
/// Pure in `(energy, input, key)`: what it knows of the past is in the energy and in its own parameters.
pub trait Objective: Send + Sync {
    /// Samples, trail length, entropy: what a step must provide, checked before the run.
    fn needs(&self) -> Needs;

    /// What step `step` of `of` must provide, at most [`Objective::needs`]. Where no samples are needed, the sampler does
    /// not run.
    fn needs_at(&self, step: u64, of: u64) -> Needs {
        let _ = (step, of);
        self.needs()
    }

    /// Whether what it demands depends on the length of the run (weights on a schedule): then a continuation of another
    /// length must say what becomes of it.
    fn scheduled(&self) -> bool {
        false
    }

    /// Names of the loss terms that demands and values belong to; by default its own name.
    fn terms(&self) -> Vec<TermName> {
        vec![self.name().into()]
    }

    /// Parameters of its own, such as a learned log Z: declared with [`BuildCx::param`] and taken with
    /// [`BuildCx::take_params`] when it is built. They are trained, averaged and saved beside those of the energy, as
    /// `objective.<name>`; their gradients are demanded with [`Demands::own`].
    ///
    /// [`BuildCx::param`]: crate::BuildCx::param
    /// [`BuildCx::take_params`]: crate::BuildCx::take_params
    fn params(&self) -> ParamSet {
        ParamSet::default()
    }

    /// Whether demands and values keep to [`StepInput::portion`]: those of all portions add up to those of the whole
    /// batch. Otherwise a batch is never shared between ranks.
    fn portions(&self) -> bool {
        false
    }

    /// Energy and starts of the chains of a step, where [`Needs::own_chains`] says that they are not the run's. `key` is
    /// that of [`Objective::demands`], so both can make the same random numbers.
    ///
    /// # Errors
    /// If the energy cannot be made.
    fn chains(&self, e: &Arc<dyn EnergyFn>, data: &Batch, key: Key) -> Result<Option<ChainStart>> {
        let _ = (e, data, key);
        Ok(None)
    }

    /// Gradient demands of one step; their sum is the gradient of the loss.
    ///
    /// # Errors
    /// If the energy fails or an input that [`Objective::needs`] named is missing.
    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands>;

    /// The objective's name for messages.
    fn name(&self) -> String;
}
// ANCHOR_END: objective
