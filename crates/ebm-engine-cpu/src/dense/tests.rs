//! The engine against the definition, for every instruction set, and its laws of independence.
#![allow(clippy::unwrap_used)]

pub(super) mod reference;

use std::ops::Range;
use std::sync::Arc;

use ebm_core::plan::{Activation, NetPlan, Op};
use ebm_core::{Key, RowProgram, RowStep};
use proptest::prelude::*;

use super::*;
use crate::pool::Pool;
use crate::simd::Isa;
use crate::testing::sets;
use reference::{Hyper, Weights, Writer, activation, terms};

const KINDS: [Activation; 7] = [
    Activation::Swish,
    Activation::Relu,
    Activation::LeakyRelu(0.2),
    Activation::Tanh,
    Activation::Softplus,
    Activation::Sigmoid,
    Activation::Square,
];

fn normals(seed: u64, n: usize) -> Vec<f32> {
    let mut v = vec![0f32; n];
    Key::root(seed).fill_normal(0, &mut v);
    v
}

/// Flat weights of about unit gain.
fn weights(slots: &[Slot], seed: u64) -> Vec<f32> {
    let mut out = Vec::new();
    for (i, s) in slots.iter().enumerate() {
        let gain = 1.0 / (s.shape.get(1).copied().unwrap_or(4) as f32).sqrt();
        out.extend(normals(seed + i as u64, s.len()).iter().map(|v| v * gain));
    }
    out
}

fn runner(plan: &NetPlan, isa: Isa, threads: usize) -> Dense {
    let plan = Arc::new(DensePlan::compile(plan, isa).unwrap());
    let (p, b) = (weights(plan.params(), 10), weights(plan.buffers(), 90));
    let mut d = Dense::new(plan).with_pool(Arc::new(Pool::new(threads)));
    d.load(&p, &b);
    d
}

/// The weights of `runner` for the reference, the parameter at `flat` moving along `b`.
fn hyper(plan: &DensePlan, flat: Option<usize>) -> Weights {
    let (p, b) = (weights(plan.params(), 10), weights(plan.buffers(), 90));
    let mut out = Weights::new();
    for (slots, values, live) in [(plan.params(), &p, true), (plan.buffers(), &b, false)] {
        for s in slots {
            let one = |i: usize| Hyper {
                v: f64::from(values[i]),
                b: f64::from(u8::from(live && Some(i) == flat)),
                ..Hyper::default()
            };
            out.insert(s.name.clone(), (s.offset..s.offset + s.len()).map(one).collect());
        }
    }
    out
}

/// Relative L2 error.
fn error(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let diff: f64 = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).powi(2)).sum();
    let norm: f64 = want.iter().map(|w| w * w).sum();
    if norm < 1e-20 { diff.sqrt() } else { (diff / norm).sqrt() }
}

