//! The normalising constant of a trained model, and what it makes of held-out data.

use std::sync::Arc;

use candle_core::DType;
use ebm_core::energy::compose::Sum;
use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Key, Split, TransitionConfig};
use ebm_eval::{PlaneGrid, bits_per_dim};
use ebm_model::Energies;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::measure::annealed::{AnnealOptions, AnnealedLogZ, annealed_log_z};
use crate::measure::temperature;
use crate::model::energies::on_grid;
use crate::model::open::Model;

/// Held-out samples that are scored at most.
const HELD_OUT: usize = 10_000;
/// Cells a side of the quadrature in the plane.
const CELLS: usize = 400;

/// What to anneal from, and how.
#[derive(Clone, Debug)]
pub struct LikelihoodOptions {
    /// An energy with a known density, as TOML; without it `uniform` over the range of the data, or a `gaussian` as wide as the data.
    pub base: Option<String>,
    /// A transition, as TOML; without it `hmc`.
    pub moves: Option<String>,
    /// Rungs and chains.
    pub anneal: AnnealOptions,
    /// Temperature T of `exp(−E/T)`.
    pub temperature: f64,
    /// Seed; that of the run without it.
    pub seed: Option<u64>,
}

/// A bracket on log Z and on the log-likelihood of held-out data; nats.
#[derive(Clone, Debug, Serialize)]
pub struct Likelihood {
    /// The base, as TOML.
    pub base: String,
    /// The moves, as TOML.
    pub moves: String,
    /// The temperature.
    pub temperature: f64,
    /// Both sides of log Z.
    pub log_z: AnnealedLogZ,
    /// log Z by the midpoint rule over a square around the data, in the plane.
    pub quadrature: Option<f64>,
    /// Number of held-out samples.
    pub held_out: usize,
    /// Their mean log-likelihood with the upper and with the lower side of log Z, in this order.
    pub log_likelihood: Option<(f64, f64)>,
    /// The same in bits a value of 256 levels, for images; the greater first.
    pub bits_per_dim: Option<(f64, f64)>,
}

/// Brackets log Z of `model`'s energy (divided by the temperature) and the log-likelihood of its held-out data. The way back
/// starts on the ends of the way there.
///
/// # Errors
/// If base or moves do not parse or do not fit, or annealing fails.
pub fn likelihood(model: &Model, options: &LikelihoodOptions) -> Result<Likelihood> {
    let t = options.temperature;
    temperature::check(t)?;
    let prior = model.energy().clone();
    if !matches!(prior.spec().condition, ebm_core::Condition::None) {
        return Err(Error::unfit(
            "log Z",
            "the energy takes a condition, which makes a constant for each; fix it with the energy `conditioned`",
        ));
    }
    let energy: Arc<dyn EnergyFn> = Arc::new(Sum::scaled("energy", prior, 1.0 / t)?);
    let (shape, range) = (model.sample_shape().to_vec(), model.facts().range);
    let data = match model.data() {
        Ok(data) => Some(data),
        // A range or a base of one's own says as well how wide to begin.
        Err(e) if range.is_some() || options.base.is_some() => {
            tracing::warn!("no log-likelihood of held-out samples: {e}");
            None
        }
        Err(e) => return Err(e),
    };
    let stored =
        |split| data.map_or(Ok(None), |data| Ok::<_, Error>(data.stored(split, HELD_OUT)?.map(|l| l.x)));
    let wide = spread(stored(Split::Train)?.as_ref())?;
    let hmc = "kind = \"hmc\", step_size = 0.05, leapfrogs = 10, target_acceptance = 0.65";
    let (base_text, moves_text) = match range {
        Some((low, high)) => {
            let range = format!("range = [{low:?}, {high:?}]");
            (format!("kind = \"uniform\", {range}"), format!("{hmc}, {range}"))
        }
        None => (format!("kind = \"gaussian\", sd = {wide:?}"), hmc.to_string()),
    };
    let base_text = options.base.as_deref().map_or(base_text, settings);
    let moves_text = options.moves.as_deref().map_or(moves_text, settings);
    let cx = || BuildCx::new(&shape, model.dtype(), model.device(), Key::root(0));
    let base = parsed::<Box<dyn EnergyConfig>>("base", &base_text)?.build(&mut cx())?;
    let moves = parsed::<Box<dyn TransitionConfig>>("moves", &moves_text)?.build(&mut cx())?;
    let key = options.seed.map_or(model.key(), Key::root).at("log-z");
    let log_z = annealed_log_z(&base, &energy, moves.as_ref(), None, &options.anneal, key)?;
    let of = model.energies_of(energy.as_ref())?;
    let held = stored(Split::HeldOut)?.map_or(Ok(Vec::new()), |held| of.at(&held))?;
    let held_out = held.len();
    let log_likelihood = (held_out > 0).then(|| {
        let mean = -held.iter().sum::<f64>() / held_out as f64;
        (mean - log_z.reverse.log_z, mean - log_z.forward.log_z)
    });
    let values: usize = shape.iter().product();
    let images = matches!(shape[..], [1 | 3, _, _]) && range == Some((0.0, 1.0));
    let bits = |(low, high): (f64, f64)| (bits_per_dim(low, values, 256), bits_per_dim(high, values, 256));
    Ok(Likelihood {
        base: base_text,
        moves: moves_text,
        temperature: t,
        quadrature: match (&shape[..], range, data) {
            ([2], None, Some(_)) => Some(log_z_by_quadrature(of, 2.5 * wide.max(1.0))?),
            _ => None,
        },
        held_out,
        bits_per_dim: log_likelihood.filter(|_| images).map(bits),
        log_likelihood,
        log_z,
    })
}

/// The settings of a part without the braces around them, in one line.
pub(crate) fn settings(text: &str) -> String {
    let text = text.trim();
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    inner.trim().replace('\n', ", ")
}

/// A part from its settings, as of [`settings`]; `setting` names it in errors.
pub(crate) fn parsed<B: DeserializeOwned>(setting: &'static str, settings: &str) -> Result<B> {
    #[derive(serde::Deserialize)]
    struct Wrapped<B> {
        part: B,
    }
    let read = toml::from_str::<Wrapped<B>>(&format!("part = {{ {settings} }}"));
    read.map(|w| w.part).map_err(|e| {
        let example = "a table such as { kind = \"hmc\", step_size = 0.1 }";
        Error::invalid(setting, settings, format!("{example}: {}", e.message()))
    })
}

/// The greatest standard deviation about 0 of a coordinate, or 1.
fn spread(data: Option<&candle_core::Tensor>) -> Result<f64> {
    let Some(x) = data else { return Ok(1.0) };
    let widest = x
        .to_dtype(DType::F64)
        .and_then(|x| x.flatten_from(1)?.sqr()?.mean(0)?.max(0)?.to_scalar::<f64>())
        .map_err(ebm_core::Error::from)?
        .sqrt();
    Ok(if widest > 0.0 && widest.is_finite() { widest } else { 1.0 })
}

/// By the midpoint rule over the square [-half, half]².
fn log_z_by_quadrature(of: Energies<'_>, half: f64) -> Result<f64> {
    let grid = PlaneGrid::new(half, CELLS)?;
    Ok(grid.log_z(&on_grid(of, &grid)?, 1.0))
}
