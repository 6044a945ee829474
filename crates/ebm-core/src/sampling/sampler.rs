//! A program over transitions: chains in, chains out, with diagnostics and a trail for gradients.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{
    Batch, ChainState, Draws, EnergyFn, Key, Learning, Result, Sensitivity, StepInfo, Stepped, Trail,
};

/// Watches a program step by step. Closures `FnMut(usize, &Stepped) -> Result<()>` are probes.
pub trait Probe {
    /// Called after step `index` (from 0) of the program.
    ///
    /// # Errors
    /// An error stops the program.
    fn on_step(&mut self, index: usize, step: &Stepped) -> Result<()>;

    /// Whether the probe wants every step. If not, an engine may run the program as a whole.
    fn wants_steps(&self) -> bool {
        true
    }
}

/// A probe that looks at nothing.
pub struct Blind;

impl Probe for Blind {
    fn on_step(&mut self, _: usize, _: &Stepped) -> Result<()> {
        Ok(())
    }

    fn wants_steps(&self) -> bool {
        false
    }
}

impl<F: FnMut(usize, &Stepped) -> Result<()>> Probe for F {
    fn on_step(&mut self, index: usize, step: &Stepped) -> Result<()> {
        self(index, step)
    }
}

/// What a caller asks of a program besides its result.
#[non_exhaustive]
pub struct DrawRequest<'a> {
    /// How many of the last links that look at the energy to keep for the KL term; `usize::MAX` for all. See [`Trail::push`].
    pub trail: usize,
    /// Rows of the trail to keep; later rows are not differentiated. `None` keeps all.
    pub trail_rows: Option<usize>,
    /// Looks at every step.
    pub probe: &'a mut dyn Probe,
    /// State that outlives programs, such as adapted step sizes; read and written.
    pub memory: &'a mut BTreeMap<String, Tensor>,
    /// Constant samples `(M, ...)` of the chains' shape, such as training data, for transitions that look at some
    /// (`difference-jump`); they find them in [`ChainState::reference`].
    pub reference: Option<&'a Tensor>,
    /// How many of the first steps adapt step sizes, which are fixed from then on; steps find it in
    /// [`ChainState::learning`]. `None` goes on adapting, as training does.
    pub warm_up: Option<usize>,
}

impl<'a> DrawRequest<'a> {
    /// A request for the last state only.
    pub fn new(probe: &'a mut dyn Probe, memory: &'a mut BTreeMap<String, Tensor>) -> Self {
        DrawRequest { trail: 0, trail_rows: None, probe, memory, reference: None, warm_up: None }
    }

    /// The same, keeping the last `n` links of the first `rows` rows.
    #[must_use]
    pub fn with_trail(mut self, n: usize, rows: Option<usize>) -> Self {
        self.trail = n;
        self.trail_rows = rows;
        self
    }

    /// The same with reference samples `(M, ...)`.
    #[must_use]
    pub fn with_reference(mut self, reference: Option<&'a Tensor>) -> Self {
        self.reference = reference;
        self
    }

    /// What step `index` of the program may learn.
    pub fn learning(&self, index: usize) -> Learning {
        Learning::at(index, self.warm_up)
    }

    /// Steps of the warm-up that are left at step `index`, itself included; 0 without a warm-up.
    pub fn warm_up_left(&self, index: usize) -> usize {
        self.warm_up.map_or(0, |n| n.saturating_sub(index))
    }

    /// The same with `steps` steps in which step sizes adapt, before they are fixed.
    #[must_use]
    pub fn with_warm_up(mut self, steps: usize) -> Self {
        self.warm_up = Some(steps);
        self
    }

