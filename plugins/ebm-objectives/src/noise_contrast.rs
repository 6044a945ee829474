//! `noise-contrast`: data against noise of a known density.

use std::ops::Range;
use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, BuildCx, Demands, Density, Diff, EnergyConfig, EnergyFn, Error, Init, Key, MOMENTS_OF, Needs,
    Objective, ObjectiveConfig, ParamSet, Result, Settings, Split, StepInput, TermName, plugin,
};

use crate::moments::Moments;
use crate::numbers::{for_terms, sum, total};

/// Which of data and noise is data, by `−E − log Z` against the noise's log density; nothing is sampled.
///
/// `mean softplus(−G(x)) + ν mean softplus(G(y))` over data x and ν noise samples y a datum, with
/// `G = −E − log Z − log q − log ν` (Gutmann, Hyvärinen 2012, equation 3). The energy comes out normalised: where it has a
/// constant of its own (the bias of a last layer), that is log Z; otherwise let `log_z` be learnt beside it.
pub struct NoiseContrast {
    noise: Arc<dyn Density>,
    ratio: usize,
    params: ParamSet,
}

/// The objective's parameter.
const LOG_Z: &str = "log_z";

impl NoiseContrast {
    /// Against noise of this density, one sample a datum; log Z is the energy's own constant.
    pub fn against(noise: Arc<dyn Density>) -> Self {
        NoiseContrast { noise, ratio: 1, params: ParamSet::default() }
    }

    /// The same with `ratio` samples a datum.
    #[must_use]
    pub fn with_ratio(mut self, ratio: usize) -> Self {
        self.ratio = ratio.max(1);
        self
    }
}

/// The density of an energy that has one in closed form.
struct Closed(Arc<dyn EnergyFn>);

impl Closed {
    fn density(&self) -> Result<&dyn Density> {
        self.0.density().ok_or_else(|| Error::config("noise", "has no density in closed form"))
    }
}

impl Density for Closed {
    fn log_density(&self, at: &Batch) -> Result<Tensor> {
        self.density()?.log_density(at)
    }

    fn draw(&self, chains: &ebm_core::Chains, key: Key) -> Result<Tensor> {
        self.density()?.draw(chains, key)
    }
}

impl Objective for NoiseContrast {
    fn needs(&self) -> Needs {
        Needs::none()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["nce".into()]
    }

    fn params(&self) -> ParamSet {
        self.params.clone()
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let data = input.data;
        let scale = 1.0 / input.portion_of(data).of.max(1) as f64;
        let draws = (0..self.ratio)
            .map(|i| Ok(data.with_x(self.noise.draw(&data.chains, key.at("noise").at(i))?)))
            .collect::<Result<Vec<Batch>>>()?;
        let noise = Batch::cat(&draws.iter().collect::<Vec<_>>())?;
        let own = self.params.get(LOG_Z).cloned();
        let mut demands = Demands::default();
        for (rows, at, sign) in [("data", data, 1.0), ("noise", &noise, -1.0)] {
            // E + log q + log ν: what the model must be below for a datum, and above for noise.
            let log_q = self.noise.log_density(at)?.affine(1.0, (self.ratio as f64).ln())?;
            let own = own.clone();
            // −G for data, G for noise.
            let wrong = move |rows: Range<usize>, terms: &Tensor| -> Result<Tensor> {
                let mut e = (total(terms)? + log_q.narrow(0, rows.start, rows.len())?)?;
                if let Some(log_z) = &own {
                    e = e.broadcast_add(log_z)?;
                }
                Ok(e.affine(sign, 0.0)?)
            };
            let (slope, value) = (wrong.clone(), wrong.clone());
            demands.energy_by_row(
                "nce",
                rows,
                at,
                move |rows, terms| {
                    for_terms(&slope(rows, terms)?.sigmoid()?.affine(sign * scale, 0.0)?, terms)
                },
                move |terms| Ok(scale * sum(&value(0..terms.dim(0)?, terms)?.softplus()?)?),
            );
            if self.params.get(LOG_Z).is_some() {
                demands.own("nce", LOG_Z, rows, at, move |terms| {
                    Ok(wrong(0..terms.dim(0)?, terms)?
                        .sigmoid()?
                        .sum_keepdim(0)?
                        .affine(sign * scale, 0.0)?)
                });
            }
        }
        Ok(demands)
    }

    fn name(&self) -> String {
        "noise-contrast".into()
    }
}

/// Settings of `noise-contrast`.
#[derive(Debug, Settings)]
pub struct NoiseContrastSettings {
    /// An energy with a density in closed form, whose samples are the noise; absent: the normal law with the data's mean and
    /// covariance.
    pub noise: Option<Box<dyn EnergyConfig>>,
    /// Noise samples a datum.
    #[setting(default = 1, at_least = 1, at_most = 10_000)]
    pub ratio: usize,
    /// Learn log Z beside the energy, for energies without a constant of their own.
    #[setting(default = false)]
    pub log_z: bool,
}

#[plugin(
    "noise-contrast",
    summary = "Data against noise of a known density: a normalised energy without sampling",
    source = "Gutmann, Hyvärinen 2012, equation 3",
    example = "noise = { kind = \"gaussian\", sd = 1.0 }\nratio = 1"
)]
impl ObjectiveConfig for NoiseContrastSettings {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Objective>> {
        let noise: Arc<dyn Density> = match &self.noise {
            Some(noise) => {
                let built = noise.build_at("noise", cx)?;
                if built.density().is_none() {
                    return Err(cx.refuse("noise", "has no density in closed form to draw from"));
                }
                Arc::new(Closed(built))
            }
            None => {
                let Some(data) = cx.data() else {
                    return Err(
                        cx.refuse("noise", "is missing, and there are no data whose moments it could have")
                    );
                };
                let some = data.stored(Split::Train, MOMENTS_OF)?.map(|s| s.x);
                let Some(some) = some else {
                    return Err(
                        cx.refuse("noise", "is missing, and the data have no samples to take moments of")
                    );
                };
                let some = some.to_device(cx.device())?.to_dtype(cx.dtype())?;
                Arc::new(Moments::of(&some).map_err(|e| cx.relocate("noise", e))?)
            }
        };
        if self.log_z {
            cx.param(LOG_Z, 1, Init::Constant(0.0))?;
        }
        Ok(Box::new(NoiseContrast { noise, ratio: self.ratio, params: cx.take_params()? }))
    }
}
