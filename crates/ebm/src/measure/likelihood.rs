//! The normalising constant of a trained model, and what it makes of held-out data.

use std::sync::Arc;

use ebm_core::energy::compose::Sum;
use ebm_core::host;
use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Key, Split, TransitionConfig};
use ebm_eval::{
    EvalError, LogZBracket, PlaneIntegral, bits_per_dim, integrate_plane_at, log_z_bracket,
    serialize_extended_option,
};
use ebm_model::Energies;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::measure::annealed::{AnnealOptions, AnnealedLogZ, annealed_log_z};
use crate::measure::independent::{exact_log_z, fields, independent_log_z};
use crate::measure::temperature;
use crate::model::energies::{POINTS, at_points, tell, without_condition};
use crate::model::open::Model;
use crate::tensors::numbers;

/// Held-out samples that are scored at most.
const HELD_OUT: usize = 10_000;
/// Share of the mass that the quadrature in the plane may leave outside of its square.
pub(super) const OUTSIDE: f64 = 1e-3;
/// Coordinates whose means the default base has one by one; of more their mean is taken.
const MEANS: usize = 8;

/// What to anneal from, and how.
#[derive(Clone, Debug)]
pub struct LikelihoodOptions {
    /// An energy with a known density, as TOML; without it `uniform` over the range of the data, or a `gaussian` around the mean of the data, as wide as they are.
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
    /// What both sides say together.
    pub bracket: LogZBracket,
    /// log Z by quadrature, in the plane; within 1e-3.
    pub quadrature: Option<f64>,
    /// log Z by the sum over all samples, of discrete ones where they are few.
    pub exact: Option<f64>,
    /// The rectangle and the cells of the quadrature.
    pub plane: Option<PlaneIntegral>,
    /// Why there is none in the plane.
    pub no_quadrature: Option<String>,
    /// Number of held-out samples.
    pub held_out: usize,
    /// Bounds of their mean log-likelihood by those of log Z, the lower first; the held-out samples are taken as they are.
    #[serde(serialize_with = "serialize_extended_option")]
    pub log_likelihood: Option<(f64, f64)>,
    /// What the log-likelihood loses where it is of the table's own units and not of the numbers that stand for them: nats a
    /// sample. `None` of samples that were made of no table.
    pub own_units: Option<f64>,
    /// The same in bits a value of 256 levels, for images; the lower first.
    #[serde(serialize_with = "serialize_extended_option")]
    pub bits_per_dim: Option<(f64, f64)>,
}

