//! A step size common to all chains that moves towards an acceptance rate.

use candle_core::{Device, Tensor};
use ebm_core::{ChainState, Error, Result};

/// The rule `log h ← log h + rate·(mean acceptance − target)` after each step (Andrieu, Thoms 2008,
/// algorithm 4, with a constant gain so that it follows an energy in training).
///
/// The mean is over the rows of the batch, so an adapted run depends on how chains are batched.
/// A constant gain leaves a bias of the order of `rate` in the target; freeze the step for measures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adaptation {
    pub(crate) target: f64,
    pub(crate) rate: f64,
    pub(crate) limits: (f64, f64),
}

/// A step size that is fixed or adapted, stored under `name` in the chain's state.
#[derive(Clone, Debug)]
pub(crate) struct StepSize {
    pub(crate) initial: f64,
    pub(crate) adaptation: Option<Adaptation>,
    pub(crate) name: &'static str,
}

impl StepSize {
    /// The step size in use; scaled by a schedule's factor if `initial` was.
    pub(crate) fn of(&self, state: &ChainState) -> Result<f64> {
        match (self.adaptation, state.aux.get(self.name)) {
            (Some(_), Some(t)) => t
                .to_dtype(candle_core::DType::F64)?
                .flatten_all()?
                .to_vec1::<f64>()?
                .first()
                .copied()
                .ok_or_else(|| {
                    Error::numeric(self.name, 0, "the stored step size is empty; delete it from the state")
                }),
            _ => Ok(self.initial),
        }
    }

    /// Moves the step size in `state` from `h` after a step of mean acceptance `chance` `(B,)`.
    pub(crate) fn adapt(&self, state: &mut ChainState, h: f64, chance: &Tensor) -> Result<()> {
        let Some(a) = self.adaptation else { return Ok(()) };
        let mean = chance.to_dtype(candle_core::DType::F64)?.mean_all()?.to_scalar::<f64>()?;
        let next = (h * (a.rate * (mean - a.target)).exp()).clamp(a.limits.0, a.limits.1);
        state.aux.insert(self.name.into(), Tensor::new(&[next], &Device::Cpu)?);
        Ok(())
    }

    /// Names that outlive a program.
    pub(crate) fn carried(&self) -> Vec<String> {
        self.adaptation.map(|_| self.name.to_string()).into_iter().collect()
    }

    /// From settings: adaptation if there is a target; limits default to a thousandth and a thousand times.
    pub(crate) fn configured(
        name: &'static str,
        initial: f64,
        target: Option<f64>,
        rate: f64,
        limits: Option<(f64, f64)>,
    ) -> Self {
        let limits = limits.unwrap_or((initial * 1e-3, initial * 1e3));
        let adaptation = target.map(|target| Adaptation { target, rate, limits });
        StepSize { initial, adaptation, name }
    }
}
