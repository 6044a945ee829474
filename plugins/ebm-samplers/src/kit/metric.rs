//! Metrics: coordinates in which a target is about round, learnt from the draws of a warm-up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ebm_core::candle::{DType, Device, Tensor, TensorId};
use ebm_core::{ChainState, Error, Learning, Result, Settings, host};

use super::Factor;
use super::covariance::{cholesky, turned};
use super::windows::Windows;

/// What a metric is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum MetricKind {
    /// None: coordinates are taken as they are.
    #[default]
    Unit,
    /// A deviation for each coordinate.
    Diagonal,
    /// All covariances; time and memory go as the square of the number of coordinates.
    Dense,
    /// All covariances where chains together know them and they make steps twice as long, else deviations: decided at the end of each window
    /// of a warm-up.
    Auto,
}

impl MetricKind {
    /// Whether it may mix coordinates.
    pub fn mixes(self) -> bool {
        matches!(self, MetricKind::Dense | MetricKind::Auto)
    }
}

/// Widest sample of which `Auto` gathers covariances: they take 30 µs a draw of a warm-up.
const CHOSEN: usize = 256;

/// Numbers of one map.
pub(super) fn numbers_of(kind: MetricKind, width: usize) -> usize {
    match kind {
        MetricKind::Unit => 0,
        MetricKind::Diagonal | MetricKind::Auto => width,
        MetricKind::Dense => width * width,
    }
}

/// A metric that is learnt in the windows of a warm-up (Stan's) and kept from then on.
///
/// Unless each chain has its own, all chains of the batch gather for one: `n` chains know it `n` times as well, and a
/// chain that has gone astray spoils it for all. In training nothing is gathered, what a warm-up found is kept.
///
/// Stored in the state under `name`: the maps `(1, ...)` or `(N, ...)` in f64; as `name.moments` what the windows gather, and, of single
/// chains, as `name.chains` their identities (the bits of their u64 as i64).
#[derive(Clone, Debug)]
pub struct Metric {
    /// What it is made of.
    pub kind: MetricKind,
    /// Whether each chain has its own.
    pub per_chain: bool,
    /// Its name in the state, such as `nuts.metric`.
    pub name: String,
    memo: Memo,
}

/// The map that was last made of a stored one; numbers of a tensor never change, and a new one has a new identity.
#[derive(Clone, Debug, Default)]
struct Memo(Arc<Mutex<Option<Made>>>);

#[derive(Clone, Debug)]
struct Made {
    of: (TensorId, DType, usize),
    factor: Factor,
}

impl Memo {
    /// The map of `stored` for samples of `width` coordinates in `dtype`.
    fn factor(&self, stored: &Tensor, metric: &Metric, (width, dtype): (usize, DType)) -> Result<Factor> {
        let of = (stored.id(), dtype, width);
        // Nothing can panic under this lock that leaves it half changed.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = last.as_ref().filter(|made| made.of == of) {
            return Ok(made.factor.clone());
        }
        let n = stored.elem_count() / stored.dims().first().copied().unwrap_or(1).max(1);
        let factor = match metric.kind_of(n, width) {
            Some(kind) => Factor::shared(kind, width, host::numbers(stored)?[..n].to_vec(), dtype),
            // Of samples of another shape.
            None => Factor::unit(width),
        };
        *last = Some(Made { of, factor: factor.clone() });
        Ok(factor)
    }
}

/// What one warm-up gathers: of one chain, or of all.
#[derive(Clone, Debug, Default, PartialEq)]
struct Gathered {
    /// Steps of the warm-up so far.
    steps: usize,
    /// Steps of the warm-up.
    total: usize,
    /// Draws in this window.
    count: f64,
    /// Their mean.
    mean: Vec<f64>,
    /// Sums of products of deviations from the mean: of each coordinate, or of all pairs.
    products: Vec<f64>,
}

impl Gathered {
    fn cleared(mut self, kind: MetricKind, width: usize) -> Self {
        (self.count, self.mean) = (0.0, vec![0.0; width]);
        self.products = vec![0.0; numbers_of(kind, width)];
        self
    }

    /// Welford 1962.
    fn add(&mut self, kind: MetricKind, x: &[f64]) {
        self.count += 1.0;
        let before: Vec<f64> = x.iter().zip(&self.mean).map(|(x, m)| x - m).collect();
        self.mean.iter_mut().zip(&before).for_each(|(m, b)| *m += b / self.count);
        let after = x.iter().zip(&self.mean).map(|(x, m)| x - m);
        if kind == MetricKind::Diagonal {
            self.products.iter_mut().zip(before).zip(after).for_each(|((p, b), a)| *p += b * a);
            return;
        }
        for (row, after) in self.products.chunks_exact_mut(x.len()).zip(after) {
            row.iter_mut().zip(&before).for_each(|(p, b)| *p += after * b);
        }
    }

