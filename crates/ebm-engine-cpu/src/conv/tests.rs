//! The engine against the f64 reference, on nets of every kind, for every instruction set here.
#![allow(clippy::unwrap_used)]

mod reference;

use ebm_core::plan::{Activation, NetPlan, Node, NodeId, Op, PlanTerm, Pool, Products, WeightRule};
use proptest::prelude::*;

use super::{Call, ConvPlan, Workspace};
use crate::pool::Pool as Threads;
use crate::resnet;
use crate::simd::Isa;
use reference::{Answer, Params, evaluate};

/// A plan under construction, with shape inference.
struct Build {
    plan: NetPlan,
}

impl Build {
    fn new(input: &[usize], condition: usize) -> Build {
        let node = Node { name: "x".into(), op: Op::Input, inputs: vec![], shape: input.to_vec() };
        Build {
            plan: NetPlan {
                input: input.to_vec(),
                condition,
                nodes: vec![node],
                terms: vec![],
                products: Products::Full,
            },
        }
    }
    fn shape(&self, id: NodeId) -> Vec<usize> {
        self.plan.nodes[id].shape.clone()
    }
    fn add(&mut self, op: Op, inputs: &[NodeId], shape: &[usize]) -> NodeId {
        let name = format!("n{}", self.plan.nodes.len());
        self.plan.nodes.push(Node { name, op, inputs: inputs.to_vec(), shape: shape.to_vec() });
        self.plan.nodes.len() - 1
    }
    fn name(&self, part: &str) -> String {
        format!("n{}.{part}", self.plan.nodes.len())
    }
    #[allow(clippy::too_many_arguments)]
    fn conv(
        &mut self,
        x: NodeId,
        out: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        rule: u8,
        bias: bool,
    ) -> NodeId {
        let s = self.shape(x);
        let side = |n: usize| (n + 2 * padding - kernel) / stride + 1;
        let rule = match rule {
            0 => WeightRule::Plain,
            1 => WeightRule::Standardised,
            _ => WeightRule::Spectral { u: self.name("u"), v: self.name("v") },
        };
        let op = Op::Conv {
            weight: self.name("weight"),
            bias: bias.then(|| self.name("bias")),
            kernel,
            stride,
            padding,
            rule,
        };
        self.add(op, &[x], &[out, side(s[1]), side(s[2])])
    }
    fn conv3(&mut self, x: NodeId, out: usize, rule: u8) -> NodeId {
        self.conv(x, out, 3, 1, 1, rule, true)
    }
    fn norm(&mut self, x: NodeId, groups: usize) -> NodeId {
        let s = self.shape(x);
        let op = Op::Norm {
            groups,
            epsilon: 1e-5,
            weight: Some(self.name("weight")),
            bias: Some(self.name("bias")),
        };
        self.add(op, &[x], &s)
    }
    fn label(&mut self, x: NodeId) -> NodeId {
        let s = self.shape(x);
        let op = Op::LabelAffine { weight: self.name("weight"), bias: self.name("bias") };
        self.add(op, &[x], &s)
    }
    fn act(&mut self, x: NodeId, a: Activation) -> NodeId {
        let s = self.shape(x);
        self.add(Op::Activate(a), &[x], &s)
    }
    fn plus(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let s = self.shape(a);
        self.add(Op::Add, &[a, b], &s)
    }
    fn pool(&mut self, x: NodeId, p: Pool) -> NodeId {
        let s = self.shape(x);
        let side = |n: usize| match &p {
            Pool::Average { size } => n / size,
            _ => n.div_ceil(2),
        };
        let shape = [s[0], side(s[1]), side(s[2])];
        self.add(Op::Pool(p), &[x], &shape)
    }
    fn linear(&mut self, x: NodeId, out: usize) -> NodeId {
        let op = Op::Linear { weight: self.name("weight"), bias: Some(self.name("bias")) };
        self.add(op, &[x], &[out])
    }
    fn mean(&mut self, x: NodeId) -> NodeId {
        let c = self.shape(x)[0];
        self.add(Op::SpatialMean, &[x], &[c])
    }
    fn term(&mut self, x: NodeId) {
        let name = format!("t{}", self.plan.terms.len());
        self.plan.terms.push(PlanTerm { name, node: x });
    }
    fn attention(&mut self, x: NodeId) -> NodeId {
        let s = self.shape(x);
        let prefix = self.name("attn");
        self.add(Op::Attention { prefix }, &[x], &s)
    }
    /// The published residual block (spec 8.2).
    fn block(&mut self, x: NodeId, groups: usize, label: bool, down: Option<usize>, rule: u8) -> NodeId {
        let f = self.shape(x)[0];
        let mut h = x;
        for _ in 0..2 {
            h = self.conv3(h, f, rule);
            h = self.norm(h, groups);
            if label {
                h = self.label(h);
            }
            h = self.act(h, Activation::Swish);
        }
        let mut o = self.plus(h, x);
        if let Some(out) = down {
            o = self.conv3(o, out, 0);
            o = self.pool(o, Pool::Average3);
            o = self.act(o, Activation::Swish);
        }
        o
    }
}

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

