//! `contrastive`: contrastive divergence with the paper's regulariser, KL and entropy terms, and the label term, as a sum.

use ebm_core::{BuildCx, EntropyConfig, Objective, ObjectiveConfig, Result, Settings, plugin};

use crate::contrast::Contrast;
use crate::energy_l2::EnergyL2;
use crate::entropy::{self, Entropy};
use crate::kl::Kl;
use crate::label::LabelTerm;
use crate::sum::{Sum, Term};

/// Contrastive divergence with squared-energy regulariser, KL term, entropy term and label term.
///
/// Plain CD is all settings at their defaults; whether chains persist is decided by `chains.from`.
#[derive(Debug, Settings)]
pub struct Contrastive {
    /// Coefficient of `mean E(data) − mean E(samples)`.
    #[setting(default = 1.0, at_least = 0.0)]
    pub weight: f64,
    /// Coefficient of `mean E(data)² + mean E(samples)²`.
    #[setting(default = 0.0, at_least = 0.0)]
    pub energy_l2: f64,
    /// The KL term: energy of the samples as a function of the parameters through the sampler; absent: off.
    pub kl: Option<Kl>,
    /// The entropy term: minus the entropy of the samples as a function of the parameters; absent: off.
    pub entropy: Option<EntropyTerm>,
    /// The label term: cross-entropy of each datum's label under softmax(−E(x, c)/temperature); absent: off.
    pub label: Option<LabelTerm>,
}

/// The entropy term: `−weight · entropy(x(θ))` against samples from the replay buffer, through as many steps and of as many
/// samples as the KL term, or of all through the last step.
#[derive(Debug, Settings)]
pub struct EntropyTerm {
    /// Coefficient; 0.3 in the published program.
    #[setting(default = 0.3, at_least = 0.0)]
    pub weight: f64,
    /// Number of reference samples.
    #[setting(default = 100, at_least = 1, at_most = 10_000_000, unit = "samples")]
    pub bank: usize,
    /// The term is off until the buffer holds more than this.
    #[setting(default = 1000, unit = "chains")]
    pub bank_above: usize,
    /// The estimator.
    pub estimator: Box<dyn EntropyConfig>,
}

#[plugin(
    "contrastive",
    source = "Du, Li, Tenenbaum, Mordatch 2021, equations 4 to 8; Hinton 2002; label term: Grathwohl et al. 2020",
    example = r#"energy_l2 = 1.0
kl = { weight = 1.0, trail = 1, rows = 32 }
entropy = { weight = 0.3, estimator = { kind = "nearest-neighbour" } }"#
)]
impl ObjectiveConfig for Contrastive {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Objective>> {
        // The contrast stays at weight 0: samples are drawn and kept in any case.
        let mut terms = vec![Term::of(Contrast { weight: self.weight })];
        if self.energy_l2 != 0.0 {
            terms.push(Term::of(EnergyL2 { weight: self.energy_l2 }));
        }
        terms.extend(self.label.clone().map(Term::of));
        terms.extend(self.kl.clone().map(Term::of));
        if let Some(t) = &self.entropy {
            let estimator =
                cx.within("entropy", |cx| entropy::estimator(t.estimator.as_ref(), t.bank, cx))?;
            let (trail, rows) = self.kl.as_ref().map_or((1, 0), |kl| (kl.trail, kl.rows));
            let term = Entropy::new(t.weight, t.bank, t.bank_above, estimator);
            terms.push(Term::of(term.through(trail, rows)));
        }
        Ok(Box::new(Sum::called("contrastive", terms)?))
    }
}
