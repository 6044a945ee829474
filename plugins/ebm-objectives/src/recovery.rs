//! `recovery-likelihood`: data against what chains recover from noisy copies of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::host;
use ebm_core::{
    Batch, BuildCx, ChainStart, Chains, Condition, Demands, EnergyFn, EnergySpec, Error, Key, Needs,
    Objective, ObjectiveConfig, ParamSet, Result, Settings, Slope, StepInput, TermName, ThetaGrad, WeightFn,
    per_row, plugin, row_sum,
};

use crate::numbers::{entries, samples, sum};

/// The likelihood of data given noisy copies of them, which is easy to sample: a quadratic term holds chains at the copy.
///
/// `mean E(y) − mean E(y′)` with `ỹ = y + s n` and y′ a sample of `exp(−E(y′) − |y′ − ỹ|²/2s²)` (Gao, Song, Poole, Wu, Kingma 2021, equations 5
/// to 10). With several `levels` each row has one of them, in turn: y is a datum with noise of its level, s leads on to the next,
/// and the energy is that of its level (`noise-conditioned`).
///
/// Chains run by the run's sampler. The paper starts them at ỹ and moves them without an accept test; too short or too coarse, they end
/// wider than the law that they are to sample, so the energy comes out sharper than the data (a temperature of 1.6 on the moons), and with an
/// accept test starts that are refused stay where no data are, and energies diverge. The datum y itself is an exact sample of that law
/// once the energy is right. Chains that start there have the data for a fixed point whatever their length, and may be `mala`.
#[derive(Clone, Debug, Settings)]
pub struct RecoveryLikelihood {
    /// Noise levels, rising, in units of the data: the first may be 0, and a row of one level gets noise up to the next.
    #[setting(default = [0.0, 0.3], at_least = 0.0)]
    pub levels: Vec<f64>,
    /// Where chains start.
    #[setting(default = Start::Datum)]
    pub start: Start,
}

/// Where the chains of a recovery start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Start {
    /// At the datum that the noisy copy is of.
    Datum,
    /// At the noisy copy (published); for samplers without accept test alone.
    Noisy,
}

/// Rows y, their noisy copies, and 1/s² of each.
struct Copies {
    data: Batch,
    noisy: Tensor,
    precision: Tensor,
}

impl RecoveryLikelihood {
    /// The same random numbers for the chains and for the demands.
    fn copies(&self, e: &dyn EnergyFn, data: &Batch, key: Key) -> Result<Copies> {
        let bands = self.levels.len() - 1;
        // By identity, so that a chain's step size is adapted to one level.
        let of = |i: usize| data.chains.ids().iter().map(move |id| self.levels[(*id as usize % bands) + i]);
        let column = |v: Vec<f64>| -> Result<Tensor> { Ok(host::given(&v, data.dtype(), data.device())?) };
        let normal =
            |name| key.at(name).normal(&data.chains, data.sample_shape(), data.dtype(), data.device());
        let (low, s): (Vec<f64>, Vec<f64>) =
            of(0).zip(of(1)).map(|(low, high)| (low, (high * high - low * low).sqrt())).unzip();
        let precision = column(s.iter().map(|s| 1.0 / (s * s)).collect())?;
        let (low, s) = (column(low)?, column(s)?);
        let y = match self.levels[..] {
            [0.0, _] => data.x.clone(),
            _ => (&data.x + normal("level")?.broadcast_mul(&per_row(&low, &data.x)?)?)?,
        };
        let noisy = (&y + normal("noise")?.broadcast_mul(&per_row(&s, &y)?)?)?;
        let cond = match e.spec().condition {
            Condition::Optional(1) | Condition::Required(1) if data.cond.is_none() => Some(low.unsqueeze(1)?),
            _ if bands > 1 => {
                return Err(Error::capability(
                    "objective `recovery-likelihood` of several levels",
                    "an energy whose condition is the noise level",
                    "the energy",
                    "wrap it in `noise-conditioned`, or give two `levels`",
                ));
            }
            _ => data.cond.clone(),
        };
        Ok(Copies { data: data.with_x(y).with_cond(cond), noisy, precision })
    }
}

/// `E(x) + |x − ỹ|²/2s²`, each row around a copy of its own, which it is told by the identity of its chain.
struct Around {
    inner: Arc<dyn EnergyFn>,
    spec: EnergySpec,
    chains: Chains,
    noisy: Tensor,
    precision: Tensor,
}

