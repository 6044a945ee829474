//! What a kernel with an accept test learns: a step size, and a metric.

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, ChainState, EnergyFn, Key, Result, Slope, row_sum};

use super::metric::{Metric, MetricKind};
use super::{AdaptSettings, Factor, Frame, Sizes, StepSize, rows};

/// Coordinates beyond which a dense metric is refused: its map alone would take more than half a gigabyte.
const WIDEST: usize = 8192;

/// A step size with the metric that it is measured in; both are learnt in a warm-up and fixed from then on.
///
/// When a metric changes, its step size is looked for anew: by doubling or halving until one step of leapfrog is accepted four times
/// in five (Hoffman, Gelman 2014, algorithm 4; Stan's number), and from there by dual averaging.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The step size.
    pub step: StepSize,
    /// The metric.
    pub metric: Metric,
    /// Whether a step size that nothing is known of is looked for; else it begins as configured.
    pub search: bool,
}

/// What rows of a batch move by.
pub struct Tuned {
    /// Step sizes.
    pub sizes: Sizes,
    /// Maps of the metric.
    pub factor: Factor,
}

impl From<StepSize> for Tuning {
    /// Without a metric.
    fn from(step: StepSize) -> Self {
        let name = format!("{}metric", step.name.trim_end_matches("step_size"));
        let metric = Metric::new(MetricKind::Unit, step.per_chain, name);
        Tuning { step, metric, search: false }
    }
}

impl AdaptSettings {
    /// The step size that begins at `initial` and is stored under `name`, with its metric.
    ///
    /// # Errors
    /// As [`AdaptSettings::step_size`]; if a metric is to be learnt and nothing adapts, or is too large.
    pub fn tuning(&self, cx: &BuildCx, name: &'static str, initial: f64) -> Result<Tuning> {
        let mut step = self.step_size(cx, name, initial)?;
        if self.metric != MetricKind::Unit {
            if self.target_acceptance.is_none() {
                let message = "needs an acceptance to adapt to: give target_acceptance too, such as 0.65";
                return Err(cx.refuse("metric", message));
            }
            if self.metric == MetricKind::Auto && self.per_chain {
                let message = "is auto, which chooses by what all chains know together, and per_chain = true: take \"diagonal\"";
                return Err(cx.refuse("metric", message));
            }
            if self.metric == MetricKind::Dense && cx.sample_len() > WIDEST {
                let message = format!(
                    "is dense, and samples have {} numbers, wanted at most {WIDEST}: take \"diagonal\"",
                    cx.sample_len()
                );
                return Err(cx.refuse("metric", message));
            }
            // In a metric step sizes are of order 1, whatever they are without it.
            if let (Some(a), None) = (step.adaptation.as_mut(), self.step_limits) {
                a.limits = (initial.min(1.0) * 1e-3, initial.max(1.0) * 1e3);
            }
        }
        Ok(Tuning::from(step).in_metric(self.metric))
    }
}

impl Tuning {
    /// The same in a metric of this kind.
    #[must_use]
    pub fn in_metric(mut self, kind: MetricKind) -> Self {
        (self.metric.kind, self.metric.per_chain) = (kind, self.step.per_chain);
        self.search |= kind != MetricKind::Unit;
        self
    }

    /// What the rows of `state` move by. A step size that is yet to be found is looked for from `here`, their slope, on `e` at this
    /// temperature; `length` makes of the step of leapfrog that was found what the kernel calls its step size, `inverse` the other way.
    ///
    /// # Errors
    /// If the energy fails, or what is stored in the state is damaged.
    pub fn of(
        &self,
        (e, key): (&dyn EnergyFn, Key),
        state: &ChainState,
        here: &Slope,
        temperature: f64,
        (length, inverse): (impl Fn(f64) -> f64, impl Fn(f64) -> f64),
    ) -> Result<Tuned> {
        let (sizes, factor) = (self.step.of(state)?, self.metric.of(state)?);
        let unknown = match self.search && self.step.adaptation.is_some() {
            true => self.step.unknown(state)?,
            false => Vec::new(),
        };
        if !unknown.contains(&true) {
            return Ok(Tuned { sizes, factor });
        }
        let start: Vec<f64> = (0..state.at.len()).map(|row| inverse(sizes.at(row))).collect();
        let start = if self.step.per_chain { start } else { start[..1].to_vec() };
        let search = Search { e, state, here, frame: factor.frame(&state.at.x)?, temperature, key };
        let limits = self.step.adaptation.map_or((0.0, f64::INFINITY), |a| a.limits);
        let found = search.run(start, (inverse(limits.0), inverse(limits.1)))?;
        let found = |row: usize| length(found[if self.step.per_chain { row } else { 0 }]);
        let sizes = match sizes {
            Sizes::Common(_) => Sizes::Common(found(0)),
            Sizes::Rows(all) => {
                let row = |(row, h): (usize, f64)| if unknown[row] { found(row) } else { h };
                Sizes::Rows(all.into_iter().enumerate().map(row).collect())
            }
        };
        Ok(Tuned { sizes, factor })
    }

