//! `denoising-score-matching`: the slope of the energy on noisy data points at the noise.

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, BuildCx, Demands, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Result, Settings, StepInput,
    TermName, plugin,
};

use crate::numbers::sum;

/// Slopes on noisy data against the noise that was added; nothing is sampled.
///
/// `½ mean |σ∇E(x + σn) − n|²` over standard normal n (Vincent 2011): least where exp(−E) is the law of the noisy data, so
/// σ blurs what is learnt by that much. Each n is used with its opposite: at small σ, one alone drowns the slope of E at x
/// in n, with a variance of 1/σ². Weights of modes that lie apart by many σ are not learnt; with several noise levels or a
/// contrastive term they are.
#[derive(Clone, Debug, Settings)]
pub struct DenoisingScoreMatching {
    /// Standard deviation σ of the noise, in units of the data.
    #[setting(above = 0.0)]
    pub sigma: f64,
}

impl Objective for DenoisingScoreMatching {
    fn needs(&self) -> Needs {
        Needs::none().with_exact()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["dsm".into()]
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let (data, of) = (input.data, 2.0 * input.portion_of(input.data).of as f64);
        let n = key.at("noise").normal(&data.chains, data.sample_shape(), data.dtype(), data.device())?;
        let both =
            |sign: f64| -> Result<_> { Ok(data.with_x((&data.x + n.affine(sign * self.sigma, 0.0)?)?)) };
        let at = Batch::cat(&[&both(1.0)?, &both(-1.0)?])?;
        let noise = Tensor::cat(&[&n, &n.neg()?], 0)?;
        // The loss is a mean of |off|²/2, and off moves with σ∇E: a slope demand in the direction σ·off.
        let off = (e.slope(&at)?.grad.affine(self.sigma, 0.0)? - noise)?;
        let value = 0.5 * sum(&off.sqr()?)? / of;
        let mut demands = Demands::default();
        demands.slope("dsm", at, off.affine(self.sigma / of, 0.0)?, value);
        Ok(demands)
    }

    fn name(&self) -> String {
        "denoising-score-matching".into()
    }
}

#[plugin("denoising-score-matching", source = "Vincent 2011", example = "sigma = 0.1")]
impl ObjectiveConfig for DenoisingScoreMatching {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
