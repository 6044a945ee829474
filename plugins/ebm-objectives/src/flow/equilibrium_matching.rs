//! `equilibrium-matching`: slopes that point at the data and vanish there.

use ebm_core::bounds::clamped;
use ebm_core::{
    BuildCx, Demands, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Result, Settings, StepInput,
    TermName, plugin,
};

use super::Ways;

/// Slopes of the energy that point from noise to data and vanish at the data; nothing is sampled.
///
/// `½ mean |∇E(x_t) + c(t)(x₁ − x₀)|²` at `x_t = (1 − t)x₀ + t x₁` with t uniform and `c = λ min(1, (1 − t)/(1 − a))` (Wang, Du 2025,
/// equations 3 and 5, the explicit energy): data are where the energy is least, and are reached by gradient descent of any step size
/// and length (`langevin` without noise).
#[derive(Clone, Debug, Settings)]
pub struct EquilibriumMatching {
    /// Deviation of the noise, of mean 0, in units of the data.
    #[setting(default = 1.0, above = 0.0)]
    pub deviation: f64,
    /// Size λ of the slopes.
    #[setting(default = 4.0, above = 0.0)]
    pub gain: f64,
    /// Share a of the way after which slopes fall to 0.
    #[setting(default = 0.8, at_least = 0.0, below = 1.0)]
    pub flat: f64,
}

impl Objective for EquilibriumMatching {
    fn needs(&self) -> Needs {
        Needs::none().with_exact()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["eqm".into()]
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let ways = Ways::from_noise(input.data, self.deviation, key)?;
        let fall = self.gain / (1.0 - self.flat);
        let speed = clamped(&ways.time.affine(-fall, fall)?, 0.0, self.gain)?;
        ways.demand(e, input, "eqm", &speed, 1.0)
    }

    fn name(&self) -> String {
        "equilibrium-matching".into()
    }
}

#[plugin(
    "equilibrium-matching",
    source = "Wang, Du 2025, equations 3 and 5",
    example = "gain = 4.0\nflat = 0.8"
)]
impl ObjectiveConfig for EquilibriumMatching {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
