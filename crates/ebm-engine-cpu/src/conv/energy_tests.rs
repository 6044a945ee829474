//! The convolutional twin behind the framework's traits: agreement with the graph in all calls, and
//! the same bits for any number of threads and any batch.
#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ebm_core::energy::Condition;
use ebm_core::plan::{Activation, NetPlan, Node, Op, PlanTerm, Products, WeightRule};
use ebm_core::{
    Accelerated, Autograd, Batch, Chains, EnergyFn, EnergySpec, Engine, Error, Key, ParamSet, Part, PullBack,
    Role, RowProgram, RowStep, Separable, Sum, ThetaGrad, WeightFn,
};
use ebm_nn::{PlanNet, plan_tensors};

use crate::CpuEngine;
use crate::conv::ConvEnergy;
use crate::pool::Pool;
use crate::resnet::{Options, resnet};
use crate::simd::Isa;

fn energy(plan: NetPlan, dtype: DType) -> Arc<dyn EnergyFn> {
    let key = Key::root(7);
    let tensors = plan_tensors(&plan).unwrap().into_iter().enumerate().map(|(i, t)| {
        let scale = if t.shape.len() > 1 {
            (2.0 / t.shape[1..].iter().product::<usize>() as f64).sqrt()
        } else {
            0.4
        };
        let flat = key.at(i as u64).normal(&Chains::range(0, 1), &t.shape, DType::F32, &Device::Cpu).unwrap();
        let v = flat.squeeze(0).unwrap().affine(scale, 0.0).unwrap().to_dtype(dtype).unwrap();
        (t.name, v, t.role)
    });
    let params = ParamSet::new(tensors).unwrap();
    let mut spec = EnergySpec::new(&plan.input, &["energy"]);
    if plan.condition > 0 {
        spec.condition = Condition::Optional(plan.condition);
    }
    Arc::new(Autograd::new("net", PlanNet::new(plan.clone()).unwrap(), spec, params).with_plan(plan))
}

fn small() -> NetPlan {
    resnet(&Options { filters: 8, side: 18, attention: true, condition: 5 })
}

fn batch(n: usize, cond: bool) -> Batch {
    let draw = |label: &str, shape: &[usize]| {
        Key::root(3).at(label).normal(&Chains::range(0, n), shape, DType::F32, &Device::Cpu).unwrap()
    };
    Batch::new(draw("x", &[3, 18, 18])).unwrap().with_cond(cond.then(|| draw("y", &[5])))
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Relative L2 distance.
fn off(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (flat(a), flat(b));
    let d: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(x - y).powi(2)).sum();
    (d / b.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>().max(1e-12)).sqrt()
}

fn grads_close(twin: &ThetaGrad, graph: &ThetaGrad, bound: f64) {
    let (mut d, mut size) = (0.0, 0.0);
    for (name, b) in &graph.grads {
        let (a, b) = (flat(&twin.grads[name]), flat(b));
        assert_eq!(a.len(), b.len(), "{name}");
        d += a.iter().zip(&b).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>();
        size += b.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>();
    }
    assert!((d / size).sqrt() < bound, "off by {:.1e}", (d / size).sqrt());
}

/// Two f32 programs, each within about 1e-5 of the truth in first and 1e-4 in second order, agree in all calls.
fn agree(twin: &dyn EnergyFn, graph: &dyn EnergyFn, at: &Batch) {
    let v = at.x.affine(0.3, 0.1).unwrap();
    assert!(off(&twin.terms(at).unwrap(), &graph.terms(at).unwrap()) < 1e-4);
    let (a, b) = (twin.slope(at).unwrap(), graph.slope(at).unwrap());
    assert!(off(&a.energy, &b.energy) < 1e-4 && off(&a.grad, &b.grad) < 1e-4);
    assert!(off(&twin.hvp(at, &v).unwrap(), &graph.hvp(at, &v).unwrap()) < 1e-3);
    let weights = WeightFn::by_row(|_, t| Ok(t.affine(2.0, 0.3)?));
    let (a, b) = (twin.grad_theta(at, &weights).unwrap(), graph.grad_theta(at, &weights).unwrap());
    grads_close(&a, &b, 2e-4);
    // Parameters that do not enter are absent in both.
    assert_eq!(a.grads.keys().collect::<Vec<_>>(), b.grads.keys().collect::<Vec<_>>());
    grads_close(&twin.grad_theta_slope(at, &v).unwrap(), &graph.grad_theta_slope(at, &v).unwrap(), 1e-3);
}

