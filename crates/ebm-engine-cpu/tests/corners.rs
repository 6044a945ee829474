//! The engine and the graph in f32 at their corners, against the graph in f64: samples that are no numbers, levels far above their
//! contrast, saturated functions, scores that leave one position all the attention.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ebm_core::plan::{Activation, NetPlan, Node, Op, PlanTerm, Products, WeightRule};
use ebm_core::{Accelerated, Autograd, Batch, EnergyFn, EnergySpec, Engine, ParamSet, WeightFn};
use ebm_engine_cpu::{CpuEngine, Isa};

const FUNCTIONS: [Activation; 7] = [
    Activation::Swish,
    Activation::Relu,
    Activation::LeakyRelu(0.2),
    Activation::Tanh,
    Activation::Softplus,
    Activation::Sigmoid,
    Activation::Square,
];

/// The rounding that no program in f32 avoids, some hundred times.
const ROUNDED: f64 = 3e-5;

/// A chain of operations on `input`, its parameters filled by `fill(name, index)` in f32 and then in `dtype`.
fn net(
    input: &[usize],
    ops: &[(Op, Vec<usize>)],
    dtype: DType,
    fill: impl Fn(&str, usize) -> f64,
) -> Arc<dyn EnergyFn> {
    let mut nodes = vec![Node { name: "x".into(), op: Op::Input, inputs: vec![], shape: input.to_vec() }];
    for (op, shape) in ops {
        let (name, inputs) = (format!("n{}", nodes.len()), vec![nodes.len() - 1]);
        nodes.push(Node { name, op: op.clone(), inputs, shape: shape.clone() });
    }
    let terms = vec![PlanTerm { name: "e".into(), node: nodes.len() - 1 }];
    let plan = NetPlan { input: input.to_vec(), condition: 0, nodes, terms, products: Products::Full };
    let params = ebm_nn::plan_tensors(&plan).unwrap().into_iter().map(|t| {
        let v: Vec<f64> = (0..t.shape.iter().product()).map(|i| fill(&t.name, i)).collect();
        (t.name, tensor(v, &t.shape, dtype), t.role)
    });
    let params = ParamSet::new(params.collect::<Vec<_>>()).unwrap();
    let spec = EnergySpec::new(input, &["e"]);
    Arc::new(Autograd::new("net", ebm_nn::PlanNet::new(plan.clone()).unwrap(), spec, params).with_plan(plan))
}