    /// The map of the covariance, drawn to a small round one as in Stan, or, if it `chooses`, of its diagonal where that is as good; none if
    /// it is not positive.
    fn factor(&self, kind: MetricKind, chooses: bool) -> Option<Vec<f64>> {
        let (n, d) = (self.count, self.mean.len());
        let (share, round) = (n / (n + 5.0) / (n - 1.0), 1e-3 * 5.0 / (n + 5.0));
        let mut all: Vec<f64> = self.products.iter().map(|p| p * share).collect();
        let deviations = |variances: &mut dyn Iterator<Item = f64>| {
            let all: Vec<f64> = variances.map(|v| (v + round).sqrt()).collect();
            all.iter().all(|v| v.is_finite() && *v > 0.0).then_some(all)
        };
        match kind {
            MetricKind::Unit => None,
            MetricKind::Diagonal | MetricKind::Auto => deviations(&mut all.into_iter()),
            MetricKind::Dense => {
                let diagonal: Vec<f64> = all.iter().step_by(d + 1).copied().collect();
                (0..d).for_each(|i| all[i * d + i] += round);
                let triangle = cholesky(all, d);
                if !chooses {
                    return triangle;
                }
                triangle.filter(|l| turned(n, l, d)).or_else(|| deviations(&mut diagonal.into_iter()))
            }
        }
    }

    fn numbers(&self) -> impl Iterator<Item = f64> + '_ {
        let head = [self.steps as f64, self.total as f64, self.count];
        head.into_iter().chain(self.mean.iter().copied()).chain(self.products.iter().copied())
    }

    fn from_numbers(all: &[f64], width: usize) -> Option<Self> {
        let ([steps, total, count], rest) = all.split_first_chunk()?;
        let (mean, products) = rest.split_at_checked(width)?;
        let (steps, total) = (*steps as usize, *total as usize);
        Some(Gathered { steps, total, count: *count, mean: mean.to_vec(), products: products.to_vec() })
    }
}

/// Maps and what is gathered, of all chains (under 0) or of each.
type Table = BTreeMap<u64, (Vec<f64>, Gathered)>;

impl Metric {
    /// One that is stored under `name`.
    pub fn new(kind: MetricKind, per_chain: bool, name: String) -> Self {
        Metric { kind, per_chain, name, memo: Memo::default() }
    }

    /// The maps of the rows of the batch; the identity where nothing was learnt.
    ///
    /// # Errors
    /// If what is stored in the state is damaged.
    pub fn of(&self, state: &ChainState) -> Result<Factor> {
        let (width, dtype) = (state.at.x.elem_count() / state.at.len().max(1), state.at.dtype());
        let kind = self.gathers(width);
        let n = numbers_of(kind, width);
        let Some(stored) = state.aux.get(&self.name).filter(|t| n > 0 && t.elem_count() > 0) else {
            return Ok(Factor::unit(width));
        };
        if !self.per_chain {
            return self.memo.factor(stored, self, (width, dtype));
        }
        let data = host::numbers(stored)?;
        if data.len() % n != 0 {
            // Of samples of another shape.
            return Ok(Factor::unit(width));
        }
        let known: BTreeMap<u64, &[f64]> =
            self.chains(state)?.into_iter().zip(data.chunks_exact(n)).collect();
        let unit = identity(kind, width);
        let of = |id: &u64| known.get(id).copied().unwrap_or(&unit).to_vec();
        let all = state.at.chains.ids().iter().flat_map(of).collect();
        Ok(Factor::of(kind, width, all))
    }

    /// What its windows gather.
    fn gathers(&self, width: usize) -> MetricKind {
        match self.kind {
            MetricKind::Auto if self.per_chain || !(2..=CHOSEN).contains(&width) => MetricKind::Diagonal,
            MetricKind::Auto => MetricKind::Dense,
            kind => kind,
        }
    }

    /// The kind of a map of `n` numbers, if it is one of samples of `width` coordinates.
    fn kind_of(&self, n: usize, width: usize) -> Option<MetricKind> {
        let kind = self.gathers(width);
        let other = if self.kind == MetricKind::Auto { MetricKind::Diagonal } else { kind };
        [kind, other].into_iter().find(|kind| n > 0 && n == numbers_of(*kind, width))
    }

