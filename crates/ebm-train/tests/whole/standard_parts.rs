//! The standard plugins through the trainer: exact continuation with real samplers, buffers and terms.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use crate::common::{bits, timeless};
use ebm_core::candle::Device;
use ebm_train::{Plan, RunConfig, TrainState, checkpoint, step};
use {ebm_energies_net as _, ebm_entropies as _, ebm_objectives as _, ebm_replays as _, ebm_samplers as _};

fn plan(sections: &str) -> Plan {
    let text = format!(
        "format = 1\n[run]\nseed = 2\nsteps = 20\nbatch = 6\nreport_every = 3\n[data]\nkind = \"test-data\"\ndim = 4\n\
         [energy]\nkind = \"mlp\"\nhidden = [8, 8]\n\
         [optimiser]\nkind = \"adam\"\nrate = 1e-3\nclip_norm = 0.5\naverage = 0.99\n{sections}"
    );
    let config = RunConfig::from_toml(&text).unwrap();
    Plan::build(&config, Path::new("."), &Device::Cpu, None).unwrap()
}

fn law(sections: &str) {
    let n = 5;
    let a = plan(sections);
    let mut s = TrainState::new(&a).unwrap();
    let reports: Vec<_> = (0..2 * n).map(|_| timeless(step(&a, &mut s).unwrap())).collect();
    let dir = tempfile::tempdir().unwrap();
    let b = plan(sections);
    let mut t = TrainState::new(&b).unwrap();
    (0..n).for_each(|_| drop(step(&b, &mut t).unwrap()));
    checkpoint::save(&b, &t, dir.path()).unwrap();
    let c = plan(sections);
    let mut u = checkpoint::restore(&c, &checkpoint::newest(dir.path()).unwrap().contents).unwrap();
    for want in &reports[n..] {
        assert_eq!(timeless(step(&c, &mut u).unwrap()), *want);
    }
    assert_eq!(bits(&s), bits(&u));
}

const LANGEVIN: &str = "[sampler]\nkind = \"chain\"\nsteps = 4\n\
    transition = { kind = \"langevin\", step_size = 0.1, noise = 0.1, clamp = [-3.0, 3.0] }\n";

#[test]
fn kl_and_entropy_from_a_random_overwrite_buffer() {
    law(&format!(
        "{LANGEVIN}[replay]\nkind = \"random-overwrite\"\ncapacity = 20\n\
         [objective]\nkind = \"contrastive\"\nenergy_l2 = 0.1\nkl = {{ trail = 2 }}\n\
         entropy = {{ bank = 6, bank_above = 8, estimator = {{ kind = \"nearest-neighbour\" }} }}\n"
    ));
}

#[test]
fn a_reservoir_of_bytes_filled_with_starts() {
    law(&format!(
        "{}[replay]\nkind = \"reservoir\"\ncapacity = 20\nstorage = \"bytes\"\n[chains]\nfill = \"start\"\n\
         [objective]\nkind = \"contrastive\"\nenergy_l2 = 1.0\n",
        LANGEVIN.replace("[-3.0, 3.0]", "[0.0, 1.0]")
    ));
}

#[test]
fn chains_in_place_with_accepted_steps_of_adapted_size() {
    law(
        "[sampler]\nkind = \"chain\"\nsteps = 4\ntransition = { kind = \"mala\", step_size = 0.1, target_acceptance = 0.6 }\n\
         [replay]\nkind = \"in-place\"\ncapacity = 20\n[objective]\nkind = \"contrastive\"\n",
    );
}

#[test]
fn a_ring_and_rounds() {
    law("[sampler]\nkind = \"rounds\"\nrounds = 2\nsteps = 2\n\
         transition = { kind = \"langevin\", step_size = 0.1, noise = 0.1 }\n\
         [replay]\nkind = \"ring\"\ncapacity = 20\n[objective]\nkind = \"contrastive\"\nenergy_l2 = 0.1\n");
}

#[test]
fn the_kl_term_through_all_steps() {
    law(&format!(
        "{LANGEVIN}[replay]\nkind = \"ring\"\ncapacity = 20\n[objective]\nkind = \"contrastive\"\nkl = {{ trail = 0, rows = 4 }}\n"
    ));
}