/// Numbers of f32 in `dtype`.
fn tensor(v: Vec<f64>, shape: &[usize], dtype: DType) -> Tensor {
    let single = Tensor::from_vec(v, shape, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    single.to_dtype(dtype).unwrap()
}

fn batch(v: Vec<f64>, shape: &[usize], dtype: DType) -> Batch {
    Batch::new(tensor(v, shape, dtype)).unwrap()
}

fn wave(_: &str, i: usize) -> f64 {
    (1.7 * i as f64 + 0.4).sin()
}

fn waves(n: usize) -> Vec<f64> {
    (0..n).map(|i| wave("", i)).collect()
}

/// A direction across [`waves`]: norms do not move along the map itself.
fn chirp(n: usize) -> Vec<f64> {
    (0..n).map(|i| (0.37 * (i * i) as f64 + 0.2).cos()).collect()
}

fn conv(weight: &str, kernel: usize, rule: WeightRule) -> Op {
    Op::Conv { weight: weight.into(), bias: None, kernel, stride: 1, padding: kernel / 2, rule }
}

fn linear(weight: &str) -> Op {
    Op::Linear { weight: weight.into(), bias: None }
}

/// The graph and a twin for each instruction set here.
fn programs(e: &Arc<dyn EnergyFn>) -> Vec<(&'static str, Arc<dyn EnergyFn>)> {
    let twin = |isa: Isa| match CpuEngine::with_isa(isa).accelerate(e).unwrap() {
        Accelerated::Twin(t) => (isa.name(), t),
        Accelerated::Graph(why) => panic!("no twin: {why}"),
    };
    let sets = Isa::ALL.into_iter().filter(|isa| isa.available());
    std::iter::once(("graph", e.clone())).chain(sets.map(twin)).collect()
}

fn list(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn norm(v: impl Iterator<Item = f64>) -> f64 {
    v.map(|x| x * x).sum::<f64>().sqrt()
}

/// Distance as a share of the size of `b`, or of `floor` if that is more.
fn gap(a: &Tensor, b: &Tensor, floor: f64) -> f64 {
    let (a, b) = (list(a), list(b));
    norm(a.iter().zip(&b).map(|(x, y)| x - y)) / norm(b.iter().copied()).max(floor)
}

/// All five calls of every program are within `bound` of the graph in f64, at `x` along `v`, parameter by parameter.
fn near(
    input: &[usize],
    ops: &[(Op, Vec<usize>)],
    fill: impl Fn(&str, usize) -> f64 + Copy,
    (x, v): (Vec<f64>, Vec<f64>),
    bound: f64,
) {
    let shape: Vec<usize> = [&[x.len() / input.iter().product::<usize>()], input].concat();
    let exact = net(input, ops, DType::F64, fill);
    let (at, along) = (batch(x.clone(), &shape, DType::F64), tensor(v.clone(), &shape, DType::F64));
    let (at32, along32) = (batch(x, &shape, DType::F32), tensor(v, &shape, DType::F32));
    let ones = WeightFn::ones();
    let (theta, mixed) =
        (exact.grad_theta(&at, &ones).unwrap(), exact.grad_theta_slope(&at, &along).unwrap());
    for (name, e) in programs(&net(input, ops, DType::F32, fill)) {
        let see = |what: &str, a: &Tensor, b: &Tensor, floor: f64| {
            let off = gap(a, b, floor);
            assert!(off < bound, "{name}: {what} off by {off:.1e}, at most {bound:.0e}");
        };
        see("energy", &e.energy(&at32).unwrap(), &exact.energy(&at).unwrap(), 0.0);
        see("slope", &e.slope(&at32).unwrap().grad, &exact.slope(&at).unwrap().grad, 0.0);
        see("hvp", &e.hvp(&at32, &along32).unwrap(), &exact.hvp(&at, &along).unwrap(), 0.0);
        let (t, m) = (e.grad_theta(&at32, &ones).unwrap(), e.grad_theta_slope(&at32, &along32).unwrap());
        for (what, got, want) in [("theta", t, &theta), ("mixed", m, &mixed)] {
            // What is next to nothing beside the other parameters consists of their roundings.
            let floor = 1e-3 * norm(want.grads.values().flat_map(list));
            for (parameter, b) in &want.grads {
                see(&format!("{what} {parameter}"), &got.grads[parameter], b, floor);
            }
        }
    }
}

#[test]
fn samples_that_are_no_numbers_have_no_energy_in_any_program() {
    for f in FUNCTIONS {
        let image = [
            (conv("w", 3, WeightRule::Plain), vec![2, 4, 4]),
            (Op::Activate(f), vec![2, 4, 4]),
            (Op::SpatialSum, vec![2]),
            (linear("l"), vec![1]),
        ];
        let vector = [(linear("w"), vec![5]), (Op::Activate(f), vec![5]), (Op::SumAll, vec![1])];
        for (shape, ops) in [(vec![1, 4, 4], &image[..]), (vec![3], &vector[..])] {
            let e = net(&shape, ops, DType::F32, wave);
            let n: usize = shape.iter().product();
            // The first row is ordinary.
            let rows: Vec<f64> = waves(n).into_iter().chain(vec![f64::NAN; n]).collect();
            let at = batch(rows, &[&[2], &shape[..]].concat(), DType::F32);
            for (name, e) in programs(&e) {
                let energies = list(&e.energy(&at).unwrap());
                assert!(energies[0].is_finite() && energies[1].is_nan(), "{name} {f:?}: {energies:?}");
                let slopes = list(&e.slope(&at).unwrap().grad);
                assert!(slopes[..n].iter().all(|v| v.is_finite()), "{name} {f:?}: {slopes:?}");
            }
        }
    }
}

/// What the graph has at infinities, and at numbers whose sums overflow, the engine has: energies, slopes and second derivatives,
/// finite, infinite and not a number at the same places.
#[test]
fn infinities_and_numbers_without_end_are_as_the_graph_has_them() {
    for f in FUNCTIONS {
        for extreme in [f64::INFINITY, f64::NEG_INFINITY, 3e38, f64::from(f32::MIN)] {
            let image = [
                (conv("w", 3, WeightRule::Plain), vec![2, 6, 6]),
                (Op::Activate(f), vec![2, 6, 6]),
                (Op::SpatialMean, vec![2]),
                (linear("l"), vec![1]),
            ];
            let vector = [(linear("w"), vec![21]), (Op::Activate(f), vec![21]), (linear("u"), vec![1])];
            for (shape, ops) in [(vec![1, 6, 6], &image[..]), (vec![5], &vector[..])] {
                let e = net(&shape, ops, DType::F32, wave);
                let n: usize = shape.iter().product();
                let mut x = waves(3 * n);
                x[n + n / 2] = extreme;
                let dims = [&[3], &shape[..]].concat();
                let (at, v) = (batch(x, &dims, DType::F32), tensor(waves(3 * n), &dims, DType::F32));
                let all = |e: &dyn EnergyFn| {
                    let grads = e.grad_theta_slope(&at, &v).unwrap().grads;
                    let s = e.slope(&at).unwrap();
                    [list(&s.energy), list(&s.grad), list(&e.hvp(&at, &v).unwrap()), list(&grads["w"])]
                };
                let kind = |v: &f64| if v.is_infinite() { *v } else { f64::from(u8::from(v.is_nan())) };
                let kinds = |all: &[Vec<f64>; 4]| all.clone().map(|v| v.iter().map(kind).collect::<Vec<_>>());
                let want = all(&*e);
                for (name, twin) in programs(&e).into_iter().skip(1) {
                    let got = all(&*twin);
                    assert_eq!(kinds(&got), kinds(&want), "{name} {f:?} {extreme}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_does_not_stay_for_the_next_call() {
    let s = |c: usize| vec![c, 6, 6];
    let ops = [
        (conv("w", 3, WeightRule::Plain), s(5)),
        (Op::Activate(Activation::Swish), s(5)),
        (conv("u", 3, WeightRule::Plain), s(3)),
        (Op::SpatialMean, vec![3]),
        (linear("l"), vec![1]),
    ];
    let e = net(&[1, 6, 6], &ops, DType::F32, wave);
    let good = batch(waves(108), &[3, 1, 6, 6], DType::F32);
    let bad = batch(vec![f64::NAN; 108], &[3, 1, 6, 6], DType::F32);
    for ((name, twin), (_, fresh)) in programs(&e).into_iter().zip(programs(&e)) {
        let all = |e: &dyn EnergyFn, at: &Batch| {
            let grads = e.grad_theta_slope(at, &good.x).unwrap().grads;
            let of = |p: &str| list(&grads[p]);
            (list(&e.slope(at).unwrap().grad), list(&e.hvp(at, &good.x).unwrap()), of("w"), of("u"), of("l"))
        };
        let before = all(&*twin, &good);
        all(&*twin, &bad);
        assert!(all(&*twin, &good) == before && all(&*fresh, &good) == before, "{name}");
    }
}

/// A norm, a function, a convolution, a function.
fn normed(channels: usize, groups: usize, side: usize) -> (Vec<usize>, Vec<(Op, Vec<usize>)>) {
    let s = vec![channels, side, side];
    let norm = Op::Norm { groups, epsilon: 1e-5, weight: Some("g".into()), bias: Some("b".into()) };
    let ops = vec![
        (norm, s.clone()),
        (Op::Activate(Activation::Swish), s.clone()),
        (conv("w", 3, WeightRule::Plain), s.clone()),
        (Op::Activate(Activation::Swish), s.clone()),
        (Op::SpatialMean, vec![channels]),
        (linear("l"), vec![1]),
    ];
    (s, ops)
}

/// A norm does not see a level, nor may what the level leaves of the digits.
#[test]
fn the_norm_of_maps_at_a_level_far_above_their_contrast() {
    for (channels, groups) in [(1, 1), (4, 4), (4, 2), (18, 3)] {
        let (s, ops) = normed(channels, groups, 4);
        let n = 16 * channels;
        for level in [0.0, 100.3, 1000.3, 1e4 + 0.3] {
            for contrast in [0.0, 0.01, 1.0] {
                // The same level in each group; what f32 leaves of the contrast is the sample.
                let x: Vec<f64> = waves(n).iter().map(|w| level + contrast * w).collect();
                near(&s, &ops, wave, (x, chirp(n)), ROUNDED);
            }
        }
    }
}

#[test]
fn channels_at_levels_of_their_own_within_a_group() {
    let (s, ops) = normed(6, 2, 5);
    let x = (0..150).map(|i| 300.0 * ((i / 25) as f64) + wave("", i)).collect();
    near(&s, &ops, wave, (x, chirp(150)), ROUNDED);
}

#[test]
fn a_first_pixel_far_from_the_others() {
    for side in [32, 64] {
        let (s, ops) = normed(1, 1, side);
        let n = side * side;
        let far: Vec<f64> = (0..n).map(|i| if i == 0 { 1.0 } else { 0.01 * wave("", i) }).collect();
        // Parameters' mixed derivatives are sums over thousands of pixels that cancel to a hundredth.
        near(&s, &ops, wave, (far.clone(), chirp(n)), 1e-3);
        near(&s, &ops, wave, (chirp(n), far.clone()), 1e-3);
        let of = |e: &dyn EnergyFn, dtype: DType| {
            e.slope(&batch(far.clone(), &[1, 1, side, side], dtype)).unwrap().grad
        };
        let want = of(&*net(&s, &ops, DType::F64, wave), DType::F64);
        for (name, e) in programs(&net(&s, &ops, DType::F32, wave)) {
            let off = gap(&of(&*e, DType::F32), &want, 0.0);
            assert!(off < ROUNDED, "{name}: slope off by {off:.1e}");
        }
    }
}

#[test]
fn directions_at_a_level_far_above_their_contrast() {
    let (s, ops) = normed(4, 2, 6);
    for level in [0.0, 100.0, 1e4] {
        let v = chirp(144).iter().map(|w| level + w).collect();
        near(&s, &ops, wave, (waves(144), v), ROUNDED);
    }
}

#[test]
fn slopes_in_the_tails_of_functions_keep_their_digits() {
    for f in FUNCTIONS {
        for z in [-15.0, -8.5, -6.25, -2.0, -0.36, -1e-3, 1e-3, 0.34, 2.0, 5.5, 7.0, 15.0] {
            let fill = |_: &str, _: usize| 1.0;
            let image = [
                (conv("w", 1, WeightRule::Plain), vec![1, 1, 2]),
                (Op::Activate(f), vec![1, 1, 2]),
                (Op::SpatialSum, vec![1]),
            ];
            let vector = [(linear("w"), vec![2]), (Op::Activate(f), vec![2]), (Op::SumAll, vec![1])];
            if !matches!(f, Activation::Relu | Activation::LeakyRelu(_)) {
                near(&[1, 1, 2], &image, fill, (vec![z, 0.5 * z], vec![1.0, 0.7]), ROUNDED);
                near(&[2], &vector, fill, (vec![0.75 * z, 0.25 * z], vec![1.0, 0.7]), ROUNDED);
            }
        }
    }
}

#[test]
fn a_constant_filter_under_standardisation_has_slopes() {
    for constant in [0.0, 0.3] {
        let ops = [
            (conv("w", 3, WeightRule::Standardised), vec![2, 4, 4]),
            (Op::Activate(Activation::Swish), vec![2, 4, 4]),
            (Op::SpatialMean, vec![2]),
            (linear("l"), vec![1]),
        ];
        let fill = |n: &str, i: usize| if n == "w" && i < 9 { constant } else { wave(n, i) };
        near(&[1, 4, 4], &ops, fill, (waves(16), chirp(16)), 2e-4);
    }
}

/// Scores up to some hundreds leave all of a row's mass at one position: what is averaged there must not cancel.
#[test]
fn an_attention_with_large_scores() {
    let ops = [
        (Op::Attention { prefix: "a".into() }, vec![8, 3, 3]),
        (Op::SpatialMean, vec![8]),
        (linear("l"), vec![1]),
    ];
    let f = |k: f64| (0..72).map(|i| 4.0 * (k * i as f64).cos()).collect::<Vec<_>>();
    let query = |e: &dyn EnergyFn, dtype: DType| {
        let (at, v) = (batch(f(0.7), &[1, 8, 3, 3], dtype), tensor(f(1.3), &[1, 8, 3, 3], dtype));
        e.grad_theta_slope(&at, &v).unwrap().grads["a.query_conv.weight"].clone()
    };
    // At 0 the attention's factor is 0.
    for k in 1..200 {
        let fill = |n: &str, i: usize| {
            let scores = n.contains("weight") && (n.contains("query") || n.contains("key"));
            let w = ((1.7 + 0.1 * n.len() as f64) * i as f64 + f64::from(k)).sin();
            f64::from(w as f32) * if scores { 0.5 + 0.01 * f64::from(k) } else { 1.0 }
        };
        let want = query(&*net(&[8, 3, 3], &ops, DType::F64, fill), DType::F64);
        for (name, e) in programs(&net(&[8, 3, 3], &ops, DType::F32, fill)) {
            let off = gap(&query(&*e, DType::F32), &want, 0.0);
            // Five roundings of a net, as the random nets have it.
            assert!(off < 1.5e-4, "{name}: weights {k} off by {off:.1e}");
        }
    }
}

/// What does not enter a derivative is absent, be it the parameter of a shift or all of them for a batch without rows.
#[test]
fn parameters_that_do_not_enter_are_absent_in_every_program() {
    let biased = |weight: &str, bias: &str| Op::Linear { weight: weight.into(), bias: Some(bias.into()) };
    for f in FUNCTIONS {
        let vector = vec![
            (biased("w", "wb"), vec![5]),
            (Op::Activate(f), vec![5]),
            (biased("u", "ub"), vec![3]),
            (Op::Activate(Activation::Relu), vec![3]),
            (biased("l", "lb"), vec![1]),
        ];
        let mut image = vec![
            (conv("c", 3, WeightRule::Plain), vec![4, 3, 3]),
            (
                Op::Norm { groups: 2, epsilon: 1e-5, weight: Some("g".into()), bias: Some("gb".into()) },
                vec![4, 3, 3],
            ),
            (Op::Activate(f), vec![4, 3, 3]),
            (Op::SpatialMean, vec![4]),
        ];
        image.extend(vector.iter().skip(2).cloned());
        for (shape, ops) in [(vec![3], vector.clone()), (vec![1, 3, 3], image)] {
            let e = net(&shape, &ops, DType::F32, wave);
            let n: usize = shape.iter().product();
            for rows in [0, 2] {
                let at = batch(waves(rows * n), &[&[rows], &shape[..]].concat(), DType::F32);
                let names = |e: &dyn EnergyFn| -> [BTreeSet<String>; 2] {
                    let theta = e.grad_theta(&at, &WeightFn::ones()).unwrap();
                    let mixed = e.grad_theta_slope(&at, &at.x).unwrap();
                    [theta, mixed].map(|g| g.grads.into_keys().collect())
                };
                let want = names(&*e);
                for (name, twin) in programs(&e).into_iter().skip(1) {
                    assert_eq!(names(&*twin), want, "{name} {f:?}, {rows} rows of {shape:?}");
                }
            }
        }
    }
}
