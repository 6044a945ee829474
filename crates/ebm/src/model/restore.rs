//! Images of which a part is given, completed by a trained energy: inpainting, colourisation, denoising.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ebm_core::bounds::clamped;
use ebm_core::energy::autograd::Autograd;
use ebm_core::energy::compose::{Part, Sum};
use ebm_core::energy::given::Given;
use ebm_core::energy::pull_back::Map;
use ebm_core::energy::pull_back::PullBack;
use ebm_core::{Blind, Diff, EnergyFn, EnergySpec, Forward, ParamSet, View};
use ebm_data::folder::{Channels, FolderOptions, read_picture};
use ebm_draw::picture;

use crate::error::{Error, Result};
use crate::model::open::{Model, Sampling};

/// What is given, and how to complete it.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// The picture, of the size of the model's samples.
    pub image: PathBuf,
    /// A picture that is white (above the middle) where the image is given and black where it is to be filled.
    pub mask: Option<PathBuf>,
    /// Top, left, height, width of a rectangle to be filled, in pixels.
    pub hole: Option<[usize; 4]>,
    /// Only the mean over the channels is given, where anything is.
    pub grey: bool,
    /// Standard deviation of the noise on what is given, in the units of samples; it is then a hint and not a constraint.
    pub noise: Option<f64>,
    /// Temperature T at which the sampler draws: `exp(−E/T)`; with cold Langevin steps of size λ and noise σ about σ²/(2λ).
    pub temperature: f64,
    /// Number of completions.
    pub count: usize,
    /// Steps of the generation program; as configured without it.
    pub steps: Option<usize>,
    /// Seed; that of the run without it.
    pub seed: Option<u64>,
}

/// Completions.
#[derive(Clone, Debug)]
pub struct Restoration {
    /// The image, `(1, C, H, W)`.
    pub image: Tensor,
    /// What was left of it to see, `(1, C, H, W)`: 0.5 where nothing is given.
    pub seen: Tensor,
    /// The completions, `(n, C, H, W)`.
    pub samples: Tensor,
}

impl Restoration {
    /// A picture of all: the image, what is seen of it, the completions; PNG.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn sheet(&self) -> Result<Vec<u8>> {
        let samples = self.samples.to_device(&Device::Cpu).and_then(|s| s.to_dtype(DType::F32));
        let all = samples.and_then(|s| Tensor::cat(&[&self.image, &self.seen, &s], 0)).map_err(core)?;
        Ok(picture::encode(&all, None)?)
    }
}

