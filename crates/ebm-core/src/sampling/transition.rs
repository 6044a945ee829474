//! One Markov step, its state and its diagnostics.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{Batch, EnergyFn, Key, Law, Learning, Link, Result, RowStep, Sensitivity, Slope};

/// Diagnostics of one step: named tensors `(B,)` still on the device. Usual names are `energy`,
/// `grad_square` (mean square of the gradient's entries), `accepted` (0 or 1), `saturated`
/// (share of coordinates on the clamp) and, where chains are measured and not trained on, `divergent` and `at_limit` (0 or 1:
/// the move's error was beyond any that its test can mend; its step size is the smallest or largest allowed).
pub type StepInfo = BTreeMap<&'static str, Tensor>;

/// Everything a chain carries from one step to the next; serialisable as named tensors.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChainState {
    /// Position, condition and identity of the chains.
    pub at: Batch,
    /// Index of the next step in the program.
    pub step: usize,
    /// Length of the program (for schedules); at least 1.
    pub of: usize,
    /// The slope at the position, if the last step knew it.
    pub cache: Option<Slope>,
    /// Whatever else the transition keeps (momentum, adapted step sizes), by name.
    pub aux: BTreeMap<String, Tensor>,
    /// Constant samples `(M, ...)` that the caller lends for the whole program, such as training data
    /// ([`DrawRequest::reference`](crate::DrawRequest::reference)).
    pub reference: Option<Tensor>,
    /// What the next step may learn; whoever runs the program says so ([`DrawRequest::warm_up`](crate::DrawRequest::warm_up)).
    pub learning: Learning,
    /// Steps of the warm-up that are left, this one included; 0 where there is none, or none is known.
    pub warm_up_left: usize,
}

impl ChainState {
    /// A state at `at` with nothing cached, at the first of one step.
    pub fn new(at: Batch) -> Self {
        let (cache, aux, reference) = (None, BTreeMap::new(), None);
        ChainState {
            at,
            step: 0,
            of: 1,
            cache,
            aux,
            reference,
            learning: Learning::default(),
            warm_up_left: 0,
        }
    }

    /// The next state of the same program: position `x`, step index raised, cache dropped, all else kept.
    #[must_use]
    pub fn advance(&self, x: Tensor) -> Self {
        ChainState {
            at: self.at.with_x(x),
            step: self.step + 1,
            of: self.of,
            cache: None,
            aux: self.aux.clone(),
            reference: self.reference.clone(),
            learning: self.learning,
            warm_up_left: self.warm_up_left,
        }
    }

    /// How far the program has come, from 0 at the first to 1 at the last step.
    pub fn progress(&self) -> f64 {
        if self.of > 1 { self.step as f64 / (self.of - 1) as f64 } else { 0.0 }
    }

    /// The cached slope, or a fresh one.
    ///
    /// # Errors
    /// If the energy fails.
    pub fn slope(&self, e: &dyn EnergyFn) -> Result<Slope> {
        match &self.cache {
            Some(s) => Ok(s.clone()),
            None => e.slope(&self.at),
        }
    }
}

/// A step's result.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stepped {
    /// The new state.
    pub state: ChainState,
    /// Diagnostics.
    pub info: StepInfo,
    /// How the new position depends on the parameters.
    pub link: Link,
}

impl Stepped {
    /// A step that reached `state`; no diagnostics.
    pub fn new(state: ChainState, link: Link) -> Self {
        Stepped { state, info: StepInfo::new(), link }
    }

    /// The same with the diagnostic `name` `(B,)`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Tensor) -> Self {
        self.info.insert(name, value);
        self
    }
}

/// Changes to a transition's settings along a program, as factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adjust {
    /// Factor of the step size.
    pub step_size: f64,
    /// Factor of the noise.
    pub noise: f64,
}

// ANCHOR: transition
/// One Markov kernel. Pure in `(state, key)`: same inputs, same outputs, on every device.
pub trait Transition: Send + Sync {
    /// State at `at`, with whatever the kernel carries between steps (momentum, cache).
    ///
    /// # Errors
    /// If the energy or an operation fails.
    fn init(&self, e: &dyn EnergyFn, at: Batch, key: Key) -> Result<ChainState> {
        let _ = (e, key);
        Ok(ChainState::new(at))
    }

    /// One step: the new state, its diagnostics, and how it depends on θ.
    ///
    /// # Errors
    /// If the energy or an operation fails.
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped>;

    /// Whether `Stepped::link` is exact, and whether θ enters; asked before a run starts, not during it. A kernel made of others joins
    /// what they say, by [`Sensitivity::all`] if it does one after the other, by [`Sensitivity::either`] if each chain does one of them.
    ///
    /// Exact means the derivative of the step as it happened: random numbers, decisions, and step sizes that
    /// were adapted are held fixed; gradients of the energy, clamps and maps of the position are differentiated. See [`Link`].
    fn sensitivity(&self) -> Sensitivity;

    /// The box that holds every coordinate after a step, if there is one: a clamp, or a range outside of which
    /// proposals are rejected. Data outside of it are a mistake that is found before a run.
    fn bounds(&self) -> Option<(f64, f64)> {
        None
    }

    /// Whether the step can move chains of this energy; asked before a run. By default a step goes through real numbers, so
    /// it refuses an energy of a discrete domain. Transitions made of others ask those.
    ///
    /// # Errors
    /// Names what the step needs and the energy has not.
    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        e.spec().domain.real_for(self.name())
    }

    /// What the step claims of the law exp(−E/T) of chains; tests hold it to that. Transitions made of others join what
    /// those say, by [`Law::all`] or [`Law::either`].
    fn law(&self) -> Law {
        Law::Unsaid
    }

    /// Standard deviation of the noise that a step adds to each coordinate where the energy is flat, in units of the samples, if
    /// it is the same for all; tests hold it to that. By default that of [`Transition::row_step`].
    fn noise(&self) -> Option<f64> {
        self.row_step(0, 1).map(|step| step.noise)
    }

    /// Whether where a chain goes depends on the other chains of its batch. Ranks that hold parts of one batch
    /// cannot run such a step. Transitions made of others pass on what those say.
    fn couples_chains(&self) -> bool {
        false
    }

    /// Whether the step looks at the reference samples of the request. A model keeps some for generation if its program does.
    /// Transitions made of others pass on what those say.
    fn needs_reference(&self) -> bool {
        false
    }

    /// Whether the step evaluates the energy; augmentation and noise do not.
    fn needs_energy(&self) -> bool {
        true
    }

    /// This step as data, if it touches each row alone by one gradient step, at step `index` of `of`.
    fn row_step(&self, index: usize, of: usize) -> Option<RowStep> {
        let _ = (index, of);
        None
    }

    /// The same kernel with adjusted settings, for annealing; `None` if it has none to adjust.
    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        let _ = by;
        None
    }

    /// Logarithm of the proposal ratio `log q(x|x′) − log q(x′|x)`, `(B,)`, of a move from `from` to
    /// `to`, if the kernel knows it; lets `metropolis` wrap it. Symmetric proposals return zeros.
    ///
    /// # Errors
    /// If an operation fails.
    fn log_ratio(&self, e: &dyn EnergyFn, from: &ChainState, to: &ChainState) -> Result<Option<Tensor>> {
        let _ = (e, from, to);
        Ok(None)
    }

    /// Names of `aux` entries that outlive a program (adapted step sizes): the trainer keeps them
    /// from one program to the next and in checkpoints.
    fn carried(&self) -> Vec<String> {
        Vec::new()
    }

    /// The kernel's name for messages.
    fn name(&self) -> String;
}
// ANCHOR_END: transition
