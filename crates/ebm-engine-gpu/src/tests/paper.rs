//! The device's own code over a driver that does no work (scripts/paper-gpu.sh, which tells what the driver saw): numbers are zeros, calls are not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use candle_core::{DType, Device, Tensor};
use ebm_core::backend::Backend;
use ebm_core::operators::walk;
use ebm_core::plan::Products;
use ebm_core::{Batch, BuildCx, EnergyConfig, EnergyFn, Key, RowProgram, RowStep, Walked};
use ebm_nn::layers;
use ebm_samplers::kit::Cooled;

use super::gpu;
use super::own::Own;
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

const DIGITS: &str = "kind = 'digits-net'\nfilters = 4";

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

/// A walk of seven steps of four samples.
fn walked(energy: &dyn EnergyFn, device: &Device, sample: [usize; 3], key: Key) -> ebm_core::Result<Walked> {
    let step = RowStep { step_size: 1.0, noise: 0.01, noise_first: true, clamp: None, move_limit: None };
    let [c, h, w] = sample;
    let at = Batch::new(Tensor::zeros((4, c, h, w), DType::F32, device)?)?;
    Ok(walk(energy, &at, &RowProgram::new(vec![step; 7]), key)?.unwrap())
}

/// A small network whose second slope, which would be recorded, does something more.
fn changed(device: &Device, second: impl Fn() -> ebm_core::Result<()> + Send + Sync + 'static) -> Own {
    let config: Box<dyn EnergyConfig> = toml::from_str(DIGITS).unwrap();
    let mut cx = BuildCx::new(&[1, 8, 8], DType::F32, device, Key::root(1));
    Own::new(config.make(&mut cx).unwrap(), move |before, slope| {
        if before == 1 {
            second()?;
        }
        Ok(slope)
    })
}

/// Without the end of the recording all that follows would be recorded, and the next recording would be one in another.
#[test]
fn a_panic_over_the_paper_driver() {
    let Some((_alone, device)) = paper() else { return };
    let energy = changed(&device, || panic!("of a test"));
    let told =
        catch_unwind(AssertUnwindSafe(|| walked(&energy, &device, [1, 8, 8], Key::root(2)).map(|_| ())));
    assert!(told.is_err());
    let before = PLAYED.load(Ordering::Relaxed);
    walked(&energy, &device, [1, 8, 8], Key::root(3)).unwrap();
    assert_eq!(played(before), 5);
}

/// Memory that a library took in a recording would be the recording's, and used outside of it from then on.
#[test]
fn a_larger_convolution_over_the_paper_driver() {
    let Some((_alone, device)) = paper() else { return };
    let on = device.clone();
    let energy = changed(&device, move || {
        let x = Tensor::zeros((16, 8, 64, 64), DType::F32, &on)?;
        layers::conv2d(&x, &Tensor::zeros((8, 8, 3, 3), DType::F32, &on)?, None, 1, 1)?;
        Ok(())
    });
    let before = PLAYED.load(Ordering::Relaxed);
    for k in 0..2usize {
        walked(&energy, &device, [1, 8, 8], Key::root(2).at(k)).unwrap();
    }
    // The first walk is run step by step, the second has a recording.
    assert_eq!(played(before), 5);
}

#[test]
fn levels_and_temperatures_over_the_paper_driver() {
    let Some((_alone, device)) = paper() else { return };
    let text = format!(
        "kind = 'noise-conditioned'\nenergy = {{ {} }}",
        "kind = 'conv-net', layers = [{ filters = 4, stride = 2 }], hidden = [8], conditional = true"
    );
    let config: Box<dyn EnergyConfig> = toml::from_str(&text).unwrap();
    let mut cx = BuildCx::new(&[1, 8, 8], DType::F32, &device, Key::root(1));
    let energy = config.make(&mut cx).unwrap();
    let before = PLAYED.load(Ordering::Relaxed);
    for k in 0..3usize {
        for temperature in [4.0, 2.0, 1.0] {
            let cooled = Cooled::new(energy.as_ref(), temperature);
            walked(&cooled, &device, [1, 8, 8], Key::root(2).at(k)).unwrap();
        }
        energy.params().touch();
    }
    assert_eq!(played(before), 9 * 5);
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
        for k in 0..3usize {
            walked(energy.as_ref(), &device, [3, 32, 32], Key::root(2).at(k)).unwrap();
            // As an update does.
            energy.params().touch();
        }
        crate::Cuda.round_products(false);
        assert_eq!(played(before), 15);
    }
}
