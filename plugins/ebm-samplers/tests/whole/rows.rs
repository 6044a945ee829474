//! Kernels that move rows as plain numbers do what they do with tensors, on any number of threads.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, BuildCx, ChainState, Chains, EnergyConfig, EnergyFn, Frozen, Key, Learning, Slope, Transition,
    host,
};
use ebm_energies_density::{
    Banana, DoubleWell, EightSchools, Funnel, Gaussian, Grid25, IllConditionedGaussian,
};
use ebm_samplers::kit::{Integrator, MetricKind};
use ebm_samplers::{Hmc, Mala, Nuts};

fn build(config: &dyn EnergyConfig, d: usize, dtype: DType) -> Arc<dyn EnergyFn> {
    config.build(&mut BuildCx::new(&[d], dtype, &Device::Cpu, Key::root(0))).unwrap()
}

fn targets() -> Vec<(&'static str, Box<dyn EnergyConfig>, usize)> {
    let variances = Some((1..=40).map(|k| 1.0 / f64::from(k)).collect());
    vec![
        ("turned", Box::new(IllConditionedGaussian { condition: 10.0 }), 37),
        ("axes", Box::new(Gaussian { variances, ..Gaussian::default() }), 40),
        ("funnel", Box::new(Funnel::default()), 10),
        ("banana", Box::new(Banana { sd: 1.5, bend: 0.5 }), 3),
        ("wells", Box::new(DoubleWell { barrier: 2.0, minimum: 1.0 }), 4),
        ("grid", Box::new(Grid25 { sd: 0.3 }), 2),
        ("schools", Box::new(EightSchools { centred: false }), 10),
    ]
}

/// Kernels by name: fixed step sizes and such that learn one, each metric, a temperature.
fn kernels() -> Vec<(&'static str, Box<dyn Transition>)> {
    let hmc = || Hmc::new(0.1, 5).adapting(0.8, 0.1);
    let mala = || Mala::new(0.02).adapting(0.6, 0.1);
    vec![
        ("nuts", Box::new(Nuts::new().fixed(0.2))),
        ("nuts, cold", Box::new(Nuts::new().fixed(0.2).at_temperature(0.5))),
        ("nuts, diagonal", Box::new(Nuts::new())),
        ("nuts, dense", Box::new(Nuts::new().in_metric(MetricKind::Dense))),
        ("hmc", Box::new(Hmc::new(0.1, 7).jittered(0.4))),
        ("hmc, cold", Box::new(Hmc::new(0.1, 7).at_temperature(0.5).integrated(Integrator::MinimalNorm))),
        ("hmc, diagonal", Box::new(hmc().in_metric(MetricKind::Diagonal))),
        ("hmc, dense", Box::new(hmc().in_metric(MetricKind::Dense).per_chain())),
        ("mala", Box::new(Mala::new(0.02).inside(-3.0, 3.0))),
        ("mala, cold", Box::new(Mala::new(0.02).at_temperature(0.5).adapting(0.6, 0.1).per_chain())),
        ("mala, diagonal", Box::new(mala().in_metric(MetricKind::Diagonal))),
        ("mala, dense", Box::new(mala().in_metric(MetricKind::Dense))),
        ("hmc, shared", Box::new(hmc().in_metric(MetricKind::Dense))),
        ("nuts, chosen", Box::new(Nuts::new().in_metric(MetricKind::Auto))),
        ("nuts, each chain", Box::new(Nuts::new().per_chain())),
    ]
}

/// The state of 13 chains after a warm-up.
fn start(kernel: &dyn Transition, e: &dyn EnergyFn, d: usize, dtype: DType) -> ChainState {
    warmed(kernel, e, d, dtype, 30)
}

fn warmed(kernel: &dyn Transition, e: &dyn EnergyFn, d: usize, dtype: DType, steps: usize) -> ChainState {
    let chains = Chains::range(3, 13);
    let x = Key::root(7).normal(&chains, &[d], dtype, &Device::Cpu).unwrap().affine(0.5, 0.1).unwrap();
    let mut state = kernel.init(e, Batch::new(x).unwrap().with_chains(chains), Key::root(8)).unwrap();
    state.learning = Learning::WarmUp;
    for k in 0..steps {
        state.warm_up_left = steps - k;
        state = kernel.step(e, &state, Key::root(9).at(k)).unwrap().state;
    }
    state.learning = Learning::Done;
    state
}

/// Largest difference, as a share of the largest number.
fn gap(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (host::numbers(a).unwrap(), host::numbers(b).unwrap());
    let size = b.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    a.iter().zip(&b).fold(0f64, |m, (a, b)| m.max((a - b).abs())) / size
}

