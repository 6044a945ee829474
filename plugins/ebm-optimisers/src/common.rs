//! What the optimisers share: settings, moments, the parameter of a gradient.

use ebm_core::candle::Tensor;
use ebm_core::{Error, OptimiserState, ParamSet, Result, Schedule, Settings, Shape};

/// The settings that every optimiser has.
#[derive(Clone, Debug, Settings)]
pub struct Common {
    /// Learning rate.
    #[setting(above = 0.0)]
    pub rate: f64,
    /// Largest global gradient norm; absent: no limit.
    #[setting(above = 0.0)]
    pub clip_norm: Option<f64>,
    /// Decay of the moving average of the parameters; absent: no average.
    #[setting(at_least = 0.0, below = 1.0)]
    pub average: Option<f64>,
    /// Learning rate over the run.
    #[setting(default = Schedule { shape: Shape::Constant, end: 1.0, warmup: 0 })]
    pub schedule: Schedule,
}

impl Common {
    /// A constant learning rate; no clipping, no average.
    pub fn at(rate: f64) -> Self {
        Common { rate, clip_norm: None, average: None, schedule: Schedule::default() }
    }
}

/// The moment called `name`, zeros like `p` at first.
pub(crate) fn moment(state: &OptimiserState, name: &str, p: &Tensor) -> Result<Tensor> {
    moment_of(state, name, p.dims(), p)
}

/// The same where it has other dimensions than what it is of.
pub(crate) fn moment_of(state: &OptimiserState, name: &str, dims: &[usize], p: &Tensor) -> Result<Tensor> {
    match state.tensors.get(name) {
        Some(t) if t.dims() == dims => Ok(t.clone()),
        Some(t) => Err(Error::shape(
            name,
            t.dims(),
            format!("{dims:?} like the parameter"),
            "the optimiser's state belongs to another network",
        )),
        None => Ok(Tensor::zeros(dims, p.dtype(), p.device())?),
    }
}

/// The methods of an `Optimiser` that read the settings all optimisers share.
macro_rules! settings {
    () => {
        fn rate(&self, step: u64, of: u64) -> f64 {
            self.common.rate * self.common.schedule.factor(step, of)
        }

        fn clip_norm(&self) -> Option<f64> {
            self.common.clip_norm
        }

        fn average(&self) -> Option<f64> {
            self.common.average
        }
    };
}
pub(crate) use settings;

/// The parameter that gradient `g` is for.
pub(crate) fn param<'a>(params: &'a ParamSet, name: &str, g: &Tensor) -> Result<&'a Tensor> {
    let p = params.get(name).ok_or_else(|| Error::config(name, "has a gradient but no value"))?;
    if p.dims() != g.dims() {
        let want = format!("{:?} like the parameter", p.dims());
        return Err(Error::shape(
            format!("gradient of {name}"),
            g.dims(),
            want,
            "the energy must keep shapes",
        ));
    }
    Ok(p)
}

#[cfg(test)]
pub(crate) mod testing {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Role;
    use ebm_core::candle::{DType, Device};

    use super::*;

    /// One parameter `w` with these values.
    pub(crate) fn one_param(values: &[f64], dtype: DType) -> ParamSet {
        let t = Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        ParamSet::new([("w".to_string(), t, Role::Trainable)]).unwrap()
    }

    /// Its values.
    pub(crate) fn values(params: &ParamSet) -> Vec<f64> {
        params.get("w").unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }
}
