//! Shorthand of this crate's tests.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, BuildCx, EnergyConfig, EnergyFn, Key};

pub(crate) fn build_as(config: &dyn EnergyConfig, shape: &[usize], dtype: DType) -> Arc<dyn EnergyFn> {
    config.build(&mut BuildCx::new(shape, dtype, &Device::Cpu, Key::root(1))).unwrap()
}

pub(crate) fn build(config: &dyn EnergyConfig, shape: &[usize]) -> Arc<dyn EnergyFn> {
    build_as(config, shape, DType::F64)
}

/// The message with which `config` is refused.
pub(crate) fn refusal(config: &dyn EnergyConfig, shape: &[usize]) -> String {
    let built = config.build(&mut BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(1)));
    built.err().unwrap().to_string()
}

pub(crate) fn batch(points: &[[f64; 2]], dtype: DType) -> Batch {
    let x = Tensor::from_slice(points.as_flattened(), (points.len(), 2), &Device::Cpu).unwrap();
    Batch::new(x.to_dtype(dtype).unwrap()).unwrap()
}

fn row(x: &[f64]) -> Batch {
    Batch::new(Tensor::from_slice(x, (1, x.len()), &Device::Cpu).unwrap()).unwrap()
}

pub(crate) fn energy(e: &Arc<dyn EnergyFn>, x: &[f64]) -> f64 {
    e.energy(&row(x)).unwrap().to_vec1::<f64>().unwrap()[0]
}

pub(crate) fn log_density(e: &Arc<dyn EnergyFn>, x: &[f64]) -> f64 {
    e.density().unwrap().log_density(&row(x)).unwrap().to_vec1::<f64>().unwrap()[0]
}

pub(crate) fn log_densities(e: &Arc<dyn EnergyFn>, points: &[[f64; 2]]) -> Vec<f64> {
    e.density().unwrap().log_density(&batch(points, DType::F64)).unwrap().to_vec1().unwrap()
}

/// Middles of `cells`² cells of the square of this half-width.
pub(crate) fn lattice(half: f64, cells: usize) -> Vec<[f64; 2]> {
    let at = |i: usize| half * ((2 * i + 1) as f64 / cells as f64 - 1.0);
    (0..cells * cells).map(|i| [at(i / cells), at(i % cells)]).collect()
}
