//! Step sizes that move towards an acceptance rate: one for all chains, or one for each.

use std::collections::BTreeMap;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{BuildCx, ChainState, Error, Learning, Result, Settings, host, per_row};

use super::dual_averaging::{DualAveraging, WIDTH};
use super::metric::MetricKind;

/// The rule `log h ← log h + rate·(acceptance − target)` after each step (Andrieu, Thoms 2008,
/// algorithm 4, with a constant gain so that it follows an energy in training).
///
/// For a common step size the acceptance is the mean over the rows of the batch, so an adapted run
/// depends on how chains are batched. With a step size for each chain it is the chain's own, and
/// nothing depends on the batch.
///
/// A constant gain leaves a bias of the order of `rate` in the target. Where chains are measured, step sizes are therefore found in a
/// warm-up by dual averaging (Hoffman, Gelman 2014) and kept from then on ([`Learning`]): each chain then has a fixed kernel, which
/// leaves the target invariant whatever its step size is.
#[derive(Clone, Copy, Debug)]
pub struct Adaptation {
    /// Acceptance in (0, 1) towards which step sizes move.
    pub target: f64,
    /// Gain in training, in log step size a step; 0 keeps step sizes as they are, in a warm-up too.
    pub rate: f64,
    /// Smallest and largest step size.
    pub limits: (f64, f64),
}

/// A step size that is fixed or adapted, stored under `name` in the chain's state.
///
/// Step sizes of single chains are a table in the state, sorted by chain: `name` holds the step sizes
/// `(N,)` in f64, `name.chains` the chains `(N,)` in i64 (the bits of their u64). Rows find theirs by
/// [`ebm_core::Batch::chains`], so a batch may be a part of the chains, in any order; chains that are
/// not in the batch keep theirs, and new ones begin at the configured step size. A warm-up keeps what it averages as
/// `name.warm_up` `(N, 4)`, a row for each step size.
///
/// ```
/// use ebm_core::{Batch, ChainState, candle::{DType, Device, Tensor}};
/// use ebm_samplers::kit::{Sizes, StepSize};
///
/// let step = StepSize::configured("mine.step_size", 0.1, Some(0.8), 0.5, None);
/// let mut state = ChainState::new(Batch::new(Tensor::zeros((4, 2), DType::F64, &Device::Cpu)?)?);
/// let sizes = step.of(&state)?;
/// assert_eq!(sizes, Sizes::Common(0.1));
/// step.adapt(&mut state, &sizes, &Tensor::ones(4, DType::F64, &Device::Cpu)?)?; // all were accepted
/// assert!(matches!(step.of(&state)?, Sizes::Common(h) if h > 0.1));
/// assert_eq!(step.carried()[0], "mine.step_size"); // what `Transition::carried` returns
/// # Ok::<(), ebm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StepSize {
    /// Step size before anything was learnt.
    pub initial: f64,
    /// How it moves; none if it is fixed.
    pub adaptation: Option<Adaptation>,
    /// Whether each chain has its own.
    pub per_chain: bool,
    /// Its name in the state, such as `mala.step_size`.
    pub name: &'static str,
}

/// How a step size moves, as settings, to stand among those of a kernel by `#[setting(flatten)]`.
#[derive(Clone, Debug, Settings)]
pub struct AdaptSettings {
    /// Acceptance towards which the step size moves.
    #[setting(above = 0.0, below = 1.0)]
    pub target_acceptance: Option<f64>,
    /// Gain of the adaptation in training, in log step size a step; 0 keeps what was learnt.
    ///
    /// Where chains are measured or samples are drawn, step sizes adapt in a warm-up only, by dual averaging.
    #[setting(default = 0.1, at_least = 0.0)]
    pub adapt_rate: f64,
    /// Each chain adapts a step size of its own, by its identity.
    #[setting(default = false)]
    pub per_chain: bool,
    /// Smallest and largest adapted step size; a thousandth and a thousand times the start.
    pub step_limits: Option<[f64; 2]>,
    /// Coordinates in which the kernel moves: as they are, or scaled or turned by what a warm-up learns of the target.
    ///
    /// In a metric step sizes are of order 1, and are looked for anew whenever it changes.
    #[setting(default = MetricKind::Unit)]
    pub metric: MetricKind,
}

