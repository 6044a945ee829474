//! The engine against the f64 reference, on nets of every kind, for every instruction set here.
#![allow(clippy::unwrap_used)]

mod build;
mod random;
mod reference;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;

use ebm_core::plan::{Activation, NetPlan, Op, Pool};

use super::{Call, ConvPlan, Workspace};
use crate::pool::Pool as Threads;
use crate::resnet;
use crate::simd::Isa;
use build::Build;
use reference::{Answer, Params, Rounding, evaluate};

struct Rng(u64);
impl Rng {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    fn vec(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| scale * self.uniform()).collect()
    }
}

fn params(plan: &ConvPlan, seed: u64) -> Params {
    let mut rng = Rng(seed);
    let mut all: Params =
        plan.tensors().map(|(name, len, _)| (name.to_string(), rng.vec(len, 0.5))).collect();
    let spectral: Vec<String> = all.keys().filter_map(|n| Some(n.strip_suffix(".u")?.to_string())).collect();
    for (name, v) in &mut all {
        if name.ends_with(".u") || name.ends_with(".v") {
            v.iter_mut().for_each(|a| *a = a.abs() + 0.1);
        } else if name.ends_with(".weight") && v.len() > 40 {
            v.iter_mut().for_each(|a| *a *= 0.4);
        }
    }
    for layer in spectral {
        // Weights of one sign keep σ = uᵀWv away from 0, where the net would blow up.
        if let Some(v) = all.get_mut(&format!("{layer}.weight")) {
            v.iter_mut().for_each(|a| *a = a.abs() + 0.05);
        }
    }
    all
}

struct Case {
    plan: NetPlan,
    n: usize,
    cond: bool,
    seed: u64,
    bound: Bound,
}

/// How far the engine may be from the f64 reference, relatively.
#[derive(Clone, Copy)]
enum Bound {
    /// By the design's bound, of published nets.
    Fixed,
    /// By several times the design's bound, or by a multiple of the error that the reference itself has when each of its operations
    /// is rounded to f32: what is lost there the net does not have.
    Rounded,
}

/// The design's bound for gradients against f64.
const TOLERANCE: f64 = 3e-5;

impl Bound {
    /// The bound where rounding the reference costs `single`, of a whole answer or of one parameter.
    fn of(self, single: f64, whole: bool) -> f64 {
        match self {
            Bound::Fixed if whole => TOLERANCE,
            Bound::Fixed => 30.0 * TOLERANCE,
            // Other roundings, in another order and of other algorithms, than the worst of a few draws.
            Bound::Rounded => (5.0 * TOLERANCE).max(if whole { 30.0 } else { 100.0 } * single),
        }
    }
}

fn norm(v: impl Iterator<Item = f64>) -> f64 {
    v.map(|v| v * v).sum::<f64>().sqrt()
}

/// A parameter's own derivative is measured by itself, but by no less than this share of all: what is nearly nothing beside
/// the others consists of their roundings.
const SHARE: f64 = 1e-3;

/// What the reference says of a case, the rows together: each answer by its name.
type Answers = BTreeMap<String, Vec<f64>>;

fn reference(case: &Case, inputs: &Inputs, rounding: Rounding) -> Answers {
    let Inputs { theta, x, v, w, cond, len, t, k } = inputs;
    let row = |i: usize| {
        let c = cond.as_ref().map(|c| &c[i * k..(i + 1) * k]);
        let at = i * len..(i + 1) * len;
        evaluate(&case.plan, theta, (&x[at.clone()], &v[at]), c, &w[i * t..(i + 1) * t], rounding)
    };
    let rows: Vec<Answer> = (0..case.n).map(row).collect();
    let of = |f: fn(&Answer) -> &Vec<f64>| rows.iter().flat_map(|a| f(a).clone()).collect();
    let mut all = Answers::from([
        ("terms".into(), of(|a| &a.terms)),
        ("slope".into(), of(|a| &a.grad)),
        ("hvp".into(), of(|a| &a.hvp)),
    ]);
    for (what, sum) in [
        ("theta", summed(rows.iter().map(|a| a.theta.clone()))),
        ("mixed", summed(rows.iter().map(|a| a.mixed.clone()))),
    ] {
        all.extend(sum.into_iter().map(|(name, g)| (format!("{what} {name}"), g)));
    }
    all
}

/// Everything that goes into a case.
struct Inputs {
    theta: Params,
    x: Vec<f32>,
    v: Vec<f32>,
    w: Vec<f32>,
    cond: Option<Vec<f32>>,
    /// Length of a sample, numbers of terms and of conditions.
    len: usize,
    t: usize,
    k: usize,
}