/// In f64 trajectories of some ten steps lose a few digits of fifteen, and a decision differs only where a uniform number lies within
/// that of a chance.
#[test]
fn rows_move_as_tensors_do() {
    for (target, config, d) in targets() {
        let e = build(config.as_ref(), d, DType::F64);
        // A frozen energy says nothing of its rows.
        let tensors = Frozen::new(e.clone());
        for (name, kernel) in kernels() {
            let what = format!("{name} on {target}");
            let state = start(kernel.as_ref(), e.as_ref(), d, DType::F64);
            assert!(
                e.rows(&state.at).unwrap().is_some() && tensors.rows(&state.at).unwrap().is_none(),
                "{what}"
            );
            let (mut fast, mut slow) = (state.clone(), state);
            for k in 0..3u64 {
                let by_rows = kernel.step(e.as_ref(), &fast, Key::root(10).at(k)).unwrap();
                let by_tensors = kernel.step(&tensors, &slow, Key::root(10).at(k)).unwrap();
                assert!(by_rows.info.keys().eq(by_tensors.info.keys()), "{what}");
                for (stat, v) in &by_tensors.info {
                    assert!(gap(&by_rows.info[stat], v) < 1e-7, "{what}: {stat}");
                }
                (fast, slow) = (by_rows.state, by_tensors.state);
                assert!(gap(&fast.at.x, &slow.at.x) < 1e-8, "{what}: {}", gap(&fast.at.x, &slow.at.x));
                let (a, b) = (fast.cache.as_ref().unwrap(), slow.cache.as_ref().unwrap());
                assert!(gap(&a.grad, &b.grad) < 1e-7 && gap(&a.energy, &b.energy) < 1e-7, "{what}");
            }
        }
    }
}

/// Step sizes and metrics move by chances of acceptance, which see every part of a ratio, decided or not.
#[test]
fn what_is_learnt_from_rows_is_learnt_from_tensors() {
    for (target, config, d) in targets() {
        let e = build(config.as_ref(), d, DType::F64);
        for (name, kernel) in kernels() {
            let what = format!("{name} on {target}");
            // Few enough steps that rounding does not grow: a trajectory multiplies it by some tens.
            let rows = warmed(kernel.as_ref(), e.as_ref(), d, DType::F64, 6);
            let tensors = warmed(kernel.as_ref(), &Frozen::new(e.clone()), d, DType::F64, 6);
            assert!(rows.aux.keys().eq(tensors.aux.keys()), "{what}");
            for (entry, v) in &tensors.aux {
                let off = gap(&rows.aux[entry], v);
                assert!(off < 1e-6, "{what}: {entry} differs by {off}");
            }
        }
    }
}

/// One step of f32 from f32 places: what differs is the rounding of places and slopes.
#[test]
fn rows_of_single_precision_move_as_tensors_do() {
    for (target, config, d) in targets() {
        let e = build(config.as_ref(), d, DType::F32);
        for (name, kernel) in kernels() {
            let state = start(kernel.as_ref(), e.as_ref(), d, DType::F32);
            let by_rows = kernel.step(e.as_ref(), &state, Key::root(10)).unwrap();
            let by_tensors = kernel.step(&Frozen::new(e.clone()), &state, Key::root(10)).unwrap();
            assert_eq!(by_rows.state.at.x.dtype(), DType::F32);
            let (a, b) = (&by_rows.state.at.x, &by_tensors.state.at.x);
            // A choice between places may fall the other way where a uniform number is within 10⁻⁶ of it: all but one row agree.
            let apart =
                (0..13).filter(|row| gap(&a.get(*row).unwrap(), &b.get(*row).unwrap()) > 1e-3).count();
            assert!(apart <= 1, "{name} on {target}: {apart} rows");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let on = |threads: usize, run: &(dyn Fn() -> Vec<u64> + Sync)| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
    };
    for dtype in [DType::F32, DType::F64] {
        for (target, config, d) in targets() {
            let e = build(config.as_ref(), d, dtype);
            for (name, kernel) in kernels() {
                let run = || {
                    let mut state = start(kernel.as_ref(), e.as_ref(), d, dtype);
                    state = kernel.step(e.as_ref(), &state, Key::root(10)).unwrap().state;
                    host::numbers(&state.at.x).unwrap().into_iter().map(f64::to_bits).collect()
                };
                assert_eq!(on(1, &run), on(3, &run), "{name} on {target}");
            }
        }
    }
}

/// What is learnt of all chains stays, and a chain moves by it as it does beside the others, whichever of them are there.
#[test]
fn a_part_of_the_chains_moves_by_the_same_bytes() {
    for (target, config, d) in targets() {
        let e = build(config.as_ref(), d, DType::F32);
        for (name, kernel) in kernels() {
            let all = start(kernel.as_ref(), e.as_ref(), d, DType::F32);
            let index: &[u32] = &[11, 2, 5, 7, 0];
            let rows = |t: &Tensor| t.index_select(&Tensor::new(index, &Device::Cpu).unwrap(), 0).unwrap();
            let mut part = all.clone();
            part.at = all.at.rows(index).unwrap();
            let slope = all.cache.as_ref().unwrap();
            part.cache = Some(Slope { energy: rows(&slope.energy), grad: rows(&slope.grad) });
            let of = |state: &ChainState| {
                kernel
                    .step(e.as_ref(), state, Key::root(10))
                    .unwrap()
                    .state
                    .at
                    .x
                    .to_dtype(DType::F64)
                    .unwrap()
            };
            let (all, part) = (rows(&of(&all)), of(&part));
            assert_eq!(all.to_vec2::<f64>().unwrap(), part.to_vec2::<f64>().unwrap(), "{name} on {target}");
        }
    }
}