/// Brackets log Z of `model`'s energy (the marginal one where it takes a class; divided by the temperature) and the log-likelihood of its held-out data. The way back
/// starts on the ends of the way there.
///
/// # Errors
/// If base or moves do not parse or do not fit, or annealing fails.
pub fn likelihood(model: &Model, options: &LikelihoodOptions) -> Result<Likelihood> {
    let t = options.temperature;
    temperature::check(t)?;
    let prior = without_condition(model)?;
    tell(model);
    if prior.spec().domain.is_discrete() {
        return of_discrete(model, prior.as_ref(), options);
    }
    model.facts().columns.bounded().map_err(|why| Error::unfit("the likelihood", why))?;
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
    let training = stored(Split::Train)?;
    let (means, spreads) = moments(training.as_ref(), shape.iter().product())?;
    let hmc = "kind = \"hmc\", step_size = 0.05, leapfrogs = 10, target_acceptance = 0.65";
    let (base_text, moves_text) = match range {
        Some((low, high)) => {
            let range = format!("range = [{low:?}, {high:?}]");
            (format!("kind = \"uniform\", {range}"), format!("{hmc}, {range}"))
        }
        None => {
            let widest = spreads.iter().copied().fold(0.0, f64::max);
            let (mean, sd) = match means.len() <= MEANS {
                true => (means.clone(), widest),
                false => {
                    let one = means.iter().sum::<f64>() / means.len() as f64;
                    let apart = means.iter().map(|m| (m - one).abs()).fold(0.0, f64::max);
                    (vec![one], widest.hypot(apart))
                }
            };
            (format!("kind = \"gaussian\", mean = {mean:?}, sd = {sd:?}"), hmc.to_string())
        }
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
    let bracket = log_z_bracket(&log_z.forward, &log_z.reverse);
    let log_likelihood =
        (held_out > 0).then(|| bracket.log_likelihood(held.iter().sum::<f64>() / held_out as f64));
    let values: usize = shape.iter().product();
    let images = matches!(shape[..], [1 | 3, _, _]) && range == Some((0.0, 1.0));
    let bits = |(low, high): (f64, f64)| (bits_per_dim(high, values, 256), bits_per_dim(low, values, 256));
    let (mut plane, mut no_quadrature) = (None, None);
    if shape == [2] {
        let sides = match range {
            Some((low, high)) => ([0.5 * (low + high); 2], [0.25 * (high - low); 2]),
            None => ([means[0], means[1]], [spreads[0], spreads[1]]),
        };
        // Modes that the data do not have are where chains ended.
        let mut places = training.as_ref().map_or(Ok(Vec::new()), numbers)?;
        places.extend(log_z.ends.iter().map(|ends| numbers(&ends.x)).collect::<Result<Vec<_>>>()?.concat());
        match quadrature(of, sides, &places, range)? {
            Ok(found) => plane = Some(found),
            Err(why) => no_quadrature = Some(why),
        }
    }
    Ok(Likelihood {
        base: base_text,
        moves: moves_text,
        temperature: t,
        bracket,
        exact: None,
        own_units: own_units(model),
        quadrature: plane.as_ref().map(|p| p.log_z),
        plane,
        no_quadrature,
        held_out,
        bits_per_dim: log_likelihood.filter(|_| images).map(bits),
        log_likelihood,
        log_z,
    })
}

/// The same of an energy of discrete samples, from independent coordinates with the rates of the data by sweeps over blocks.
fn of_discrete(model: &Model, energy: &dyn EnergyFn, options: &LikelihoodOptions) -> Result<Likelihood> {
    for (name, given) in [("base", &options.base), ("moves", &options.moves)] {
        if let Some(given) = given {
            let wanted = "none for discrete samples: they anneal from independent coordinates by their conditional laws";
            return Err(Error::invalid(name, given, wanted));
        }
    }
    if options.temperature != 1.0 {
        return Err(Error::invalid("temperature", options.temperature, "1 for discrete samples"));
    }
    let data = match model.data() {
        Ok(data) => Some(data),
        Err(e) => {
            tracing::warn!("no log-likelihood of held-out samples: {e}");
            None
        }
    };
    let stored =
        |split| data.map_or(Ok(None), |data| Ok::<_, Error>(data.stored(split, HELD_OUT)?.map(|l| l.x)));
    let mean = match &model.facts().mean {
        Some(mean) => Some(mean.clone()),
        None => stored(Split::Train)?.map(|x| x.mean(0)).transpose().map_err(ebm_core::Error::from)?,
    };
    let fields = fields(energy.spec().domain, model.sample_shape(), mean.as_ref())?;
    let key = options.seed.map_or(model.key(), Key::root).at("log-z");
    let log_z = independent_log_z(energy, &fields, &options.anneal, key)?;
    let held = stored(Split::HeldOut)?.map_or(Ok(Vec::new()), |held| model.energies_of(energy)?.at(&held))?;
    let bracket = log_z_bracket(&log_z.forward, &log_z.reverse);
    let mean = held.iter().sum::<f64>() / held.len().max(1) as f64;
    Ok(Likelihood {
        base: "independent coordinates with the rates of the data".into(),
        moves: "sweeps over blocks in their conditional laws".into(),
        temperature: 1.0,
        bracket,
        quadrature: None,
        plane: None,
        no_quadrature: None,
        exact: exact_log_z(energy)?.map(|e| e.log_z),
        held_out: held.len(),
        bits_per_dim: None,
        own_units: own_units(model),
        log_likelihood: (!held.is_empty()).then(|| bracket.log_likelihood(mean)),
        log_z,
    })
}

/// See [`Likelihood::own_units`].
pub(super) fn own_units(model: &Model) -> Option<f64> {
    let columns = &model.facts().columns;
    (!columns.is_empty()).then(|| columns.log_units(model.sample_shape().iter().product()))
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

/// Mean and standard deviation of each coordinate; 0 and 1 without data or where they are of no use.
pub(super) fn moments(data: Option<&candle_core::Tensor>, width: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let Some(x) = data else { return Ok((vec![0.0; width], vec![1.0; width])) };
    let of = |x: &candle_core::Tensor| -> candle_core::Result<(Vec<f64>, Vec<f64>)> {
        let x = host::wide(x)?.flatten_from(1)?;
        let mean = x.mean_keepdim(0)?;
        let variance = x.broadcast_sub(&mean)?.sqr()?.mean(0)?;
        Ok((mean.flatten_all()?.to_vec1()?, variance.to_vec1()?))
    };
    let (means, variances) = of(x).map_err(ebm_core::Error::from)?;
    let usable = |v: f64| if v > 0.0 && v.is_finite() { v.sqrt() } else { 1.0 };
    let means = means.into_iter().map(|m| if m.is_finite() { m } else { 0.0 }).collect();
    Ok((means, variances.into_iter().map(usable).collect()))
}

/// The integral of exp(−E), looked at in these places besides, over the plane, or over the square of a `range`; why not, if it has none that can be had.
pub(super) fn quadrature(
    of: Energies<'_>,
    (centre, spread): ([f64; 2], [f64; 2]),
    places: &[f64],
    range: Option<(f64, f64)>,
) -> Result<std::result::Result<PlaneIntegral, String>> {
    let of = of.at_least(POINTS);
    let outside = |v: f64| range.is_some_and(|(low, high)| v < low || v > high);
    let log_density = |points: &[f64]| -> Result<Vec<f64>> {
        let narrow: Vec<f32> = points.iter().map(|v| *v as f32).collect();
        let walled = points.chunks_exact(2).map(|p| p.iter().any(|v| outside(*v)));
        let log = |(e, wall): (f64, bool)| if wall { f64::NEG_INFINITY } else { -e };
        Ok(at_points(&of, &narrow)?.into_iter().zip(walled).map(log).collect())
    };
    match integrate_plane_at(log_density, centre, spread, places, OUTSIDE) {
        Ok(found) => Ok(Ok(found)),
        Err(e @ EvalError::Energy(_)) => Err(e.into()),
        Err(why) => Ok(Err(why.to_string())),
    }
}