#[test]
fn the_twin_agrees_with_the_graph_in_all_calls_and_follows_new_weights() {
    let graph = energy(small(), DType::F32);
    let Accelerated::Twin(twin) = CpuEngine::new().accelerate(&graph).unwrap() else {
        panic!("no twin");
    };
    assert!(twin.engine().starts_with("fused convolutional"));
    for cond in [true, false] {
        agree(&*twin, &*graph, &batch(3, cond));
        let w = graph.params().get("res_1a.conv1.weight").unwrap().affine(0.5, 0.1).unwrap();
        graph.params().set("res_1a.conv1.weight", &w).unwrap();
    }
}

#[test]
fn a_pyramid_is_one_twin_and_agrees_with_its_parts() {
    let coarse = energy(resnet(&Options { filters: 5, side: 9, attention: false, condition: 0 }), DType::F32);
    let map = Separable::pyramid(&[3, 18, 18], 1).unwrap();
    let coarse = Arc::new(PullBack::new(Arc::new(map), coarse).unwrap());
    let parts = vec![
        Part::new("coarse", coarse).weighted(0.6),
        Part::new("fine", energy(small(), DType::F32)).weighted(1.0),
    ];
    let graph: Arc<dyn EnergyFn> = Arc::new(Sum::new(parts).unwrap());
    let Accelerated::Twin(twin) = CpuEngine::new().accelerate(&graph).unwrap() else { panic!("no twin") };
    assert!(twin.engine().starts_with("fused convolutional"), "{}", twin.engine());
    for cond in [true, false] {
        agree(&*twin, &*graph, &batch(5, cond));
    }
}

#[test]
fn a_walk_has_the_bits_of_its_steps_on_any_number_of_threads() {
    let graph = energy(small(), DType::F32);
    let at = batch(7, true).with_chains(Chains::range(40, 7));
    let key = Key::root(3).at("walk");
    let first = RowStep {
        step_size: 0.05,
        noise: 0.1,
        noise_first: true,
        clamp: Some((-1.0, 1.0)),
        move_limit: Some(0.02),
    };
    let last = RowStep { noise: 0.02, noise_first: false, move_limit: None, ..first };
    let program = RowProgram::new(vec![first, first, last]);
    for threads in [1, 2, 3] {
        let twin =
            ConvEnergy::new(graph.clone(), Isa::detect()).unwrap().on_pool(Arc::new(Pool::new(threads)));
        let walked = twin.walk(&at, &program, key).unwrap().unwrap();
        let mut x = at.x.clone();
        for (k, s) in program.steps.iter().enumerate() {
            let eps = key.at(k).normal(&at.chains, &[3, 18, 18], DType::F32, &Device::Cpu).unwrap();
            let eps = (eps * s.noise).unwrap();
            let hat = if s.noise_first { (x + &eps).unwrap() } else { x };
            let slope = twin.slope(&at.with_x(hat.clone())).unwrap();
            let mut d = (slope.grad.clone() * s.step_size).unwrap();
            if let Some(limit) = s.move_limit {
                d = d.clamp(-limit, limit).unwrap();
            }
            x = (&hat - d).unwrap();
            if !s.noise_first {
                x = (x + eps).unwrap();
            }
            x = x.clamp(-1f32, 1f32).unwrap();
            assert_eq!(flat(&walked.energy.get(k).unwrap()), flat(&slope.energy));
            let squares = slope.grad.sqr().unwrap().flatten_from(1).unwrap().mean(1).unwrap();
            // Sums of a thousand squares in another order.
            assert!(off(&walked.grad_square.get(k).unwrap(), &squares) < 1e-5);
            if k == 2 {
                assert_eq!(flat(&walked.hat), flat(&hat));
                assert_eq!(flat(&walked.grad), flat(&slope.grad));
            }
        }
        assert_eq!(flat(&walked.x), flat(&x));
    }
}