impl Inputs {
    fn of(case: &Case, cpu: &ConvPlan) -> Inputs {
        let (len, t, n, k) = (cpu.sample_len(), cpu.terms_len(), case.n, case.plan.condition);
        let mut rng = Rng(case.seed ^ 99);
        let (x, v, w) = (rng.vec(n * len, 1.0), rng.vec(n * len, 1.0), rng.vec(n * t, 1.0));
        let cond = case.cond.then(|| rng.vec(n * k, 1.0));
        Inputs { theta: params(cpu, case.seed), x, v, w, cond, len, t, k }
    }
}

/// The answers of the engine, each twice.
fn answers(case: &Case, inputs: &Inputs, cpu: &ConvPlan) -> Vec<(String, Vec<f32>)> {
    let Inputs { theta, x, v, w, cond, len, t, .. } = inputs;
    let n = case.n;
    let packed = cpu.pack(Threads::global(), |n| theta.get(n).map(Vec::as_slice)).unwrap();
    let call = Call { x, cond: cond.as_deref() };
    let pool = Threads::new(2);
    let mut ws = Workspace::default();
    let (mut terms, mut grad, mut hvp) = (vec![0.0; n * t], vec![0.0; n * len], vec![0.0; n * len]);
    let mut all = Vec::new();
    // Again with rubbish in all memory, so that a read of what no kernel wrote would show.
    for _ in 0..2 {
        ws.spoil();
        cpu.terms(&packed, &mut ws, &pool, call, &mut terms).unwrap();
        all.push(("terms".to_string(), terms.clone()));
        cpu.slope(&packed, &mut ws, &pool, call, &mut terms, &mut grad).unwrap();
        cpu.hvp(&packed, &mut ws, &pool, call, v, &mut hvp).unwrap();
        for (what, got) in [("terms", &terms), ("slope", &grad), ("hvp", &hvp)] {
            all.push((what.to_string(), got.clone()));
        }
        let part =
            |rows: Range<usize>, _: &[f32]| Ok::<_, Infallible>(w[rows.start * t..rows.end * t].to_vec());
        let Ok(theta) = cpu.grad_theta(&packed, &mut ws, &pool, call, &part, &mut terms).unwrap();
        let mixed = cpu.grad_theta_slope(&packed, &mut ws, &pool, call, v, &mut terms).unwrap();
        for (what, grads) in [("theta", theta), ("mixed", mixed)] {
            all.extend(grads.into_iter().map(|(name, g)| (format!("{what} {name}"), g)));
        }
    }
    all
}

/// The answer `what` or, where it is `theta` or `mixed` alone, all of that kind that `among` has, in its order.
fn part<'a>(answers: &'a Answers, what: &str, among: &'a [(String, Vec<f32>)]) -> Vec<f64> {
    match answers.get(what) {
        Some(a) => a.clone(),
        None => of_kind(what, among).flat_map(|(name, _)| answers[name].clone()).collect(),
    }
}

fn of_kind<'a>(what: &str, of: &'a [(String, Vec<f32>)]) -> impl Iterator<Item = &'a (String, Vec<f32>)> {
    let what = format!("{what} ");
    of.iter().filter(move |(name, _)| name.starts_with(&what))
}

/// Holds the engine on each of `sets` against the reference.
fn check(case: &Case, sets: &[Isa]) -> Result<(), String> {
    let mut exact: Option<(Inputs, Answers)> = None;
    let mut rounded: Option<Vec<Answers>> = None;
    for isa in sets {
        let cpu = ConvPlan::compile(&case.plan, *isa).map_err(|e| e.reason)?;
        let (inputs, exact) = exact.get_or_insert_with(|| {
            let inputs = Inputs::of(case, &cpu);
            let exact = reference(case, &inputs, Rounding::None);
            (inputs, exact)
        });
        let got = answers(case, inputs, &cpu);
        let wholes = ["theta", "mixed"].map(|what| {
            let all = of_kind(what, &got).flat_map(|(_, g)| g.clone()).collect();
            (what.to_string(), all)
        });
        for (what, values) in got.iter().chain(&wholes) {
            let want = part(exact, what, &got);
            assert_eq!(values.len(), want.len(), "{what}");
            let kind = what.split(' ').next().filter(|kind| kind != what);
            let floor = kind.map_or(0.0, |kind| SHARE * norm(part(exact, kind, &got).into_iter()));
            let size = norm(want.iter().copied()).max(floor).max(f64::MIN_POSITIVE);
            let off = norm(values.iter().zip(&want).map(|(&a, b)| f64::from(a) - b)) / size;
            if off <= case.bound.of(0.0, kind.is_none()) {
                continue;
            }
            // Only now it matters what rounding costs.
            let ways = [Rounding::Nearest, Rounding::Either(1), Rounding::Either(2), Rounding::Either(3)];
            let rounded = rounded.get_or_insert_with(|| match case.bound {
                Bound::Fixed => Vec::new(),
                Bound::Rounded => ways.into_iter().map(|way| reference(case, inputs, way)).collect(),
            });
            let off_by = |r: &Answers| norm(part(r, what, &got).iter().zip(&want).map(|(a, b)| a - b)) / size;
            let single = rounded.iter().map(off_by).fold(0.0, f64::max);
            if off.is_nan() || off > case.bound.of(single, kind.is_none()) {
                let isa = isa.name();
                return Err(format!(
                    "{isa}: {what}: relative error {off:.1e} of {size:.1e}, rounded reference {single:.1e}"
                ));
            }
        }
    }
    Ok(())
}