    /// Runs a part of a program under the request for it: the probe counts the part's steps from `first` on, the part
    /// keeps its last `trail` links, and its warm-up is what is left of the program's.
    pub fn part<T>(&mut self, first: usize, trail: usize, run: impl FnOnce(&mut DrawRequest<'_>) -> T) -> T {
        let mut probe = Shifted { inner: &mut *self.probe, by: first };
        run(&mut DrawRequest {
            trail,
            trail_rows: self.trail_rows,
            probe: &mut probe,
            memory: &mut *self.memory,
            reference: self.reference,
            warm_up: self.warm_up.map(|n| n.saturating_sub(first)),
        })
    }

    /// Runs a part from step `first` on that is not of the chains themselves (replicas at other temperatures): as
    /// [`DrawRequest::part`] of which no links are kept and that no probe sees.
    pub fn unseen<T>(&mut self, first: usize, run: impl FnOnce(&mut DrawRequest<'_>) -> T) -> T {
        run(&mut DrawRequest {
            trail: 0,
            trail_rows: None,
            probe: &mut Blind,
            memory: &mut *self.memory,
            reference: self.reference,
            warm_up: self.warm_up.map(|n| n.saturating_sub(first)),
        })
    }

    /// Runs a part that keeps what it learns under names of its own: its entry `name` stands in the memory as `scope/name`.
    pub fn scoped<T>(&mut self, scope: &str, run: impl FnOnce(&mut DrawRequest<'_>) -> T) -> T {
        let scope = format!("{scope}/");
        let own = |(name, t): (&String, &Tensor)| Some((name.strip_prefix(&scope)?.to_string(), t.clone()));
        let mut memory: BTreeMap<String, Tensor> = self.memory.iter().filter_map(own).collect();
        let out = run(&mut DrawRequest {
            trail: self.trail,
            trail_rows: self.trail_rows,
            probe: &mut *self.probe,
            memory: &mut memory,
            reference: self.reference,
            warm_up: self.warm_up,
        });
        self.memory.extend(memory.into_iter().map(|(name, t)| (format!("{scope}{name}"), t)));
        out
    }
}

/// Passes steps on with the index of the whole program.
struct Shifted<'a> {
    inner: &'a mut dyn Probe,
    by: usize,
}

impl Probe for Shifted<'_> {
    fn on_step(&mut self, index: usize, step: &Stepped) -> Result<()> {
        self.inner.on_step(self.by + index, step)
    }

    fn wants_steps(&self) -> bool {
        self.inner.wants_steps()
    }
}

/// The end of a program.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Drawn {
    /// The last state.
    pub last: ChainState,
    /// How it came about, as far back as was asked.
    pub trail: Trail,
    /// Diagnostics of the last step.
    pub info: StepInfo,
    /// Means over the batch of each diagnostic at each step, `(K,)`, where the program has them.
    pub curves: BTreeMap<&'static str, Tensor>,
}

impl Drawn {
    /// The result of a program.
    pub fn new(last: ChainState, trail: Trail, info: StepInfo) -> Self {
        Drawn { last, trail, info, curves: BTreeMap::new() }
    }
}

// ANCHOR: sampler
/// A program over transitions: how many steps, at which step sizes, kept where.
///
/// Most authors do not implement it: a program in which each step is one of some transitions is a
/// [`Program`](crate::Program), whose loop ([`drive`](crate::drive)) honours all of the request. Programs made of programs
/// hand the request on with [`DrawRequest::part`] and [`DrawRequest::scoped`].
pub trait Sampler: Send + Sync {
    /// Runs every chain of `from`; the request's probe sees each step, the result holds the last
    /// state, the diagnostics and the trail of the last links.
    ///
    /// # Errors
    /// If the energy, a transition or the probe fails.
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn>;

    /// `n` draws of each chain: the states after the first `n` steps from `start` `(chains, ...)`, with their statistics.
    /// [`Draws::of`] leaves out a burn-in, in which step sizes adapt, or all but one draw in several.
    ///
    /// # Errors
    /// As [`Draws::of`].
    fn draws(&self, e: &dyn EnergyFn, start: Batch, n: usize, key: Key) -> Result<Draws> {
        Draws::of(self, e, start, n, key)
    }

    /// Whether the last `trail` links of a draw are exact (`usize::MAX` for all), or which part that they reach cannot
    /// tell how it depends on θ, or that θ does not enter; asked before a run starts. Links that do not look at the energy do not
    /// count: see [`Trail::push`].
    fn sensitivity(&self, trail: usize) -> Sensitivity;

    /// The box that holds every coordinate of the samples: see [`Transition::bounds`](crate::Transition::bounds).
    fn bounds(&self) -> Option<(f64, f64)> {
        None
    }

    /// Whether the program can move chains of this energy: see [`Transition::fits`](crate::Transition::fits).
    ///
    /// # Errors
    /// Names what a step needs and the energy has not.
    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        e.spec().domain.real_for(self.name())
    }

    /// Whether where a chain goes depends on the other chains of its batch: see [`Transition::couples_chains`].
    ///
    /// [`Transition::couples_chains`]: crate::Transition::couples_chains
    fn couples_chains(&self) -> bool {
        false
    }

    /// Whether the program looks at the reference samples of the request: see [`Transition::needs_reference`].
    ///
    /// [`Transition::needs_reference`]: crate::Transition::needs_reference
    fn needs_reference(&self) -> bool {
        false
    }

    /// Whether it sets the energy's condition, to levels of noise; the energy must take one number then.
    fn walks_levels(&self) -> bool {
        false
    }

    /// Whether it passes through other temperatures than that of the energy, so that only the states at its end are draws.
    fn cools(&self) -> bool {
        false
    }

    /// Number of steps of the program.
    fn steps(&self) -> usize;

    /// The same program with another number of steps (generation is longer than training).
    fn with_steps(&self, steps: usize) -> Box<dyn Sampler>;

    /// The program's name for messages.
    fn name(&self) -> String;
}
// ANCHOR_END: sampler
