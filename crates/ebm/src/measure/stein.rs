//! Samples against the energy itself: kernel Stein discrepancy.

use candle_core::Device;
use ebm_core::Batch;
use ebm_core::host;
use ebm_eval::{Features, SteinDiscrepancy, SteinKernel, WildBootstrap, median_distance, stein_discrepancy};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::inputs::fit::Fit;
use crate::inputs::set::Inputs;
use crate::measure::temperature;
use crate::model::energies::{tell, without_condition};
use crate::model::open::Model;
use crate::tensors::numbers;

/// Samples at most: memory goes as their square.
const MOST: usize = 10_000;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct SteinOptions {
    /// Samples that are there; drawn from the model without it.
    pub samples: Option<String>,
    /// How many.
    pub count: usize,
    /// Steps of the generation program; as configured without it.
    pub steps: Option<usize>,
    /// Temperature T of the density exp(−E/T).
    pub temperature: f64,
    /// Length of the inverse multiquadric kernel; the median distance of the samples without it.
    pub length: Option<f64>,
    /// Probability that a sign of the bootstrap changes from one sample to the next: 1/2 for independent samples, less for
    /// consecutive draws of a chain.
    pub change: f64,
    /// Resamples of the bootstrap.
    pub resamples: usize,
    /// Seed of the bootstrap, and of the samples; of these that of the run without it.
    pub seed: Option<u64>,
}

impl Default for SteinOptions {
    fn default() -> Self {
        let usual = WildBootstrap::default();
        SteinOptions {
            samples: None,
            count: 1000,
            steps: None,
            temperature: 1.0,
            length: None,
            change: usual.change,
            resamples: usual.resamples,
            seed: None,
        }
    }
}

/// How far samples are from a density.
#[derive(Clone, Debug, Serialize)]
pub struct SteinReport {
    /// The samples.
    pub samples: String,
    /// How many.
    pub count: usize,
    /// The temperature.
    pub temperature: f64,
    /// Length of the kernel.
    pub length: f64,
    /// The squared discrepancy and its p-value.
    #[serde(flatten)]
    pub discrepancy: SteinDiscrepancy,
}

/// The squared kernel Stein discrepancy of samples from exp(−E/T)/Z: see [`stein_discrepancy`]. No Z is needed, and no data.
///
/// # Errors
/// If an option is out of range, samples cannot be had, do not fit or all are equal, or a slope is not finite.
pub fn stein(model: &Model, options: &SteinOptions) -> Result<SteinReport> {
    let o = options;
    temperature::check(o.temperature)?;
    if !(2..=MOST).contains(&o.count) {
        return Err(Error::invalid("count", o.count, format!("2 to {MOST}: memory goes as its square")));
    }
    let shape = model.sample_shape().to_vec();
    let width: usize = shape.iter().product();
    let (name, x) = match &o.samples {
        None => ("the model".to_string(), numbers(&model.sample(o.count, o.steps, o.seed)?)?),
        Some(what) => {
            if let Some(steps) = o.steps {
                return Err(Error::invalid("steps", steps, "samples that are drawn; these are there"));
            }
            let (set, mut all) = (Inputs::open(what)?, Vec::new());
            let fit = Fit::known(&shape, model.energy().spec().domain, model.facts());
            set.each(model.batch(), Some(o.count as u64), &fit, &mut |piece| {
                all.extend_from_slice(&piece.values);
                Ok(())
            })?;
            (set.name().to_string(), all)
        }
    };
    let n = x.len() / width.max(1);
    tell(model);
    let energy = without_condition(model)?;
    let mut scores = Vec::with_capacity(x.len());
    for rows in x.chunks(model.batch() * width.max(1)) {
        let mut dims = vec![rows.len() / width.max(1)];
        dims.extend(&shape);
        let at = candle_core::Tensor::from_slice(rows, dims, &Device::Cpu)
            .and_then(|t| t.to_dtype(model.dtype())?.to_device(model.device()))
            .map_err(ebm_core::Error::from)?;
        let grad = host::wide(&energy.slope(&Batch::new(at)?)?.grad).map_err(ebm_core::Error::from)?;
        scores.extend(numbers(&grad)?.into_iter().map(|g| -g / o.temperature));
    }
    let (x, scores) = (Features::new(x, n, width)?, Features::new(scores, n, width)?);
    let length = match o.length {
        Some(length) => length,
        None => median_distance(&x)?,
    };
    if !(length > 0.0 && length.is_finite()) {
        let wanted = "a positive number; the median distance of samples is 0 where more than half are equal";
        return Err(Error::invalid("length", length, wanted));
    }
    let bootstrap =
        WildBootstrap { resamples: o.resamples, change: o.change, seed: o.seed.unwrap_or_default() };
    let kernel = SteinKernel::InverseMultiquadric { length };
    let discrepancy = stein_discrepancy(&x, &scores, kernel, bootstrap)?;
    Ok(SteinReport { samples: name, count: n, temperature: o.temperature, length, discrepancy })
}
