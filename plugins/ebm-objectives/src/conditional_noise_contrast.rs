//! `conditional-noise-contrast`: each datum against noisy copies of itself.

use ebm_core::{
    BuildCx, Demands, Diff, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Result, Settings, StepInput,
    TermName, plugin,
};

use crate::numbers::{for_terms, sum};
use crate::particles::Particles;

/// Which of a datum and a noisy copy of it is the datum; nothing is sampled, and the noise needs no density.
///
/// `mean softplus(E(x) − E(x + σn))` over `copies` standard normal n a datum (Ceylan, Gutmann 2018, equation 9 up to a factor
/// of 2, with symmetric noise). E is learnt up to a constant; modes that lie many σ apart get no weights.
#[derive(Clone, Debug, Settings)]
pub struct ConditionalNoiseContrast {
    /// Standard deviation σ of the noise, in units of the data.
    #[setting(above = 0.0)]
    pub sigma: f64,
    /// Noisy copies of each datum.
    #[setting(default = 4, at_least = 1, at_most = 10_000)]
    pub copies: usize,
}

impl Objective for ConditionalNoiseContrast {
    fn needs(&self) -> Needs {
        Needs::none()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["cnce".into()]
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let Particles { at, counts, scale } =
            Particles::around(input, (self.copies, self.sigma), None, key.at("noise"))?;
        let each = scale / self.copies as f64;
        let mut demands = Demands::default();
        demands.energy(
            "cnce",
            "copies",
            &at,
            move |terms| {
                let slopes = Particles::gaps(counts, terms)?.sigmoid()?.affine(each, 0.0)?;
                for_terms(&Particles::weights(&slopes)?, terms)
            },
            move |terms| Ok(each * sum(&Particles::gaps(counts, terms)?.softplus()?)?),
        );
        Ok(demands)
    }

    fn name(&self) -> String {
        "conditional-noise-contrast".into()
    }
}

#[plugin(
    "conditional-noise-contrast",
    source = "Ceylan, Gutmann 2018, equation 9",
    example = "sigma = 0.6\ncopies = 4"
)]
impl ObjectiveConfig for ConditionalNoiseContrast {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
