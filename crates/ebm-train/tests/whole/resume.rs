//! The law of checkpoints: 2n steps equal n steps, saved, loaded into a fresh plan, and n steps.

#![allow(clippy::unwrap_used)]

use crate::common::{bits, plan, timeless};
use ebm_train::{TrainState, checkpoint, step};

fn law(parts: &[(&str, &str)]) {
    let n = 7;
    let straight = plan(parts);
    let mut s = TrainState::new(&straight).unwrap();
    let reports: Vec<_> = (0..2 * n).map(|_| timeless(step(&straight, &mut s).unwrap())).collect();

    let dir = tempfile::tempdir().unwrap();
    let first = plan(parts);
    let mut t = TrainState::new(&first).unwrap();
    for want in &reports[..n] {
        assert_eq!(timeless(step(&first, &mut t).unwrap()), *want);
    }
    checkpoint::save(&first, &t, dir.path()).unwrap();
    drop((t, first));

    let second = plan(parts);
    let found = checkpoint::newest(dir.path()).unwrap();
    assert!(found.damaged.is_empty());
    let mut u = checkpoint::restore(&second, &found.contents).unwrap();
    for want in &reports[n..] {
        assert_eq!(timeless(step(&second, &mut u).unwrap()), *want);
    }
    assert_eq!(bits(&s), bits(&u));
}

#[test]
fn persistent_chains_and_adam() {
    law(&[]);
}

#[test]
fn kl_term_entropy_bank_and_adapted_steps() {
    law(&[
        ("objective", "kind = \"test-cd\"\nenergy_l2 = 0.1\ntrail = 2\nbank = 5\nexact = true"),
        ("sampler", "kind = \"test-chain\"\nsteps = 4\nadapts = true"),
        ("chains", "restart = 0.3\ntransitions = [{ kind = \"test-noise\", scale = 0.1 }]\nfill = \"data\""),
    ]);
}

#[test]
fn chains_from_data_and_momentum_in_double_precision() {
    law(&[
        ("run", "seed = 5\nsteps = 20\nbatch = 8\nreport_every = 2\ndtype = \"f64\""),
        ("chains", "from = \"data\""),
        ("replay", ""),
        (
            "optimiser",
            "kind = \"sgd\"\nrate = 0.01\nmomentum = 0.9\nschedule = { shape = \"cosine\", end = 0.1, warmup = 3 }",
        ),
    ]);
}

/// Seven updates and seven more, with a refresh of the basis every third: the bases come from the checkpoint.
#[test]
fn soap_with_a_basis_that_turns() {
    law(&[(
        "optimiser",
        "kind = \"soap\"\nrate = 0.01\nmin_side = 2\nrefresh = 3\naverage = 0.5\nweight_decay = 0.01",
    )]);
}

#[test]
fn adam_with_both_moments_and_buffers_of_the_energy() {
    law(&[
        ("energy", "kind = \"test-energy\"\nwidth = 4\ncounter = true"),
        (
            "optimiser",
            "kind = \"adam\"\nrate = 0.01\nbetas = [0.9, 0.999]\naverage = 0.5\nweight_decay = 0.01",
        ),
        ("chains", "from = \"fresh\""),
    ]);
}

/// A learned log Z: its value, moments and average are in the checkpoint.
#[test]
fn a_parameter_of_the_objective() {
    law(&[("objective", "kind = \"test-nce\"")]);
}

#[test]
fn chains_of_the_objectives_own() {
    law(&[("objective", "kind = \"test-recovery\"\nsigma = 0.5"), ("replay", "")]);
}
