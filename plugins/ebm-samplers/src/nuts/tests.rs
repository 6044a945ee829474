//! Laws of `nuts`: what a tree is, what stays invariant, what it says of itself.

#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Chains, Draws, EnergyConfig, Keep};
use ebm_energies_density::{Banana, EightSchools, Funnel, Gaussian};
use ebm_testkit::{check_transition, check_variance, run, toy};

use super::*;
use crate::Chain;

fn build(config: &dyn EnergyConfig, d: usize) -> Arc<dyn EnergyFn> {
    config.build(&mut BuildCx::new(&[d], DType::F64, &Device::Cpu, Key::root(0))).unwrap()
}

fn draws(nuts: Nuts, e: &dyn EnergyFn, start: &Tensor, (warm_up, n): (usize, usize), key: u64) -> Draws {
    let start = Batch::new(start.clone()).unwrap();
    let keep = Keep::from(n).after(warm_up);
    Draws::of(&Chain::new(Box::new(nuts), 1), e, start, keep, Key::root(key)).unwrap()
}

fn normal(n: usize, d: usize) -> Tensor {
    Key::root(77).normal(&Chains::range(0, n), &[d], DType::F64, &Device::Cpu).unwrap()
}

/// One tree on E = x²/2 (slopes x), by hand: where each doubling goes.
struct Walk {
    tree: Tree,
    places: Vec<f64>,
}

fn walk(x: f64, v: f64, step: f64, depth: usize, key: u64) -> Walk {
    let place =
        Place { x: &[x], grad: &[x], pull: None, energy: 0.5 * x * x, hamiltonian: 0.5 * (x * x + v * v) };
    let mut tree = Tree::new((3, Key::root(key)), (step, depth), place, &[v], 1.0);
    let mut places = Vec::new();
    while !tree.is_over() {
        let x = tree.reach(&[1.0])[0];
        tree.arrive((0.5 * x * x, &[x]), Pull::Scaled(&[1.0]), false);
        places.push(x);
    }
    Walk { tree, places }
}

/// A momentum on a circle keeps its sign for half a turn, 31.4 steps of 0.1: a tree of 16 places may fit, one of 32 does not.
#[test]
fn a_tree_ends_when_it_turns_back() {
    for key in 0..40 {
        let Walk { tree, places } = walk(0.3, 1.0, 0.1, 10, key);
        let (told, _) = tree.ended();
        assert_eq!(told.leapfrogs, places.len());
        assert!((10..=31).contains(&places.len()), "{told:?}");
        assert!(!told.divergent && told.accepted > 0.99, "{told:?}");
    }
    let (told, _) = walk(0.3, 1.0, 1e-4, 4, 1).tree.ended();
    assert_eq!((told.depth, told.leapfrogs), (4, 15), "nothing turns: the depth ends it");
}

/// Every place of a trajectory that did not turn is as likely as its weight says: from any of them the same tree is built.
#[test]
fn places_are_drawn_from_all_of_the_trajectory() {
    let (mut sum, n) = (0.0, 4000);
    for key in 0..n {
        // Three doublings of a slow motion: eight places, the first at a random one of them.
        let walk = walk(0.0, 1.0, 0.01, 3, key);
        let (_, place) = walk.tree.ended();
        sum += place.x[0] / 0.01;
    }
    // Forwards and backwards are alike: 0 on average, with a deviation of at most 8 steps.
    assert!((sum / n as f64).abs() < 4.0 * 8.0 / (n as f64).sqrt(), "{}", sum / n as f64);
}

#[test]
fn an_energy_that_is_no_number_is_a_divergence_and_is_never_chosen() {
    let place = Place { x: &[1.0], grad: &[1.0], pull: None, energy: 0.5, hamiltonian: 1.0 };
    let mut tree = Tree::new((0, Key::root(1)), (0.1, 5), place, &[1.0], 1.0);
    tree.reach(&[1.0]);
    tree.arrive((f64::NAN, &[f64::NAN]), Pull::Scaled(&[1.0]), false);
    assert!(tree.is_over());
    let (told, place) = tree.ended();
    assert!(told.divergent && told.accepted == 0.0 && place.x == [1.0], "{told:?}");
}