    /// Learns from a step that ended in `state`, was made by `tuned` and had the acceptance `chance` `(B,)`, as the state may learn.
    ///
    /// # Errors
    /// If what is stored in the state is damaged.
    pub fn learn(&self, state: &mut ChainState, tuned: &Tuned, chance: &Tensor) -> Result<()> {
        self.step.adapt(state, &tuned.sizes, chance)?;
        // What was looked for and does not move, or is looked for without a warm-up, is kept.
        if self.search && self.step.unknown(state)?.contains(&true) {
            self.step.begin(state, &tuned.sizes)?;
        }
        let closed = self.metric.learn(state)?;
        if closed.contains(&true) { self.step.forget(state, &closed) } else { Ok(()) }
    }

    /// Names that outlive a program.
    pub fn carried(&self) -> Vec<String> {
        let mut all = self.step.carried();
        all.extend(self.metric.carried());
        all
    }
}

/// Acceptance of one step at which a step size is a good one to begin with.
const REASONABLE: f64 = 0.8;
/// Doublings after which the search gives up: a factor of 10¹⁵.
const DOUBLINGS: usize = 50;

/// The search for a step size to begin with.
struct Search<'a> {
    e: &'a dyn EnergyFn,
    state: &'a ChainState,
    here: &'a Slope,
    frame: Frame,
    temperature: f64,
    key: Key,
}

impl Search<'_> {
    /// From one step size for all rows, or one for each.
    fn run(&self, mut sizes: Vec<f64>, (low, high): (f64, f64)) -> Result<Vec<f64>> {
        let mut moves: Vec<Option<bool>> = vec![None; sizes.len()];
        let mut open = vec![true; sizes.len()];
        for k in 0..DOUBLINGS {
            let chance = self.chance(&sizes, k)?;
            let part = chance.len() / sizes.len();
            for (i, chance) in chance.chunks(part.max(1)).enumerate().take(sizes.len()) {
                let good = chance.iter().sum::<f64>() / part as f64 > REASONABLE;
                let upwards = *moves[i].get_or_insert(good);
                open[i] &= upwards == good;
                if open[i] {
                    sizes[i] *= if upwards { 2.0 } else { 0.5 };
                    let inside = sizes[i].clamp(low, high);
                    open[i] = inside == sizes[i];
                    sizes[i] = inside;
                }
            }
            if !open.contains(&true) {
                break;
            }
        }
        Ok(sizes)
    }

    /// Chance of each row that one step of leapfrog is accepted, in f64.
    fn chance(&self, sizes: &[f64], k: usize) -> Result<Vec<f64>> {
        let at = &self.state.at;
        let h = match sizes {
            [one] => Sizes::Common(*one),
            all => Sizes::Rows(all.to_vec()),
        };
        let kick = h.map(|h| -0.5 * h / self.temperature);
        let key = self.key.at(k);
        let v = key.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let half = rows::moved(&v, &kick, &self.frame.down(&self.here.grad)?)?;
        let next = at.with_x(rows::moved(&at.x, &h, &self.frame.up(&half)?)?);
        let there = self.e.slope(&next)?;
        let end = rows::moved(&half, &kick, &self.frame.down(&there.grad)?)?;
        let kinetic = (row_sum(&v.sqr()?)? - row_sum(&end.sqr()?)?)?.affine(0.5, 0.0)?;
        let gain = ((&self.here.energy - &there.energy)?.affine(1.0 / self.temperature, 0.0)? + kinetic)?;
        let gain = ebm_core::host::numbers(&gain)?;
        Ok(gain.into_iter().map(|g| if g.is_nan() { 0.0 } else { g.min(0.0).exp() }).collect())
    }
}
