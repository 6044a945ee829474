//! Every kind keeps the laws of its family; perceptrons and convolutions at small sizes too, in every entry.
#![allow(clippy::unwrap_used)]

use ebm_core::candle::{DType, Device};
use ebm_core::{Batch, BuildCx, Chains, EnergyConfig, Key};
use ebm_energies_net::{ConvLayer, ConvNet, FourierFeatures, Mlp};
use ebm_testkit::check_energy;

ebm_testkit::conformance!("ebm-energies-net");

fn five_calls(config: &dyn EnergyConfig, shape: &[usize]) {
    let e = config.build(&mut BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(1))).unwrap();
    let x = Key::root(2).normal(&Chains::range(0, 3), shape, DType::F64, &Device::Cpu).unwrap();
    check_energy(e.as_ref(), &Batch::new(x).unwrap()).unwrap_or_else(|f| panic!("{f}"));
}

#[test]
fn five_calls_of_the_perceptron() {
    five_calls(&Mlp { hidden: vec![5, 4], first_scale: 2.0, ..Mlp::default() }, &[2]);
    let fourier = Some(FourierFeatures { features: 3, scale: 0.1 });
    five_calls(&Mlp { hidden: vec![4], fourier, ..Mlp::default() }, &[2]);
}

#[test]
fn five_calls_of_the_convolutional_net() {
    let layer = |filters, kernel, stride| ConvLayer { filters, kernel, stride };
    let layers = vec![layer(2, 3, 2), layer(2, 3, 1)];
    five_calls(&ConvNet { layers, hidden: vec![3], ..ConvNet::default() }, &[1, 5, 4]);
}
