//! The training step: what it changes, what it reports, and that a failure changes nothing.

#![allow(clippy::unwrap_used)]

use crate::common::{bits, plan, timeless};
use ebm_core::Error;
use ebm_train::{TrainState, step, step_reporting};

#[test]
fn a_step_moves_everything_it_should() {
    let plan = plan(&[("energy", "kind = \"test-energy\"\nwidth = 4\ncounter = true")]);
    let mut state = TrainState::new(&plan).unwrap();
    let before = bits(&state);
    let report = step(&plan, &mut state).unwrap();
    let after = bits(&state);
    for part in ["params.w", "params.count", "average.w", "replay.rows", "numbers"] {
        assert_ne!(before.get(part), after.get(part), "{part}");
    }
    assert!(after.contains_key("optimiser.exp_avg_sq.w"));
    assert_eq!(report.step, 1);
    for name in [
        "energy.data",
        "energy.samples.sd",
        "energy.difference",
        "loss.cd",
        "loss.reg",
        "grad",
        "rate",
        "replay",
    ] {
        assert!(report.get(name).is_some(), "{name} is missing in {report:?}");
    }
    let difference = report.get("energy.data").unwrap() - report.get("energy.samples").unwrap();
    assert_eq!(report.get("energy.difference").unwrap(), difference);
    // Single precision means of eight energies of order one.
    assert!((report.get("loss.cd").unwrap() - difference).abs() < 1e-5);
}

#[test]
fn norms_of_terms_come_when_due_and_change_nothing() {
    let (a, b) = (plan(&[]), plan(&[]));
    let (mut s, mut t) = (TrainState::new(&a).unwrap(), TrainState::new(&b).unwrap());
    for i in 1..=5 {
        let r = step(&a, &mut s).unwrap();
        assert_eq!(r.get("grad.cd").is_some(), i == 5, "report_every = 5, step {i}");
        step_reporting(&b, &mut t, true).unwrap();
    }
    assert_eq!(bits(&s), bits(&t));
}

#[test]
fn the_average_follows_its_formula() {
    let plan = plan(&[]);
    let mut state = TrainState::new(&plan).unwrap();
    let old = state.average.clone().unwrap()["w"].to_vec2::<f32>().unwrap();
    step(&plan, &mut state).unwrap();
    let new = state.params.get("w").unwrap().to_vec2::<f32>().unwrap();
    let average = state.average.clone().unwrap()["w"].to_vec2::<f32>().unwrap();
    for ((o, n), a) in old.iter().flatten().zip(new.iter().flatten()).zip(average.iter().flatten()) {
        // Two products and a sum in single precision.
        assert!((0.9 * o + 0.1 * n - a).abs() < 1e-6);
    }
}

#[test]
fn an_error_before_the_commit_leaves_the_state_unchanged() {
    let bad = plan(&[("data", "kind = \"test-data\"\ndim = 3\nbad_epoch = 1")]);
    let mut state = TrainState::new(&bad).unwrap();
    while state.epoch == 0 {
        step(&bad, &mut state).unwrap();
    }
    let before = bits(&state);
    let e = step(&bad, &mut state).unwrap_err();
    assert!(matches!(e, Error::Numeric { .. }), "{e}");
    assert!(e.to_string().contains("energy of the data at step 5: entry [0, 0] is inf"), "{e}");
    assert_eq!(bits(&state), before);
    // Left out, the next batches are as bad until the epoch ends; then training goes on.
    (0..4).for_each(|_| state.skip(&bad));
    step(&bad, &mut state).unwrap();
    assert_eq!((state.step, state.attempts), (5, 9));
}

#[test]
fn an_error_in_the_commit_leaves_the_state_unchanged() {
    for parts in [
        [("replay", "kind = \"test-ring\"\ncapacity = 30\nfail_put_at = 4"), ("x", "")],
        [
            ("replay", "kind = \"test-ring\"\ncapacity = 30\nfail_put_at = 4"),
            ("energy", "kind = \"test-energy\"\nwidth = 4\ncounter = true"),
        ],
        [("energy", "kind = \"test-energy\"\nwidth = 4\ncounter = true\nfail_refresh_at = 4"), ("x", "")],
    ] {
        let plan = plan(&parts);
        let mut state = TrainState::new(&plan).unwrap();
        for _ in 0..3 {
            step(&plan, &mut state).unwrap();
        }
        let before = bits(&state);
        let e = step(&plan, &mut state).unwrap_err();
        assert!(e.to_string().contains("on purpose"), "{e}");
        assert_eq!(bits(&state), before);
        // The failure was for once; the run goes on as if it had not been.
        step(&plan, &mut state).unwrap();
        assert_eq!(state.step, 4);
    }
}

#[test]
fn a_learning_rate_beyond_all_bounds_is_a_numeric_error() {
    let plan = plan(&[("optimiser", "kind = \"sgd\"\nrate = 1e39")]);
    let mut state = TrainState::new(&plan).unwrap();
    let before = bits(&state);
    let text = step(&plan, &mut state).unwrap_err().to_string();
    assert!(text.contains("parameter w at step 1"), "{text}");
    assert_eq!(bits(&state), before);
}

#[test]
fn chains_start_where_the_configuration_says() {
    let energies = |chains: &str| {
        let plan = plan(&[("chains", chains), ("sampler", "kind = \"test-chain\"\nsteps = 0")]);
        let mut state = TrainState::new(&plan).unwrap();
        timeless(step(&plan, &mut state).unwrap())
    };
    let data = energies("from = \"data\"");
    // Without sampler steps chains end where they start: on the data.
    assert!(data.get("energy.difference").unwrap().abs() < 1e-6);
    let far = energies("from = \"fresh\"\nstart = { kind = \"test-noise\", scale = 10.0 }");
    // |x|²/2 in three dimensions at scale 10 is about 150.
    assert!(far.get("energy.samples").unwrap() > 50.0, "{far:?}");
}

#[test]
fn filling_and_restarts() {
    let plan = plan(&[
        ("chains", "fill = \"start\"\nstart = { kind = \"test-noise\", scale = 10.0 }\nrestart = 1.0"),
        ("sampler", "kind = \"test-chain\"\nsteps = 0"),
    ]);
    let mut state = TrainState::new(&plan).unwrap();
    assert_eq!(state.replay.as_ref().unwrap().len(), 30);
    let first = step(&plan, &mut state).unwrap();
    assert!(first.get("energy.samples").unwrap() > 50.0, "every chain is a fresh start");
}

#[test]
fn the_bank_comes_once_the_buffer_holds_enough() {
    let plan = plan(&[("objective", "kind = \"test-cd\"\nbank = 4")]);
    let mut state = TrainState::new(&plan).unwrap();
    let seen: Vec<bool> =
        (0..4).map(|_| step(&plan, &mut state).unwrap().get("loss.ent").is_some()).collect();
    // Eight chains a step, more than ten wanted: after two steps.
    assert_eq!(seen, [false, false, true, true]);
}
