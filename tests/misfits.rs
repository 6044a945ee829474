//! Settings that are sound alone and not together: `check` and `train` refuse them alike, before anything is made, and
//! `check` remarks on those that may be meant.
#![allow(clippy::unwrap_used)]

use crate::support::{SMALL, Scratch};

const LANGEVIN: &str =
    "transition = { kind = \"langevin\", step_size = 1.0, noise = 0.03, clamp = [0.0, 1.0] }";
const RING: &str = "kind = \"random-overwrite\"\ncapacity = 1000";
const PLAIN: &str = "kind = \"contrastive\"\nenergy_l2 = 1.0";
const MOONS: &str = "kind = \"toy2d\"\nname = \"moons\"";

fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(SMALL.to_string(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

/// Both commands refuse, with the same words, and leave nothing behind.
fn refused(changes: &[(&str, &str)], parts: &[&str]) {
    let s = Scratch::with(&changed(changes));
    let before = s.tree();
    s.run(&["check", "run.toml", "--no-timing"]).fails(2, parts);
    s.run(&["train", "run.toml", "--out", "r"]).fails(2, parts);
    assert_eq!(s.tree(), before);
}

/// `check` is content and says all of `parts`.
fn remarked(changes: &[(&str, &str)], parts: &[&str]) {
    let ran = Scratch::with(&changed(changes)).run(&["check", "run.toml", "--no-timing"]).ok();
    parts.iter().for_each(|part| assert!(ran.out.contains(part), "{part} is not in {ran:?}"));
}

fn entropy(bank: &str) -> String {
    format!("{PLAIN}\nentropy = {{ {bank}, estimator = {{ kind = \"nearest-neighbour\" }} }}")
}

#[test]
fn a_sound_run_has_no_remarks() {
    let ran = Scratch::with(SMALL).run(&["check", "run.toml", "--no-timing"]).ok();
    assert!(!ran.out.contains("note"), "{ran:?}");
}

#[test]
fn work_that_no_machine_ends() {
    refused(
        &[
            ("hidden = [8]", "hidden = [512, 512]"),
            ("steps = 3\ncount = 9", "steps = 10000000\ncount = 1000000"),
        ],
        &["generate.count", "operations", "10000000 steps", "hours on any machine", "run.toml:"],
    );
}

#[test]
fn an_entropy_that_would_never_begin() {
    let small = "kind = \"ring\"\ncapacity = 100";
    refused(
        &[(RING, small), (PLAIN, &entropy("bank = 10"))],
        &["replay.capacity", "is 100", "more than 1000", "run.toml:18"],
    );
    refused(
        &[(RING, small), (PLAIN, &entropy("bank = 200, bank_above = 0"))],
        &["replay.capacity", "draws 200", "at least 200"],
    );
    // Long enough a buffer, too short a run: it may be a trial.
    remarked(&[(PLAIN, &entropy("bank = 10, bank_above = 900"))], &["make 48", "bank_above"]);
}

#[test]
fn a_buffer_that_is_smaller_than_a_step_draws() {
    for kind in ["in-place", "ring", "reservoir", "random-overwrite"] {
        let small = format!("kind = \"{kind}\"\ncapacity = 4");
        refused(&[(RING, &small)], &["replay.capacity", "is 4", "draws 8", "run.toml:18"]);
    }
    // The published reservoir holds the first multiple of the batch.
    remarked(&[(RING, "kind = \"reservoir\"\ncapacity = 4\npublished = true")], &["reservoir"]);
    refused(
        &[(RING, "kind = \"ring\"\ncapacity = 9"), ("batch = 8", "batch = 8\nshards = 4")],
        &["capacity", "is 9", "4 buffers"],
    );
}

#[test]
fn a_clamp_of_another_scale_than_the_data() {
    let clamp = |to: &str| LANGEVIN.replace("[0.0, 1.0]", to);
    for ends in ["[-1.0, 0.0]", "[0.0, 0.5]", "[2.0, 255.0]"] {
        refused(
            &[(LANGEVIN, &clamp(ends))],
            &["sampler.transition.clamp", "digits", "[0.0, 1.0]", "run.toml:15"],
        );
    }
    refused(&[("kind = \"digits\"", MOONS)], &["sampler.transition.clamp", "moons", "run.toml:"]);
    let repeated = format!("transition = {{ kind = \"repeat\", times = 2, {} }}", clamp("[0.0, 0.5]"));
    refused(&[(LANGEVIN, &repeated)], &["sampler.transition.transition.clamp"]);
    let mala = "transition = { kind = \"mala\", step_size = 0.1, range = [0.0, 0.5] }";
    refused(&[(LANGEVIN, mala)], &["sampler.transition.range"]);
    // A wider one may be meant.
    remarked(&[(LANGEVIN, &clamp("[-1.0, 1.0]"))], &["sampler", "[-1, 1]", "[0.0, 1.0]"]);
}

#[test]
fn bytes_for_values_that_have_no_range() {
    let free = "transition = { kind = \"langevin\", step_size = 0.1 }";
    refused(
        &[
            ("kind = \"digits\"", MOONS),
            (LANGEVIN, free),
            ("capacity = 1000", "capacity = 1000\nstorage = \"bytes\""),
        ],
        &["replay.storage", "float"],
    );
    remarked(&[("kind = \"digits\"", MOONS), (LANGEVIN, free)], &["uniform in [0, 1)", "chains.start"]);
}

#[test]
fn sizes_beyond_the_machine() {
    let image = "transition = { kind = \"langevin\", step_size = 1.0, noise = 0.03, clamp = [0.0, 1.0] }";
    refused(
        &[
            ("batch = 8", "batch = 1000000"),
            ("steps = 3\ntransition", "steps = 10000000\ntransition"),
            ("capacity = 1000", "capacity = 1000000"),
            (image, image),
        ],
        &["sampler", "lower it"],
    );
    refused(&[("steps = 6", "steps = 9000000000000000000")], &["run.steps", "at most"]);
    refused(
        &[("kind = \"chain\"\nsteps = 3", "kind = \"rounds\"\nrounds = 1000000\nsteps = 10000000")],
        &["sampler", "steps, must be at most"],
    );
    let fill = "[chains]\nfill = \"start\"\n[replay]";
    refused(
        &[("[replay]", fill), ("capacity = 1000", "capacity = 900000000000000")],
        &["replay.capacity", "lower it"],
    );
    // It is never full in so short a run.
    remarked(&[("capacity = 1000", "capacity = 900000000000")], &["random-overwrite"]);
}

#[test]
fn settings_that_nothing_reads() {
    let chains = |text: &str| format!("[chains]\n{text}\n[replay]");
    for (text, part) in [
        ("from = \"data\"", "replay: is filled and never read"),
        ("from = \"fresh\"\nrestart = 0.5", "chains.restart: has no effect"),
        ("from = \"fresh\"\ntransitions = [{ kind = \"flip\" }]", "chains.transitions: have no effect"),
    ] {
        remarked(&[("[replay]", &chains(text))], &[part]);
    }
    let checkpoint = |every: u64| format!("kind = \"checkpoint\"\nevery = {every}");
    remarked(&[(&checkpoint(3), &checkpoint(30))], &["policy[0].every: is 30", "never acts"]);
    remarked(
        &[("kind = \"digits\"", "kind = \"digits\"\nlabels = true")],
        &["which the energy does not take"],
    );
    remarked(
        &[(
            "[generate]\nsteps = 3",
            "[generate]\nsteps = 3\nsampler = { kind = \"chain\", steps = 2, transition = { kind = \"langevin\", step_size = 1.0 } }",
        )],
        &["generate.steps: has no effect"],
    );
}

#[test]
fn a_term_through_the_sampler_that_can_never_have_a_gradient() {
    let kl = format!("{PLAIN}\nkl = {{ trail = 0 }}");
    let noise = "transition = { kind = \"gaussian-noise\", scale = 0.1, clamp = [0.0, 1.0] }";
    let words =
        ["objective `contrastive`", "depend on the parameters", "no step along the energy's gradient"];
    refused(&[(LANGEVIN, noise), (PLAIN, &kl)], &words);
    // Noise behind the last step is no hindrance: the trail reaches the step.
    let entropy = entropy("bank = 10, bank_above = 20");
    refused(&[(LANGEVIN, noise), (PLAIN, &entropy)], &["depend on the parameters"]);
    let move_and_noise = "transition = { kind = \"then\", transitions = [{ kind = \"langevin\", step_size = 1.0, noise = 0.03, clamp = [0.0, 1.0] }, \
        { kind = \"with-probability\", probability = 0.5, transition = { kind = \"gaussian-noise\", scale = 0.1, clamp = [0.0, 1.0] } }] }";
    Scratch::with(&changed(&[(LANGEVIN, move_and_noise), (PLAIN, &kl)]))
        .run(&["check", "run.toml", "--no-timing"])
        .ok();
    // A restart of all chains forgets where they were.
    let forgets = "transition = { kind = \"then\", transitions = [{ kind = \"langevin\", step_size = 1.0, noise = 0.03, clamp = [0.0, 1.0] }, \
        { kind = \"uniform-restart\" }] }";
    refused(&[(LANGEVIN, forgets), (PLAIN, &kl)], &["forgets where chains were"]);
}
