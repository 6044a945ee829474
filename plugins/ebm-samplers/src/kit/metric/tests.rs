//! Metrics that are learnt: the covariance they find, their bytes, and the kernels that move in them.

#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use ebm_core::{
    Batch, Blind, BuildCx, Chains, DrawRequest, Draws, EnergyConfig, EnergyFn, Keep, Key, Sampler,
    Transition, TransitionConfig,
};
use ebm_energies_density::{Gaussian, IllConditionedGaussian};
use ebm_testkit::{check_transition, relative_gap, toy};

use super::*;
use crate::{Chain, Hmc, Mala, Nuts};

fn build(config: &dyn EnergyConfig, d: usize) -> Arc<dyn EnergyFn> {
    config.build(&mut BuildCx::new(&[d], DType::F64, &Device::Cpu, Key::root(0))).unwrap()
}

/// Two values of deviations 3 and 0.05 and correlation 0.8.
fn tilted() -> Arc<dyn EnergyFn> {
    let c = 0.8 * 3.0 * 0.05;
    build(&Gaussian { covariance: Some(vec![9.0, c, c, 0.0025]), ..Gaussian::default() }, 2)
}

fn start(n: usize, d: usize) -> Batch {
    Batch::new(Tensor::zeros((n, d), DType::F64, &Device::Cpu).unwrap()).unwrap()
}

fn state(x: &Tensor, left: usize) -> ChainState {
    let mut state = ChainState::new(Batch::new(x.clone()).unwrap());
    (state.learning, state.warm_up_left) = (Learning::WarmUp, left);
    state
}

fn metric(kind: MetricKind, per_chain: bool) -> Metric {
    Metric::new(kind, per_chain, "test.metric".into())
}

/// A map of a row.
type Map<'a> = &'a dyn Fn(usize, &[f64], &mut [f64]);

/// Maps and their transposes, on slices and on tensors, for one map and for one a row.
#[test]
fn maps_of_slices_and_of_tensors_are_the_same() {
    let key = Key::root(3);
    let draw = |name: &str, shape: &[usize]| {
        key.at(name).normal(&Chains::range(0, shape[0]), &shape[1..], DType::F64, &Device::Cpu).unwrap()
    };
    let (v, u) = (draw("v", &[3, 4]), draw("u", &[3, 4]));
    for (kind, n) in [(MetricKind::Unit, 0), (MetricKind::Diagonal, 4), (MetricKind::Dense, 16)] {
        for maps in [1, 3] {
            let mut data = if n == 0 { Vec::new() } else { host::numbers(&draw("l", &[maps, n])).unwrap() };
            for (i, l) in data.iter_mut().enumerate().filter(|_| n == 16) {
                *l = if i % 4 > i % 16 / 4 { 0.0 } else { *l };
            }
            let factor = Factor::of(kind, 4, data);
            let frame = factor.frame(&v).unwrap();
            let by_rows = |t: &Tensor, f: Map<'_>| {
                let rows = t.to_vec2::<f64>().unwrap();
                let all = rows.iter().enumerate().map(|(i, row)| {
                    let mut out = vec![0.0; 4];
                    f(i, row, &mut out);
                    out
                });
                Tensor::new(all.collect::<Vec<_>>(), &Device::Cpu).unwrap()
            };
            let up = by_rows(&v, &|i, v, out| factor.up(i, v, out));
            let down = by_rows(&u, &|i, v, out| factor.down(i, v, out));
            assert!(relative_gap(&up, &frame.up(&v).unwrap()).unwrap() < 1e-14, "{kind:?}");
            assert!(relative_gap(&down, &frame.down(&u).unwrap()).unwrap() < 1e-14, "{kind:?}");
            // ⟨u, L v⟩ = ⟨Lᵀ u, v⟩.
            let (a, b) = ((up * &u).unwrap().sum(1).unwrap(), (down * &v).unwrap().sum(1).unwrap());
            assert!(relative_gap(&a, &b).unwrap() < 1e-13, "{kind:?}");
        }
    }
}

