//! Trails through augmentation: the pull back against central differences of whole chains.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, Blind, BuildCx, Chains, DrawRequest, EnergyFn, Key, Link, Result, Sampler, Transition,
    TransitionConfig,
};
use ebm_samplers::{Chain, Langevin};
use ebm_testkit::{relative_gap, theta_difference, toy};
use ebm_transitions::kit::{Augment, Change, Dice};
use ebm_transitions::{Axis, BlurConfig, ColourConfig, CropConfig, FlipConfig, SimclrConfig, Then};

const SHAPE: [usize; 3] = [3, 4, 4];

/// A quarter of a turn, as another crate would write it.
struct Quarter;

impl Change for Quarter {
    fn change(&self, x: &Tensor, _: &[Dice]) -> Result<Tensor> {
        let back = Tensor::new(&[3u32, 2, 1, 0], x.device())?;
        Ok(x.transpose(2, 3)?.contiguous()?.index_select(&back, 3)?)
    }
    fn name(&self) -> String {
        "quarter".into()
    }
}

fn built(config: &dyn TransitionConfig) -> Box<dyn Transition> {
    let mut cx = BuildCx::new(&SHAPE, DType::F64, &Device::Cpu, Key::root(0)).with_range(Some((-1.0, 1.0)));
    config.build(&mut cx).unwrap()
}

/// ∇_θ⟨u, x⟩ through three steps of Langevin and `augment` in turn agrees with differences over `step` to `bound`.
fn check(augment: Box<dyn Transition>, (step, bound): (f64, f64)) {
    let name = augment.name();
    let e = toy::mlp_on(&SHAPE, 3, 1, 2).unwrap();
    let chain = Chain::new(Box::new(Then::new(vec![Box::new(Langevin::new(0.1, 0.01)), augment])), 3);
    assert!(chain.sensitivity(3).is_exact(), "{name}");
    let chains = Chains::range(5, 4);
    let normal = |seed| Key::root(seed).uniform(&chains, &SHAPE, DType::F64, &Device::Cpu).unwrap();
    // Values well inside of the range, so that few stand on a clamp.
    let at = Batch::new(normal(1).affine(0.6, -0.3).unwrap()).unwrap().with_chains(chains.clone());
    let u = normal(2);
    let draw = |trail| {
        let (mut blind, mut memory) = (Blind, BTreeMap::new());
        let mut request = DrawRequest::new(&mut blind, &mut memory).with_trail(trail, None);
        chain.draw(&e, at.clone(), Key::root(3), &mut request).unwrap()
    };
    let mut got: BTreeMap<String, Tensor> = BTreeMap::new();
    for d in draw(3).trail.pull_back(&e, &u).unwrap() {
        let mut sum = e.grad_theta_slope(&d.at, &d.v).unwrap();
        sum.accumulate(&got, 1.0).unwrap();
        got = sum.grads;
    }
    let want =
        theta_difference(&e, step, || Ok((draw(0).last.at.x * &u)?.sum_all()?.to_scalar::<f64>()?)).unwrap();
    for (parameter, want) in &want {
        let gap = relative_gap(&got[parameter], want).unwrap();
        assert!(gap < bound, "{name}: {parameter} by {gap}");
    }
}

/// Augmentation works in f32: roundings of 1e-7 of 192 values over steps of 1e-2, and truncation of 3e-5 times third
/// derivatives of order 10.
const SMOOTH: (f64, f64) = (5e-3, 5e-3);

/// Maps in pieces have kinks, which a difference must not reach across: over a tenth of the step roundings are ten times as
/// large.
const PIECES: (f64, f64) = (5e-4, 5e-2);

#[test]
fn linear_maps_are_transposed() {
    check(built(&FlipConfig { probability: 0.5, axis: Axis::Horizontal }), SMOOTH);
    check(built(&FlipConfig { probability: 1.0, axis: Axis::Vertical }), SMOOTH);
    check(built(&CropConfig { smallest_area: 0.3, aspect: 4.0 / 3.0 }), SMOOTH);
    check(built(&BlurConfig { kernel: 3, probability: 1.0 }), SMOOTH);
    check(Box::new(Augment::new(Quarter, (-1.0, 1.0))), SMOOTH);
}

#[test]
fn pieces_of_linear_maps_are_transposed() {
    check(built(&ColourConfig { strength: 0.3, probability: 1.0, grey: 0.3 }), PIECES);
    check(built(&SimclrConfig { smallest_area: 0.3, strength: 0.3, blur: 3, flip: true }), PIECES);
}

/// Some rows of the batch alone are pulled back as in the batch.
#[test]
fn the_first_rows_are_those_of_the_batch() {
    let t = built(&SimclrConfig { smallest_area: 0.3, strength: 0.5, blur: 3, flip: true });
    let e = toy::mlp_on(&SHAPE, 3, 1, 2).unwrap();
    let x = Key::root(1).uniform(&Chains::range(0, 6), &SHAPE, DType::F64, &Device::Cpu).unwrap();
    let state = t.init(&e, Batch::new(x.clone()).unwrap(), Key::root(0)).unwrap();
    let Link::Linear(map) = t.step(&e, &state, Key::root(4)).unwrap().link else { panic!("linear") };
    let part = map.of(&x.narrow(0, 0, 2).unwrap()).unwrap();
    let gap = relative_gap(&part, &map.of(&x).unwrap().narrow(0, 0, 2).unwrap()).unwrap();
    // Products of other sizes may add in another order.
    assert!(gap < 1e-6, "{gap}");
}
