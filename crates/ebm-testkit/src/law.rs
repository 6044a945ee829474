//! Laws of samplers: long runs against known moments, by z-scores under a fixed key.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, ChainState, EnergyFn, Key, Result, Transition};

use crate::{Failure, Verdict};

/// First two moments over all entries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Number of entries.
    pub count: usize,
    /// Mean.
    pub mean: f64,
    /// Variance about the mean (division by the number of entries).
    pub variance: f64,
}

/// Moments over all entries of `x`, in f64.
///
/// # Errors
/// If the tensor cannot be read.
pub fn moments(x: &Tensor) -> Result<Moments> {
    let v = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let n = v.len().max(1) as f64;
    let mean = v.iter().sum::<f64>() / n;
    let variance = v.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / n;
    Ok(Moments { count: v.len(), mean, variance })
}

/// Runs `steps` steps of `transition` on `rows` chains from zero in f64 and returns the last state.
///
/// # Errors
/// If the energy or the transition fails.
pub fn run(
    transition: &dyn Transition,
    e: &dyn EnergyFn,
    rows: usize,
    steps: usize,
    key: Key,
) -> Result<ChainState> {
    let mut shape = vec![rows];
    shape.extend_from_slice(&e.spec().sample_shape);
    let at = Batch::new(Tensor::zeros(shape, DType::F64, &Device::Cpu)?)?;
    let mut state = transition.init(e, at, key.at("init"))?;
    state.of = steps.max(1);
    for k in 0..steps {
        state = transition.step(e, &state, key.at(k))?.state;
    }
    Ok(state)
}

/// Checks mean 0 and variance `want` of a Gaussian from independent entries `x`, within `z` standard errors.
///
/// # Errors
/// If a moment is off; the message holds the z-scores.
pub fn check_variance(x: &Tensor, want: f64, z: f64) -> Verdict {
    let m = moments(x)?;
    let n = m.count as f64;
    let mean_z = m.mean / (want / n).sqrt();
    // The standard error of a Gaussian variance is σ²·sqrt(2/n).
    let variance_z = (m.variance / want - 1.0) / (2.0 / n).sqrt();
    Failure::unless(mean_z.abs() < z && variance_z.abs() < z, || {
        format!(
            "moments of {n} draws: mean {:.5} ({mean_z:.2} standard errors from 0), variance {:.5} ({variance_z:.2} from {want:.5})",
            m.mean, m.variance
        )
    })
}
