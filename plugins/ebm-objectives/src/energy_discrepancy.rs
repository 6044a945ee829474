//! `energy-discrepancy`: the energy of data against what is left of it when data are perturbed and undone.

use ebm_core::candle::Tensor;
use ebm_core::{
    BuildCx, Demands, Diff, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Result, Settings, StepInput,
    TermName, plugin,
};

use crate::numbers::{for_terms, sum};
use crate::particles::Particles;

/// Energies of data against those around a perturbed datum; nothing is sampled.
///
/// `mean log(w/M + 1/M Σₘ exp(E(x) − E(x + σn + σnₘ)))` over the data, n common to the M particles of a datum (Schröder et al.
/// 2023, equation 10). It lies between score matching (small σ) and maximum likelihood (large σ): weights of modes a few σ
/// apart are learnt. Without `w` one far particle of low energy decides the logarithm and training diverges.
#[derive(Clone, Debug, Settings)]
pub struct EnergyDiscrepancy {
    /// Standard deviation σ of the perturbation, in units of the data.
    #[setting(above = 0.0)]
    pub sigma: f64,
    /// Particles M of each datum.
    #[setting(default = 4, at_least = 1, at_most = 10_000)]
    pub particles: usize,
    /// Weight w of the datum itself among its particles.
    #[setting(default = 1.0, above = 0.0)]
    pub stabiliser: f64,
}

/// `(B, M + 1)`: the gaps, and log w beside them.
fn with_own(gaps: &Tensor, log_w: f64) -> Result<Tensor> {
    let own = gaps.narrow(1, 0, 1)?.zeros_like()?.affine(1.0, log_w)?;
    Ok(Tensor::cat(&[gaps, &own], 1)?)
}

impl Objective for EnergyDiscrepancy {
    fn needs(&self) -> Needs {
        Needs::none()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["ed".into()]
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let (data, m, log_w) = (input.data, self.particles, self.stabiliser.ln());
        let n = key.at("shift").normal(&data.chains, data.sample_shape(), data.dtype(), data.device())?;
        let shift = n.affine(self.sigma, 0.0)?;
        let Particles { at, counts, scale } =
            Particles::around(input, (m, self.sigma), Some(&shift), key.at("noise"))?;
        let mut demands = Demands::default();
        demands.energy(
            "ed",
            "particles",
            &at,
            move |terms| {
                let logs = with_own(&Particles::gaps(counts, terms)?, log_w)?;
                let all = logs.log_sum_exp_last()?;
                let shares = logs.broadcast_sub(&all)?.exp()?.narrow(1, 0, m)?;
                for_terms(&Particles::weights(&shares.affine(scale, 0.0)?)?, terms)
            },
            move |terms| {
                let log = with_own(&Particles::gaps(counts, terms)?, log_w)?.log_sum_exp_last()?;
                Ok(scale * (sum(&log)? - counts.0 as f64 * (m as f64).ln()))
            },
        );
        Ok(demands)
    }

    fn name(&self) -> String {
        "energy-discrepancy".into()
    }
}

#[plugin(
    "energy-discrepancy",
    source = "Schröder, Ou, Lim, Li, Vollmer, Duncan 2023, equation 10",
    example = "sigma = 0.6\nparticles = 4"
)]
impl ObjectiveConfig for EnergyDiscrepancy {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