/// Two convolutions and a head, of so many kernel entries, strides and channels.
fn two(side: usize, kernel: usize, layers: [(usize, usize); 2]) -> NetPlan {
    let node = |name: &str, op, from: usize, shape: &[usize]| Node {
        name: name.into(),
        op,
        inputs: if from == usize::MAX { vec![] } else { vec![from] },
        shape: shape.to_vec(),
    };
    let conv = |name: &str, stride: usize| Op::Conv {
        weight: format!("{name}.weight"),
        bias: Some(format!("{name}.bias")),
        kernel,
        stride,
        padding: kernel / 2,
        rule: WeightRule::Plain,
    };
    let [(first, one), (second, two)] = layers;
    let half = side.div_ceil(first);
    let quarter = half.div_ceil(second);
    let linear = Op::Linear { weight: "head.weight".into(), bias: None };
    let nodes = vec![
        node("x", Op::Input, usize::MAX, &[3, side, side]),
        node("c1", conv("c1", first), 0, &[one, half, half]),
        node("a1", Op::Activate(Activation::Swish), 1, &[one, half, half]),
        node("c2", conv("c2", second), 2, &[two, quarter, quarter]),
        node("a2", Op::Activate(Activation::Swish), 3, &[two, quarter, quarter]),
        node("flat", Op::Flatten, 4, &[two * quarter * quarter]),
        node("e", linear, 5, &[1]),
    ];
    let terms = vec![PlanTerm { name: "energy".into(), node: 6 }];
    NetPlan { input: vec![3, side, side], condition: 0, nodes, terms, products: Products::Full }
}

/// Strided convolutions, whose patches or pairs of places overlap on the way back: `side` pixels, stride 2, twice.
fn strided(side: usize, kernel: usize) -> NetPlan {
    two(side, kernel, [(2, 16), (2, 20)])
}

/// Samples of three channels, `side` pixels wide.
fn pictures(n: usize, side: usize) -> Batch {
    let x = Key::root(3).normal(&Chains::range(0, n), &[3, side, side], DType::F32, &Device::Cpu);
    Batch::new(x.unwrap()).unwrap()
}

/// Wide layers of small maps, whose factors are kept until many images are there: of one tile an image, of several, strided; the last
/// block of channels is not full. More images than are kept at once, and a last part that is not full.
#[test]
fn gradients_that_come_late_are_those_of_the_graph() {
    for (side, layers, n) in
        [(4, [(1, 72), (1, 100)], 139), (5, [(1, 300), (1, 280)], 19), (4, [(1, 130), (2, 120)], 139)]
    {
        let (plan, at) = (two(side, 3, layers), pictures(n, side));
        let graph = energy(plan.clone(), DType::F32);
        let twin = ConvEnergy::new(graph.clone(), Isa::detect()).unwrap();
        assert_eq!(twin.late(), 1, "the second layer's, not the first's");
        agree(&twin, graph.as_ref(), &at);
        independent(plan, at);
    }
}

#[test]
fn bits_do_not_depend_on_threads_or_batch() {
    independent(small(), batch(19, true));
    for (side, kernel) in [(8, 5), (18, 5), (28, 5), (28, 3), (37, 3)] {
        independent(strided(side, kernel), pictures(19, side));
    }
}

fn independent(plan: NetPlan, at: Batch) {
    let graph = energy(plan, DType::F32);
    let v = at.x.affine(0.3, 0.1).unwrap();
    let twin = |threads| {
        ConvEnergy::new(graph.clone(), Isa::detect()).unwrap().on_pool(Arc::new(Pool::new(threads)))
    };
    let one = twin(1);
    let (slope, hvp) = (one.slope(&at).unwrap(), flat(&one.hvp(&at, &v).unwrap()));
    let ones = WeightFn::ones();
    let (theta, mixed) = (one.grad_theta(&at, &ones).unwrap(), one.grad_theta_slope(&at, &v).unwrap());
    for threads in [2, 3, 5] {
        let many = twin(threads);
        let s = many.slope(&at).unwrap();
        assert_eq!(flat(&s.energy), flat(&slope.energy));
        assert_eq!(flat(&s.grad), flat(&slope.grad));
        assert_eq!(flat(&many.hvp(&at, &v).unwrap()), hvp);
        let pairs = [
            (many.grad_theta(&at, &ones).unwrap(), &theta),
            (many.grad_theta_slope(&at, &v).unwrap(), &mixed),
        ];
        for (a, b) in &pairs {
            for (name, g) in &b.grads {
                assert_eq!(flat(&a.grads[name]), flat(g), "{name}");
            }
        }
    }
    // Any part of the batch by itself.
    let many = twin(2);
    for (from, n) in [(0, 1), (3, 7), (11, 8)] {
        let part = many.slope(&at.narrow(from, n).unwrap()).unwrap();
        assert_eq!(flat(&part.energy), flat(&slope.energy.narrow(0, from, n).unwrap()));
        assert_eq!(flat(&part.grad), flat(&slope.grad.narrow(0, from, n).unwrap()));
    }
}