/// 20 steps: the window is that of steps 3 to 17. What is gathered is the covariance of these draws, and of no others.
#[test]
fn a_window_gathers_its_own_draws() {
    let draws: Vec<Tensor> = (0..20u64)
        .map(|k| Key::root(k).normal(&Chains::range(0, 5), &[2], DType::F64, &Device::Cpu).unwrap())
        .collect();
    for kind in [MetricKind::Diagonal, MetricKind::Dense] {
        let metric = metric(kind, false);
        let mut state = state(&draws[0], 20);
        for (k, x) in draws.iter().enumerate() {
            (state.at, state.warm_up_left) = (state.at.with_x(x.clone()), 20 - k);
            assert_eq!(metric.learn(&mut state).unwrap(), [k == 17; 5]);
        }
        let rows: Vec<Vec<f64>> = draws[3..18].iter().flat_map(|x| x.to_vec2::<f64>().unwrap()).collect();
        let n = rows.len() as f64;
        let mean = [0, 1].map(|i| rows.iter().map(|r| r[i]).sum::<f64>() / n);
        let covariance = |i: usize, j: usize| {
            let sum: f64 = rows.iter().map(|r| (r[i] - mean[i]) * (r[j] - mean[j])).sum();
            let round = if i == j { 1e-3 * 5.0 / (n + 5.0) } else { 0.0 };
            sum / (n - 1.0) * n / (n + 5.0) + round
        };
        let factor = metric.of(&state).unwrap();
        let back = |i: usize, j: usize| -> f64 {
            let row = |i: usize| (0..2).map(|k| factor.row(0)[i * 2 + k]).collect::<Vec<_>>();
            row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum()
        };
        match kind {
            MetricKind::Dense => {
                for (i, j) in [(0, 0), (0, 1), (1, 1)] {
                    assert!((back(i, j) - covariance(i, j)).abs() < 1e-12);
                }
                assert_eq!(factor.row(0)[1], 0.0);
            }
            _ => (0..2).for_each(|i| assert!((factor.row(0)[i].powi(2) - covariance(i, i)).abs() < 1e-12)),
        }
    }
}

/// Kernels with a step size a hundred times too large or too small for one of the coordinates have the target's law in every metric.
#[test]
fn every_kernel_finds_the_covariance_and_keeps_the_target() {
    let e = tilted();
    for kind in [MetricKind::Diagonal, MetricKind::Dense, MetricKind::Auto] {
        // A dense one for each chain has little to learn from.
        for per_chain in [false, true].into_iter().take(if kind.mixes() { 1 } else { 2 }) {
            let mala = Mala::new(0.001).adapting(0.6, 0.1);
            let hmc = Hmc::new(0.05, 6).jittered(0.3).adapting(0.8, 0.1);
            let kernels: [Box<dyn Transition>; 3] = match per_chain {
                false => [
                    Box::new(mala.in_metric(kind)),
                    Box::new(hmc.in_metric(kind)),
                    Box::new(Nuts::new().in_metric(kind)),
                ],
                true => [
                    Box::new(mala.per_chain().in_metric(kind)),
                    Box::new(hmc.per_chain().in_metric(kind)),
                    Box::new(Nuts::new().per_chain().in_metric(kind)),
                ],
            };
            for kernel in kernels {
                let name = format!("{} {kind:?} {per_chain}", kernel.name());
                let draws = Draws::of(
                    &Chain::new(kernel, 1),
                    e.as_ref(),
                    start(8, 2),
                    Keep::from(200).after(200),
                    Key::root(2),
                )
                .unwrap();
                for (i, sd) in [(0, 3.0), (1, 0.05)] {
                    let x = draws.coordinate(i).unwrap();
                    let squares: Vec<f64> = x.iter().map(|v| v * v / (sd * sd)).collect();
                    let chains = ebm_eval::Traces::new(&squares, 8, 200).unwrap();
                    let mean = squares.iter().sum::<f64>() / squares.len() as f64;
                    let error = ebm_eval::mcse_mean(chains);
                    // 24 pairs of a kernel and a coordinate: 4.5 errors are passed once in 6000 keys; the key is fixed.
                    assert!((mean - 1.0).abs() < 4.5 * error, "{name}: {mean} ± {error} of coordinate {i}");
                    assert!(error < 0.3, "{name} hardly moves: {error}");
                }
            }
        }
    }
}