/// All five calls on `batch` rows against the definition; a few parameters are drawn for comparison.
fn check(plan: &NetPlan, isa: Isa, batch: usize) {
    let mut d = runner(plan, isa, 2);
    let (width, count) = (d.plan().width(), d.plan().term_count());
    let (x, v) = (normals(1, batch * width), normals(2, batch * width));
    let w = normals(3, batch * count);
    let row = |r: usize, move_x: Option<usize>| -> Vec<Hyper> {
        (0..width)
            .map(|j| Hyper {
                v: f64::from(x[r * width + j]),
                a: f64::from(v[r * width + j]),
                b: f64::from(u8::from(move_x == Some(j))),
                c: 0.0,
            })
            .collect()
    };
    let fixed = hyper(d.plan(), None);
    let (mut want_terms, mut want_grad, mut want_hvp) = (vec![], vec![], vec![]);
    for r in 0..batch {
        want_terms.extend(terms(plan, &fixed, &row(r, None)).iter().map(|t| t.v));
        for j in 0..width {
            let t = terms(plan, &fixed, &row(r, Some(j)));
            want_grad.push(t.iter().map(|t| t.b).sum());
            want_hvp.push(t.iter().map(|t| t.c).sum());
        }
    }
    let label = format!("{} B={batch}", isa.name());
    // Energies can cancel, so they are compared as a vector; the goal of all gradients is 3e-5.
    let goal = 3e-5;
    let mut got = vec![0f32; batch * count];
    d.terms(&x, &mut got);
    assert!(error(&got, &want_terms) < goal, "terms {label}: {}", error(&got, &want_terms));

    let (mut energy, mut grad) = (vec![0f32; batch], vec![0f32; batch * width]);
    d.slope(&x, &mut energy, &mut grad);
    let sums: Vec<f64> = want_terms.chunks(count).map(|t| t.iter().sum()).collect();
    // Terms of both signs lose digits in their sum.
    assert!(error(&energy, &sums) < 10.0 * goal, "energy {label}");
    assert!(error(&grad, &want_grad) < goal, "slope {label}: {}", error(&grad, &want_grad));

    let mut hvp = vec![0f32; batch * width];
    d.hvp(&x, &v, &mut hvp);
    assert!(error(&hvp, &want_hvp) < goal, "hvp {label}: {}", error(&hvp, &want_hvp));

    let n = d.plan().param_count();
    let (mut g1, mut g2) = (vec![0f32; n], vec![0f32; n]);
    let mut seen = vec![0f32; batch * count];
    let of_all = |_: Range<usize>, t: &[f32]| (t == got).then(|| w.clone()).ok_or("terms of another pass");
    d.grad_theta(&x, &mut seen, false, of_all, &mut g1).unwrap();
    d.grad_theta_slope(&x, &v, &mut seen, &mut g2);
    assert_eq!(seen.len(), got.len());
    let picks: Vec<usize> = (0..24.min(n)).map(|i| Key::root(7).below(i as u64, n)).collect();
    let (mut want1, mut want2) = (vec![], vec![]);
    for i in &picks {
        let moved = hyper(d.plan(), Some(*i));
        let (mut a, mut b) = (0.0, 0.0);
        for r in 0..batch {
            let t = terms(plan, &moved, &row(r, None));
            a += t.iter().zip(&w[r * count..]).map(|(t, w)| t.b * f64::from(*w)).sum::<f64>();
            b += t.iter().map(|t| t.c).sum::<f64>();
        }
        want1.push(a);
        want2.push(b);
    }
    let pick = |g: &[f32]| picks.iter().map(|i| g[*i]).collect::<Vec<_>>();
    // A sum over rows of both signs may cancel: twice the goal.
    let (e1, e2) = (error(&pick(&g1), &want1), error(&pick(&g2), &want2));
    assert!(e1 < 2.0 * goal, "grad_theta {label}: {e1}");
    assert!(e2 < 2.0 * goal, "grad_theta_slope {label}: {e2}");
}

/// A net with every operation: image input, Fourier features, residual sums, concatenation, three terms.
fn everything(kind: Activation) -> NetPlan {
    let mut w = Writer::new(&[1, 2, 3]);
    let flat = w.node(Op::Flatten, &[0], 6);
    let fourier = w.node(Op::Fourier { frequencies: "freq".into() }, &[flat], 10);
    let a = w.linear(fourier, 21, true);
    let a = w.act(a, kind);
    let b = w.linear(a, 21, false);
    let b = w.act(b, Activation::Tanh);
    let sum = w.node(Op::Add, &[a, b], 21);
    let scaled = w.node(Op::Scale(0.7), &[sum], 21);
    let both = w.node(Op::Concat, &[scaled, flat, b], 48);
    let c = w.linear(both, 3, true);
    let c = w.act(c, kind);
    // A concatenation added to a linear map: places differ.
    let pair = w.node(Op::Concat, &[c, c], 6);
    let mixed = w.node(Op::Add, &[pair, flat], 6);
    let square = w.act(mixed, Activation::Square);
    let all = w.node(Op::SumAll, &[square], 1);
    let head = w.linear(sum, 1, true);
    let twice = w.node(Op::Scale(2.0), &[head], 1);
    w.term(all);
    w.term(head);
    w.term(twice);
    w.0
}

#[test]
fn every_operation_agrees_with_the_definition() {
    for isa in crate::testing::sets() {
        for kind in [Activation::Swish, Activation::Softplus] {
            check(&everything(kind), isa, 5);
        }
    }
}

