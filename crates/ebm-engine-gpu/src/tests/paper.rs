//! The device's own code over a driver that does no work (scripts/paper-gpu.sh, which tells what the driver saw): numbers are zeros, calls are not.

use std::sync::atomic::Ordering;

use candle_core::{DType, Device, Tensor};
use ebm_core::backend::Backend;
use ebm_core::operators::walk;
use ebm_core::plan::Products;
use ebm_core::{Batch, BuildCx, EnergyConfig, Key, RowProgram, RowStep};

use super::gpu;
use super::training::{self, DIGITS_NET};
use crate::cuda::graph::PLAYED;

const SCALES: &str = r#"
kind = "multi-scale"
parts = [
  { name = "small", energy = { kind = "cifar-resnet", scale = "small", filters = 8 } },
  { name = "mid", energy = { kind = "cifar-resnet", scale = "mid", filters = 8 } },
  { name = "large", energy = { kind = "cifar-resnet", scale = "main", filters = 8, attention = true } },
]
"#;

/// The device, if it is the script's; on a GPU the other tests say more.
fn paper() -> Option<(std::sync::MutexGuard<'static, ()>, Device)> {
    match std::env::var_os("PAPER_GPU_REPORT") {
        Some(_) => gpu(),
        None => {
            println!("skipped: scripts/paper-gpu.sh runs it");
            None
        }
    }
}

/// Steps that were played since `before`.
fn played(before: u64) -> u64 {
    PLAYED.load(Ordering::Relaxed) - before
}

#[test]
fn training_over_the_paper_driver() {
    let Some((_alone, device)) = paper() else { return };
    let before = PLAYED.load(Ordering::Relaxed);
    // Three updates with a walk of seven steps: one is run, the last is run, five are played.
    training::train(&device, DIGITS_NET, "f32", 7);
    assert_eq!(played(before), 15);
}

#[test]
fn walks_over_the_paper_driver() {
    let Some((_alone, device)) = paper() else { return };
    for (products, rounded) in [(Products::Full, false), (Products::Full, true), (Products::Bf16, false)] {
        crate::Cuda.round_products(rounded);
        let before = PLAYED.load(Ordering::Relaxed);
        let config: Box<dyn EnergyConfig> = toml::from_str(SCALES).unwrap();
        let mut cx = BuildCx::new(&[3, 32, 32], DType::F32, &device, Key::root(1)).with_products(products);
        let energy = config.make(&mut cx).unwrap();
        let step = RowStep { step_size: 1.0, noise: 0.01, noise_first: true, clamp: None, move_limit: None };
        for k in 0..3usize {
            let at = Batch::new(Tensor::zeros((4, 3, 32, 32), DType::F32, &device).unwrap()).unwrap();
            let program = RowProgram::new(vec![step; 7]);
            walk(energy.as_ref(), &at, &program, Key::root(2).at(k)).unwrap().unwrap();
            // As an update does.
            energy.params().touch();
        }
        crate::Cuda.round_products(false);
        assert_eq!(played(before), 15);
    }
}