impl Around {
    /// The noisy copies of these rows, and 1/s².
    fn copies(&self, at: &Batch) -> Result<(Tensor, Tensor)> {
        if at.chains == self.chains {
            return Ok((self.noisy.clone(), self.precision.clone()));
        }
        let of = |id| self.chains.ids().iter().position(|own| own == id).map(|place| place as u32);
        let places: Option<Vec<u32>> = at.chains.ids().iter().map(of).collect();
        let Some(places) = places else {
            let found = format!("{} rows of other chains", at.len());
            let hint = "use a sampler that keeps the identities of its chains";
            return Err(Error::capability("recovery-likelihood", "the chains it began", found, hint));
        };
        let places = Tensor::from_vec(places, at.len(), at.device())?;
        Ok((self.noisy.index_select(&places, 0)?, self.precision.index_select(&places, 0)?))
    }

    /// `x − ỹ`, and that over s².
    fn off(&self, at: &Batch) -> Result<(Tensor, Tensor)> {
        let (noisy, precision) = self.copies(at)?;
        let off = (&at.x - noisy)?;
        let pull = off.broadcast_mul(&per_row(&precision, &off)?)?;
        Ok((off, pull))
    }

    fn bowl(&self, at: &Batch) -> Result<Tensor> {
        let (off, pull) = self.off(at)?;
        Ok(row_sum(&(off * pull)?)?.affine(0.5, 0.0)?)
    }
}

impl EnergyFn for Around {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }

    fn params(&self) -> &ParamSet {
        self.inner.params()
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        Ok(Tensor::cat(&[&self.inner.terms(at)?, &self.bowl(at)?.unsqueeze(1)?], 1)?)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        let inner = self.inner.slope(at)?;
        let (off, pull) = self.off(at)?;
        let energy = (inner.energy + row_sum(&(off * &pull)?)?.affine(0.5, 0.0)?)?;
        Ok(Slope { energy, grad: (inner.grad + pull)? })
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        let bowl = self.bowl(at)?.unsqueeze(1)?;
        let with = |terms: &Tensor| -> Result<Tensor> { Ok(Tensor::cat(&[terms, &bowl], 1)?) };
        let weights = w.borrowed().around(|rows, terms, w| {
            let all = Tensor::cat(&[terms, &bowl.narrow(0, rows.start, rows.len())?], 1)?;
            Ok(w(&all)?.narrow(1, 0, terms.dim(1)?)?)
        });
        let inner = self.inner.grad_theta(at, &weights)?;
        Ok(ThetaGrad { terms: with(&inner.terms)?, grads: inner.grads })
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.inner.grad_theta_slope(at, v)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        Ok((self.inner.hvp(at, v)? + v.broadcast_mul(&per_row(&self.copies(at)?.1, v)?)?)?)
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.inner.refreshed_buffers()
    }

    fn engine(&self) -> String {
        format!("{} around noisy copies", self.inner.engine())
    }
}

impl Objective for RecoveryLikelihood {
    fn needs(&self) -> Needs {
        Needs::none().with_own_chains()
    }

    fn terms(&self) -> Vec<TermName> {
        vec!["recovery".into()]
    }

    fn portions(&self) -> bool {
        true
    }

    fn chains(&self, e: &Arc<dyn EnergyFn>, data: &Batch, key: Key) -> Result<Option<ChainStart>> {
        let Copies { data, noisy, precision } = self.copies(e.as_ref(), data, key)?;
        let from = match self.start {
            Start::Datum => data.clone(),
            Start::Noisy => data.with_x(noisy.clone()),
        };
        let mut spec = e.spec().clone();
        spec.terms.push("copy".into());
        let chains = data.chains.clone();
        let energy = Arc::new(Around { inner: e.clone(), spec, chains, noisy, precision });
        Ok(Some(ChainStart { energy, from }))
    }

    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let data = self.copies(e, input.data, key)?.data;
        let ends = &samples(input, "recovery-likelihood")?.last.at;
        let mut demands = Demands::default();
        for (rows, at, sign) in [("data", &data, 1.0), ("samples", ends, -1.0)] {
            let portion = input.portion_of(input.data);
            demands.energy_by_row(
                "recovery",
                rows,
                at,
                move |_, t| Ok(t.ones_like()?.affine(sign * (1.0 / entries(t, portion)), 0.0)?),
                move |t| Ok(sign * (sum(t)? / entries(t, portion))),
            );
        }
        Ok(demands)
    }

    fn name(&self) -> String {
        "recovery-likelihood".into()
    }
}

#[plugin(
    "recovery-likelihood",
    source = "Gao, Song, Poole, Wu, Kingma 2021, equations 5 to 10",
    example = "levels = [0.0, 0.3]"
)]
impl ObjectiveConfig for RecoveryLikelihood {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Objective>> {
        if self.levels.len() < 2 || !self.levels.windows(2).all(|w| w[0] < w[1] && w[1].is_finite()) {
            let message =
                format!("is {:?}, must be at least two rising noise levels, such as [0.0, 0.3]", self.levels);
            return Err(cx.refuse("levels", message));
        }
        Ok(Box::new(self.clone()))
    }
}