/// Sums of gradients by name.
fn summed(all: impl Iterator<Item = BTreeMap<String, Vec<f64>>>) -> BTreeMap<String, Vec<f64>> {
    let add = |mut a: BTreeMap<String, Vec<f64>>, b: BTreeMap<String, Vec<f64>>| {
        a.iter_mut().for_each(|(name, v)| v.iter_mut().zip(&b[name]).for_each(|(a, b)| *a += b));
        a
    };
    all.reduce(add).unwrap_or_default()
}

fn everywhere(case: &Case) {
    check(case, &Isa::ALL.into_iter().filter(|i| i.available()).collect::<Vec<_>>()).unwrap();
}

#[test]
fn residual_block_with_pooling_and_head() {
    let mut b = Build::new(&[3, 8, 8], 0);
    let x = b.conv3(0, 16, 0);
    let x = b.act(x, Activation::Swish);
    let x = b.block(x, 16, false, Some(32), 1);
    let m = b.mean(x);
    let e = b.linear(m, 1);
    b.term(e);
    everywhere(&Case { plan: b.plan, n: 3, cond: false, seed: 1, bound: Bound::Fixed });
}

#[test]
fn group_norm_labels_attention_and_odd_sizes() {
    let mut b = Build::new(&[2, 7, 5], 4);
    let x = b.conv3(0, 24, 0);
    let x = b.act(x, Activation::LeakyRelu(0.2));
    let x = b.block(x, 4, true, None, 1);
    let x = b.block(x, 4, true, Some(20), 2);
    let x = b.attention(x);
    let x = b.act(x, Activation::Swish);
    let m = b.mean(x);
    let e = b.linear(m, 1);
    b.term(e);
    let e2 = b.act(e, Activation::Softplus);
    b.term(e2);
    for cond in [true, false] {
        everywhere(&Case { plan: b.plan.clone(), n: 2, cond, seed: 5, bound: Bound::Fixed });
    }
}

#[test]
fn other_kernels_blur_flatten_and_several_scales() {
    let mut b = Build::new(&[1, 9, 10], 0);
    let small = b.pool(0, Pool::Average3);
    let s = b.conv(small, 5, 5, 2, 2, 0, true);
    let s = b.act(s, Activation::Softplus);
    let flat = b.shape(s).iter().product();
    let s = b.add(Op::Flatten, &[s], &[flat]);
    let h = b.linear(s, 7);
    let h = b.act(h, Activation::Tanh);
    let l = b.conv(0, 6, 2, 1, 0, 0, false);
    let l = b.pool(l, Pool::Blur);
    let l = b.act(l, Activation::Sigmoid);
    let l = b.pool(l, Pool::Average { size: 2 });
    let l = b.add(Op::SpatialSum, &[l], &[6]);
    let both = b.add(Op::Concat, &[h, l], &[13]);
    let both = b.add(Op::Scale(0.5), &[both], &[13]);
    let sum = b.add(Op::SumAll, &[both], &[1]);
    b.term(sum);
    let e = b.linear(h, 1);
    b.term(e);
    b.term(e);
    everywhere(&Case { plan: b.plan, n: 3, cond: false, seed: 3, bound: Bound::Fixed });
}

