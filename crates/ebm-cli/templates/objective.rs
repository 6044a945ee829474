//! `denoising`: score matching on noisy data, for which nothing is sampled.

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, BuildCx, Demands, EnergyFn, Key, Needs, Objective, ObjectiveConfig, Result, Settings, StepInput,
    host, plugin,
};

/// Denoising score matching at one noise level.
///
/// ½ mean |σ∇E(x + σn) − n|² over standard normal n (Vincent 2011): least where exp(−E) is the law of the noisy data.
/// Each n is used with its opposite: at small σ, one of them alone drowns the slope of E at x in n.
#[derive(Clone, Debug, Settings)]
pub struct Denoising {
    /// Standard deviation σ of the noise, in units of the data.
    #[setting(above = 0.0)]
    pub sigma: f64,
}

impl Objective for Denoising {
    fn needs(&self) -> Needs {
        Needs::none().with_exact()
    }
    fn portions(&self) -> bool {
        true
    }
    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let (data, of) = (input.data, 2.0 * input.portion_of(input.data).of as f64);
        let n = key.at("noise").normal(&data.chains, data.sample_shape(), data.dtype(), data.device())?;
        let both = |sign: f64| -> Result<_> { Ok(data.with_x((&data.x + (&n * (sign * self.sigma))?)?)) };
        let at = Batch::cat(&[&both(1.0)?, &both(-1.0)?])?;
        let noise = Tensor::cat(&[&n, &(&n * -1.0)?], 0)?;
        // The loss is a mean of |off|²/2, and off moves with σ∇E: a slope demand in the direction σ·off.
        let off = ((e.slope(&at)?.grad * self.sigma)? - noise)?;
        let value = 0.5 * host::scalar(&off.sqr()?.sum_all()?)? / of;
        let mut demands = Demands::default();
        demands.slope(self.name(), at, (off * (self.sigma / of))?, value);
        Ok(demands)
    }
    fn name(&self) -> String {
        "denoising".into()
    }
}

#[plugin("denoising", source = "Vincent 2011", example = "sigma = 0.1")]
impl ObjectiveConfig for Denoising {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self.clone()))
    }
}
