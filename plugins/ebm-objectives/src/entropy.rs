//! `entropy`: minus the entropy of the samples as a function of the parameters through the sampler.

use std::sync::Arc;

use ebm_core::{
    BuildCx, Demands, EnergyFn, EntropyConfig, EntropyEstimator, Key, Needs, Objective, ObjectiveConfig,
    Result, Settings, StepInput, TermName, plugin,
};

use crate::numbers::{mean, samples};
use crate::reach::Reach;

/// Minus the entropy of the samples as a function of the parameters through the sampler.
///
/// `−weight · entropy(x(θ))` against samples from the replay buffer (Du, Li, Tenenbaum, Mordatch
/// 2021, equation 8).
#[derive(Debug, Settings)]
pub struct EntropySettings {
    /// Coefficient; 0.3 in the published program.
    #[setting(default = 0.3, at_least = 0.0)]
    pub weight: f64,
    /// Through how many of the last sampler steps; 0 means all.
    #[setting(default = 1)]
    pub trail: usize,
    /// Number of samples that take part; 0 means all.
    #[setting(default = 0)]
    pub rows: usize,
    /// Number of reference samples.
    #[setting(default = 100, at_least = 1, at_most = 10_000_000, unit = "samples")]
    pub bank: usize,
    /// The term is off until the buffer holds more than this.
    #[setting(default = 1000, unit = "chains")]
    pub bank_above: usize,
    /// The estimator.
    pub estimator: Box<dyn EntropyConfig>,
}
/// The live term of [`EntropySettings`].
pub struct Entropy {
    weight: f64,
    reach: Reach,
    bank: usize,
    bank_above: usize,
    estimator: Arc<dyn EntropyEstimator>,
}

impl Entropy {
    /// `−weight · entropy` of all samples through the last step, against `bank` samples from a buffer of more than
    /// `bank_above`.
    pub fn new(weight: f64, bank: usize, bank_above: usize, estimator: Arc<dyn EntropyEstimator>) -> Self {
        Entropy { weight, reach: Reach { trail: 1, rows: 0 }, bank, bank_above, estimator }
    }

    /// The same through the last `trail` steps (0: all) of the first `rows` samples (0: all).
    #[must_use]
    pub fn through(mut self, trail: usize, rows: usize) -> Self {
        self.reach = Reach { trail, rows };
        self
    }
}

impl Objective for Entropy {
    fn needs(&self) -> Needs {
        self.reach.needs().with_bank(self.bank, self.bank_above)
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["ent".into()]
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let (drawn, label) = (samples(input, "entropy")?, TermName::from("ent"));
        let mut demands = Demands::default();
        // Another term may have asked for a bank earlier, or for a larger one.
        let bank = input.bank.filter(|_| input.held.is_none_or(|held| held > self.bank_above));
        let (Some(reached), Some(bank)) = (self.reach.samples(input, drawn)?, bank) else {
            demands.value(label, 0.0);
            return Ok(demands);
        };
        let bank = bank.narrow(0, 0, self.bank.min(bank.dim(0)?))?;
        let h = self.estimator.estimate(&reached.end.x, &bank, key.at("entropy"))?;
        // The estimate is a mean over the rows that are here.
        let weight = self.weight * reached.end.len() as f64 / reached.whole as f64;
        demands.value(label.clone(), -weight * mean(&h.value)?);
        self.reach.pull_back(e, input, drawn, &h.grad.affine(-weight, 0.0)?, &label, &mut demands)?;
        Ok(demands)
    }

    fn name(&self) -> String {
        "entropy".into()
    }
}

#[plugin(
    "entropy",
    source = "Du, Li, Tenenbaum, Mordatch 2021, equation 8",
    example = "weight = 0.3\nestimator = { kind = \"nearest-neighbour\" }"
)]
impl ObjectiveConfig for EntropySettings {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Objective>> {
        let estimator = estimator(self.estimator.as_ref(), self.bank, cx)?;
        let term = Entropy::new(self.weight, self.bank, self.bank_above, estimator);
        Ok(Box::new(term.through(self.trail, self.rows)))
    }
}

/// The estimator, which must be able to work with so many reference samples.
///
/// # Errors
/// If it cannot.
pub(crate) fn estimator(
    config: &dyn EntropyConfig,
    bank: usize,
    cx: &mut BuildCx,
) -> Result<Arc<dyn EntropyEstimator>> {
    let live: Arc<dyn EntropyEstimator> = config.build_at("estimator", cx)?.into();
    if bank < live.smallest_bank() {
        let message = format!("is {bank}, but `{}` needs at least {}", live.name(), live.smallest_bank());
        return Err(cx.refuse("bank", message));
    }
    Ok(live)
}
