//! A program over transitions: chains in, chains out, with diagnostics and a trail for gradients.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{Batch, ChainState, Draws, EnergyFn, Key, Link, Result, Sensitivity, StepInfo, Stepped};

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
    /// How many of the last links to keep for the KL term; `usize::MAX` for all.
    pub trail: usize,
    /// Rows of the trail to keep; later rows are not differentiated. `None` keeps all.
    pub trail_rows: Option<usize>,
    /// Looks at every step.
    pub probe: &'a mut dyn Probe,
    /// State that outlives programs, such as adapted step sizes; read and written.
    pub memory: &'a mut BTreeMap<String, Tensor>,
}

impl<'a> DrawRequest<'a> {
    /// A request for the last state only.
    pub fn new(probe: &'a mut dyn Probe, memory: &'a mut BTreeMap<String, Tensor>) -> Self {
        DrawRequest { trail: 0, trail_rows: None, probe, memory }
    }

    /// The same, keeping the last `n` links of the first `rows` rows.
    #[must_use]
    pub fn with_trail(mut self, n: usize, rows: Option<usize>) -> Self {
        self.trail = n;
        self.trail_rows = rows;
        self
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

/// The last links of a program, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Trail(Vec<Link>);

/// A demand that the trail makes when a cotangent is pulled back: ∇_θ Σ⟨v, ∇ₓE(at)⟩.
#[derive(Clone, Debug)]
pub struct SlopeDemand {
    /// Where the gradient was taken.
    pub at: Batch,
    /// The constant direction.
    pub v: Tensor,
}

impl Trail {
    /// A trail of these links, oldest first.
    pub fn of(links: Vec<Link>) -> Self {
        Trail(links)
    }

    /// Number of links.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no links.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last `n` links, for one who reaches less far back than others.
    #[must_use]
    pub fn last(&self, n: usize) -> Self {
        Trail(self.0[self.0.len().saturating_sub(n)..].to_vec())
    }

    /// The links, oldest first, for programs made of programs.
    pub fn into_links(self) -> Vec<Link> {
        self.0
    }

    /// Appends a link and keeps the last `keep`.
    pub fn push(&mut self, link: Link, keep: usize) {
        self.0.push(link);
        if self.0.len() > keep {
            self.0.remove(0);
        }
    }

    /// Turns a cotangent `u = ∂L/∂x_K` (first `n` rows, `n` = rows of `u`) into demands whose sum is
    /// `∂L/∂θ` through the trail: one mixed derivative a link, and a Hessian-vector product between
    /// links (the chain rule of `x′ = clamp(x̂ − λ∇E(x̂))`; one link is eq. (1) of the paper).
    ///
    /// Memory is that of the links; nothing is kept from the forward pass, each step is recomputed.
    ///
    /// # Errors
    /// If the energy fails.
    pub fn pull_back(&self, e: &dyn EnergyFn, u: &Tensor) -> Result<Vec<SlopeDemand>> {
        let rows = u.dims().first().copied().unwrap_or(0);
        let mut u = u.clone();
        let mut demands = Vec::new();
        let mut links = Vec::new();
        self.0.iter().for_each(|link| flatten(link, &mut links));
        for (i, link) in links.into_iter().enumerate().rev() {
            match link {
                Link::Cut => break,
                // Sequences are flat by now.
                Link::Identity | Link::Sequence(_) => {}
                Link::Descent { at, scale, pass, active } => {
                    let at = at.narrow(0, rows)?;
                    if let Some(pass) = pass {
                        u = u.broadcast_mul(&pass.narrow(0, 0, rows)?)?;
                    }
                    let mut v = u.affine(-*scale, 0.0)?;
                    if let Some(active) = active {
                        v = v.broadcast_mul(&active.narrow(0, 0, rows)?)?;
                    }
                    if i > 0 {
                        u = (u + e.hvp(&at, &v)?)?;
                    }
                    demands.push(SlopeDemand { at, v });
                }
            }
        }
        Ok(demands)
    }
}

/// The simple links of a link, oldest first.
fn flatten<'a>(link: &'a Link, out: &mut Vec<&'a Link>) {
    match link {
        Link::Sequence(parts) => parts.iter().for_each(|part| flatten(part, out)),
        simple => out.push(simple),
    }
}

/// A program over transitions: how many steps, at which step sizes, kept where.
pub trait Sampler: Send + Sync {
    /// Runs every chain of `from`; the request's probe sees each step, the result holds the last
    /// state, the diagnostics and the trail of the last links.
    ///
    /// # Errors
    /// If the energy, a transition or the probe fails.
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn>;

    /// `n` draws of each chain: the states after the first `n` steps from `start` `(chains, ...)`, with their statistics.
    /// [`Draws::of`] leaves out a burn-in, or all but one draw in several.
    ///
    /// # Errors
    /// As [`Draws::of`].
    fn draws(&self, e: &dyn EnergyFn, start: Batch, n: usize, key: Key) -> Result<Draws> {
        Draws::of(self, e, start, n, key)
    }

    /// Whether the trail is exact; asked before a run starts.
    fn sensitivity(&self) -> Sensitivity;

    /// Whether where a chain goes depends on the other chains of its batch: see [`Transition::couples_chains`].
    ///
    /// [`Transition::couples_chains`]: crate::Transition::couples_chains
    fn couples_chains(&self) -> bool {
        false
    }

    /// Number of steps of the program.
    fn steps(&self) -> usize;

    /// The same program with another number of steps (generation is longer than training).
    fn with_steps(&self, steps: usize) -> Box<dyn Sampler>;

    /// The program's name for messages.
    fn name(&self) -> String;
}
