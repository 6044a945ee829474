//! `contrast`: the gradient of the likelihood, low energies on data and high ones on samples.

use ebm_core::{
    Batch, BuildCx, Demands, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Portion, Result, Settings,
    StepInput, TermName, plugin,
};

use crate::numbers::{entries, samples, sum};

/// Mean energy of the data minus mean energy of samples.
///
/// `weight · (mean E(data) − mean E(samples))`, means over rows and terms: with samples of the model its gradient is that
/// of the negative log-likelihood; with those of a few steps it is contrastive divergence (Hinton 2002).
#[derive(Clone, Debug, Settings)]
pub struct Contrast {
    /// Coefficient.
    #[setting(default = 1.0, at_least = 0.0)]
    pub weight: f64,
}

impl Contrast {
    fn demand(&self, demands: &mut Demands, rows: &'static str, at: &Batch, sign: f64, portion: Portion) {
        let weight = sign * self.weight;
        demands.energy_by_row(
            "cd",
            rows,
            at,
            move |_, t| Ok(t.ones_like()?.affine(weight * (1.0 / entries(t, portion)), 0.0)?),
            move |t| Ok(weight * (sum(t)? / entries(t, portion))),
        );
    }
}

impl Objective for Contrast {
    fn needs(&self) -> Needs {
        Needs::none().with_samples()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["cd".into()]
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, _: Key) -> Result<Demands> {
        let (data, samples) = (input.data, &samples(input, "contrast")?.last.at);
        let mut demands = Demands::default();
        if self.weight != 0.0 {
            self.demand(&mut demands, "data", data, 1.0, input.portion_of(data));
            self.demand(&mut demands, "samples", samples, -1.0, input.portion_of(samples));
        }
        Ok(demands)
    }

    fn name(&self) -> String {
        "contrast".into()
    }
}

#[plugin(
    "contrast",
    source = "Hinton 2002; Du, Li, Tenenbaum, Mordatch 2021, equation 4",
    example = "weight = 1.0"
)]
impl ObjectiveConfig for Contrast {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
