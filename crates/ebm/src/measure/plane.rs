//! Two densities of the plane compared by quadrature, and samples of one against exact draws of the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device};
use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Key, Split};
use ebm_data::png::Sheet;
use ebm_eval::{
    EvalError, Features, PlaneDistance, PlaneGrid, PlaneIntegral, integrate_plane_at, median_distance, mmd2,
    plane_between, plane_distance, sliced_wasserstein,
};
use ebm_model::Energies;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::measure::likelihood::{OUTSIDE, moments, parsed, settings};
use crate::measure::temperature;
use crate::model::compose;
use crate::model::energies::{POINTS, at_points, tell, without_condition};
use crate::model::open::Model;
use crate::tensors::numbers;

/// Directions of the sliced Wasserstein distance.
const DIRECTIONS: usize = 128;
/// Rows of which the median distance is taken.
const MEDIAN_ROWS: usize = 1000;

/// What to compare with, and how.
#[derive(Clone, Debug)]
pub struct PlaneOptions {
    /// The other density: a run, a configuration, or an energy as TOML.
    pub against: String,
    /// Both densities are restricted to the square [-half, half]²; without it each is taken over a square that holds
    /// all but a thousandth of its mass.
    pub half: Option<f64>,
    /// Cells a side of that square, and of the picture.
    pub cells: usize,
    /// Temperature T of the first density, exp(−E/T).
    pub temperature: f64,
    /// Samples of the first that are compared with exact draws of the other; 0 for none.
    pub count: usize,
    /// Seed; that of the run without it.
    pub seed: Option<u64>,
    /// Where both densities are drawn, side by side; `.png`.
    pub picture: Option<PathBuf>,
}

/// How far two densities of the plane, and samples, are from each other.
#[derive(Clone, Debug, Serialize)]
pub struct PlaneComparison {
    /// The other density.
    pub against: String,
    /// The temperature of the first.
    pub temperature: f64,
    /// By quadrature.
    #[serde(flatten)]
    pub distance: PlaneDistance,
    /// What the first density was integrated over, and the share of its mass outside.
    pub over: Over,
    /// The same of the other.
    pub over_other: Over,
    /// Of the first one's samples.
    pub samples: Option<PlaneSamples>,
}

/// What a density was integrated over.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Over {
    /// A square that was found for it.
    Found(PlaneIntegral),
    /// The square that was asked for.
    Asked {
        /// Half its side, around 0.
        half: f64,
        /// Cells a side.
        cells: usize,
        /// Share of the mass outside of it; none if the whole mass cannot be had, with the reason.
        outside: std::result::Result<f64, String>,
    },
}

/// Samples of the first density against exact draws of the other.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PlaneSamples {
    /// How many of each.
    pub count: usize,
    /// Unbiased MMD², Gaussian kernel, a quarter of the median distance of the exact draws wide.
    pub mmd2: f64,
    /// The same of two sets of exact draws.
    pub mmd2_exact: f64,
    /// Sliced Wasserstein distance of order 1.
    pub sliced_wasserstein: f64,
    /// The same of two sets of exact draws.
    pub sliced_wasserstein_exact: f64,
}

/// Log densities of points of the plane.
type LogDensity<'a> = dyn FnMut(&[f64]) -> Result<Vec<f64>> + 'a;

/// Compares the density exp(−E/T) of `model` (the marginal one where its energy takes a class) on the plane with another one.
///
/// # Errors
/// If samples are no points of the plane, the other energy cannot be had, a number is not finite, or, where no square is
/// named, one of the densities has no integral.
pub fn compare_on_plane(model: &Model, options: &PlaneOptions) -> Result<PlaneComparison> {
    let t = options.temperature;
    temperature::check(t)?;
    let shape = model.sample_shape();
    if shape != [2] {
        return Err(Error::unfit(
            "the model",
            format!("found samples of shape {shape:?}, wanted points of the plane, [2]"),
        ));
    }
    let other = Other::open(model, options)?;
    let (own, theirs) = (without_condition(model)?, other.energy()?);
    tell(model);
    let own = model.energies_of(own.as_ref())?.at_least(POINTS);
    let theirs = other.energies(model, theirs.as_ref())?.at_least(POINTS);
    let mut p = |points: &[f64]| log_density(&own, points, t);
    let mut q = |points: &[f64]| log_density(&theirs, points, 1.0);
    let (centre, spread, places) = start(model)?;
    let start = (centre, spread, &places[..]);
    let mut compared = match options.half {
        None => found(&mut p, &mut q, start, options)?,
        Some(half) => asked(&mut p, &mut q, start, options, half)?,
    };
    if let Some(path) = &options.picture {
        let grid = PlaneGrid::new(compared.half, options.cells)?;
        let on_grid = |f: &mut LogDensity<'_>| -> Result<Vec<f64>> {
            let energy = |points: &[f32]| -> Result<Vec<f32>> {
                let wide: Vec<f64> = points.iter().map(|v| f64::from(*v)).collect();
                Ok(f(&wide)?.into_iter().map(|l| -l as f32).collect())
            };
            Ok(grid.energies(energy)?)
        };
        let (a, b) = (on_grid(&mut p)?, on_grid(&mut q)?);
        draw(path, &grid, [&a, &b])?;
    }
    let samples = match options.count {
        0 => None,
        n => Some(samples(model, options, n, &mut compared.draws)?),
    };
    let Compared { distance, over: [over, over_other], .. } = compared;
    Ok(PlaneComparison {
        against: options.against.clone(),
        temperature: t,
        distance,
        over,
        over_other,
        samples,
    })
}

