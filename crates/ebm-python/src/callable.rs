//! A Python function as an energy: values and gradients are its word, for every sampler and measure.

use std::collections::BTreeMap;

use ebm::core::candle::Tensor;
use ebm::core::{
    Batch, EnergyFn, EnergySpec, Error, Exactness, ParamSet, Result, Slope, ThetaGrad, WeightFn,
};
use pyo3::prelude::*;

use crate::arrays::Numbers;

/// The name in messages.
const NAME: &str = "the energy's function";

/// A function of samples `(B, ...)` that returns energies `(B,)` and gradients of the samples' shape.
pub(crate) struct Callable {
    function: Py<PyAny>,
    spec: EnergySpec,
    params: ParamSet,
}

impl Callable {
    pub fn new(function: Py<PyAny>, sample_shape: &[usize]) -> Self {
        let mut spec = EnergySpec::new(sample_shape, &["energy"]);
        // Nobody knows how exact gradients of the user's are.
        spec.exactness = Exactness::CentralDifferences;
        Callable { function, spec, params: ParamSet::default() }
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
        asked.map_err(|raised| Error::plugin(NAME, raised))?
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
