//! Step sizes that move towards an acceptance rate: one for all chains, or one for each.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{BuildCx, ChainState, Error, Result, Settings, host, per_row};

/// The rule `log h ← log h + rate·(acceptance − target)` after each step (Andrieu, Thoms 2008,
/// algorithm 4, with a constant gain so that it follows an energy in training).
///
/// For a common step size the acceptance is the mean over the rows of the batch, so an adapted run
/// depends on how chains are batched. With a step size for each chain it is the chain's own, and
/// nothing depends on the batch.
///
/// A constant gain leaves a bias of the order of `rate` in the target; for measures go on with
/// `rate = 0`, which keeps the step sizes as they are: each chain then has a fixed kernel, which
/// leaves the target invariant whatever its step size is.
#[derive(Clone, Copy, Debug)]
pub struct Adaptation {
    /// Acceptance in (0, 1) towards which step sizes move.
    pub target: f64,
    /// Gain, in log step size a step; 0 keeps step sizes as they are.
    pub rate: f64,
    /// Smallest and largest step size.
    pub limits: (f64, f64),
}

/// A step size that is fixed or adapted, stored under `name` in the chain's state.
///
/// Step sizes of single chains are a table in the state, sorted by chain: `name` holds the step sizes
/// `(N,)` in f64, `name.chains` the chains `(N,)` in i64 (the bits of their u64). Rows find theirs by
/// [`ebm_core::Batch::chains`], so a batch may be a part of the chains, in any order; chains that are
/// not in the batch keep theirs, and new ones begin at the configured step size.
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
/// assert_eq!(step.carried(), ["mine.step_size"]); // what `Transition::carried` returns
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
    /// Gain of the adaptation, in log step size a step; 0 keeps what was learnt.
    #[setting(default = 0.1, at_least = 0.0)]
    pub adapt_rate: f64,
    /// Each chain adapts a step size of its own, by its identity.
    #[setting(default = false)]
    pub per_chain: bool,
    /// Smallest and largest adapted step size; a thousandth and a thousand times the start.
    pub step_limits: Option<[f64; 2]>,
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
                let h = Tensor::new(all.as_slice(), t.device())?.to_dtype(t.dtype())?;
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

    /// The step sizes in use.
    ///
    /// # Errors
    /// If what is stored in the state is damaged.
    pub fn of(&self, state: &ChainState) -> Result<Sizes> {
        match (self.adaptation, self.per_chain) {
            (None, _) => Ok(Sizes::Common(self.initial)),
            (_, false) => Ok(Sizes::Common(self.common(state)?)),
            (_, true) => {
                let table = self.table(state)?;
                // Where there is no table, a common step size may have been learnt before.
                let start = if table.is_empty() { self.common(state)? } else { self.initial };
                let of = |id: &u64| table.get(id).copied().unwrap_or(start);
                Ok(Sizes::Rows(state.at.chains.ids().iter().map(of).collect()))
            }
        }
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

    /// Moves the step sizes in `state` from `sizes` after a step of acceptance `chance` `(B,)`.
    ///
    /// # Errors
    /// If what is stored in the state is damaged.
    pub fn adapt(&self, state: &mut ChainState, sizes: &Sizes, chance: &Tensor) -> Result<()> {
        let Some(a) = self.adaptation.filter(|a| a.rate > 0.0) else { return Ok(()) };
        let moved = |h: f64, p: f64| (h * (a.rate * (p - a.target)).exp()).clamp(a.limits.0, a.limits.1);
        let chance = chance.to_dtype(DType::F64)?;
        match sizes {
            Sizes::Common(h) => {
                let mean = host::scalar(&chance.mean_all()?)?;
                state.aux.insert(self.name.into(), Tensor::new(&[moved(*h, mean)], &Device::Cpu)?);
            }
            Sizes::Rows(all) => {
                let mut table = self.table(state)?;
                let ids = state.at.chains.ids().iter();
                for ((id, h), p) in ids.zip(all).zip(host::numbers(&chance)?) {
                    table.insert(*id, moved(*h, p));
                }
                let (ids, sizes): (Vec<i64>, Vec<f64>) = table.iter().map(|(id, h)| (*id as i64, *h)).unzip();
                let n = ids.len();
                state.aux.insert(self.key(), Tensor::from_vec(ids, n, &Device::Cpu)?);
                state.aux.insert(self.name.into(), Tensor::from_vec(sizes, n, &Device::Cpu)?);
            }
        }
        Ok(())
    }

    /// Names that outlive a program.
    pub fn carried(&self) -> Vec<String> {
        match (self.adaptation, self.per_chain) {
            (None, _) => Vec::new(),
            (_, false) => vec![self.name.into()],
            (_, true) => vec![self.name.into(), self.key()],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::{
        Batch, Blind, Chains, DrawRequest, EnergyFn, Key, Opaque, ParamSet, Sampler, Sensitivity, Stepped,
        Transition,
    };
    use ebm_testkit::{check_transition, check_variance, relative_gap, run, toy};

    use super::*;
    use crate::{Chain, Hmc, Mala};

    /// E = c|x|²/2 with the condition c of each chain: Gaussians of very different widths in one batch.
    fn scales() -> impl EnergyFn {
        Opaque::new("scales", &[2], ParamSet::default(), |_, x, cond| {
            let energy = x.sqr()?.sum_keepdim(1)?.affine(0.5, 0.0)?;
            Ok(match cond {
                Some(stiffness) => (energy * stiffness)?,
                None => energy,
            })
        })
    }

    /// Chains `ids`; the stiffness of chain `i` is 10⁴ if `i` is odd, else 1. All start at the origin.
    fn batch(ids: &[u64]) -> Batch {
        let n = ids.len();
        let c: Vec<f64> = ids.iter().map(|i| if i % 2 == 1 { 1e4 } else { 1.0 }).collect();
        Batch::new(Tensor::zeros((n, 2), DType::F64, &Device::Cpu).unwrap())
            .unwrap()
            .with_cond(Some(Tensor::from_vec(c, (n, 1), &Device::Cpu).unwrap()))
            .with_chains(Chains::from_ids(ids.to_vec()))
    }

    fn kernels(target: f64, rate: f64) -> [Box<dyn Transition>; 2] {
        let mala = Mala::new(0.01).adapting(target, rate).per_chain();
        // Without jitter a step size of 0.7 would turn a bowl of curvature 2 by half a circle: x goes to −x and back.
        [Box::new(mala), Box::new(Hmc::new(0.05, 3).jittered(0.2).adapting(target, rate).per_chain())]
    }

    type Memory = BTreeMap<String, Tensor>;

    fn draw(t: Box<dyn Transition>, at: Batch, steps: usize, key: u64, memory: &mut Memory) -> Batch {
        let mut blind = Blind;
        let mut request = DrawRequest::new(&mut blind, memory);
        Chain::new(t, steps).draw(&scales(), at, Key::root(key), &mut request).unwrap().last.at
    }

    fn bits(memory: &Memory) -> Vec<(String, Vec<u64>)> {
        let read = |t: &Tensor| match t.dtype() {
            DType::I64 => t.to_vec1::<i64>().unwrap().into_iter().map(|v| v as u64).collect(),
            _ => t.to_vec1::<f64>().unwrap().into_iter().map(f64::to_bits).collect(),
        };
        memory.iter().map(|(k, t)| (k.clone(), read(t))).collect()
    }

    /// Step sizes a factor 10⁴ (MALA) or 100 (HMC) apart, each at the acceptance asked for.
    #[test]
    fn every_chain_finds_its_own_acceptance() {
        let ids: Vec<u64> = (0..12).map(|i| i + (1 << 40)).collect();
        for (kind, (t, ratio)) in kernels(0.65, 0.1).into_iter().zip([1e4, 1e2]).enumerate() {
            let e = scales();
            let mut state = ChainState::new(batch(&ids));
            let (warm, n) = (300usize, 500);
            let mut taken = vec![0.0; ids.len()];
            for k in 0..warm + n {
                let out = t.step(&e, &state, Key::root(3).at(k)).unwrap();
                if k >= warm {
                    let now = out.info["accepted"].to_vec1::<f64>().unwrap();
                    taken.iter_mut().zip(now).for_each(|(sum, a)| *sum += a / n as f64);
                }
                state = out.state;
            }
            // Four standard errors of 500 decisions; the mean chance itself is at the target to 1/(0.1·500) times
            // the change of log h, which fluctuates by a few tenths.
            let off = 4.0 * (0.65f64 * 0.35 / n as f64).sqrt() + 0.01;
            assert!(taken.iter().all(|a| (a - 0.65).abs() < off), "{kind}: {taken:?}");
            let step =
                StepSize { per_chain: true, ..StepSize::configured(NAMES[kind], 1.0, Some(0.5), 0.1, None) };
            let Sizes::Rows(h) = step.of(&state).unwrap() else { panic!("one a row") };
            let mean = |odd: usize| {
                let of: Vec<f64> = h.iter().skip(odd).step_by(2).map(|h| h.ln()).collect();
                of.iter().sum::<f64>() / of.len() as f64
            };
            let found = (mean(0) - mean(1)).exp();
            // Six chains each, log h of each fluctuating by about √rate/2.
            assert!((found / ratio).ln().abs() < 0.6, "{kind}: {found} wants {ratio}");
        }
    }

    const NAMES: [&str; 2] = ["mala.step_size", "hmc.step_size"];

    /// One batch, two parts, and another order of rows: the same chains, the same table, to the bit.
    #[test]
    fn chains_keep_their_step_size_in_any_batch() {
        for kind in 0..2 {
            let go = |parts: &[&[u64]]| {
                let mut memory = Memory::new();
                let mut ends = BTreeMap::new();
                for part in parts {
                    for round in 0..2 {
                        let [a, b] = kernels(0.6, 0.3);
                        let t = if kind == 0 { a } else { b };
                        let at = draw(t, batch(part), 5, round, &mut memory);
                        let rows = at.x.to_vec2::<f64>().unwrap();
                        ends.extend(at.chains.ids().iter().copied().zip(rows));
                    }
                }
                (ends, bits(&memory))
            };
            let whole = go(&[&[7, 8, 9, 10]]);
            assert_eq!(whole.1.len(), 2);
            assert_eq!(whole, go(&[&[10, 7], &[9, 8]]));
            assert_eq!(whole, go(&[&[9, 7, 10, 8]]));
        }
    }

    #[test]
    fn going_on_from_stored_bytes_is_going_on() {
        let path = std::env::temp_dir().join(format!("ebm-step-sizes-{}.safetensors", std::process::id()));
        for kind in 0..2 {
            let pick = || kernels(0.6, 0.3).into_iter().nth(kind).unwrap();
            let mut memory = Memory::new();
            let at = draw(pick(), batch(&[3, 4, u64::MAX]), 6, 1, &mut memory);
            let all = memory.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            ebm_core::candle::safetensors::save(&all, &path).unwrap();
            let read = ebm_core::candle::safetensors::load(&path, &Device::Cpu).unwrap();
            let mut again: Memory = read.into_iter().collect();
            assert_eq!(bits(&memory), bits(&again));
            let a = draw(pick(), at.clone(), 6, 2, &mut memory);
            let b = draw(pick(), at, 6, 2, &mut again);
            assert_eq!(relative_gap(&a.x, &b.x).unwrap(), 0.0);
            assert_eq!(bits(&memory), bits(&again));
            // A chain that was away still has its own; a new one begins at the start.
            let before = bits(&memory);
            draw(pick(), batch(&[4, 5]), 1, 3, &mut memory);
            let table = |all: &[(String, Vec<u64>)]| -> BTreeMap<u64, u64> {
                all[1].1.iter().copied().zip(all[0].1.iter().copied()).collect()
            };
            let (before, after) = (table(&before), table(&bits(&memory)));
            assert_eq!((before[&3], before[&u64::MAX]), (after[&3], after[&u64::MAX]));
            assert_ne!(before[&4], after[&4]);
            assert!(after.contains_key(&5) && after.len() == 4);
        }
        std::fs::remove_file(path).unwrap();
    }

    /// A kernel whose chains come with step sizes that were learnt before.
    struct Learnt(Box<dyn Transition>, &'static str, fn(u64) -> f64);

    impl Transition for Learnt {
        fn init(&self, e: &dyn EnergyFn, at: Batch, key: Key) -> Result<ChainState> {
            let mut state = self.0.init(e, at, key)?;
            let ids = state.at.chains.ids();
            let sizes: Vec<f64> = ids.iter().map(|id| self.2(*id)).collect();
            let ids: Vec<i64> = ids.iter().map(|id| *id as i64).collect();
            state.aux.insert(format!("{}.chains", self.1), Tensor::new(ids, &Device::Cpu)?);
            state.aux.insert(self.1.into(), Tensor::new(sizes, &Device::Cpu)?);
            Ok(state)
        }
        fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
            self.0.step(e, state, key)
        }
        fn sensitivity(&self) -> Sensitivity {
            self.0.sensitivity()
        }
        fn name(&self) -> String {
            self.0.name()
        }
    }

    fn learnt(kind: usize, sizes: fn(u64) -> f64) -> Learnt {
        Learnt(kernels(0.6, 0.0).into_iter().nth(kind).unwrap(), NAMES[kind], sizes)
    }

    /// Frozen step sizes of 0.1 to 0.9 (without the test MALA's variance would be up to ten times too wide): all chains
    /// have the one target.
    #[test]
    fn frozen_step_sizes_keep_the_target() {
        let e = toy::bowl(1, 2.0).unwrap();
        for (kind, name) in NAMES.into_iter().enumerate() {
            let t = learnt(kind, |id| 0.1 + 0.2 * (id % 5) as f64);
            let end = run(&t, &e, 8_000, 80, Key::root(7)).unwrap();
            check_variance(&end.at.x, 0.5, 4.0).unwrap();
            // Chains of one step size alone too: errors that cancel over chains would show here.
            for first in 0..5 {
                let of: Vec<u32> = (first..8_000).step_by(5).collect();
                let x = end.at.x.index_select(&Tensor::new(of, &Device::Cpu).unwrap(), 0).unwrap();
                check_variance(&x, 0.5, 4.0).unwrap();
            }
            let sizes = end.aux[name].to_vec1::<f64>().unwrap();
            assert_eq!(sizes[..3], [0.1, 0.1 + 0.2, 0.1 + 0.2 * 2.0], "nothing moved");
        }
    }

    #[test]
    fn the_laws_of_a_transition_hold_row_by_row() {
        let e = toy::mlp(3, 5, 2, 4).unwrap();
        let x = Key::root(8).normal(&Chains::range(0, 7), &[3], DType::F64, &Device::Cpu).unwrap();
        let at = Batch::new(x).unwrap();
        for kind in 0..2 {
            // Some rows are rejected, each has its own step size, and the link knows both.
            check_transition(&learnt(kind, |id| 0.2 + 0.2 * id as f64), &e, &at, true).unwrap();
        }
        // A moving step size of each chain, unlike a common one, lets halves of a batch run alone.
        check_transition(&*kernels(0.6, 0.3)[1], &e, &at, true).unwrap();
    }

    #[test]
    fn a_common_step_size_is_where_chains_begin() {
        let step = |per_chain| StepSize { per_chain, ..StepSize::configured("h", 1.0, Some(0.5), 0.1, None) };
        let mut state = ChainState::new(batch(&[1, 2]));
        state.aux.insert("h".into(), Tensor::new(&[0.25f64], &Device::Cpu).unwrap());
        assert_eq!(step(true).of(&state).unwrap(), Sizes::Rows(vec![0.25; 2]));
        let sizes = Sizes::Rows(vec![0.25, 4.0]);
        let half = Tensor::new(&[0.5f64, 0.5], &Device::Cpu).unwrap();
        step(true).adapt(&mut state, &sizes, &half).unwrap();
        assert_eq!(step(true).of(&state).unwrap(), sizes);
        assert_eq!(step(false).of(&state).unwrap(), Sizes::Common(1.0), "the geometric mean");
        step(false).adapt(&mut state, &Sizes::Common(1.0), &half).unwrap();
        assert_eq!(step(true).of(&state).unwrap(), Sizes::Rows(vec![1.0; 2]));
        state.aux.insert("h".into(), Tensor::new(&[1.0f64; 3], &Device::Cpu).unwrap());
        let text = step(true).of(&state).unwrap_err().to_string();
        assert!(text.contains("2 chains") && text.contains("3 step sizes"), "{text}");
    }
}