/// Draws of a density from uniform numbers, three a draw.
type Draws = dyn FnMut(&[f64]) -> Result<Features>;

/// Both densities as they were integrated.
struct Compared {
    distance: PlaneDistance,
    over: [Over; 2],
    /// Half the side of a square around 0 that holds what there is to see of both.
    half: f64,
    /// Exact draws of the second from uniform numbers, three a draw.
    draws: Box<Draws>,
}

/// By quadrature over squares that are found.
fn found(
    p: &mut LogDensity<'_>,
    q: &mut LogDensity<'_>,
    start: ([f64; 2], [f64; 2], &[f64]),
    options: &PlaneOptions,
) -> Result<Compared> {
    let pair = plane_between(p, q, start, OUTSIDE).map_err(|e| match e {
        EvalError::Plane(why) => Error::unfit(
            format!("this density or that of {}", options.against),
            format!("{why}; name a square (half) to which both are restricted"),
        ),
        other => other.into(),
    })?;
    let half = [&pair.first, &pair.second].map(reach).into_iter().fold(0.0, f64::max);
    let second = pair.second.clone();
    Ok(Compared {
        distance: pair.distance,
        over: [Over::Found(pair.first), Over::Found(pair.second)],
        half,
        draws: Box::new(move |uniforms| Ok(second.draws(uniforms)?)),
    })
}

/// By the midpoint rule over the square that was asked for, with the share of the mass that it leaves out.
fn asked(
    p: &mut LogDensity<'_>,
    q: &mut LogDensity<'_>,
    start: ([f64; 2], [f64; 2], &[f64]),
    options: &PlaneOptions,
    half: f64,
) -> Result<Compared> {
    let cells = options.cells;
    let grid = PlaneGrid::new(half, cells)?;
    let side = |f: &mut LogDensity<'_>| -> Result<(Vec<f64>, Over)> {
        let energy = |points: &[f32]| -> Result<Vec<f32>> {
            let wide: Vec<f64> = points.iter().map(|v| f64::from(*v)).collect();
            Ok(f(&wide)?.into_iter().map(|l| -l as f32).collect())
        };
        let energies = grid.energies(energy)?;
        let inside = grid.log_z(&energies, 1.0);
        let outside = match integrate_plane_at(f, start.0, start.1, start.2, OUTSIDE) {
            // Both integrals are within a thousandth.
            Ok(whole) => Ok((1.0 - (inside - whole.log_z).exp()).max(0.0)),
            Err(EvalError::Plane(why)) => Err(why.to_string()),
            Err(other) => return Err(other.into()),
        };
        Ok((energies, Over::Asked { half, cells, outside }))
    };
    let ((own, over), (theirs, over_other)) = (side(p)?, side(q)?);
    Ok(Compared {
        distance: plane_distance(&grid, &own, &theirs)?,
        over: [over, over_other],
        half,
        draws: Box::new(move |uniforms| Ok(grid.draws(&theirs, uniforms)?)),
    })
}

/// How far from 0 a density is more than a millionth of its highest.
fn reach(of: &PlaneIntegral) -> f64 {
    let top = of.nodes.iter().map(|n| n.log_density).fold(f64::NEG_INFINITY, f64::max);
    let seen = of.nodes.iter().filter(|n| n.log_density > top - 14.0);
    seen.flat_map(|n| n.at).fold(0.0, |far, v| v.abs().max(far))
}