/// A net that reads a condition of `condition` numbers before each layer, the last one included.
fn conditional(input: usize, condition: usize) -> NetPlan {
    let mut w = Writer::new(&[input]);
    w.0.condition = condition;
    let c = w.node(Op::Condition, &[], condition);
    let first = w.node(Op::Concat, &[0, c], input + condition);
    let a = w.linear(first, 19, true);
    let a = w.act(a, Activation::Swish);
    let both = w.node(Op::Concat, &[a, c], 19 + condition);
    let b = w.linear(both, 17, true);
    let b = w.act(b, Activation::Swish);
    let all = w.node(Op::Concat, &[b, c], 17 + condition);
    let head = w.linear(all, 1, true);
    w.term(head);
    w.0
}

#[test]
fn conditions_agree_with_the_definition() {
    for isa in sets() {
        for (input, condition) in [(2, 3), (16, 16), (30, 5)] {
            check(&conditional(input, condition), isa, 5);
        }
    }
}

#[test]
fn every_activation_agrees_with_the_definition() {
    for isa in crate::testing::sets() {
        for kind in KINDS {
            check(&Writer::mlp(3, &[20, 17], kind), isa, 3);
        }
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(24))]
    #[test]
    fn all_shapes_agree_with_the_definition(
        input in 1usize..40,
        widths in prop::collection::vec(1usize..70, 0..4),
        kind in 0usize..7,
        batch in 1usize..7,
    ) {
        // Squares of squares of normals leave the range where a relative error means much.
        let kind = if KINDS[kind] == Activation::Square && widths.len() > 2 { Activation::Swish } else { KINDS[kind] };
        crate::testing::sets().into_iter().for_each(|isa| check(&Writer::mlp(input, &widths, kind), isa, batch));
    }
}