/// One that chooses takes the triangle of a turned target and the deviations of one along its axes, and is then that very metric, to the bit.
#[test]
fn a_metric_that_chooses_is_the_one_it_chose() {
    let c = 0.95 * 3.0 * 0.05;
    let turned = Gaussian { covariance: Some(vec![9.0, c, c, 0.0025]), ..Gaussian::default() };
    let axes = Gaussian { variances: Some(vec![9.0, 0.0025]), ..Gaussian::default() };
    for (config, like) in [(turned, MetricKind::Dense), (axes, MetricKind::Diagonal)] {
        let e = build(&config, 2);
        let draws = |kind: MetricKind| {
            let nuts = Chain::new(Box::new(Nuts::new().in_metric(kind)), 1);
            // One window: what comes before it has no metric yet.
            let keep = Keep::from(50).after(100);
            let x = Draws::of(&nuts, e.as_ref(), start(8, 2), keep, Key::root(1)).unwrap().x;
            x.to_vec3::<f64>().unwrap()
        };
        let [diagonal, dense, auto] = [MetricKind::Diagonal, MetricKind::Dense, MetricKind::Auto].map(draws);
        assert!(diagonal != dense);
        assert!(auto == if like == MetricKind::Dense { dense } else { diagonal }, "{like:?}");
    }
}

#[test]
fn a_choice_of_single_chains_is_refused() {
    let config = crate::nuts::NutsConfig { metric: MetricKind::Auto, per_chain: true, ..Default::default() };
    let refused = config.build(&mut BuildCx::new(&[3], DType::F64, &Device::Cpu, Key::root(0)));
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("metric") && message.contains("per_chain"), "{message}");
}

/// A window of too few draws has the deviations, one that follows may have the triangle; what is stored says which it is.
#[test]
fn a_choice_is_made_anew_at_each_window_and_is_read_from_what_is_stored() {
    let metric = metric(MetricKind::Auto, false);
    let l = Tensor::new(&[[1.0f64, 0.0, 0.0], [0.99, 0.1, 0.0], [0.5, 0.5, 0.2]], &Device::Cpu).unwrap();
    let x = |k: usize| {
        let z = Key::root(k as u64).normal(&Chains::range(0, 1), &[3], DType::F64, &Device::Cpu).unwrap();
        z.matmul(&l.t().unwrap()).unwrap()
    };
    let mut state = state(&x(0), 250);
    let mut sizes = Vec::new();
    for k in 0..250 {
        (state.at, state.warm_up_left) = (state.at.with_x(x(k)), 250 - k);
        if metric.learn(&mut state).unwrap() == [true] {
            sizes.push(state.aux["test.metric"].elem_count());
        }
    }
    // Windows of 25 and 100 draws of 3 coordinates, of which ten times as many are 30.
    assert_eq!(sizes, [3, 9]);
    let dense = super::Metric::new(MetricKind::Dense, false, "test.metric".into());
    let of = |metric: &Metric| {
        let mut out = [0.0; 3];
        metric.of(&state).unwrap().up(0, &[1.0, 2.0, 3.0], &mut out);
        out
    };
    assert_eq!(of(&metric), of(&dense));
}

/// Without a metric the step would be that of the narrowest direction: in one it is of order 1 in both.
#[test]
fn step_sizes_are_found_in_the_metric() {
    let e = build(&IllConditionedGaussian { condition: 900.0 }, 8);
    let mut found = Vec::new();
    for kind in [MetricKind::Unit, MetricKind::Dense] {
        let nuts = Chain::new(Box::new(Nuts::new().in_metric(kind)), 1);
        let draws =
            Draws::of(&nuts, e.as_ref(), start(8, 8), Keep::from(8).after(120), Key::root(1)).unwrap();
        let mean = |name: &str| draws.numbers(name).unwrap().iter().sum::<f64>() / 64.0;
        found.push((mean("step_size"), mean("leapfrogs")));
    }
    let [(unit, long), (dense, short)] = found[..] else { panic!("two") };
    assert!(unit < 0.1 && long > 30.0, "deviations 1/30 to 1: {unit} {long}");
    assert!(dense > 0.4 && short < 16.0, "{dense} {short}");
}