impl AdaptSettings {
    /// The step size that begins at `initial` and is stored under `name`.
    ///
    /// # Errors
    /// If limits do not rise, or chains are to have step sizes of their own and nothing is adapted.
    pub fn step_size(&self, cx: &BuildCx, name: &'static str, initial: f64) -> Result<StepSize> {
        if self.per_chain && self.target_acceptance.is_none() {
            let message = "needs an acceptance to adapt to: give target_acceptance too, such as 0.65";
            return Err(cx.refuse("per_chain", message));
        }
        let limits = cx.interval("step_limits", self.step_limits)?;
        let step = StepSize::configured(name, initial, self.target_acceptance, self.adapt_rate, limits);
        Ok(StepSize { per_chain: self.per_chain, ..step })
    }
}

/// Step sizes of the rows of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// The same for all rows.
    Common(f64),
    /// One a row.
    Rows(Vec<f64>),
}

impl Sizes {
    /// That of row `row`.
    pub fn at(&self, row: usize) -> f64 {
        match self {
            Sizes::Common(h) => *h,
            Sizes::Rows(all) => all[row],
        }
    }

    /// `f` of each.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Sizes {
        match self {
            Sizes::Common(h) => Sizes::Common(f(*h)),
            Sizes::Rows(all) => Sizes::Rows(all.iter().map(|h| f(*h)).collect()),
        }
    }

    /// Each row of `t` `(B, ...)` times its number.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn times(&self, t: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Sizes::Common(h) => t.affine(*h, 0.0)?,
            Sizes::Rows(all) => {
                let h = host::given(all, t.dtype(), t.device())?;
                t.broadcast_mul(&per_row(&h, t)?)?
            }
        })
    }
}

impl StepSize {
    /// A fixed step size.
    pub fn fixed(name: &'static str, initial: f64) -> Self {
        StepSize { initial, adaptation: None, per_chain: false, name }
    }

    /// From settings: adaptation if there is a target; limits default to a thousandth and a thousand times.
    pub fn configured(
        name: &'static str,
        initial: f64,
        target: Option<f64>,
        rate: f64,
        limits: Option<(f64, f64)>,
    ) -> Self {
        let limits = limits.unwrap_or((initial * 1e-3, initial * 1e3));
        let adaptation = target.map(|target| Adaptation { target, rate, limits });
        StepSize { initial, adaptation, per_chain: false, name }
    }

    /// The step sizes in use: those that move, or, once nothing is learnt any more, those that a warm-up found.
    ///
    /// # Errors
    /// If what is stored in the state is damaged.
    pub fn of(&self, state: &ChainState) -> Result<Sizes> {
        let found = match (self.adaptation, state.learning) {
            (Some(_), Learning::Done) => self.warm_ups(state)?,
            _ => Vec::new(),
        };
        let averaged = found.iter().map(DualAveraging::averaged);
        match found.last() {
            None => self.stored_sizes(state),
            Some(_) if self.per_chain => {
                self.rows(state, &self.table(state)?.into_keys().zip(averaged).collect())
            }
            Some(only) => Ok(Sizes::Common(only.averaged())),
        }
    }

    /// Those that stand in the state, as the last step moved them.
    fn stored_sizes(&self, state: &ChainState) -> Result<Sizes> {
        match (self.adaptation, self.per_chain) {
            (None, _) => Ok(Sizes::Common(self.initial)),
            (_, false) => Ok(Sizes::Common(self.common(state)?)),
            (_, true) => self.rows(state, &self.table(state)?),
        }
    }

    /// Those of the rows of the batch, from a table by chain.
    fn rows(&self, state: &ChainState, table: &BTreeMap<u64, f64>) -> Result<Sizes> {
        // Where there is no table, a common step size may have been learnt before.
        let start = if table.is_empty() { self.common(state)? } else { self.initial };
        let of = |id: &u64| table.get(id).copied().unwrap_or(start);
        Ok(Sizes::Rows(state.at.chains.ids().iter().map(of).collect()))
    }

    /// The common one: the geometric mean of what is stored.
    fn common(&self, state: &ChainState) -> Result<f64> {
        let Some(all) = self.stored(state)? else { return Ok(self.initial) };
        match all[..] {
            [only] => Ok(only),
            [] => {
                Err(Error::numeric(self.name, 0, "the stored step size is empty; delete it from the state"))
            }
            _ => Ok((all.iter().map(|h| h.ln()).sum::<f64>() / all.len() as f64).exp()),
        }
    }

    fn stored(&self, state: &ChainState) -> Result<Option<Vec<f64>>> {
        let Some(t) = state.aux.get(self.name) else { return Ok(None) };
        Ok(Some(host::numbers(t)?))
    }

    fn key(&self) -> String {
        format!("{}.chains", self.name)
    }

    fn warm_up_key(&self) -> String {
        format!("{}.warm_up", self.name)
    }