/// All results of a plan on `x` (batches of `size`), as bits.
fn bits(d: &mut Dense, x: &[f32], v: &[f32], size: usize) -> Vec<u32> {
    let (width, count) = (d.plan().width(), d.plan().term_count());
    let mut out = Vec::new();
    for (x, v) in x.chunks(size * width).zip(v.chunks(size * width)) {
        let b = x.len() / width;
        let (mut t, mut e, mut g) = (vec![0f32; b * count], vec![0f32; b], vec![0f32; b * width]);
        d.terms(x, &mut t);
        out.extend(t);
        d.slope(x, &mut e, &mut g);
        out.extend(e.iter().chain(&g));
        d.hvp(x, v, &mut g);
        out.extend(g);
    }
    out.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn results_have_the_same_bits_for_any_number_of_threads() {
    let plan = everything(Activation::Swish);
    // More rows than are kept at a time, so that the sums cross a chunk.
    let batch = 1100;
    let (x, v) = (normals(1, batch * 6), normals(2, batch * 6));
    for isa in crate::testing::sets() {
        let mut first: Option<(Vec<u32>, Vec<f32>, Vec<f32>)> = None;
        for threads in [1, 2, 3] {
            let mut d = runner(&plan, isa, threads);
            let n = d.plan().param_count();
            let rows = bits(&mut d, &x, &v, batch);
            let (mut t, mut g1, mut g2) = (vec![0f32; batch * 3], vec![0f32; n], vec![0f32; n]);
            d.grad_theta(&x, &mut t, false, |_, t| Ok::<_, ()>(t.to_vec()), &mut g1).unwrap();
            d.grad_theta_slope(&x, &v, &mut t, &mut g2);
            match &first {
                None => first = Some((rows, g1, g2)),
                Some((r, a, b)) => {
                    assert!(*r == rows && *a == g1 && *b == g2, "{} threads, {}", threads, isa.name());
                }
            }
        }
    }
}

#[test]
fn rows_do_not_depend_on_their_batch() {
    let plan = Writer::mlp(5, &[33, 48], Activation::Swish);
    let (x, v) = (normals(1, 101 * 5), normals(2, 101 * 5));
    for isa in crate::testing::sets() {
        let mut d = runner(&plan, isa, 2);
        let one = |d: &mut Dense, size: usize| {
            let (mut e, mut g, mut h) = (vec![0f32; 101], vec![0f32; 505], vec![0f32; 505]);
            for (i, (x, v)) in x.chunks(size * 5).zip(v.chunks(size * 5)).enumerate() {
                let (from, n) = (i * size, x.len() / 5);
                d.slope(x, &mut e[from..from + n], &mut g[from * 5..][..n * 5]);
                d.hvp(x, v, &mut h[from * 5..][..n * 5]);
            }
            (e, g, h)
        };
        let whole = one(&mut d, 101);
        for size in [1, 7, 64] {
            assert!(one(&mut d, size) == whole, "{size} {}", isa.name());
        }
    }
}

/// The contract of `RowStep` written with slope and plain loops.
fn plain_walk(d: &mut Dense, program: &RowProgram, key: Key, ids: &[u64], x: &mut [f32]) -> [Vec<f32>; 4] {
    let (b, width) = (ids.len(), d.plan().width());
    let (mut hat, mut grad) = (vec![0f32; x.len()], vec![0f32; x.len()]);
    let (mut energies, mut squares) = (Vec::new(), Vec::new());
    for (k, s) in program.steps.iter().enumerate() {
        let mut noise = vec![0f32; x.len()];
        for (row, id) in noise.chunks_mut(width).zip(ids) {
            key.at(k).fill_normal(*id, row);
        }
        let (sigma, rate) = (s.noise as f32, s.step_size as f32);
        if s.noise_first {
            x.iter_mut().zip(&noise).for_each(|(x, n)| *x += sigma * n);
        }
        hat.copy_from_slice(x);
        let mut e = vec![0f32; b];
        d.slope(x, &mut e, &mut grad);
        energies.extend(e);
        squares.extend(grad.chunks(width).map(|g| g.iter().map(|g| g * g).sum::<f32>() / width as f32));
        for i in 0..x.len() {
            let mut move_ = rate * grad[i];
            if let Some(l) = s.move_limit {
                move_ = move_.clamp(-(l as f32), l as f32);
            }
            x[i] -= move_;
            if !s.noise_first {
                x[i] += sigma * noise[i];
            }
            if let Some((lo, hi)) = s.clamp {
                x[i] = x[i].clamp(lo as f32, hi as f32);
            }
        }
    }
    [hat, grad, energies, squares]
}

#[test]
fn a_walk_has_the_bits_of_the_plain_loop() {
    let step = RowStep { step_size: 0.1, noise: 0.3, noise_first: true, clamp: None, move_limit: None };
    let programs = [
        vec![step; 3],
        vec![RowStep { noise_first: false, clamp: Some((-1.0, 1.0)), ..step }; 4],
        vec![RowStep { move_limit: Some(0.01), ..step }, RowStep { noise: 0.0, step_size: 1.0, ..step }],
    ];
    for isa in crate::testing::sets() {
        for (width, b) in [(2, 70), (5, 33), (16, 20), (19, 64), (70, 3)] {
            let plan = Writer::mlp(width, &[32, 20], Activation::Swish);
            for steps in &programs {
                let program = RowProgram::new(steps.clone());
                let ids: Vec<u64> = (0..b as u64).map(|i| (i * 7) % 13 + (i << 33)).collect();
                let key = Key::root(5).at("walk");
                let start = normals(4, b * width);
                let mut x = start.clone();
                let mut d = runner(&plan, isa, 1);
                let want = plain_walk(&mut d, &program, key, &ids, &mut x);
                for threads in [1, 2, 3] {
                    let mut d = runner(&plan, isa, threads);
                    let k = steps.len();
                    let mut y = start.clone();
                    let mut got =
                        [vec![0f32; b * width], vec![0f32; b * width], vec![0f32; b * k], vec![0f32; b * k]];
                    let [hat, grad, energy, grad_square] = &mut got;
                    d.walk(&program, key, &ids, WalkOut { x: &mut y, hat, grad, energy, grad_square });
                    assert!(
                        y == x && got[0] == want[0] && got[1] == want[1],
                        "{} {width} {threads}",
                        isa.name()
                    );
                    for r in 0..b {
                        for s in 0..k {
                            assert_eq!(got[2][r * k + s], want[2][s * b + r]);
                            let (a, e) = (got[3][r * k + s], want[3][s * b + r]);
                            // Another order of the sum.
                            assert!((a - e).abs() <= 1e-5 * e.abs(), "{a} {e}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn an_empty_batch_and_an_empty_program_are_fine() {
    let mut d = runner(&Writer::mlp(2, &[8], Activation::Swish), Isa::detect(), 2);
    d.slope(&[], &mut [], &mut []);
    d.hvp(&[], &[], &mut []);
    let mut g = vec![1f32; d.plan().param_count()];
    d.grad_theta(&[], &mut [], false, |_, _| Ok::<_, ()>(vec![]), &mut g).unwrap();
    assert!(g.iter().all(|g| *g == 0.0));
    let (mut x, mut hat, mut grad) = ([1f32, 2.0], [0f32; 2], [1f32; 2]);
    let out = WalkOut { x: &mut x, hat: &mut hat, grad: &mut grad, energy: &mut [], grad_square: &mut [] };
    d.walk(&RowProgram::new(vec![]), Key::root(1), &[0], out);
    assert_eq!((x, hat, grad), ([1.0, 2.0], [1.0, 2.0], [0.0; 2]));
}

#[test]
fn a_row_of_nan_stays_its_own() {
    let mut d = runner(&everything(Activation::Relu), Isa::detect(), 1);
    let clean = normals(1, 3 * 6);
    let (mut e0, mut g0) = (vec![0f32; 3], vec![0f32; 18]);
    d.slope(&clean, &mut e0, &mut g0);
    let mut x = clean.clone();
    x[7] = f32::NAN;
    let (mut e, mut g) = (vec![0f32; 3], vec![0f32; 18]);
    d.slope(&x, &mut e, &mut g);
    assert!(e[1].is_nan() && e[0] == e0[0] && e[2] == e0[2] && g[..6] == g0[..6] && g[12..] == g0[12..]);
    // Nothing of it is left in the buffers.
    d.slope(&clean, &mut e, &mut g);
    assert!(e == e0 && g == g0);
}

#[test]
fn what_it_does_not_cover_it_refuses_with_the_reason() {
    let mut w = Writer::new(&[3, 4, 4]);
    let mean = w.node(Op::SpatialMean, &[0], 3);
    let head = w.linear(mean, 1, true);
    w.term(head);
    let e = DensePlan::compile(&w.0, Isa::Portable).err().unwrap();
    assert!(e.to_string().contains("SpatialMean"), "{e}");
    let mut w = Writer::new(&[3]);
    let wide = w.linear(0, 2, true);
    w.term(wide);
    assert!(DensePlan::compile(&w.0, Isa::Portable).is_err());
}

/// A function of the engine alone: `f` of the sample itself, through an identity head.
#[test]
fn activations_are_accurate_over_their_range() {
    for isa in crate::testing::sets() {
        for kind in KINDS {
            let mut w = Writer::new(&[1]);
            let a = w.act(0, kind);
            w.term(a);
            let plan = Arc::new(DensePlan::compile(&w.0, isa).unwrap());
            let mut d = Dense::new(plan);
            let x: Vec<f32> = (-400..=400).map(|i| i as f32 * 0.05 + 1e-4).collect();
            let (mut e, mut g, mut h) = (vec![0f32; x.len()], vec![0f32; x.len()], vec![0f32; x.len()]);
            d.slope(&x, &mut e, &mut g);
            d.hvp(&x, &vec![1.0; x.len()], &mut h);
            for (i, x) in x.iter().enumerate() {
                let want = activation(kind, f64::from(*x));
                for (got, want) in [e[i], g[i], h[i]].into_iter().zip(want) {
                    // A few units in the last place of numbers of order 1, relative beyond.
                    let tolerance = 1.5e-6 * want.abs().max(0.3);
                    assert!(
                        (f64::from(got) - want).abs() < tolerance,
                        "{kind:?} {} at {x}: {got} {want}",
                        isa.name()
                    );
                }
            }
        }
    }
}

#[test]
fn sine_and_cosine_are_accurate_over_many_turns() {
    for isa in crate::testing::sets() {
        let mut w = Writer::new(&[1]);
        let f = w.node(Op::Fourier { frequencies: "b".into() }, &[0], 2);
        let l = w.linear(f, 1, false);
        w.term(l);
        let mut d = Dense::new(Arc::new(DensePlan::compile(&w.0, isa).unwrap()));
        let x: Vec<f32> = (-2000..2000).map(|i| i as f32 * 0.117).collect();
        for (weights, f) in [([1.0, 0.0], f64::cos as fn(f64) -> f64), ([0.0, 1.0], f64::sin)] {
            d.load(&weights, &[1.0]);
            let mut e = vec![0f32; x.len()];
            d.terms(&x, &mut e);
            for (x, e) in x.iter().zip(&e) {
                // Two units of 1, and the argument's reduction.
                assert!((f64::from(*e) - f(f64::from(*x))).abs() < 4e-7, "{} {x} {e}", isa.name());
            }
        }
    }
}
