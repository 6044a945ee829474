//! What to differentiate: an objective returns demands, the trainer fulfils them.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{Batch, Drawn, EnergyFn, Key, Result, WeightFn};

/// What a step must provide for an objective; checked before the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// Samples from the model (the sampler runs).
    pub samples: bool,
    /// Number of the last links of the sampler; `usize::MAX` for all, however many there are.
    pub trail: usize,
    /// Through how many rows the trail is needed; `None` for all.
    pub trail_rows: Option<usize>,
    /// Size of the reference set for the entropy, drawn from the replay buffer; 0 for none.
    pub bank: usize,
    /// The buffer must hold *more* than this many samples before the bank is drawn.
    pub bank_above: usize,
    /// Whether the tangent calls of the energy must be exact.
    pub exact: bool,
    /// Whether data must have labels that the energy takes as its condition.
    pub labels: bool,
}

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
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StepInput<'a> {
    /// Training samples.
    pub data: &'a Batch,
    /// Model samples, if the objective needs them.
    pub drawn: Option<&'a Drawn>,
    /// Reference samples `(M, ...)`, once the buffer holds enough.
    pub bank: Option<&'a Tensor>,
    /// Number of the training step, from 0.
    pub step: u64,
    /// Which rows of a larger batch these are; `None` if they are all.
    pub portion: Option<Portion>,
}

impl<'a> StepInput<'a> {
    /// The inputs of step `step`.
    pub fn new(data: &'a Batch, drawn: Option<&'a Drawn>, bank: Option<&'a Tensor>, step: u64) -> Self {
        StepInput { data, drawn, bank, step, portion: None }
    }

    /// The same as rows of a larger batch.
    #[must_use]
    pub fn with_portion(mut self, portion: Portion) -> Self {
        self.portion = Some(portion);
        self
    }

    /// Which rows of a larger batch those of `at` are.
    pub fn portion_of(&self, at: &Batch) -> Portion {
        self.portion.unwrap_or(Portion { first: 0, of: at.len() })
    }
}

/// The value of a term as a function of the energies `(B, T)` of its demand's batch.
pub type ValueFn = dyn Fn(&Tensor) -> Result<f64> + Send + Sync;

/// What to differentiate.
pub enum What {
    /// ∇_θ Σ w_bt·E_t(x_b).
    Energy {
        /// Which batch this is, such as `data` or `samples`; demands on the same one share a pass.
        rows: &'static str,
        /// The batch.
        at: Batch,
        /// Weights `(B, T)` as a function of the terms.
        weight: Box<WeightFn<'static>>,
        /// Contribution to the loss term's value.
        value: Box<ValueFn>,
    },
    /// ∇_θ Σ_b ⟨v_b, ∇ₓE(x_b)⟩.
    Slope {
        /// The batch.
        at: Batch,
        /// The constant direction.
        v: Tensor,
    },
}

/// One part of the update direction, with the name of the loss term it belongs to.
pub struct Demand {
    /// The loss term: `cd`, `reg`, `kl`, `ent`, `label`.
    pub label: &'static str,
    /// What to differentiate.
    pub what: What,
}

/// All demands of a step and the values of terms that are known already.
#[derive(Default)]
pub struct Demands {
    /// Their gradients add up to the gradient of the loss.
    pub list: Vec<Demand>,
    /// Values of loss terms by label; those of `Energy` demands are added when they are fulfilled.
    pub values: BTreeMap<&'static str, f64>,
}

impl Demands {
    /// Adds a demand on energies.
    pub fn energy(
        &mut self,
        label: &'static str,
        rows: &'static str,
        at: &Batch,
        weight: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
        value: impl Fn(&Tensor) -> Result<f64> + Send + Sync + 'static,
    ) {
        let what = What::Energy { rows, at: at.clone(), weight: Box::new(weight), value: Box::new(value) };
        self.list.push(Demand { label, what });
    }

    /// Adds a demand on a directional slope.
    pub fn slope(&mut self, label: &'static str, at: Batch, v: Tensor) {
        self.list.push(Demand { label, what: What::Slope { at, v } });
    }
}

/// Says what to differentiate; the trainer decides how (merged, split, on which device).
pub trait Objective: Send + Sync {
    /// Samples, trail length, entropy: what a step must provide, checked before the run.
    fn needs(&self) -> Needs;

    /// Whether demands and values keep to [`StepInput::portion`]: those of all portions add up to those of the whole
    /// batch. Otherwise a batch is never shared between ranks.
    fn portions(&self) -> bool {
        false
    }

    /// Gradient demands of one step; their sum is the gradient of the loss.
    ///
    /// # Errors
    /// If the energy fails or an input that [`Objective::needs`] named is missing.
    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands>;

    /// The objective's name for messages.
    fn name(&self) -> String;
}