/// Runs shorter and longer than a block, several of a patch's rows in a block, kernels that reach beyond the image, two readers; and a square
/// map in front of a linear layer.
#[test]
fn samples_of_few_channels_are_read_where_they_stand() {
    for (input, [kernel, stride, padding]) in [
        ([1usize, 9, 10], [5usize, 2, 2]),
        ([3, 8, 8], [4, 2, 1]),
        ([2, 13, 7], [7, 3, 3]),
        ([3, 9, 9], [7, 2, 3]),
        ([8, 5, 6], [3, 2, 1]),
        ([1, 6, 6], [1, 1, 0]),
        ([1, 3, 4], [7, 2, 6]),
        ([2, 40, 9], [2, 1, 0]),
    ] {
        let mut b = Build::new(&input, 0);
        // A single weight cannot be standardised.
        let rule = u8::from(kernel > 1);
        let x = b.conv(0, 20, kernel, stride, padding, rule, true);
        let x = b.act(x, Activation::Swish);
        let x = b.conv(x, 32, 1, 1, 0, 0, true);
        let x = b.act(x, Activation::Tanh);
        let x = b.pool(x, Pool::Average { size: 1 });
        let flat = b.flat(x);
        let e = b.linear(flat, 1);
        b.term(e);
        let y = b.conv(0, 5, 2, 1, 0, 0, true);
        let y = b.act(y, Activation::Softplus);
        let y = b.mean(y);
        let e = b.linear(y, 1);
        b.term(e);
        let cpu = ConvPlan::compile(&b.plan, Isa::Portable).unwrap();
        assert_eq!(cpu.describe(1).matches("patches of the sample").count(), 2);
        everywhere(&Case { plan: b.plan, n: 3, cond: false, seed: 21, bound: Bound::Fixed });
    }
}

#[test]
fn a_square_map_before_a_linear_layer_is_not_laid_out_in_a_row() {
    let mut b = Build::new(&[1, 8, 8], 0);
    let x = b.conv(0, 32, 5, 2, 2, 0, true);
    let x = b.act(x, Activation::Swish);
    let flat = b.flat(x);
    let h = b.linear(flat, 20);
    let h = b.act(h, Activation::Swish);
    let e = b.linear(h, 1);
    b.term(e);
    let cpu = ConvPlan::compile(&b.plan, Isa::Portable).unwrap();
    assert!(cpu.describe(1).contains("4×4 32→20 by patches"), "{}", cpu.describe(1));
    everywhere(&Case { plan: b.plan, n: 5, cond: false, seed: 22, bound: Bound::Fixed });
}

/// Kernels of even and odd length, strides, more than one block of channels, and points whose channels stand last.
#[test]
fn series_and_sets_of_points_under_a_condition() {
    for (input, points) in [(&[2usize, 19][..], false), (&[23], false), (&[7, 18], true), (&[2, 3, 4], true)]
    {
        let mut b = Build::new(input, 3);
        let x = b.places(points);
        let x = b.series(x, 18, if points { [1, 1, 0] } else { [5, 1, 2] });
        let x = b.act(x, Activation::Swish);
        let x = b.series(x, 5, if points { [1, 1, 0] } else { [4, 3, 2] });
        let x = b.act(x, Activation::Tanh);
        let x = if points { b.mean(x) } else { b.flat(x) };
        let x = b.conditioned(x);
        let x = b.linear(x, 9);
        let x = b.act(x, Activation::Softplus);
        let e = b.linear(x, 1);
        b.term(e);
        // A second net on the same sample.
        let y = b.places(points);
        let y = b.mean(y);
        let y = b.act(y, Activation::Square);
        let e = b.linear(y, 1);
        b.term(e);
        for cond in [true, false] {
            everywhere(&Case { plan: b.plan.clone(), n: 3, cond, seed: 4, bound: Bound::Fixed });
        }
    }
}

#[test]
fn values_with_several_readers() {
    // Pre-activation residual, x + x, a residual whose branch is the value itself.
    let mut b = Build::new(&[4, 6, 6], 0);
    let x = b.conv3(0, 8, 0);
    let n = b.norm(x, 2);
    let a = b.act(n, Activation::Swish);
    let h = b.conv3(a, 8, 0);
    let x = b.plus(h, x);
    let d = b.plus(x, x);
    let s = b.act(d, Activation::Tanh);
    let y = b.plus(s, d);
    let z = b.plus(y, x);
    let m = b.mean(z);
    let e = b.linear(m, 1);
    b.term(e);
    everywhere(&Case { plan: b.plan, n: 2, cond: false, seed: 8, bound: Bound::Fixed });
}

#[test]
fn wide_layers_go_by_groups_of_blocks_and_runs_of_tiles() {
    // Five and six channel blocks are more than are summed together; 36 tiles of the four images of a thread are two runs.
    let mut b = Build::new(&[2, 9, 9], 0);
    let x = b.conv3(0, 72, 0);
    let x = b.act(x, Activation::Swish);
    let x = b.conv3(x, 88, 0);
    let x = b.act(x, Activation::Swish);
    let m = b.mean(x);
    let e = b.linear(m, 1);
    b.term(e);
    everywhere(&Case { plan: b.plan, n: 8, cond: false, seed: 13, bound: Bound::Fixed });
}

