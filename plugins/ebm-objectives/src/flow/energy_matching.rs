//! `energy-matching`: the flow phase of Energy Matching, slopes along the ways of least transport from noise to data.

use ebm_core::candle::Tensor;
use ebm_core::{
    BuildCx, Demands, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Result, Settings, StepInput,
    TermName, plugin,
};

use super::Ways;
use super::pairing::nearest_pairs;

/// Slopes of the energy along straight ways from normal noise to the data; nothing is sampled.
///
/// `½ mean |T∇E(x_t) + x₁ − x₀|²` at `x_t = (1 − t)x₀ + t x₁` with t uniform (Balcerak, Amiranashvili, Terpin, Shit, Bogensperger, Kaltenbach,
/// Koumoutsakos, Menze 2025, equation 6): far from the data −T∇E carries noise to them in the time 1, the same for all times, so that one
/// plain energy is learnt. Without crossing ways it can: noise and data are paired within the batch by optimal transport. What the
/// energy is at the data is left to a contrastive term that a `sum` switches on later. The paper's potential is V = T E, its chains
/// have the temperature T: here they sample exp(−E), with or without an accept test.
#[derive(Clone, Debug, Settings)]
pub struct EnergyMatching {
    /// Deviation of the noise, of mean 0, in units of the data.
    #[setting(default = 1.0, above = 0.0)]
    pub deviation: f64,
    /// Temperature T of the potential V = T E whose slopes are those of the ways: with a low one exp(−E) is narrow where the flow ends. At
    /// 1 the energy is the potential itself, and chains that are to be colder than exp(−E) need their own noise.
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
    /// Which noise goes to which datum.
    #[setting(default = Pairing::Optimal)]
    pub pairing: Pairing,
    /// Optimal pairs are found among so many rows at a time: the work of a batch grows with the square of it.
    #[setting(default = 128, at_least = 1, at_most = 4096, unit = "rows")]
    pub among: usize,
}

/// Which noise goes to which datum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Pairing {
    /// Those with the least sum of squared distances among `among` rows of a shard of the batch.
    Optimal,
    /// As they come.
    Independent,
}

impl Objective for EnergyMatching {
    fn needs(&self) -> Needs {
        Needs::none().with_exact()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["flow".into()]
    }

    fn portions(&self) -> bool {
        // A pairing is one of the whole shard.
        self.pairing == Pairing::Independent
    }

    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let mut ways = Ways::from_noise(input.data, self.deviation, key)?;
        if self.pairing == Pairing::Optimal {
            let pairs = nearest_pairs(&ways.start, &ways.end, self.among)?;
            let pairs = Tensor::from_vec(pairs, input.data.len(), input.data.device())?;
            ways.end = ways.end.index_select(&pairs, 0)?;
        }
        ways.demand(e, input, "flow", &ways.time.ones_like()?, self.temperature)
    }

    fn name(&self) -> String {
        "energy-matching".into()
    }
}

#[plugin("energy-matching", source = "Balcerak et al. 2025, equation 6", example = "deviation = 1.0")]
impl ObjectiveConfig for EnergyMatching {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
