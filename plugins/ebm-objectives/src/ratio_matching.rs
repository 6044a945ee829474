//! `ratio-matching`: discrete data against what they become when one site changes.

use ebm_core::{
    BuildCx, Demands, Diff, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Result, Settings, StepInput,
    TermName, plugin,
};

use crate::flips::Flips;
use crate::numbers::{for_terms, sum};

/// Ratios of probabilities of neighbouring samples matched to those of the data; nothing is sampled.
///
/// `mean Σ_i Σ_s σ(E(x) − E(x with site i in state s))²` over the other states s (Hyvärinen 2007, equation 16): the squared
/// distance of the laws of single changes up to a constant. Where a sample is impossible its ratio counts little, unlike in
/// a likelihood.
#[derive(Clone, Debug, Settings)]
pub struct RatioMatching {
    /// Sites of each datum that a step looks at, chosen at random; all if absent.
    #[setting(at_least = 1, at_most = 1e7)]
    pub sites: Option<usize>,
}

impl Objective for RatioMatching {
    fn needs(&self) -> Needs {
        Needs::none().with_discrete()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["ratio".into()]
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let Flips { at, counts, scale } = Flips::of("ratio-matching", e, input, self.sites, key)?;
        let mut demands = Demands::default();
        demands.energy(
            "ratio",
            "flips",
            &at,
            move |terms| {
                let share = Flips::gaps(counts, terms)?.sigmoid()?;
                // d σ² = 2 σ² (1 − σ).
                let slopes = (share.sqr()? * share.affine(-2.0 * scale, 2.0 * scale)?)?;
                for_terms(&Flips::weights(counts, &slopes)?, terms)
            },
            move |terms| Ok(scale * sum(&Flips::gaps(counts, terms)?.sigmoid()?.sqr()?)?),
        );
        Ok(demands)
    }

    fn name(&self) -> String {
        "ratio-matching".into()
    }
}

#[plugin(
    "ratio-matching",
    summary = "Ratios of probabilities of discrete data and their neighbours: no samples, no normalising constant",
    source = "Hyvärinen 2007, equation 16",
    example = ""
)]
impl ObjectiveConfig for RatioMatching {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