/// Relative L2 distance; of what is nearly zero by cancellation (1e-2, values being of order 1), the absolute one.
fn off(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let d: f64 = a.iter().zip(b).map(|(&x, &y)| (f64::from(x) - y).powi(2)).sum();
    let n: f64 = b.iter().map(|y| y * y).sum();
    d.sqrt() / n.sqrt().max(1e-2)
}

struct Case {
    plan: NetPlan,
    n: usize,
    cond: bool,
    seed: u64,
    /// Bound on the relative errors.
    tolerance: f64,
    /// Whether an ill-conditioned net may be off by more; see [`wobble`].
    conditioning: bool,
}

/// Largest relative change of the reference's answers if inputs and weights move by one f32 rounding:
/// the error that no f32 program can avoid.
fn wobble(case: &Case, theta: &Params, call: &Call<'_>, v: &[f32], exact: &[Answer]) -> f64 {
    let mut rng = Rng(case.seed ^ 7);
    let mut shake =
        |v: &[f32]| -> Vec<f32> { v.iter().map(|a| a * (1.0 + 1.2e-7 * rng.uniform().signum())).collect() };
    let theta: Params = theta.iter().map(|(k, v)| (k.clone(), shake(v))).collect();
    let x = shake(call.x);
    let (len, k) = (x.len() / case.n, case.plan.condition);
    let mut worst = 0f64;
    for (i, e) in exact.iter().enumerate() {
        let at = i * len..(i + 1) * len;
        let c = call.cond.map(|c| &c[i * k..(i + 1) * k]);
        let a = evaluate(&case.plan, &theta, &x[at.clone()], &v[at], c, &vec![1.0; e.terms.len()]);
        let mut see = |a: &[f64], e: &[f64]| {
            let d: f64 = a.iter().zip(e).map(|(a, b)| (a - b).powi(2)).sum();
            worst = worst.max(d.sqrt() / e.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-2));
        };
        see(&a.grad, &e.grad);
        see(&a.hvp, &e.hvp);
        let all = |m: &std::collections::BTreeMap<String, Vec<f64>>| {
            m.values().flatten().copied().collect::<Vec<_>>()
        };
        see(&all(&a.theta), &all(&e.theta));
        see(&all(&a.mixed), &all(&e.mixed));
    }
    worst
}

fn check(case: &Case, isa: Isa) -> Result<(), String> {
    let plan = &case.plan;
    let cpu = ConvPlan::compile(plan, isa).map_err(|e| e.reason)?;
    let theta = params(&cpu, case.seed);
    let packed = cpu.pack(Threads::global(), |n| theta.get(n).map(Vec::as_slice)).unwrap();
    let (len, t, n, k) = (cpu.sample_len(), cpu.terms_len(), case.n, plan.condition);
    let mut rng = Rng(case.seed ^ 99);
    let (x, v, w) = (rng.vec(n * len, 1.0), rng.vec(n * len, 1.0), rng.vec(n * t, 1.0));
    let cond = case.cond.then(|| rng.vec(n * k, 1.0));
    let call = Call { x: &x, cond: cond.as_deref() };
    let row = |i: usize, w: &[f32]| -> Answer {
        let c = cond.as_ref().map(|c| &c[i * k..(i + 1) * k]);
        evaluate(plan, &theta, &x[i * len..(i + 1) * len], &v[i * len..(i + 1) * len], c, w)
    };
    let ones: Vec<Answer> = (0..n).map(|i| row(i, &vec![1.0; t])).collect();
    let weighted: Vec<Answer> = (0..n).map(|i| row(i, &w[i * t..(i + 1) * t])).collect();
    let cat = |f: fn(&Answer) -> &Vec<f64>| -> Vec<f64> { ones.iter().flat_map(|a| f(a).clone()).collect() };
    let pool = Threads::new(2);
    let mut ws = Workspace::default();
    let tolerance = case.tolerance.max(if case.conditioning {
        50.0 * wobble(case, &theta, &call, &v, &ones)
    } else {
        0.0
    });
    let mut fails = Vec::new();
    let mut see = |what: &str, got: &[f32], want: &[f64]| {
        let e = off(got, want);
        if e.is_nan() || e > tolerance {
            let size = want.iter().map(|v| v * v).sum::<f64>().sqrt();
            fails.push(format!("{what}: relative error {e:.1e} of {size:.1e}"));
        }
    };
    let (mut terms, mut grad, mut hvp) = (vec![0.0; n * t], vec![0.0; n * len], vec![0.0; n * len]);
    // Again with rubbish in all memory, so that a read of what no kernel wrote would show.
    for _ in 0..2 {
        ws.spoil();
        cpu.terms(&packed, &mut ws, &pool, call, &mut terms).unwrap();
        see("terms", &terms, &cat(|a| &a.terms));
        cpu.slope(&packed, &mut ws, &pool, call, &mut terms, &mut grad).unwrap();
        see("slope terms", &terms, &cat(|a| &a.terms));
        see("slope", &grad, &cat(|a| &a.grad));
        cpu.hvp(&packed, &mut ws, &pool, call, &v, &mut hvp).unwrap();
        see("hvp", &hvp, &cat(|a| &a.hvp));
        for (what, answers) in [("theta", &weighted), ("mixed", &ones)] {
            let got = if what == "theta" {
                cpu.grad_theta(&packed, &mut ws, &pool, call, &w, &mut terms)
            } else {
                cpu.grad_theta_slope(&packed, &mut ws, &pool, call, &v, &mut terms)
            };
            let (mut all, mut want) = (Vec::new(), Vec::new());
            for (name, g) in got.unwrap() {
                let sum: Vec<f64> = (0..g.len())
                    .map(|j| {
                        answers
                            .iter()
                            .map(|a| if what == "theta" { a.theta[&name][j] } else { a.mixed[&name][j] })
                            .sum()
                    })
                    .collect();
                let size = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
                all.extend(g.iter().copied());
                // Each parameter by itself too, unless its gradient is zero in exact arithmetic.
                if size > 1e-4 && off(&g, &sum) > 30.0 * tolerance {
                    see(&format!("{what} {name}"), &g, &sum);
                }
                want.extend(sum);
            }
            see(what, &all, &want);
        }
    }
    if fails.is_empty() { Ok(()) } else { Err(format!("{}: {}", isa.name(), fails.join("; "))) }
}

