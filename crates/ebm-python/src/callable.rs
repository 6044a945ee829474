//! A Python function as an energy: values and gradients are its word, for every sampler and measure.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ebm::core::candle::Tensor;
use ebm::core::{
    Batch, EnergyFn, EnergySpec, Error, Exactness, ParamSet, Result, Slope, ThetaGrad, WeightFn, first_bad,
    host,
};
use pyo3::prelude::*;

use crate::arrays::Numbers;

/// The name in messages.
const NAME: &str = "the energy's function";
/// Coordinates of a sample that a message shows.
const SHOWN: usize = 4;

/// A function of samples `(B, ...)` that returns energies `(B,)` and gradients of the samples' shape.
pub(crate) struct Callable {
    function: Py<PyAny>,
    spec: EnergySpec,
    params: ParamSet,
    unusable: Mutex<Unusable>,
}

/// What a function returned that no chain can go by: energies that are NaN or −∞, and gradients that are not finite where the
/// energy is. An energy of +∞ is a wall, and what it returns where samples are not finite themselves is not its fault.
#[derive(Default)]
struct Unusable {
    samples: u64,
    energies: u64,
    gradients: u64,
    first: Option<String>,
}

impl Unusable {
    /// Looks at the rows of one call.
    fn look(&mut self, x: &Tensor, slope: &Slope) -> Result<()> {
        let energies = host::numbers(&slope.energy)?;
        self.samples += energies.len() as u64;
        if energies.iter().all(|e| e.is_finite()) && first_bad(&slope.grad)?.is_none() {
            return Ok(());
        }
        let (x, grad) = (host::numbers(x)?, host::numbers(&slope.grad)?);
        let width = (x.len() / energies.len().max(1)).max(1);
        let finite = |row: &[f64]| row.iter().all(|v| v.is_finite());
        for ((e, x), grad) in energies.iter().zip(x.chunks(width)).zip(grad.chunks(width)) {
            let energy_is = e.is_nan() || *e == f64::NEG_INFINITY;
            let gradient_is = e.is_finite() && !finite(grad);
            if !finite(x) || !(energy_is || gradient_is) {
                continue;
            }
            self.energies += u64::from(energy_is);
            self.gradients += u64::from(gradient_is);
            self.first.get_or_insert_with(|| {
                let shown: Vec<String> = x.iter().take(SHOWN).map(|v| format!("{v:?}")).collect();
                let more = if x.len() > SHOWN { ", ..." } else { "" };
                let what = if energy_is { format!("the energy {e:?}") } else { "such a gradient".into() };
                format!("{what} at [{}{more}]", shown.join(", "))
            });
        }
        Ok(())
    }
}

impl Callable {
    pub fn new(function: Py<PyAny>, sample_shape: &[usize]) -> Self {
        let mut spec = EnergySpec::new(sample_shape, &["energy"]);
        // Nobody knows how exact gradients of the user's are.
        spec.exactness = Exactness::CentralDifferences;
        Callable { function, spec, params: ParamSet::default(), unusable: Mutex::default() }
    }

    fn unusable(&self) -> MutexGuard<'_, Unusable> {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be said of the values that it returned since it was asked last, if any was of no use to a chain.
    pub fn remark(&self) -> Option<String> {
        let Unusable { samples, energies, gradients, first } = std::mem::take(&mut *self.unusable());
        Some(format!(
            "{NAME} returned NaN or -inf as the energy of {energies} and a gradient that is not finite for {gradients} of {samples} samples, \
             first {}: no chain moves by these; mend the function, or let it return +inf as the energy where there is none",
            first?
        ))
    }
}

/// A tensor like `like` out of what the function returned.
fn read(returned: &Bound<'_, PyAny>, what: &str, dims: &[usize], like: &Tensor) -> PyResult<Result<Tensor>> {
    let numbers = Numbers::read(returned, what)?;
    if numbers.dims() != dims {
        let hint = "return energies (B,) and their gradients, of the shape of x";
        return Ok(Err(Error::shape(what, numbers.dims(), format!("{dims:?}"), hint)));
    }
    Ok(numbers.tensor(like.dtype(), like.device()))
}

impl EnergyFn for Callable {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }

    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        Ok(self.slope(at)?.energy.unsqueeze(1)?)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.spec.check(NAME, at)?;
        let x = Numbers::of(&at.x)?;
        let asked = Python::attach(|py| -> PyResult<Result<Slope>> {
            let (energy, grad): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
                self.function.bind(py).call1((x.array(py)?,))?.extract()?;
            let energy = read(&energy, "energies of the function", &[at.len()], &at.x)?;
            let grad = read(&grad, "gradients of the function", at.x.dims(), &at.x)?;
            Ok(energy.and_then(|energy| Ok(Slope { energy, grad: grad? })))
        });
        let slope = asked.map_err(|raised| Error::plugin(NAME, raised))??;
        self.unusable().look(&at.x, &slope)?;
        Ok(slope)
    }

    fn grad_theta(&self, at: &Batch, _: &WeightFn<'_>) -> Result<ThetaGrad> {
        Ok(ThetaGrad { terms: self.terms(at)?, grads: BTreeMap::new() })
    }

    fn grad_theta_slope(&self, at: &Batch, _: &Tensor) -> Result<ThetaGrad> {
        Ok(ThetaGrad { terms: self.terms(at)?, grads: BTreeMap::new() })
    }

    fn hvp(&self, _: &Batch, _: &Tensor) -> Result<Tensor> {
        let hint =
            "write the energy as a kind of the framework, or differentiate the function in its own library";
        Err(Error::capability("a Hessian-vector product", "second derivatives", NAME, hint))
    }

    fn engine(&self) -> String {
        "a Python function".into()
    }
}
