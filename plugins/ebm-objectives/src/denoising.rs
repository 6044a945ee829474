//! `denoising-score-matching`: the slope of the energy on noisy data points at the noise.

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, BuildCx, Demands, EnergyFn, Error, Key, Needs, Objective, ObjectiveConfig, Result, Settings,
    StepInput, TermName, per_row, plugin,
};

use crate::noise_levels::{NoiseLevels, NoiseLevelsSettings};
use crate::numbers::sum;

/// Slopes on noisy data against the noise that was added; nothing is sampled.
///
/// `½ mean |σ∇E(x + σn) − n|²` over standard normal n (Vincent 2011): least where exp(−E) is the law of the noisy data, so
/// σ blurs what is learnt by that much. Each n is used with its opposite: at small σ, one alone drowns the slope of E at x
/// in n, with a variance of 1/σ². Weights of modes that lie apart by many σ are not learnt; with several noise levels or a
/// contrastive term they are.
///
/// At many levels each datum has a σ of its own, which is the condition of the energy (`noise-conditioned`), and the
/// loss of a level has the weight `(σ² + d²)/d²` (Song, Ermon 2019, equation 6; Karras et al. 2022, section 5).
#[derive(Clone, Debug)]
pub struct DenoisingScoreMatching {
    noise: Noise,
    antithetic: bool,
}

#[derive(Clone, Debug)]
enum Noise {
    One(f64),
    Levels(NoiseLevels),
}

impl DenoisingScoreMatching {
    /// With noise of deviation `sigma`, in units of the data.
    pub fn new(sigma: f64) -> Self {
        DenoisingScoreMatching { noise: Noise::One(sigma), antithetic: true }
    }

    /// At many levels, for an energy whose condition is the level.
    pub fn over(levels: NoiseLevels) -> Self {
        DenoisingScoreMatching { noise: Noise::Levels(levels), antithetic: true }
    }

    /// The same with each noise alone, without its opposite.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.antithetic = false;
        self
    }

    /// Deviations, and those times the weights of the levels, and these weights; the condition of the energy.
    fn drawn(&self, e: &dyn EnergyFn, data: &Batch, key: Key) -> Result<(Factors, Option<Tensor>)> {
        match &self.noise {
            Noise::One(sigma) => Ok((Factors::same(*sigma), data.cond.clone())),
            Noise::Levels(_) if e.spec().condition.length() != Some(1) => Err(Error::capability(
                "objective `denoising-score-matching` with `levels`",
                "an energy whose condition is the noise level",
                "the energy",
                "wrap it in `noise-conditioned`, or give one `sigma`",
            )),
            Noise::Levels(levels) => {
                let sigma = levels.draw(data, key)?;
                let cond = Some(sigma.unsqueeze(1)?);
                Ok((Factors::of(sigma.clone(), levels.weight(&sigma)?)?, cond))
            }
        }
    }
}

/// A factor of all rows, or of each.
enum Factor {
    Same(f64),
    Rows(Tensor),
}

impl Factor {
    /// `t` `(k·B, ...)` times the factors of its B rows, k times over, and times `by`.
    fn times(&self, t: &Tensor, by: f64) -> Result<Tensor> {
        match self {
            Factor::Same(f) => Ok(t.affine(f * by, 0.0)?),
            Factor::Rows(rows) => {
                let k = t.dim(0)? / rows.dim(0)?.max(1);
                let rows = Tensor::cat(&vec![rows; k.max(1)], 0)?;
                Ok(t.broadcast_mul(&per_row(&rows, t)?)?.affine(by, 0.0)?)
            }
        }
    }
}

/// σ, the weight w of its loss, and wσ.
struct Factors {
    sigma: Factor,
    weight: Factor,
    both: Factor,
}

impl Factors {
    fn same(sigma: f64) -> Self {
        Factors { sigma: Factor::Same(sigma), weight: Factor::Same(1.0), both: Factor::Same(sigma) }
    }

    fn of(sigma: Tensor, weight: Tensor) -> Result<Self> {
        let both = Factor::Rows((&sigma * &weight)?);
        Ok(Factors { sigma: Factor::Rows(sigma), weight: Factor::Rows(weight), both })
    }
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
        let data = input.data;
        let n = key.at("noise").normal(&data.chains, data.sample_shape(), data.dtype(), data.device())?;
        let (Factors { sigma, weight, both }, cond) = self.drawn(e, data, key.at("level"))?;
        let signs: &[f64] = if self.antithetic { &[1.0, -1.0] } else { &[1.0] };
        let of = (signs.len() * input.portion_of(data).of) as f64;
        let noisy = |sign: &f64| -> Result<Batch> {
            Ok(data.with_x((&data.x + sigma.times(&n, *sign)?)?).with_cond(cond.clone()))
        };
        let noisy = signs.iter().map(noisy).collect::<Result<Vec<_>>>()?;
        let at = Batch::cat(&noisy.iter().collect::<Vec<_>>())?;
        let noise = signs.iter().map(|sign| Ok(n.affine(*sign, 0.0)?)).collect::<Result<Vec<_>>>()?;
        // The loss is a mean of w|off|²/2, and off moves with σ∇E: a slope demand in the direction wσ·off.
        let off = (sigma.times(&e.slope(&at)?.grad, 1.0)? - Tensor::cat(&noise, 0)?)?;
        let value = 0.5 * sum(&weight.times(&off.sqr()?, 1.0)?)? / of;
        let mut demands = Demands::default();
        demands.slope("dsm", at, both.times(&off, 1.0 / of)?, value);
        Ok(demands)
    }

    fn name(&self) -> String {
        "denoising-score-matching".into()
    }
}

/// Settings of `denoising-score-matching`.
#[derive(Debug, Settings)]
pub struct DenoisingSettings {
    /// Standard deviation σ of the noise, in units of the data; or give `levels`.
    #[setting(above = 0.0)]
    pub sigma: Option<f64>,
    /// Many levels, for an energy whose condition is the level.
    pub levels: Option<NoiseLevelsSettings>,
    /// Use each noise with its opposite, on twice the rows.
    #[setting(default = true)]
    pub antithetic: bool,
}

#[plugin(
    "denoising-score-matching",
    summary = "Slopes on noisy data against the noise that was added, at one level or many; nothing is sampled",
    source = "Vincent 2011; many levels: Song, Ermon 2019, equation 6",
    example = "sigma = 0.1"
)]
impl ObjectiveConfig for DenoisingSettings {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Objective>> {
        let objective = match (self.sigma, &self.levels) {
            (Some(sigma), None) => DenoisingScoreMatching::new(sigma),
            (None, Some(levels)) => {
                DenoisingScoreMatching::over(cx.within("levels", |cx| levels.levels(cx))?)
            }
            (Some(_), Some(_)) => return Err(cx.refuse("sigma", "stands beside `levels`; give one of them")),
            (None, None) => {
                let message = "is missing: give the deviation of the noise, or `levels` for an energy whose condition it is";
                return Err(cx.refuse("sigma", message));
            }
        };
        Ok(Box::new(if self.antithetic { objective } else { objective.plain() }))
    }
}