fn log_density(of: &Energies<'_>, points: &[f64], temperature: f64) -> Result<Vec<f64>> {
    let narrow: Vec<f32> = points.iter().map(|v| *v as f32).collect();
    Ok(at_points(of, &narrow)?.into_iter().map(|e| -e / temperature).collect())
}

/// Where quadrature begins: mean and spread of the data, if there are any, and the data, near which it looks for peaks.
fn start(model: &Model) -> Result<([f64; 2], [f64; 2], Vec<f64>)> {
    let data = match model.data() {
        Ok(data) => data.stored(Split::Train, MEDIAN_ROWS)?.map(|l| l.x),
        Err(_) => None,
    };
    let (means, spreads) = moments(data.as_ref(), 2)?;
    let places = data.as_ref().map_or(Ok(Vec::new()), numbers)?;
    Ok(([means[0], means[1]], [spreads[0], spreads[1]], places))
}

/// The other density.
enum Other {
    Model(Box<Model>),
    Energy(Arc<dyn EnergyFn>),
}

impl Other {
    fn open(model: &Model, options: &PlaneOptions) -> Result<Self> {
        let path = Path::new(&options.against);
        let is_line = compose::reads_as_line(path) && !options.against.contains('=');
        if path.exists() || is_line {
            let other = Model::open(path, &[])?;
            let shape = other.sample_shape();
            if shape != model.sample_shape() {
                let wanted = format!("points of the plane, [2], found samples of shape {shape:?}");
                return Err(Error::invalid("against", &options.against, wanted));
            }
            return Ok(Other::Model(Box::new(other)));
        }
        if !options.against.contains('=') {
            let wanted =
                "a run or a configuration that is there, or an energy in TOML such as { kind = \"rings\" }";
            return Err(Error::invalid("against", &options.against, wanted));
        }
        let config = parsed::<Box<dyn EnergyConfig>>("against", &settings(&options.against))?;
        let mut cx = BuildCx::new(&[2], DType::F64, &Device::Cpu, Key::root(0));
        Ok(Other::Energy(config.build(&mut cx)?))
    }

    fn energy(&self) -> Result<Arc<dyn EnergyFn>> {
        match self {
            Other::Model(other) => without_condition(other),
            Other::Energy(energy) => Ok(energy.clone()),
        }
    }

    fn energies<'a>(&'a self, model: &Model, energy: &'a dyn EnergyFn) -> Result<Energies<'a>> {
        match self {
            Other::Model(other) => Ok(other.energies_of(energy)?),
            Other::Energy(_) => Ok(Energies::of(energy, model.batch(), DType::F64, Device::Cpu)),
        }
    }
}

fn samples(model: &Model, options: &PlaneOptions, n: usize, draws: &mut Draws) -> Result<PlaneSamples> {
    if n < 2 {
        return Err(Error::invalid("count", n, "0, or at least 2"));
    }
    let x = model.sample(n, None, options.seed)?;
    let drawn = Features::new(numbers(&x)?, n, 2)?;
    let key = options.seed.map_or(model.key(), Key::root).at("exact-draws");
    let mut exact = |which: u64| -> Result<Features> {
        let uniforms: Vec<f64> = (0..3 * n as u64).map(|i| key.at(which).uniform_at(i)).collect();
        draws(&uniforms)
    };
    let (first, second) = (exact(0)?, exact(1)?);
    let few = n.min(MEDIAN_ROWS);
    let width = 0.25 * median_distance(&Features::new(first.data()[..2 * few].to_vec(), few, 2)?)?;
    Ok(PlaneSamples {
        count: n,
        mmd2: mmd2(&drawn, &first, width)?,
        mmd2_exact: mmd2(&second, &first, width)?,
        sliced_wasserstein: sliced_wasserstein(&drawn, &first, DIRECTIONS, 1.0, 0)?,
        sliced_wasserstein_exact: sliced_wasserstein(&second, &first, DIRECTIONS, 1.0, 0)?,
    })
}

/// Both densities side by side, each white at its highest; x to the right, y upwards.
fn draw(path: &Path, grid: &PlaneGrid, energies: [&[f64]; 2]) -> Result<()> {
    let n = grid.cells();
    let mut tiles = Vec::with_capacity(2 * n * n);
    for e in energies {
        let lowest = e.iter().copied().fold(f64::INFINITY, f64::min);
        tiles.extend((0..n * n).map(|k| (lowest - e[(k % n) * n + (n - 1 - k / n)]).exp().sqrt() as f32));
    }
    Ok(Sheet { columns: Some(2), ..Sheet::default() }.write(path, &tiles, (2, 1, n, n))?)
}
