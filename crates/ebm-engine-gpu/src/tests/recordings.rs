//! One recording for a run: walks between which parameters are written over, against the same walks without a recording, bit by bit.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ebm_core::operators::{Tape, walk};
use ebm_core::plan::{Activation, Pool};
use ebm_core::{
    Batch, BuildCx, EnergyFn, Error, Forward, Key, Part, RowProgram, RowStep, Slope, SoftMin, Stop,
    Stoppable, Sum, Walked,
};
use ebm_nn::{Conv, NetBuilder, PlanNet, Weight};
use ebm_samplers::kit::Cooled;

use super::host::Host;
use super::own::Own;
use super::read;
use super::recorder::{Shared, counts, installed, lock};
use crate::operators;

/// Steps of a walk, of which the first is run before the others are played, and the last is run after them.
const STEPS: usize = 6;

const PLAYED: usize = STEPS - 2;

/// A network all of whose slope is kernels and convolutions, with weights as they are and with weights that are derived.
fn network(seed: u64) -> Arc<dyn EnergyFn> {
    let mut cx = BuildCx::new(&[2, 8, 8], DType::F32, &Device::Cpu, Key::root(seed));
    let mut net = NetBuilder::new(&mut cx);
    net.conv("one", Conv::new(4, 3)).unwrap().activate(Activation::Swish).unwrap();
    net.conv("two", Conv::new(4, 3).weight(Weight::Standardised)).unwrap();
    net.norm("norm", 4).unwrap().activate(Activation::Swish).unwrap();
    net.pool(Pool::Average3).unwrap();
    net.conv("three", Conv::new(1, 1)).unwrap();
    net.spatial_sum().unwrap().term("energy");
    net.finish().unwrap()
}

fn step() -> RowStep {
    RowStep { step_size: 0.3, noise: 0.02, noise_first: true, clamp: Some((-2.0, 2.0)), move_limit: None }
}

fn start(rows: usize, key: Key) -> Batch {
    let x = key.normal(&ebm_core::Chains::range(0, rows), &[2, 8, 8], DType::F32, &Device::Cpu).unwrap();
    Batch::new(x).unwrap()
}

fn walked(e: &dyn EnergyFn, rows: usize, step: RowStep, key: Key) -> Vec<Vec<f64>> {
    walked_by(e, rows, vec![step; STEPS], key)
}

fn walked_by(e: &dyn EnergyFn, rows: usize, steps: Vec<RowStep>, key: Key) -> Vec<Vec<f64>> {
    let program = RowProgram::new(steps);
    let Walked { x, hat, grad, energy, grad_square } =
        walk(e, &start(rows, key.at("start")), &program, key).unwrap().unwrap();
    [x, hat, grad, energy, grad_square].iter().map(read).collect()
}

/// Writes other numbers over all parameters, as an update does.
fn update(e: &dyn EnergyFn, key: Key) {
    let new = e.params().names().map(|name| {
        let old = e.params().get(name).unwrap();
        let row = ebm_core::Chains::range(0, 1);
        let more = key.at(name).normal(&row, old.dims(), DType::F32, &Device::Cpu).unwrap();
        (name.to_string(), (old + more.squeeze(0).unwrap().affine(0.1, 0.0).unwrap()).unwrap())
    });
    e.params().set_all(&new.collect()).unwrap();
}

/// Everything that happens to an energy in a run, each time followed by a walk; `saw` hears of each what was recorded so far.
fn run(mut saw: impl FnMut(&str)) -> Vec<Vec<Vec<f64>>> {
    let (e, key) = (network(1), Key::root(9));
    let mut all = Vec::new();
    let mut next = |e: &dyn EnergyFn, rows: usize, step: RowStep, what: &str| {
        all.push(walked(e, rows, step, key.at(all.len())));
        saw(what);
    };
    let first = e.params().snapshot().unwrap();
    for k in 0..3usize {
        next(e.as_ref(), 3, step(), "updates");
        update(e.as_ref(), key.at("update").at(k));
    }
    // What a checkpoint brings back, and weights that are swapped for others.
    e.params().restore(&first).unwrap();
    next(e.as_ref(), 3, step(), "restored");
    e.params().set("one.weight", &network(2).params().get("one.weight").unwrap().copy().unwrap()).unwrap();
    next(e.as_ref(), 3, step(), "replaced");
    // A second energy of the same plan, and the first again.
    let other = network(3);
    next(other.as_ref(), 3, step(), "another energy");
    next(e.as_ref(), 3, step(), "the first again");
    // Other settings, another number of samples.
    next(e.as_ref(), 3, RowStep { step_size: 0.2, ..step() }, "another step size");
    next(e.as_ref(), 3, RowStep { noise: 0.05, clamp: None, ..step() }, "other noise, no clamp");
    next(e.as_ref(), 3, RowStep { clamp: Some((-0.5, 0.5)), move_limit: Some(0.01), ..step() }, "a limit");
    next(e.as_ref(), 3, RowStep { noise_first: false, ..step() }, "noise last");
    next(e.as_ref(), 2, step(), "fewer samples");
    next(e.as_ref(), 3, step(), "the first program again");
    drop(other);
    next(e.as_ref(), 3, step(), "after the other energy went");
    all
}