/// Odd sides and those of one pixel, where places stand alone; channels that fill no block, and more blocks than are summed together; more
/// cells than one run has; the sample itself, and two layers that read one map.
#[test]
fn strided_and_pooled_convolutions_by_fewer_products() {
    for (input, [inner, outer], n, cond) in [
        ([2usize, 7, 9], [20usize, 24], 2, true),
        ([1, 8, 13], [5, 33], 3, false),
        ([3, 1, 12], [17, 16], 2, false),
        ([2, 11, 1], [16, 7], 2, true),
        ([2, 6, 14], [72, 88], 1, false),
        ([1, 26, 27], [16, 18], 2, false),
    ] {
        let mut b = Build::new(&input, 3);
        let x = b.conv3(0, inner, 1);
        let x = b.act(x, Activation::Swish);
        let of_sample = b.conv(0, outer, 3, 2, 1, 0, true);
        let strided = b.conv(x, outer, 3, 2, 1, 1, true);
        let pooled = b.conv3(x, outer, 2);
        let pooled = b.pool(pooled, Pool::Average3);
        let x = b.plus(of_sample, strided);
        let x = b.plus(x, pooled);
        let x = b.label(x);
        let x = b.act(x, Activation::Softplus);
        let x = b.conv(x, 9, 1, 1, 0, 0, true);
        let x = b.act(x, Activation::Tanh);
        let m = b.mean(x);
        let e = b.linear(m, 1);
        b.term(e);
        let text = ConvPlan::compile(&b.plan, Isa::Portable).unwrap().describe(1);
        assert_eq!(text.matches("winograd of stride 2").count(), 2, "{text}");
        assert_eq!(text.matches("winograd of box sums").count(), 1, "{text}");
        everywhere(&Case { plan: b.plan, n, cond, seed: 31, bound: Bound::Fixed });
    }
}

/// Where hardly any place has a neighbour to share with, transforms would cost more than they save.
#[test]
fn small_maps_keep_the_plain_product() {
    let mut b = Build::new(&[4, 4, 4], 0);
    let x = b.conv3(0, 16, 0);
    let x = b.pool(x, Pool::Average3);
    let x = b.act(x, Activation::Swish);
    let x = b.conv(x, 16, 3, 2, 1, 0, true);
    let m = b.mean(x);
    let e = b.linear(m, 1);
    b.term(e);
    let text = ConvPlan::compile(&b.plan, Isa::Portable).unwrap().describe(1);
    assert!(text.contains("by box sums") && text.contains("by patches"), "{text}");
}

#[test]
fn the_published_residual_net_within_the_bound() {
    let plan = resnet::resnet(&resnet::Options { filters: 8, side: 16, attention: true, condition: 0 });
    everywhere(&Case { plan, n: 1, cond: false, seed: 11, bound: Bound::Fixed });
}

#[test]
fn what_no_place_reaches_of_a_sample_does_not_count() {
    // Places of 2×2 pixels, three apart: the third pixel of each row stands behind the runs of the second place.
    let mut b = Build::new(&[1, 8, 8], 0);
    let x = b.conv(0, 16, 2, 3, 0, 0, true);
    let x = b.act(x, Activation::Swish);
    let m = b.mean(x);
    let e = b.linear(m, 1);
    b.term(e);
    for isa in Isa::ALL.into_iter().filter(|i| i.available()) {
        let cpu = ConvPlan::compile(&b.plan, isa).unwrap();
        let theta = params(&cpu, 3);
        let pool = Threads::new(1);
        let packed = cpu.pack(&pool, |n| theta.get(n).map(Vec::as_slice)).unwrap();
        let terms = |x: &[f32]| {
            let mut out = [0.0];
            let call = Call { x, cond: None };
            cpu.terms(&packed, &mut Workspace::default(), &pool, call, &mut out).unwrap();
            out[0]
        };
        let mut x = Rng(7).vec(64, 1.0);
        let sound = terms(&x);
        (0..8).for_each(|i| x[i * 8 + 2] = f32::NAN);
        (0..8).for_each(|i| x[2 * 8 + i] = f32::INFINITY);
        assert_eq!(terms(&x), sound, "{}", isa.name());
        x[8 + 1] = f32::NAN;
        assert!(terms(&x).is_nan(), "{}", isa.name());
    }
}