fn everywhere(case: &Case) {
    for isa in Isa::ALL.into_iter().filter(|i| i.available()) {
        check(case, isa).unwrap();
    }
}

/// The design's bound for gradients against f64.
const TOLERANCE: f64 = 3e-5;

#[test]
fn residual_block_with_pooling_and_head() {
    let mut b = Build::new(&[3, 8, 8], 0);
    let x = b.conv3(0, 16, 0);
    let x = b.act(x, Activation::Swish);
    let x = b.block(x, 16, false, Some(32), 1);
    let m = b.mean(x);
    let e = b.linear(m, 1);
    b.term(e);
    everywhere(&Case { plan: b.plan, n: 3, cond: false, seed: 1, tolerance: TOLERANCE, conditioning: false });
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
        everywhere(&Case {
            plan: b.plan.clone(),
            n: 2,
            cond,
            seed: 5,
            tolerance: TOLERANCE,
            conditioning: false,
        });
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
    everywhere(&Case { plan: b.plan, n: 3, cond: false, seed: 3, tolerance: TOLERANCE, conditioning: false });
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
    everywhere(&Case { plan: b.plan, n: 2, cond: false, seed: 8, tolerance: TOLERANCE, conditioning: false });
}

#[test]
fn the_published_residual_net_within_the_bound() {
    let plan = resnet::resnet(&resnet::Options { filters: 8, side: 16, attention: true, condition: 0 });
    everywhere(&Case { plan, n: 1, cond: false, seed: 11, tolerance: TOLERANCE, conditioning: false });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    /// Random chains of layers on random shapes agree with the reference.
    #[test]
    fn random_nets(
        c0 in 1usize..4, h in 4usize..11, w in 4usize..11, n in 1usize..4, seed in 0u64..1_000_000,
        cond in any::<bool>(),
        layers in proptest::collection::vec((0u8..8, 1usize..20, 0u8..3), 2..6),
    ) {
        let mut b = Build::new(&[c0, h, w], 3);
        let mut x = b.conv3(0, 8, 0);
        for (kind, width, rule) in layers {
            let s = b.shape(x);
            x = match kind {
                0 => b.conv3(x, width, rule),
                1 => { let groups = if s[0].is_multiple_of(4) { 4 } else { s[0] }; let y = b.norm(x, groups); b.act(y, Activation::Swish) }
                2 => { let y = b.conv3(x, s[0], rule); let y = b.act(y, Activation::Swish); b.plus(y, x) }
                3 if s[1] > 3 && s[2] > 3 => { let y = b.conv3(x, width, rule); let y = b.pool(y, Pool::Average3); b.act(y, Activation::Swish) }
                4 if s[1] > 3 && s[2] > 3 => b.pool(x, Pool::Blur),
                5 => { let y = b.label(x); b.act(y, Activation::Softplus) }
                6 if s[0] >= 8 => b.attention(x),
                7 if s[1] > 3 && s[2] > 3 => b.conv(x, width, 3, 2, 1, rule, true),
                _ => b.act(x, Activation::Tanh),
            };
        }
        let m = b.mean(x);
        let e = b.linear(m, 1);
        b.term(e);
        let isas: Vec<Isa> = Isa::ALL.into_iter().filter(|i| i.available()).collect();
        let isa = isas[seed as usize % isas.len()];
        // Random nets are worse conditioned than published ones: 5 times the bound, and more where
        // the answer itself hangs on the last bits.
        let case = Case { plan: b.plan, n, cond, seed, tolerance: 5.0 * TOLERANCE, conditioning: true };
        if let Err(e) = check(&case, isa) {
            prop_assert!(false, "{e}");
        }
    }
}
