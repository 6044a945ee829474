//! The network of the paper's CIFAR-10 (examples/paper/cifar10.toml) on a device that runs nothing.

use ebm_core::candle::{DType, Device, Result, Tensor};
use ebm_core::operators::{Convolution, Operators, Order, Pass, install, walk};
use ebm_core::plan::Products;
use ebm_core::{Batch, BuildCx, EnergyConfig, Key, RowProgram, RowStep};
use ebm_plugins as _;

const CIFAR: &str = r#"
kind = "multi-scale"
parts = [
  { name = "small", energy = { kind = "cifar-resnet", scale = "small", filters = 64 } },
  { name = "mid", energy = { kind = "cifar-resnet", scale = "mid", filters = 64 } },
  { name = "large", energy = { kind = "cifar-resnet", scale = "main", filters = 64, attention = true } },
]
"#;

/// A walk of Langevin steps of so many samples by `own`, which are the processor's from then on.
pub fn walk_by(own: Operators, products: Products, samples: usize) {
    let device = Device::Cpu;
    install(&device, own);
    let config: Box<dyn EnergyConfig> = toml::from_str(CIFAR).unwrap();
    let mut cx = BuildCx::new(&[3, 32, 32], DType::F32, &device, Key::root(1)).with_products(products);
    let energy = config.make(&mut cx).unwrap();
    let at = Batch::new(Tensor::zeros((samples, 3, 32, 32), DType::F32, &device).unwrap()).unwrap();
    let step = RowStep {
        step_size: 100.0,
        noise: 0.001,
        noise_first: true,
        clamp: Some((0.0, 1.0)),
        move_limit: None,
    };
    walk(energy.as_ref(), &at, &RowProgram::new(vec![step; 5]), Key::root(2)).unwrap().unwrap();
}

/// Zeros in place of a convolution's result.
pub fn result(what: Convolution, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let sizes = |t: &Tensor| -> Result<[usize; 4]> {
        let (n, p, q, r) = t.dims4()?;
        Ok(if what.order == Order::ChannelsLast { [n, r, p, q] } else { [n, p, q, r] })
    };
    let (x, w) = (sizes(a)?, sizes(b)?);
    let out = |n: usize, k: usize| (n + 2 * what.padding - k) / what.stride + 1;
    let (n, c, h, wide) = match what.pass {
        Pass::Forward => (x[0], w[0], out(x[2], w[2]), out(x[3], w[3])),
        Pass::Input { size } => (x[0], w[1], size.0, size.1),
        Pass::Weight { kernel } => (w[1], x[1], kernel, kernel),
    };
    let shape = if what.order == Order::ChannelsLast { [n, h, wide, c] } else { [n, c, h, wide] };
    Tensor::zeros(&shape, a.dtype(), a.device())
}
