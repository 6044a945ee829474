//! `kl`: the energy of the samples as a function of the parameters through the sampler.

use ebm_core::{
    BuildCx, Demands, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Result, Settings, StepInput,
    TermName, plugin,
};

use crate::numbers::{samples, sum};
use crate::reach::Reach;

/// Energy of the samples as a function of the parameters through the sampler.
///
/// `weight · mean E(x(θ); θ frozen)` over the first `rows` samples: what contrastive divergence leaves out of the gradient
/// of the KL divergence from the samples' law to the model (Du, Li, Tenenbaum, Mordatch 2021, equations 5 and 6).
#[derive(Clone, Debug, Settings)]
pub struct Kl {
    /// Coefficient; 1 in the paper.
    #[setting(default = 1.0, at_least = 0.0)]
    pub weight: f64,
    /// Through how many of the last sampler steps; 1 is the published program, 0 means all.
    #[setting(default = 1)]
    pub trail: usize,
    /// Number of samples that take part; 0 means all.
    #[setting(default = 0)]
    pub rows: usize,
}

impl Kl {
    fn reach(&self) -> Reach {
        Reach { trail: self.trail, rows: self.rows }
    }
}

impl Objective for Kl {
    fn needs(&self) -> Needs {
        self.reach().needs()
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, _: Key) -> Result<Demands> {
        let (drawn, label) = (samples(input, "kl")?, TermName::from("kl"));
        let mut demands = Demands::default();
        let Some(reached) = self.reach().samples(input, drawn)? else {
            demands.value(label, 0.0);
            return Ok(demands);
        };
        // D = weight · mean over rows and terms of E_t(x); its slope in x, θ constant.
        let slope = e.slope(&reached.end)?;
        let scale = self.weight / (reached.whole * e.spec().terms.len().max(1)) as f64;
        demands.value(label.clone(), scale * sum(&slope.energy)?);
        let u = slope.grad.affine(scale, 0.0)?;
        self.reach().pull_back(e, input, drawn, &u, &label, &mut demands)?;
        Ok(demands)
    }

    fn name(&self) -> String {
        "kl".into()
    }
}

#[plugin(
    "kl",
    source = "Du, Li, Tenenbaum, Mordatch 2021, equations 5 and 6",
    example = "weight = 1.0\ntrail = 1\nrows = 32"
)]
impl ObjectiveConfig for Kl {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
