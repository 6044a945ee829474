//! `pseudo-likelihood`: each site of discrete data from all others.

use ebm_core::candle::{D, Tensor};
use ebm_core::{
    BuildCx, Demands, Diff, Domain, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Result, Settings,
    StepInput, TermName, plugin,
};

use crate::flips::Flips;
use crate::numbers::{for_terms, sum};

/// The likelihood of each site's state given all others, which no normalising constant enters; nothing is sampled.
///
/// `mean Σ_i log Σ_s exp(E(x) − E(x with site i in state s))` over the data, in nats (Besag 1975): consistent, and for
/// pairs of spins nearly as sharp as maximum likelihood. Of pairs of spins or states it takes one slope of each datum, of other energies
/// one energy for each other state of each site.
#[derive(Clone, Debug, Settings)]
pub struct PseudoLikelihood {
    /// Sites of each datum that a step looks at, chosen at random; all if absent.
    #[setting(at_least = 1, at_most = 1e7)]
    pub sites: Option<usize>,
}

impl Objective for PseudoLikelihood {
    fn needs(&self) -> Needs {
        Needs::none().with_discrete()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["pseudo".into()]
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let mut demands = Demands::default();
        // The energy is linear in each coordinate, so a slope holds all differences.
        let linear = e.conditionals().map(|laws| laws.pairs()).transpose()?.flatten().is_some();
        if linear && self.sites.is_none() {
            let scale = 1.0 / input.portion_of(input.data).of.max(1) as f64;
            let (x, grad) = (&input.data.x, e.slope(input.data)?.grad);
            let (loss, direction) = match e.spec().domain {
                // The law of a state is softmax(−∂E).
                Domain::Categorical(_) => {
                    let down = grad.neg()?;
                    let own = (x * &grad)?;
                    (sum(&down.log_sum_exp_last()?)? + sum(&own)?, (x - down.softmax_last()?)?)
                }
                // E(x) − E(flipped) = 2 s ∂E.
                _ => {
                    let gap = (x * &grad)?.affine(2.0, 0.0)?;
                    (sum(&gap.softplus()?)?, (x * gap.sigmoid()?)?.affine(2.0, 0.0)?)
                }
            };
            demands.slope("pseudo", input.data.clone(), direction.affine(scale, 0.0)?, scale * loss);
            return Ok(demands);
        }
        let Flips { at, counts, scale } = Flips::of("pseudo-likelihood", e, input, self.sites, key)?;
        // Gaps to all states, that which the datum is in with a gap of 0 before them.
        let gaps = move |terms: &Tensor| -> Result<Tensor> {
            Ok(Flips::gaps(counts, terms)?.pad_with_zeros(1, 1, 0)?)
        };
        demands.energy(
            "pseudo",
            "flips",
            &at,
            move |terms| {
                let law = gaps(terms)?.softmax_last()?;
                let others = law.narrow(D::Minus1, 1, counts.2)?.affine(scale, 0.0)?;
                for_terms(&Flips::weights(counts, &others)?, terms)
            },
            move |terms| Ok(scale * sum(&gaps(terms)?.log_sum_exp_last()?)?),
        );
        Ok(demands)
    }

    fn name(&self) -> String {
        "pseudo-likelihood".into()
    }
}

#[plugin(
    "pseudo-likelihood",
    summary = "Each site of discrete data from all others: no samples, no normalising constant",
    source = "Besag 1975",
    example = ""
)]
impl ObjectiveConfig for PseudoLikelihood {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