    /// What a warm-up keeps for each step size that is stored; empty if there was none, or it was of other step sizes.
    fn warm_ups(&self, state: &ChainState) -> Result<Vec<DualAveraging>> {
        let Some(t) = state.aux.get(&self.warm_up_key()) else { return Ok(Vec::new()) };
        let all = host::numbers(t)?;
        let all: Vec<_> = all.chunks(WIDTH).filter_map(DualAveraging::from_numbers).collect();
        let wanted = if self.per_chain { self.table(state)?.len() } else { 1 };
        Ok(if all.len() == wanted { all } else { Vec::new() })
    }

    /// Step sizes by chain.
    fn table(&self, state: &ChainState) -> Result<BTreeMap<u64, f64>> {
        let Some(ids) = state.aux.get(&self.key()) else { return Ok(BTreeMap::new()) };
        host::count();
        let ids = ids.flatten_all()?.to_vec1::<i64>()?;
        let sizes = self.stored(state)?.unwrap_or_default();
        if sizes.len() == 1 && ids.len() > 1 {
            // A run with a common step size came after one with a table.
            return Ok(BTreeMap::new());
        }
        if ids.len() != sizes.len() {
            let message = format!(
                "{} chains are stored with {} step sizes; delete both entries from the state",
                ids.len(),
                sizes.len()
            );
            return Err(Error::numeric(self.name, 0, message));
        }
        Ok(ids.into_iter().map(|id| id as u64).zip(sizes).collect())
    }

    /// Moves the step sizes in `state` from `sizes` after a step of acceptance `chance` `(B,)`, as the state may learn.
    ///
    /// # Errors
    /// If what is stored in the state is damaged.
    pub fn adapt(&self, state: &mut ChainState, sizes: &Sizes, chance: &Tensor) -> Result<()> {
        let Some(a) = self.moving().filter(|_| state.learning != Learning::Done) else { return Ok(()) };
        let chance = host::wide(chance)?;
        let mut warm_ups = match state.learning {
            Learning::WarmUp => Some(self.warm_ups(state)?),
            _ => None,
        };
        // The next step size after `h` and a step of acceptance `p`; in a warm-up it moves what is kept of it, too.
        let moved = |h: f64, p: f64, warm_up: Option<&mut DualAveraging>| match warm_up {
            Some(averaging) => averaging.update(a.target - p, a.limits),
            None => (h * (a.rate * (p - a.target)).exp()).clamp(a.limits.0, a.limits.1),
        };
        match sizes {
            Sizes::Common(h) => {
                let mean = host::scalar(&chance.mean_all()?)?;
                if let Some(all) = warm_ups.as_mut().filter(|all| all.is_empty()) {
                    all.push(DualAveraging::new(*h));
                }
                let new = moved(*h, mean, warm_ups.as_mut().and_then(|all| all.last_mut()));
                state.aux.insert(self.name.into(), Tensor::new(&[new], &Device::Cpu)?);
                match warm_ups {
                    Some(all) => self.write_warm_ups(state, &all),
                    None => {
                        state.aux.remove(&self.warm_up_key());
                        Ok(())
                    }
                }
            }
            Sizes::Rows(all) => {
                let known = self.table(state)?;
                let mut averages: BTreeMap<u64, DualAveraging> =
                    known.keys().copied().zip(warm_ups.iter().flatten().copied()).collect();
                let mut table = known;
                let ids = state.at.chains.ids().iter();
                for ((id, h), p) in ids.zip(all).zip(host::numbers(&chance)?) {
                    let own = averages.entry(*id).or_insert_with(|| DualAveraging::new(*h));
                    table.insert(*id, moved(*h, p, warm_ups.is_some().then_some(own)));
                }
                self.write(state, &table, warm_ups.is_some().then_some(&averages))
            }
        }
    }

    /// Whether nothing is known yet of the step size of each row.
    ///
    /// # Errors
    /// If what is stored in the state is damaged.
    pub(super) fn unknown(&self, state: &ChainState) -> Result<Vec<bool>> {
        let none = !state.aux.contains_key(self.name);
        let table = if self.per_chain { self.table(state)? } else { BTreeMap::new() };
        let of = |id: &u64| none || !table.is_empty() && !table.contains_key(id);
        Ok(state.at.chains.ids().iter().map(of).collect())
    }