/// Draws completions from fresh starts by the run's generation program, with the energy as prior.
///
/// Without `noise`, what is given is put into each sample before its energy is taken ([`Given`]), so any sampler draws the
/// rest from its conditional density. With noise of standard deviation s the energy of a sample x is
/// `E(x) + T/(2s²) ‖given(x) − given‖²`.
///
/// # Errors
/// If a picture cannot be read or has another size, or sampling fails.
pub fn restore(model: &Model, options: &RestoreOptions) -> Result<Restoration> {
    let shape = model.sample_shape().to_vec();
    let [c @ (1 | 3), h, w] = shape[..] else {
        return Err(Error::unfit("the model", format!("its samples of shape {shape:?} are no pictures")));
    };
    if options.grey && c == 1 {
        return Err(Error::invalid(
            "grey",
            "",
            "samples of more than one channel: the grey of one is all of it",
        ));
    }
    let image = read(&options.image, [c, h, w])?;
    let mask = match (&options.mask, options.hole) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid("hole", "", "one of both, found a mask and a hole"));
        }
        (Some(path), None) => {
            read(path, [c, h, w])?.ge(0.5).and_then(|m| m.to_dtype(DType::F32)).map_err(core)?
        }
        (None, Some([top, left, height, width])) => {
            if height == 0 || width == 0 || top.saturating_add(height) > h || left.saturating_add(width) > w {
                return Err(Error::invalid(
                    "hole",
                    format!("{top},{left},{height},{width}"),
                    format!("a rectangle inside of {h}×{w} pixels (top, left, height, width)"),
                ));
            }
            ebm_core::energy::given::outside(&[c, h, w], top, left, height, width)?
        }
        (None, None) => Tensor::ones((c, h, w), DType::F32, &Device::Cpu).map_err(core)?,
    };
    let all = mask.min_all().and_then(|m| m.to_scalar::<f32>()).map_err(core)? > 0.0;
    if all && !options.grey && options.noise.is_none() {
        return Err(Error::missing(
            &["mask", "hole", "grey", "noise"],
            "everything is given and nothing is left to draw",
        ));
    }
    let device = model.device();
    let dtype = model.dtype();
    let there = |t: &Tensor| t.to_dtype(dtype).and_then(|t| t.to_device(device)).map_err(core);
    let given = match options.grey {
        true => Given::grey(&there(&image)?, &there(&mask)?)?,
        false => Given::values(&there(&image)?, &there(&mask)?)?,
    };
    let given = Arc::new(given);
    let prior: Arc<dyn EnergyFn> = model.energy().clone();
    let energy: Arc<dyn EnergyFn> = match options.noise {
        None => Arc::new(PullBack::new(given.clone(), prior)?),
        Some(sd) => {
            let Some(weight) = tied(options.temperature, sd) else {
                return Err(Error::invalid(
                    "noise",
                    sd,
                    format!(
                        "a positive number of a sensible size, and so the temperature, which is {}",
                        options.temperature
                    ),
                ));
            };
            let tie = Tie { given: given.clone(), weight };
            let tie = Autograd::new("given", tie, EnergySpec::new(&shape, &["given"]), ParamSet::default());
            Arc::new(Sum::new(vec![Part::new("prior", prior), Part::new("hint", Arc::new(tie))])?)
        }
    };
    let sampling = Sampling {
        steps: options.steps,
        seed: options.seed,
        energy: Some(energy.as_ref()),
        ..Sampling::default()
    };
    let drawn = model.sample_watched(options.count, sampling, &mut Blind)?;
    let samples = match options.noise {
        None => clamped(&given.apply(&drawn)?, 0.0, 1.0).map_err(core)?,
        Some(_) => drawn,
    };
    let image = image.unsqueeze(0).map_err(core)?;
    // Grey shows as grey, what is not given as the middle.
    let half = Tensor::full(0.5f32, image.shape(), &Device::Cpu).map_err(core)?;
    let shown = match options.grey {
        true => {
            image.mean_keepdim(1).and_then(|m| m.broadcast_as(image.shape())?.contiguous()).map_err(core)?
        }
        false => image.clone(),
    };
    let mask = mask.unsqueeze(0).map_err(core)?;
    let seen = ((shown * &mask).map_err(core)? + (half * (1.0 - mask).map_err(core)?).map_err(core)?)
        .map_err(core)?;
    Ok(Restoration { image, seen, samples })
}

/// `T/(2 sd²)`, if it and both numbers are positive and of a size that single precision holds.
fn tied(temperature: f64, sd: f64) -> Option<f64> {
    let weight = temperature / (2.0 * sd * sd);
    let sane = |v: f64| (1e-12..1e12).contains(&v);
    (sane(temperature) && sane(sd) && sane(weight)).then_some(weight)
}

/// `weight · ‖g(x) − x‖²`: how far x is from what is given.
struct Tie {
    given: Arc<Given>,
    weight: f64,
}

impl Forward for Tie {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> ebm_core::Result<V> {
        // g(x) − x is affine in x: its constant is g(0), its slope that of g less one.
        let zero = x.value().zeros_like()?;
        let constant = self.given.apply(&zero)?;
        let moved =
            x.linear(|t| self.given.jvp(t, t).map_err(candle_core::Error::wrap).and_then(|free| free - t))?;
        moved.shift(&constant)?.square()?.flatten()?.sum_last()?.scale(self.weight)
    }
}

/// A picture `(C, H, W)` with values in the middle of their levels, as data sources have them.
fn read(path: &std::path::Path, [c, h, w]: [usize; 3]) -> Result<Tensor> {
    let channels = if c == 1 { Channels::Grey } else { Channels::Rgb };
    let read = read_picture(path, &FolderOptions { channels, ..FolderOptions::default() })?;
    if read.shape() != (c, h, w) {
        return Err(ebm_core::Error::data(
            path.display().to_string(),
            format!(
                "found a picture of {:?} (channels, height, width), wanted {:?}, as the model's samples",
                read.shape(),
                (c, h, w)
            ),
        )
        .into());
    }
    let values: Vec<f32> = read.bytes().iter().map(|b| (f32::from(*b) + 0.5) / 256.0).collect();
    Tensor::from_vec(values, (c, h, w), &Device::Cpu).map_err(core)
}

fn core(e: candle_core::Error) -> Error {
    ebm_core::Error::from(e).into()
}
