//! What an objective may own and say: parameters of its own, the energy and the starts of its chains.

#![allow(clippy::unwrap_used)]

use crate::common::{bits, plan};
use ebm_core::candle::Device;
use ebm_model::{Model, Opening};
use ebm_train::{TrainState, checkpoint, step};

const NCE: (&str, &str) = ("objective", "kind = \"test-nce\"");

#[test]
fn a_parameter_of_the_objective_is_trained_averaged_and_saved_beside_those_of_the_energy() {
    let plan = plan(&[NCE]);
    let mut state = TrainState::new(&plan).unwrap();
    let before = bits(&state);
    let reports: Vec<_> = (0..3).map(|_| step(&plan, &mut state).unwrap()).collect();
    let after = bits(&state);
    for name in ["params.w", "params.objective.log_z", "average.objective.log_z"] {
        assert_ne!(before[name], after[name], "{name}");
    }
    assert!(after.contains_key("optimiser.exp_avg_sq.objective.log_z"));
    assert!(
        reports.iter().all(|r| r.get("loss.test-nce").unwrap() > 0.0 && r.get("energy.samples").is_none())
    );

    let dir = tempfile::tempdir().unwrap();
    let saved = checkpoint::save(&plan, &state, &dir.path().join("run/checkpoints")).unwrap();
    let contents = checkpoint::read(&saved).unwrap();
    assert_eq!(contents.part("params").into_keys().collect::<Vec<_>>(), ["w"], "the energy's alone");
    assert_eq!(contents.part("objective.average").into_keys().collect::<Vec<_>>(), ["log_z"]);
    let fresh = crate::common::plan(&[NCE]);
    assert_eq!(bits(&checkpoint::restore(&fresh, &contents).unwrap()), after);
    // Who opens the run for its energy needs nothing of the objective.
    let opened = Model::open(&dir.path().join("run"), Opening::on(&Device::Cpu)).unwrap();
    assert_eq!(opened.energy().params().names().collect::<Vec<_>>(), ["w"]);
}

#[test]
fn a_gradient_in_what_was_not_declared_is_refused() {
    let plan = plan(&[("objective", "kind = \"test-nce\"\nwrong = true")]);
    let mut state = TrainState::new(&plan).unwrap();
    let text = step(&plan, &mut state).unwrap_err().to_string();
    assert!(
        text.contains("test-nce") && text.contains("`objective.log_y`, which it did not declare"),
        "{text}"
    );
}

#[test]
fn chains_follow_the_energy_that_the_objective_names_from_where_it_says() {
    // Chains from a buffer that is not there would be refused; the objective's own need none.
    let own: &[(&str, &str)] = &[
        ("objective", "kind = \"test-recovery\"\nsigma = 0.1"),
        ("sampler", "kind = \"test-chain\"\nsteps = 0"),
        ("replay", ""),
    ];
    let still = plan(own);
    let mut state = TrainState::new(&still).unwrap();
    assert_eq!(
        step(&still, &mut state).unwrap().get("loss.cd").unwrap(),
        0.0,
        "no step, no way from the start"
    );
    // Free chains of noise 0.1 a step would be about 10 · 3 · 30 = 900 σ² away after 30 steps times a batch's mean over
    // 3 coordinates; held with a step of 0.05 against σ² = 0.01 they would explode (λ/σ² = 5 > 2), so σ is 0.3 here.
    let held = plan(&[
        ("objective", "kind = \"test-recovery\"\nsigma = 0.3"),
        ("sampler", "kind = \"test-chain\"\nsteps = 30"),
        ("replay", ""),
    ]);
    let mut state = TrainState::new(&held).unwrap();
    let away = step(&held, &mut state).unwrap().get("loss.cd").unwrap();
    assert!(away > 0.0 && away < 3.0, "{away}");
}

#[test]
fn who_samples_nothing_needs_no_sampler_and_who_does_is_told() {
    let bare = [("sampler", ""), ("replay", "")];
    let plan = plan(&[NCE, bare[0], bare[1]]);
    let mut state = TrainState::new(&plan).unwrap();
    step(&plan, &mut state).unwrap();
    assert!(plan.notes().iter().any(|n| n.contains("nothing is drawn")), "{:?}", plan.notes());
    let text = state.generator(&plan).unwrap().draw(3, None, plan.key()).err().unwrap().to_string();
    assert!(text.contains("generate.sampler"), "{text}");
    let own = ("generate", "sampler = { kind = \"test-chain\", steps = 2 }");
    let drawing = crate::common::plan(&[NCE, bare[0], bare[1], own]);
    let state = TrainState::new(&drawing).unwrap();
    assert_eq!(state.generator(&drawing).unwrap().draw(3, None, drawing.key()).unwrap().dims(), [3, 3]);

    let config = crate::common::config(&[bare[0], ("chains", "from = \"data\""), bare[1]]);
    let refused = ebm_train::Plan::build(&config, std::path::Path::new("."), &Device::Cpu, None);
    let text = refused.err().unwrap().to_string();
    assert!(text.contains("test-cd") && text.contains("add a [sampler] section"), "{text}");
}
