//! The objective's demands are the gradient of its loss, and the run trains without a sampler and is sampled after.

#![allow(clippy::unwrap_used)]

use ebm_core::candle::{DType, Device};
use ebm_core::{Batch, Chains, Key, StepInput};
use own_plugins::Denoising;

#[test]
fn the_demands_are_the_gradient_of_the_loss() {
    let e = ebm_testkit::toy::mlp(3, 8, 2, 7).unwrap();
    let x = Key::root(1).normal(&Chains::range(0, 4), &[3], DType::F64, &Device::Cpu).unwrap();
    let data = Batch::new(x).unwrap();
    ebm_testkit::check_objective(&Denoising { sigma: 0.3 }, &e, &StepInput::new(&data, None, None, 0))
        .unwrap();
}