#[test]
fn a_run_has_one_recording() {
    let (without, _) = {
        let Some((_alone, log)) = installed(false) else { return };
        (run(|_| ()), log)
    };
    let Some((_alone, log)) = installed(true) else { return };
    let mut seen = Vec::new();
    let with = run(|what| seen.push((what.to_string(), counts(&log))));
    let recorded: Vec<usize> = seen.iter().map(|(_, (n, _))| *n).collect();
    println!("walk, recordings so far, of them kept: {seen:?}");
    // Noise last starts one kernel less.
    assert_eq!(recorded, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 4, 4, 4]);
    // The one of an energy that is gone was let go.
    assert_eq!(seen.last().map(|(_, (_, held))| *held), Some(3));
    let played = lock(&log).played;
    assert_eq!(played, seen.len() * PLAYED);
    for (k, (a, b)) in with.iter().zip(&without).enumerate() {
        let same = a.iter().flatten().map(|v| v.to_bits()).eq(b.iter().flatten().map(|v| v.to_bits()));
        assert!(same, "walk {k} ({}): a recording gives other bits", seen[k].0);
    }
    // The updates did something: the same start would come to other energies.
    assert!(with[0][3] != with[1][3] && with[3][3] != with[4][3]);
}

/// Step sizes and noise that change from step to step and from walk to walk, and temperatures.
fn annealed(mut saw: impl FnMut()) -> Vec<Vec<Vec<f64>>> {
    let (e, key) = (network(1), Key::root(12));
    let mut all = Vec::new();
    for walk in 0..4usize {
        let size = 0.4 / (1 + walk) as f64;
        let by = |k: usize| (STEPS - 1 - k) as f64 / STEPS as f64;
        let steps = (0..STEPS).map(|k| RowStep {
            step_size: size * (1.0 + by(k)),
            // None at the last step of the tape in one walk.
            noise: 0.1 * (by(k) - by(STEPS - 2) * (walk % 2) as f64),
            ..step()
        });
        let steps: Vec<RowStep> = steps.collect();
        all.push(walked_by(e.as_ref(), 3, steps.clone(), key.at(walk)));
        saw();
        let cooled = Cooled::new(e.as_ref(), 2.0 + walk as f64);
        all.push(walked_by(&cooled, 3, steps, key.at(walk)));
        saw();
        update(e.as_ref(), key.at("update").at(walk));
    }
    all
}

#[test]
fn steps_that_differ_and_temperatures_share_a_recording() {
    let (without, _) = {
        let Some((_alone, log)) = installed(false) else { return };
        (annealed(|| ()), log)
    };
    let Some((_alone, log)) = installed(true) else { return };
    let mut seen = Vec::new();
    let with = annealed(|| seen.push((counts(&log).0, lock(&log).played)));
    println!("recordings so far, steps played: {seen:?}");
    assert_eq!(seen, (1..=8).map(|walks| (1, walks * PLAYED)).collect::<Vec<_>>());
    for (k, (a, b)) in with.iter().zip(&without).enumerate() {
        let same = a.iter().flatten().map(|v| v.to_bits()).eq(b.iter().flatten().map(|v| v.to_bits()));
        assert!(same, "walk {k}: a recording gives other bits");
    }
    assert!(with[0][3] != with[1][3], "temperatures do something");
}

/// Steps one by one, which is what a probe sees, against the walk on a tape: the same to rounding.
#[test]
fn a_temperature_on_a_tape_is_that_of_single_steps() {
    let Some((_alone, _)) = installed(true) else { return };
    let e = network(1);
    let (cooled, key) = (Cooled::new(e.as_ref(), 3.0), Key::root(5));
    let walked = walked(&cooled, 2, step(), key);
    let mut x = start(2, key.at("start"));
    let (mut energies, mut squares) = (Vec::new(), Vec::new());
    for k in 0..STEPS {
        let hat = x.with_x((&x.x + step().noise_of(&x, key.at(k)).unwrap().unwrap()).unwrap());
        let slope = cooled.slope(&hat).unwrap();
        energies.extend(read(&slope.energy));
        squares.extend(read(&slope.grad.sqr().unwrap().flatten_from(1).unwrap().mean(1).unwrap()));
        x = x.with_x(step().end(&hat, &slope.grad, None).unwrap().0);
    }
    for (what, got, want) in [
        ("samples", &walked[0], read(&x.x)),
        ("energies", &walked[3], energies),
        ("squares", &walked[4], squares),
    ] {
        let size = want.iter().fold(0f64, |m, v| m.max(v.abs()));
        let gap = got.iter().zip(&want).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
        // λ/T is rounded in place of g/T, and again at each step.
        assert!(gap <= 1e-5 * size, "{what}: {gap:e} of {size:e}");
    }
}