    /// Forgets the step sizes of the rows that `these` names; a common one altogether.
    ///
    /// # Errors
    /// If what is stored in the state is damaged.
    pub(super) fn forget(&self, state: &mut ChainState, these: &[bool]) -> Result<()> {
        let (mut table, warm_ups) = match self.per_chain {
            true => (self.table(state)?, self.warm_ups(state)?),
            false => Default::default(),
        };
        for name in self.carried() {
            state.aux.remove(&name);
        }
        let mut averages: BTreeMap<u64, DualAveraging> = table.keys().copied().zip(warm_ups).collect();
        for (id, _) in state.at.chains.ids().iter().zip(these).filter(|(_, these)| **these) {
            table.remove(id);
            averages.remove(id);
        }
        if table.is_empty() { Ok(()) } else { self.write(state, &table, Some(&averages)) }
    }

    /// Keeps `sizes`, one of which nothing was known, as they are.
    ///
    /// # Errors
    /// If what is stored in the state is damaged.
    pub(super) fn begin(&self, state: &mut ChainState, sizes: &Sizes) -> Result<()> {
        match sizes {
            Sizes::Common(h) => {
                state.aux.insert(self.name.into(), Tensor::new(&[*h], &Device::Cpu)?);
                Ok(())
            }
            Sizes::Rows(all) => {
                let mut table = self.table(state)?;
                let averages: BTreeMap<_, _> = table.keys().copied().zip(self.warm_ups(state)?).collect();
                table.extend(state.at.chains.ids().iter().copied().zip(all.iter().copied()));
                self.write(state, &table, (!averages.is_empty()).then_some(&averages))
            }
        }
    }

    /// Writes a table of step sizes, with what a warm-up keeps of each.
    fn write(
        &self,
        state: &mut ChainState,
        table: &BTreeMap<u64, f64>,
        averages: Option<&BTreeMap<u64, DualAveraging>>,
    ) -> Result<()> {
        let (ids, sizes): (Vec<i64>, Vec<f64>) = table.iter().map(|(id, h)| (*id as i64, *h)).unzip();
        let n = ids.len();
        state.aux.insert(self.key(), Tensor::from_vec(ids, n, &Device::Cpu)?);
        state.aux.insert(self.name.into(), Tensor::from_vec(sizes, n, &Device::Cpu)?);
        let of = |(id, h): (&u64, &f64)| {
            averages.and_then(|a| a.get(id)).copied().unwrap_or_else(|| DualAveraging::new(*h))
        };
        match averages {
            Some(_) => self.write_warm_ups(state, &table.iter().map(of).collect::<Vec<_>>()),
            None => {
                state.aux.remove(&self.warm_up_key());
                Ok(())
            }
        }
    }

    fn write_warm_ups(&self, state: &mut ChainState, all: &[DualAveraging]) -> Result<()> {
        let numbers: Vec<f64> = all.iter().flat_map(|a| a.numbers()).collect();
        let numbers = Tensor::from_vec(numbers, (all.len(), WIDTH), &Device::Cpu)?;
        state.aux.insert(self.warm_up_key(), numbers);
        Ok(())
    }

    /// How it moves, if it does.
    fn moving(&self) -> Option<Adaptation> {
        self.adaptation.filter(|a| a.rate > 0.0)
    }

    /// 1 for each chain of `state` whose size in `sizes` is held by a limit, else 0, `(B,)`; none if step sizes do not move.
    ///
    /// # Errors
    /// If what is stored in the state is damaged.
    pub fn at_limit(&self, state: &ChainState, sizes: &Sizes) -> Result<Option<Tensor>> {
        let Some(a) = self.moving() else { return Ok(None) };
        let last = self.stored_sizes(state)?;
        let held = |row: usize| {
            let limit = if last.at(row) <= a.limits.0 * (1.0 + 1e-9) { a.limits.0 } else { a.limits.1 };
            // An average remembers where the warm-up began, so it is only near the limit that stopped the last iterates.
            let stopped = limit == a.limits.0 || last.at(row) >= a.limits.1 * (1.0 - 1e-9);
            f64::from(u8::from(stopped && (sizes.at(row) / limit).ln().abs() < std::f64::consts::LN_2))
        };
        let n = state.at.len();
        Ok(Some(Tensor::from_vec((0..n).map(held).collect::<Vec<f64>>(), n, &Device::Cpu)?))
    }

    /// Names that outlive a program.
    pub fn carried(&self) -> Vec<String> {
        match (self.adaptation, self.per_chain) {
            (None, _) => Vec::new(),
            (_, false) => vec![self.name.into(), self.warm_up_key()],
            (_, true) => vec![self.name.into(), self.key(), self.warm_up_key()],
        }
    }
}

#[cfg(test)]
mod tests;
