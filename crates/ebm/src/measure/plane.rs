//! Two densities of the plane compared by quadrature, and samples of one against exact draws of the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device};
use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Key};
use ebm_data::png::Sheet;
use ebm_eval::{
    Features, PlaneDistance, PlaneGrid, median_distance, mmd2, plane_distance, sliced_wasserstein,
};
use ebm_model::Energies;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::measure::likelihood::{parsed, settings};
use crate::measure::temperature;
use crate::model::compose;
use crate::model::energies::on_grid;
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
    /// The square is [-half, half]².
    pub half: f64,
    /// Cells a side.
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
    /// Of the first one's samples.
    pub samples: Option<PlaneSamples>,
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

/// Compares the density exp(−E/T) of `model` on a square of the plane with another one.
///
/// # Errors
/// If samples are no points of the plane, the other energy cannot be had, or a number is not finite.
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
    let grid = PlaneGrid::new(options.half, options.cells)?;
    let mut own = on_grid(model.energies()?, &grid)?;
    own.iter_mut().for_each(|e| *e /= t);
    let other = other(model, options, &grid)?;
    let distance = plane_distance(&grid, &own, &other)?;
    if let Some(path) = &options.picture {
        draw(path, &grid, [&own, &other])?;
    }
    let samples = match options.count {
        0 => None,
        n => Some(samples(model, options, n, &grid, &other)?),
    };
    Ok(PlaneComparison { against: options.against.clone(), temperature: t, distance, samples })
}

/// Energies of the other density on the grid.
fn other(model: &Model, options: &PlaneOptions, grid: &PlaneGrid) -> Result<Vec<f64>> {
    let path = Path::new(&options.against);
    let is_line = compose::reads_as_line(path) && !options.against.contains('=');
    if path.exists() || is_line {
        let other = Model::open(path, &[])?;
        let shape = other.sample_shape();
        if shape != [2] {
            let wanted = format!("points of the plane, [2], found samples of shape {shape:?}");
            return Err(Error::invalid("against", &options.against, wanted));
        }
        return on_grid(other.energies()?, grid);
    }
    if !options.against.contains('=') {
        let wanted =
            "a run or a configuration that is there, or an energy in TOML such as { kind = \"rings\" }";
        return Err(Error::invalid("against", &options.against, wanted));
    }
    let config = parsed::<Box<dyn EnergyConfig>>("against", &settings(&options.against))?;
    let mut cx = BuildCx::new(&[2], DType::F64, &Device::Cpu, Key::root(0));
    let energy: Arc<dyn EnergyFn> = config.build(&mut cx)?;
    on_grid(Energies::of(energy.as_ref(), model.batch(), DType::F64, Device::Cpu), grid)
}

fn samples(
    model: &Model,
    options: &PlaneOptions,
    n: usize,
    grid: &PlaneGrid,
    other: &[f64],
) -> Result<PlaneSamples> {
    if n < 2 {
        return Err(Error::invalid("count", n, "0, or at least 2"));
    }
    let x = model.sample(n, None, options.seed)?;
    let drawn = Features::new(numbers(&x)?, n, 2)?;
    let key = options.seed.map_or(model.key(), Key::root).at("exact-draws");
    let exact = |which: u64| -> Result<Features> {
        let uniforms: Vec<f64> = (0..3 * n as u64).map(|i| key.at(which).uniform_at(i)).collect();
        Ok(grid.draws(other, &uniforms)?)
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