/// A warm-up in two programs with the memory in between is one, to the bit, in any order of the chains if each has its own.
#[test]
fn a_warm_up_goes_on_from_stored_bytes() {
    let path = std::env::temp_dir().join(format!("ebm-metric-{}.safetensors", std::process::id()));
    let e = tilted();
    for (per_chain, kind) in
        [(false, MetricKind::Dense), (false, MetricKind::Auto), (true, MetricKind::Dense)]
    {
        let kernel = || {
            let nuts = Nuts::new().in_metric(kind);
            Box::new(if per_chain { nuts.per_chain() } else { nuts })
        };
        let run = |at: Batch,
                   steps: usize,
                   warm_up: usize,
                   key: u64,
                   memory: &mut BTreeMap<String, Tensor>| {
            let mut blind = Blind;
            let mut request = DrawRequest::new(&mut blind, memory).with_warm_up(warm_up);
            Chain::new(kernel(), steps).draw(e.as_ref(), at, Key::root(key), &mut request).unwrap().last.at
        };
        let mut memory = BTreeMap::new();
        let half = run(start(4, 2), 30, 60, 1, &mut memory);
        let all = memory.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        ebm_core::candle::safetensors::save(&all, &path).unwrap();
        let mut again: BTreeMap<_, _> =
            ebm_core::candle::safetensors::load(&path, &Device::Cpu).unwrap().into_iter().collect();
        let other = match per_chain {
            true => half.rows(&[3, 1, 0, 2]).unwrap(),
            false => half.clone(),
        };
        let (a, b) = (run(half, 40, 30, 2, &mut memory), run(other, 40, 30, 2, &mut again));
        let sorted = |at: &Batch| {
            let mut all: Vec<_> =
                at.chains.ids().iter().copied().zip(at.x.to_vec2::<f64>().unwrap()).collect();
            all.sort_by_key(|(id, _)| *id);
            all
        };
        assert_eq!(sorted(&a), sorted(&b));
        let names: Vec<_> = memory.keys().map(String::as_str).collect();
        assert_eq!(names.contains(&"nuts.metric.chains"), per_chain, "{names:?}");
        // The warm-up of 60 steps closed its window after 54.
        let counts = memory["nuts.metric.moments"].flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(counts[..3], [60.0, 60.0, 0.0]);
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn what_is_stored_of_other_samples_is_no_metric() {
    let mut state = state(&Tensor::zeros((2, 3), DType::F64, &Device::Cpu).unwrap(), 0);
    state.aux.insert("test.metric".into(), Tensor::ones((1, 2), DType::F64, &Device::Cpu).unwrap());
    assert!(metric(MetricKind::Diagonal, false).of(&state).unwrap().is_unit());
}

/// Links of MALA in a diagonal metric hold the metric fixed and are exact; rows do not meet.
#[test]
fn kernels_in_a_metric_keep_the_laws() {
    let e = toy::mlp(3, 5, 2, 4).unwrap();
    let x = Key::root(8).normal(&Chains::range(0, 5), &[3], DType::F64, &Device::Cpu).unwrap();
    let at = Batch::new(x).unwrap();
    /// A kernel that begins with a metric and a step size.
    struct Learnt(Mala, Tensor);
    impl Transition for Learnt {
        fn init(&self, _: &dyn EnergyFn, at: Batch, _: Key) -> Result<ChainState> {
            let mut state = ChainState::new(at);
            state.learning = Learning::Done;
            state.aux.insert("mala.metric".into(), self.1.clone());
            state.aux.insert("mala.step_size".into(), Tensor::new(&[0.4f64], &Device::Cpu)?);
            Ok(state)
        }
        fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<ebm_core::Stepped> {
            self.0.step(e, state, key)
        }
        fn sensitivity(&self) -> ebm_core::Sensitivity {
            self.0.sensitivity()
        }
        fn name(&self) -> String {
            self.0.name()
        }
    }
    let scales = Tensor::new(&[[0.5f64, 2.0, 1.0]], &Device::Cpu).unwrap();
    let mala = Mala::new(0.4).adapting(0.6, 0.1);
    check_transition(&Learnt(mala.clone().in_metric(MetricKind::Diagonal), scales), &e, &at, true).unwrap();
    let lower = Tensor::new(&[[0.5f64, 0.0, 0.0, 0.2, 2.0, 0.0, -0.3, 0.1, 1.0]], &Device::Cpu).unwrap();
    let dense = Learnt(mala.in_metric(MetricKind::Dense), lower);
    assert!(!dense.sensitivity().is_exact());
    check_transition(&dense, &e, &at, true).unwrap();
}