    /// Gathers where the chains of `state` now are, if its step was one of a window of a warm-up. True for the rows whose window
    /// ended: they have a new metric, to which their step size is yet to be found.
    ///
    /// # Errors
    /// If what is stored in the state is damaged.
    pub fn learn(&self, state: &mut ChainState) -> Result<Vec<bool>> {
        let (rows, left) = (state.at.len(), state.warm_up_left);
        let mut closed = vec![false; rows];
        if self.kind == MetricKind::Unit || state.learning != Learning::WarmUp || left == 0 || rows == 0 {
            return Ok(closed);
        }
        let x = host::numbers(&state.at.x)?;
        let width = x.len() / rows;
        let mut table = self.table(state, width)?;
        let kind = self.gathers(width);
        let ids = state.at.chains.ids();
        let own = |row: usize| if self.per_chain { ids[row] } else { 0 };
        // A tensor that stays the same is what a map is made of once.
        let stays = !self.per_chain && table.contains_key(&0);
        let groups: Vec<(u64, Vec<usize>)> = match self.per_chain {
            true => (0..rows).map(|row| (own(row), vec![row])).collect(),
            false => vec![(0, (0..rows).collect())],
        };
        for (id, members) in groups {
            let fresh = || (identity(self.kind, width), Gathered::default());
            let (factor, gathered) = table.entry(id).or_insert_with(fresh);
            if gathered.steps >= gathered.total {
                // Another warm-up begins, with the metric of the last one.
                let begun = Gathered { total: left, ..Gathered::default() };
                *gathered = begun.cleared(kind, width);
            }
            let windows = Windows::of(gathered.total);
            if windows.gathers(gathered.steps) {
                for row in &members {
                    gathered.add(kind, &x[row * width..(row + 1) * width]);
                }
            }
            gathered.steps += 1;
            if windows.end_at(gathered.steps) {
                if let Some(new) = gathered.factor(kind, self.kind == MetricKind::Auto) {
                    *factor = new;
                }
                *gathered = std::mem::take(gathered).cleared(kind, width);
                members.iter().for_each(|row| closed[*row] = true);
            }
        }
        self.store(state, table, stays && !closed.contains(&true))?;
        Ok(closed)
    }

    fn table(&self, state: &ChainState, width: usize) -> Result<Table> {
        let Some(factors) = state.aux.get(&self.name) else { return Ok(Table::new()) };
        let ids = if self.per_chain { self.chains(state)? } else { vec![0] };
        let factors = host::numbers(factors)?;
        let moments = state.aux.get(&self.moments_key()).map(host::numbers).transpose()?.unwrap_or_default();
        let wide = 3 + width + numbers_of(self.gathers(width), width);
        let n = factors.len() / ids.len().max(1);
        if self.kind_of(n, width).is_none()
            || factors.len() != ids.len() * n
            || moments.len() != ids.len() * wide
        {
            return Ok(Table::new());
        }
        let gathered = moments.chunks_exact(wide).filter_map(|all| Gathered::from_numbers(all, width));
        let factors = factors.chunks_exact(n).map(<[f64]>::to_vec);
        Ok(ids.into_iter().zip(factors.zip(gathered)).collect())
    }

    /// Stores what was gathered, and the maps unless they are those of the state.
    fn store(&self, state: &mut ChainState, table: Table, same: bool) -> Result<()> {
        let n = table.len();
        let mut put = |name: String, all: Vec<f64>| -> Result<()> {
            let wide = all.len() / n.max(1);
            state.aux.insert(name, Tensor::from_vec(all, (n, wide), &Device::Cpu)?);
            Ok(())
        };
        put(self.moments_key(), table.values().flat_map(|(_, g)| g.numbers()).collect())?;
        if !same {
            put(self.name.clone(), table.values().flat_map(|(f, _)| f.iter().copied()).collect())?;
        }
        if self.per_chain {
            let ids: Vec<i64> = table.into_keys().map(|id| id as i64).collect();
            state.aux.insert(self.chains_key(), Tensor::from_vec(ids, n, &Device::Cpu)?);
        }
        Ok(())
    }

    fn chains(&self, state: &ChainState) -> Result<Vec<u64>> {
        let missing =
            || Error::numeric(&self.name, 0, "is stored without its chains; delete it from the state");
        let ids = state.aux.get(&self.chains_key()).ok_or_else(missing)?;
        host::count();
        let ids = ids.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
        Ok(ids.into_iter().map(|id| id as u64).collect())
    }

    fn chains_key(&self) -> String {
        format!("{}.chains", self.name)
    }

    fn moments_key(&self) -> String {
        format!("{}.moments", self.name)
    }

    /// Names that outlive a program.
    pub fn carried(&self) -> Vec<String> {
        match (self.kind, self.per_chain) {
            (MetricKind::Unit, _) => Vec::new(),
            (_, false) => vec![self.name.clone(), self.moments_key()],
            (_, true) => vec![self.name.clone(), self.moments_key(), self.chains_key()],
        }
    }
}

fn identity(kind: MetricKind, width: usize) -> Vec<f64> {
    match kind {
        MetricKind::Unit => Vec::new(),
        MetricKind::Diagonal | MetricKind::Auto => vec![1.0; width],
        MetricKind::Dense => {
            (0..width * width).map(|i| f64::from(u8::from(i / width == i % width))).collect()
        }
    }
}

#[cfg(test)]
mod tests;