/// The bits of all gradients, and of the terms.
fn bits(g: &ThetaGrad) -> Vec<(&str, Vec<f32>)> {
    let grads = g.grads.iter().map(|(name, g)| (name.as_str(), flat(g)));
    grads.chain([("terms", flat(&g.terms))]).collect()
}

/// Weights of each row by itself come from the pass whose maps go back; those that look at all rows take one more.
#[test]
fn weights_by_row_take_one_pass_and_give_the_same_bits() {
    // The last part is not full, and parts are those of several threads.
    let (at, graph) = (batch(19, true), energy(small(), DType::F32));
    let own = |rows: Range<usize>, t: &Tensor| -> ebm_core::Result<Tensor> {
        let numbers: Vec<f32> = rows.map(|row| row as f32 * 0.1 - 0.7).collect();
        let count = numbers.len();
        Ok((t * 0.3 + Tensor::from_vec(numbers, (count, 1), t.device())?)?)
    };
    let by_row = WeightFn::by_row(own);
    let of_all = WeightFn::of_all(|t| own(0..t.dim(0)?, t));
    let mut seen = None;
    for threads in [1, 3] {
        let twin = ConvEnergy::new(graph.clone(), Isa::detect()).unwrap();
        let twin = twin.on_pool(Arc::new(Pool::new(threads)));
        let one = twin.grad_theta(&at, &by_row).unwrap();
        assert_eq!(twin.ahead(), 19, "by row, each image goes forward once");
        let two = twin.grad_theta(&at, &of_all).unwrap();
        assert_eq!(twin.ahead(), 3 * 19, "terms of all rows, then those of the way back");
        assert_eq!(bits(&one), bits(&two));
        assert_eq!(flat(&one.terms), flat(&twin.terms(&at).unwrap()), "as the energies alone");
        assert_eq!(bits(seen.get_or_insert(one)), bits(&two), "on any number of threads");
    }
    let other = graph.grad_theta(&at, &by_row).unwrap();
    assert_eq!(bits(&other), bits(&graph.grad_theta(&at, &of_all).unwrap()));
    grads_close(seen.as_ref().unwrap(), &other, 2e-4);
}

/// The first part in the order of the batch that is refused its weights says why, and the next call finds all as it was.
#[test]
fn refused_weights_of_a_part_are_the_error_of_the_call() {
    let twin = ConvEnergy::new(energy(small(), DType::F32), Isa::detect()).unwrap();
    let (twin, at) = (twin.on_pool(Arc::new(Pool::new(3))), batch(30, true));
    let before = twin.grad_theta(&at, &WeightFn::ones()).unwrap();
    for _ in 0..5 {
        let refuses = WeightFn::by_row(|rows, t| match rows.start {
            0 => Ok(t.ones_like()?),
            row => Err(Error::config("weights", format!("none for row {row}"))),
        });
        let why = twin.grad_theta(&at, &refuses).unwrap_err().to_string();
        assert!(why.contains("none for row 8"), "{why}");
        let short = WeightFn::by_row(|_, t| Ok(t.narrow(0, 0, 1)?));
        let why = twin.grad_theta(&at, &short).unwrap_err().to_string();
        assert!(why.contains("[8, 1]"), "{why}");
    }
    assert_eq!(bits(&twin.grad_theta(&at, &WeightFn::ones()).unwrap()), bits(&before));
}

#[test]
fn what_the_engine_does_not_cover_stays_on_the_graph() {
    let graph = energy(small(), DType::F64);
    let Accelerated::Graph(why) = CpuEngine::new().accelerate(&graph).unwrap() else {
        panic!("f64 parameters have no twin");
    };
    assert!(why.contains("needs f32"), "{why}");
    let rounded = energy(NetPlan { products: Products::Bf16, ..small() }, DType::F32);
    let Accelerated::Graph(why) = CpuEngine::new().accelerate(&rounded).unwrap() else {
        panic!("the engine does not round");
    };
    assert!(why.contains("bfloat16"), "{why}");
    let twin = ConvEnergy::new(energy(small(), DType::F32), Isa::Portable).unwrap();
    let text = twin.layers(4);
    assert!(text.contains("winograd F(4×4)") && text.contains("winograd of box sums"), "{text}");
    let wrong = Batch::new(Tensor::zeros((2, 3, 9, 9), DType::F32, &Device::Cpu).unwrap()).unwrap();
    assert!(twin.slope(&wrong).is_err());
    assert_eq!(twin.params().role("conv1.weight"), Some(Role::Trainable));
}