/// Recordings so far, after a walk.
fn after(log: &Shared, e: &dyn EnergyFn) -> usize {
    walked(e, 2, step(), Key::root(4));
    counts(log).0
}

#[test]
fn no_more_recordings_are_kept_than_a_run_needs() {
    let Some((_alone, log)) = installed(true) else { return };
    let e = network(1);
    for rows in 3..=9 {
        walked(e.as_ref(), rows, step(), Key::root(4));
    }
    assert_eq!(counts(&log), (7, 4));
    drop(e);
    // The next walk finds them all without their energy.
    let next = network(2);
    after(&log, next.as_ref());
    assert_eq!(counts(&log), (8, 1));
    // One more energy around it is another.
    let sum = Sum::scaled("half", next.clone(), 0.5).unwrap();
    assert_eq!(after(&log, &sum), 9);
    assert_eq!(after(&log, next.as_ref()), 9);
    assert_eq!(after(&log, &sum), 9);
}

#[test]
fn an_energy_that_says_nothing_is_recorded_for_each_walk() {
    let Some((_alone, log)) = installed(true) else { return };
    let silent = Own::new(network(1), |_, slope| Ok(slope));
    assert_eq!((after(&log, &silent), after(&log, &silent)), (1, 2));
    assert_eq!(counts(&log).1, 0);
    // A tape has room for energies in f32: of others nothing is recorded.
    let wide = |slope: Slope| Ok(Slope { energy: slope.energy.to_dtype(DType::F64)?, ..slope });
    assert_eq!(after(&log, &Own::new(network(1), move |_, slope| wide(slope))), 2);
}

#[test]
fn a_tape_takes_energies_in_f32_alone() {
    let Some(host) = Host::new() else { return };
    let own = operators(host);
    let (tapes, at) = (own.tapes.as_ref().unwrap(), start(2, Key::root(1)));
    let tape = Tape::new(&at, &[(Key::root(2), step())]).unwrap();
    for dtype in [DType::F32, DType::BF16, DType::F64] {
        let energy = Tensor::ones(2, dtype, &Device::Cpu).unwrap();
        assert_eq!(tapes.log(&tape, &energy, &at.x).unwrap(), dtype == DType::F32, "{dtype:?}");
    }
}

#[test]
fn a_mixture_with_other_weights_is_another_energy() {
    let parts = || vec![Part::new("a", network(1)), Part::new("b", network(2))];
    let mixture = SoftMin::new(parts(), 1.0).unwrap();
    let first = mixture.identity().unwrap();
    assert!(first.same(&mixture.identity().unwrap()));
    assert!(!first.same(&mixture.with_log_z(&[0.0, 1.0]).unwrap().identity().unwrap()));
    assert!(
        SoftMin::new(vec![Part::new("a", Arc::new(Own::new(network(1), |_, slope| Ok(slope))))], 1.0)
            .unwrap()
            .identity()
            .is_none()
    );
}

#[test]
fn a_walk_that_is_played_hears_a_wish_to_stop() {
    let Some((_alone, log)) = installed(true) else { return };
    let (e, stop) = (network(1), Stop::default());
    assert_eq!(after(&log, &Stoppable::new(e.as_ref(), &stop)), 1);
    lock(&log).stops = Some((2 + PLAYED, stop.clone()));
    let program = RowProgram::new(vec![step(); STEPS]);
    let told = walk(&Stoppable::new(e.as_ref(), &stop), &start(2, Key::root(3)), &program, Key::root(4));
    assert!(matches!(told, Err(Error::Stopped)));
    assert_eq!(lock(&log).played, 2 + PLAYED);
}

#[test]
fn weights_that_moved_make_another_identity() {
    let Some((_alone, _)) = installed(true) else { return };
    let (one, other) = (network(1), network(2));
    let net = PlanNet::new(one.plan().unwrap().clone()).unwrap();
    let x = start(2, Key::root(3)).x;
    let after = |e: &dyn EnergyFn| {
        net.slope(e.params().frozen(), &x, None).unwrap().unwrap();
        net.identity().unwrap()
    };
    let first = after(one.as_ref());
    update(one.as_ref(), Key::root(5));
    assert!(first.same(&after(one.as_ref())), "written over in place");
    assert!(!first.same(&after(other.as_ref())), "made of other parameters, elsewhere");
}
