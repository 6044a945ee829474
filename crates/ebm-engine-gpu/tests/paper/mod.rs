//! The network of the paper's CIFAR-10 (examples/paper/cifar10.toml) on a device that runs nothing.

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::operators::{Operators, install, walk};
use ebm_core::plan::Products;
use ebm_core::{Batch, BuildCx, EnergyConfig, EnergyFn, Key, RowProgram, RowStep};
use ebm_plugins as _;

const CIFAR: &str = r#"
kind = "multi-scale"
parts = [
  { name = "small", energy = { kind = "cifar-resnet", scale = "small", filters = 64 } },
  { name = "mid", energy = { kind = "cifar-resnet", scale = "mid", filters = 64 } },
  { name = "large", energy = { kind = "cifar-resnet", scale = "main", filters = 64, attention = true } },
]
"#;

/// The network and so many samples by `own`, which are the processor's from then on.
pub fn network_by(own: Operators, products: Products, samples: usize) -> (Arc<dyn EnergyFn>, Batch) {
    let device = Device::Cpu;
    install(&device, own);
    let config: Box<dyn EnergyConfig> = toml::from_str(CIFAR).unwrap();
    let mut cx = BuildCx::new(&[3, 32, 32], DType::F32, &device, Key::root(1)).with_products(products);
    let energy = config.make(&mut cx).unwrap();
    (energy, Batch::new(Tensor::zeros((samples, 3, 32, 32), DType::F32, &device).unwrap()).unwrap())
}

/// A walk of Langevin steps of so many samples by `own`, which are the processor's from then on.
pub fn walk_by(own: Operators, products: Products, samples: usize) {
    let (energy, at) = network_by(own, products, samples);
    let step = RowStep {
        step_size: 100.0,
        noise: 0.001,
        noise_first: true,
        clamp: Some((0.0, 1.0)),
        move_limit: None,
    };
    walk(energy.as_ref(), &at, &RowProgram::new(vec![step; 5]), Key::root(2)).unwrap().unwrap();
}