/// Exact draws stay exact draws, at a step size where a fifth of the Hamiltonian's error is of order 1: a kernel that weighs
/// places wrongly is seen at once.
#[test]
fn exact_draws_stay_exact() {
    let (n, e) = (6000, build(&Banana { sd: 1.5, bend: 0.5 }, 2));
    let density = e.density().unwrap();
    let start = density.draw(&Chains::range(0, n), Key::root(5)).unwrap();
    let nuts = Nuts::new().fixed(0.9);
    let mut state = ChainState::new(Batch::new(start).unwrap());
    for k in 0..3u64 {
        state = nuts.step(e.as_ref(), &state, Key::root(6).at(k)).unwrap().state;
    }
    let x = state.at.x.to_vec2::<f64>().unwrap();
    let of = |f: &dyn Fn(&[f64]) -> f64| {
        let all: Vec<f64> = x.iter().map(|x| f(x)).collect();
        let mean = all.iter().sum::<f64>() / n as f64;
        let sd = (all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        (mean, 4.0 * sd / (n as f64).sqrt())
    };
    // Standardised: x₀/1.5 and x₁ − ½(x₀² − 2.25) are standard normal; quartic moments see the tails.
    let second = |x: &[f64]| x[1] - 0.5 * (x[0] * x[0] - 2.25);
    for (name, want, f) in [
        ("x", 0.0, &(|x: &[f64]| x[0]) as &dyn Fn(&[f64]) -> f64),
        ("x²", 2.25, &|x: &[f64]| x[0] * x[0]),
        ("x⁴", 3.0 * 2.25 * 2.25, &|x: &[f64]| x[0].powi(4)),
        ("y", 0.0, &|x: &[f64]| second(x)),
        ("y²", 1.0, &|x: &[f64]| second(x).powi(2)),
        ("x y²", 0.0, &|x: &[f64]| x[0] * second(x).powi(2)),
    ] {
        let (mean, allowed) = of(f);
        assert!((mean - want).abs() < allowed, "{name}: {mean} wants {want} ± {allowed}");
    }
}

#[test]
fn the_variance_is_that_of_the_target_at_its_temperature() {
    let nuts = Nuts::new().fixed(0.6).at_temperature(0.5);
    let x = run(&nuts, &toy::bowl(2, 2.0).unwrap(), 4000, 6, Key::root(3)).unwrap().at.x;
    check_variance(&x, 0.25, 4.0).unwrap();
}

#[test]
fn the_laws_of_a_transition_hold() {
    let e = toy::mlp(3, 5, 2, 4).unwrap();
    let at = Batch::new(normal(7, 3)).unwrap();
    check_transition(&Nuts::new().fixed(0.3), &e, &at, true).unwrap();
}

/// Samples are read where they are: f32 and any shape.
#[test]
fn samples_may_have_any_shape_and_type() {
    let e = build(&Gaussian { sd: Some(0.2), ..Gaussian::default() }, 4);
    let flat = draws(Nuts::new(), e.as_ref(), &normal(4, 4), (60, 20), 1);
    let shaped: Arc<dyn EnergyFn> = Gaussian { sd: Some(0.2), ..Gaussian::default() }
        .build(&mut BuildCx::new(&[2, 2], DType::F32, &Device::Cpu, Key::root(0)))
        .unwrap();
    let start = normal(4, 4).reshape((4, 2, 2)).unwrap().to_dtype(DType::F32).unwrap();
    let other = draws(Nuts::new(), shaped.as_ref(), &start, (60, 20), 1);
    assert_eq!(other.x.dims(), [4, 20, 2, 2]);
    assert_eq!(other.x.dtype(), DType::F32);
    let spread = |d: &Draws| d.x.to_dtype(DType::F64).unwrap().sqr().unwrap().mean_all().unwrap();
    for d in [&flat, &other] {
        let v = spread(d).to_scalar::<f64>().unwrap() / 0.04;
        assert!((v - 1.0).abs() < 0.4, "320 numbers of nearly independent draws: {v}");
    }
}

/// The box holds, and what is kept is the law inside of it.
#[test]
fn trajectories_end_at_the_box() {
    let nuts = Nuts { range: Some((-1.0, 2.0)), ..Nuts::new().fixed(0.4) };
    let x = run(&nuts, &toy::bowl(1, 0.0).unwrap(), 6000, 25, Key::root(5)).unwrap().at.x;
    let x = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert!(x.iter().all(|x| (-1.0..=2.0).contains(x)));
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    // Uniform on [−1, 2]: mean ½, variance ¾.
    assert!((mean - 0.5).abs() < 4.0 * (0.75 / n).sqrt(), "{mean}");
    assert!((variance / 0.75 - 1.0).abs() < 4.0 * (0.8 / n).sqrt(), "{variance}");
}

/// Mean and deviation of each coordinate against the exact ones, in Monte Carlo errors of this very run.
fn z_scores(e: &dyn EnergyFn, found: &Draws, d: usize) -> f64 {
    let (mean, variance) = (e.density().unwrap().mean().unwrap(), e.density().unwrap().variance().unwrap());
    let (m, n) = found.dims();
    let mut worst = 0f64;
    for i in 0..d {
        let x = found.coordinate(i).unwrap();
        let squares: Vec<f64> = x.iter().map(|v| (v - mean[i]).powi(2)).collect();
        for (values, want) in [(&x, mean[i]), (&squares, variance[i])] {
            let found = values.iter().sum::<f64>() / values.len() as f64;
            let error = ebm_eval::mcse_mean(ebm_eval::Traces::new(values, m, n).unwrap());
            worst = worst.max((found - want).abs() / error);
        }
    }
    worst
}

/// The share of `scripts/golden-samplers.sh` that is quick: 20 coordinates, so that 4.5 errors are passed once in 7000 keys.
#[test]
fn eight_schools_have_their_means_and_deviations() {
    let e = build(&EightSchools { centred: false }, 10);
    let found = draws(Nuts::new().accepting(0.95), e.as_ref(), &normal(16, 10), (300, 300), 1);
    let z = z_scores(e.as_ref(), &found, 10);
    assert!(z < 4.5, "{z}");
    assert_eq!(found.numbers("divergent").unwrap().iter().sum::<f64>(), 0.0);
}

/// Where a step size cannot follow the target moves diverge, and are said to.
#[test]
fn a_funnel_reports_divergences() {
    let e = build(&Funnel::default(), 10);
    // From exact draws: some chains are in the neck at once.
    let start = e.density().unwrap().draw(&Chains::range(0, 32), Key::root(4)).unwrap();
    let found = draws(Nuts::new(), e.as_ref(), &start, (200, 300), 2);
    assert!(found.numbers("divergent").unwrap().iter().sum::<f64>() > 0.0);
    let centred = build(&EightSchools { centred: true }, 10);
    let found = draws(Nuts::new(), centred.as_ref(), &normal(8, 10), (300, 300), 2);
    assert!(found.numbers("divergent").unwrap().iter().sum::<f64>() > 0.0);
}

#[test]
fn the_acceptance_asked_for_is_met_and_step_sizes_stand_still_after_the_warm_up() {
    let e = build(&EightSchools { centred: false }, 10);
    for per_chain in [false, true] {
        let nuts = if per_chain { Nuts::new().per_chain() } else { Nuts::new() };
        let found = draws(nuts, e.as_ref(), &normal(6, 10), (400, 200), 3);
        let accepted = found.numbers("accepted").unwrap();
        let mean = accepted.iter().sum::<f64>() / accepted.len() as f64;
        // Dual averaging ends a little above its target on such trees, as Stan does.
        assert!((0.74..0.95).contains(&mean), "{mean}");
        let sizes = found.stats["step_size"].to_vec2::<f64>().unwrap();
        assert!(sizes.iter().all(|row| row.iter().all(|h| *h == row[0])));
        assert_eq!(sizes.iter().all(|row| row[0] == sizes[0][0]), !per_chain);
    }
}

/// Without a warm-up the step size is that which the first step looked for, and it stays.
#[test]
fn without_a_warm_up_the_first_step_finds_the_size() {
    let e = build(&Gaussian { sd: Some(0.01), ..Gaussian::default() }, 3);
    let found =
        draws(Nuts::new(), e.as_ref(), &Tensor::zeros((4, 3), DType::F64, &Device::Cpu).unwrap(), (0, 30), 3);
    let sizes = found.numbers("step_size").unwrap();
    assert!(sizes.iter().all(|h| *h == sizes[0]) && (1e-3..0.1).contains(&sizes[0]), "{:?}", &sizes[..4]);
}
