//! The measures of image samples, beside those of noise and of real data.

use candle_core::Tensor;
use ebm_core::{Labelled, Split};
use ebm_eval::{ImageQuality, Samples, image_quality, reference_rows};
use ebm_train::Plan;
use serde::Serialize;

use crate::error::Result;
use crate::tensors::floats;

/// Training images that neighbours are looked for among, and held-out images compared with.
const TRAIN: usize = 4000;
const HELD_OUT: usize = 2000;

/// Measures of samples, with two rows to read them against.
#[derive(Clone, Debug, Serialize)]
pub struct Measures {
    /// Number of samples.
    pub count: usize,
    /// Of the samples.
    pub samples: ImageQuality,
    /// Of one half of the held-out images against the other.
    pub real: ImageQuality,
    /// Of uniform noise.
    pub noise: ImageQuality,
}

/// Number of samples that [`measure`] wants; 0 if the data cannot be measured.
pub(crate) fn wanted(plan: &Plan) -> Result<usize> {
    let images = matches!(plan.data().sample_shape(), [1 | 3, h, w] if h == w);
    let unit = plan.data().range() == Some((0.0, 1.0));
    if !images || !unit {
        return Ok(0);
    }
    let held = plan.data().stored(Split::HeldOut, HELD_OUT)?.map_or(0, |l| l.x.dims()[0]);
    Ok(if held >= 8 { held.min(plan.config().generate.measured) } else { 0 })
}

/// Measures `samples` `(n, C, H, W)` against the run's data; `None` if there are no held-out images in [0, 1].
///
/// # Errors
/// If the data cannot be read or a sample is not finite.
pub fn measure(plan: &Plan, samples: &Tensor) -> Result<Option<Measures>> {
    if wanted(plan)? == 0 {
        return Ok(None);
    }
    let (Some(train), Some(held)) =
        (plan.data().stored(Split::Train, TRAIN)?, plan.data().stored(Split::HeldOut, HELD_OUT)?)
    else {
        return Ok(None);
    };
    let d: usize = plan.data().sample_shape().iter().product();
    let rows = |l: &Labelled| l.x.dims()[0];
    let (drawn, train_x, held_x) = (floats(samples)?, floats(&train.x)?, floats(&held.x)?);
    let n = samples.dims()[0];
    let drawn = Samples::new(&drawn, n, d)?;
    let train_x = Samples::new(&train_x, rows(&train), d)?;
    let held_x = Samples::new(&held_x, rows(&held), d)?;
    let labels = train.labels.as_deref();
    let reference = reference_rows(train_x, labels, held_x, n, 0)?;
    Ok(Some(Measures {
        count: n,
        samples: image_quality(drawn, train_x, labels, held_x)?,
        real: reference.real,
        noise: reference.noise,
    }))
}
