//! `energy-l2`: squared energies of data and samples, so that energies stay near zero.

use ebm_core::{
    BuildCx, Demands, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Result, Settings, StepInput,
    TermName, plugin,
};

use crate::numbers::{entries, samples, sum};

/// Mean squared energies of data and samples, which keep energies near zero.
///
/// `weight · (mean E(data)² + mean E(samples)²)`, means over rows and terms.
#[derive(Clone, Debug, Settings)]
pub struct EnergyL2 {
    /// Coefficient.
    #[setting(default = 1.0, at_least = 0.0)]
    pub weight: f64,
}

impl Objective for EnergyL2 {
    fn needs(&self) -> Needs {
        Needs::none().with_samples()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["reg".into()]
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, _: Key) -> Result<Demands> {
        let samples = &samples(input, "energy-l2")?.last.at;
        let mut demands = Demands::default();
        if self.weight == 0.0 {
            return Ok(demands);
        }
        for (rows, at) in [("data", input.data), ("samples", samples)] {
            let (weight, portion) = (self.weight, input.portion_of(at));
            demands.energy_by_row(
                "reg",
                rows,
                at,
                move |_, t| Ok(t.affine(2.0 * weight * (1.0 / entries(t, portion)), 0.0)?),
                move |t| Ok(weight * (sum(&t.sqr()?)? / entries(t, portion))),
            );
        }
        Ok(demands)
    }

    fn name(&self) -> String {
        "energy-l2".into()
    }
}

#[plugin("energy-l2", source = "Du, Mordatch 2019 (arXiv 1903.08689), section 3.2", example = "weight = 1.0")]
impl ObjectiveConfig for EnergyL2 {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
