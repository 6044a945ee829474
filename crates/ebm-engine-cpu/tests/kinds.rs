//! Every kind of layer with samples, conditions and directions that are no numbers or infinite: what the graph has there, the engine
//! has on each instruction set, and the rows beside do not notice.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ebm_core::plan::{Activation, Pool};
use ebm_core::{Accelerated, Batch, BuildCx, Chains, EnergyFn, Engine, Key, Result};
use ebm_engine_cpu::{CpuEngine, Isa};
use ebm_nn::{Conv, NetBuilder, Weight};

type Layer = (&'static str, fn(&mut NetBuilder<'_>) -> Result<()>);

const LAYERS: [Layer; 21] = [
    ("conv", |n| n.conv("l", Conv::new(8, 3)).map(drop)),
    ("conv of stride 2", |n| n.conv("l", Conv::new(8, 3).stride(2)).map(drop)),
    ("conv 5", |n| n.conv("l", Conv::new(8, 5).padding(2)).map(drop)),
    ("conv 1", |n| n.conv("l", Conv::new(8, 1).padding(0)).map(drop)),
    ("standardised", |n| n.conv("l", Conv::new(8, 3).weight(Weight::Standardised)).map(drop)),
    ("spectral", |n| n.conv("l", Conv::new(8, 3).weight(Weight::Spectral)).map(drop)),
    ("norm of channels", |n| n.norm("l", 8)?.activate(Activation::Swish).map(drop)),
    ("norm of groups", |n| n.norm("l", 2)?.activate(Activation::Tanh).map(drop)),
    ("norm of all", |n| n.norm("l", 1)?.label("m", 3)?.activate(Activation::Swish).map(drop)),
    ("label", |n| n.label("l", 3)?.activate(Activation::Softplus).map(drop)),
    ("attention", |n| n.attention("l").map(drop)),
    ("pooled conv", |n| {
        n.conv("l", Conv::new(8, 3))?.pool(Pool::Average3)?.activate(Activation::Swish).map(drop)
    }),
    ("average", |n| n.pool(Pool::Average { size: 2 }).map(drop)),
    ("blur", |n| n.pool(Pool::Blur).map(drop)),
    ("relu", |n| n.activate(Activation::Relu).map(drop)),
    ("leaky", |n| n.activate(Activation::LeakyRelu(0.2)).map(drop)),
    ("sigmoid", |n| n.activate(Activation::Sigmoid).map(drop)),
    ("square", |n| n.activate(Activation::Square).map(drop)),
    ("scale", |n| n.scale(-0.5).map(drop)),
    ("sum with itself", |n| {
        let here = n.here();
        n.conv("l", Conv::new(8, 3))?.activate(Activation::Tanh)?.add(here).map(drop)
    }),
    ("flatten", |n| n.flatten()?.linear("l", 5)?.activate(Activation::Tanh).map(drop)),
];

const SHAPE: [usize; 3] = [1, 6, 6];
/// Samples of a row.
const N: usize = 36;
const ROWS: usize = 5;

/// A convolution, the layer, a function of all that is left.
fn energy(layer: &Layer) -> Arc<dyn EnergyFn> {
    let mut cx = BuildCx::new(&SHAPE, DType::F32, &Device::Cpu, Key::root(3)).with_condition(3);
    let mut net = NetBuilder::new(&mut cx);
    net.conv("first", Conv::new(8, 3)).unwrap();
    (layer.1)(&mut net).unwrap();
    if net.shape().len() > 1 {
        net.spatial_mean().unwrap();
    }
    net.linear("mid", 4)
        .unwrap()
        .activate(Activation::Softplus)
        .unwrap()
        .linear("head", 1)
        .unwrap()
        .term("e");
    let e = net.finish().unwrap();
    // A gain of 0, as an attention begins with, hides what is behind it.
    for name in e.params().trainable().filter(|name| name.ends_with("gamma")) {
        e.params().set(name, &e.params().get(name).unwrap().ones_like().unwrap()).unwrap();
    }
    e
}

fn programs(e: &Arc<dyn EnergyFn>) -> Vec<(&'static str, Arc<dyn EnergyFn>)> {
    let twin = |isa: Isa| match CpuEngine::with_isa(isa).accelerate(e).unwrap() {
        Accelerated::Twin(t) => (isa.name(), t),
        Accelerated::Graph(why) => panic!("no twin: {why}"),
    };
    Isa::ALL.into_iter().filter(|isa| isa.available()).map(twin).collect()
}

fn list(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Energies, slopes and Hessian-vector products of the rows.
fn calls(e: &dyn EnergyFn, at: &Batch, v: &Tensor) -> [Vec<f32>; 3] {
    let s = e.slope(at).unwrap();
    [list(&s.energy), list(&s.grad), list(&e.hvp(at, v).unwrap())]
}

/// Ordinary samples, conditions and directions.
fn ordinary() -> [Vec<f32>; 3] {
    let draw = |name: &str, n: usize| {
        let chains = Chains::range(0, ROWS);
        list(&Key::root(8).at(name).normal(&chains, &[n], DType::F32, &Device::Cpu).unwrap())
    };
    [draw("x", N), draw("y", 3), draw("v", N)]
}

fn batch([x, y, v]: &[Vec<f32>; 3]) -> (Batch, Tensor) {
    let tensor = |v: &[f32], shape: &[usize]| Tensor::from_slice(v, shape, &Device::Cpu).unwrap();
    let shape = [&[ROWS], &SHAPE[..]].concat();
    let at = Batch::new(tensor(x, &shape)).unwrap().with_cond(Some(tensor(y, &[ROWS, 3])));
    (at, tensor(v, &shape))
}

/// Which row and what is put into it.
const PUT: (usize, [f32; 4]) = (2, [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38]);

/// 0: a number, 1: none, ±∞: infinite.
fn kind(v: f32) -> f32 {
    if v.is_infinite() { v } else { f32::from(u8::from(v.is_nan())) }
}

/// What is put into an entry of the sample, of the condition or of the direction of one row is told by the engine as by the graph;
/// of the other rows nothing changes.
#[test]
fn every_layer_tells_of_what_is_no_number_and_of_infinities() {
    let each = [N, 3, N];
    for layer in &LAYERS {
        let e = energy(layer);
        let plain = ordinary();
        let (at, v) = batch(&plain);
        for (name, twin) in programs(&e) {
            let before = calls(&*twin, &at, &v);
            for (of, what) in ["sample", "condition", "direction"].iter().enumerate() {
                for put in PUT.1 {
                    let mut all = plain.clone();
                    all[of][PUT.0 * each[of] + each[of] / 2] = put;
                    let (at, v) = batch(&all);
                    let (got, want) = (calls(&*twin, &at, &v), calls(&*e, &at, &v));
                    for (call, ((got, want), before)) in
                        ["energy", "slope", "hvp"].iter().zip(got.iter().zip(&want).zip(&before))
                    {
                        let place = format!("{name}, {}, {put} in a {what}: {call}", layer.0);
                        let n = got.len() / ROWS;
                        for row in 0..ROWS {
                            let rows = row * n..(row + 1) * n;
                            if row != PUT.0 {
                                assert_eq!(got[rows.clone()], before[rows], "{place} of row {row}");
                                continue;
                            }
                            for (a, b) in got[rows.clone()].iter().zip(&want[rows]) {
                                // Of a sum with what is no number less may be left than in the graph, but never more.
                                let same = kind(*a).to_bits() == kind(*b).to_bits();
                                assert!(
                                    same || (put.is_nan() && a.is_nan()),
                                    "{place}: {a}, the graph has {b}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}
