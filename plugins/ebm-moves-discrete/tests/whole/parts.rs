//! Energies and moves by their settings.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::candle::{DType, Device};
use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Key, Transition, TransitionConfig};

/// In f64.
pub fn energy(shape: &[usize], text: &str) -> Arc<dyn EnergyFn> {
    let config: Box<dyn EnergyConfig> = toml::from_str(text).unwrap();
    config.build(&mut BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(1))).unwrap()
}

pub fn mover(text: &str) -> Box<dyn Transition> {
    let config: Box<dyn TransitionConfig> = toml::from_str(text).unwrap();
    config.build(&mut BuildCx::new(&[2], DType::F64, &Device::Cpu, Key::root(1))).unwrap()
}
