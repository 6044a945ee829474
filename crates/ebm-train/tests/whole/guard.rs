//! What watches over a run: it stops what is beyond repair, keeps the last healthy state, and goes back to it where a policy says so.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use crate::common::bits;
use ebm_core::candle::Device;
use ebm_core::{Cause, Error, Level, Result};
use ebm_train::run::{self, Options, Outcome, checkpoints_of, resume};
use ebm_train::{Plan, RunConfig, Summary, TrainState, checkpoint, step};
use {
    ebm_energies_net as _, ebm_objectives as _, ebm_optimisers as _, ebm_policies as _, ebm_replays as _,
    ebm_samplers as _,
};

fn plan(steps: u64, rate: f64, more: &str) -> Plan {
    built(steps, rate, more).unwrap()
}

fn built(steps: u64, rate: f64, more: &str) -> Result<Plan> {
    let text = format!(
        "format = 1\n[run]\nseed = 2\nsteps = {steps}\nbatch = 6\nreport_every = 0\n[data]\nkind = \"test-data\"\ndim = 4\n\
         [energy]\nkind = \"mlp\"\nhidden = [8, 8]\n\
         [sampler]\nkind = \"chain\"\nsteps = 4\n\
         transition = {{ kind = \"langevin\", step_size = 0.1, noise = 0.1, clamp = [-5.0, 5.0] }}\n\
         [replay]\nkind = \"random-overwrite\"\ncapacity = 40\n\
         [objective]\nkind = \"contrastive\"\nenergy_l2 = 0.1\n\
         [optimiser]\nkind = \"adam\"\nrate = {rate:e}\n{more}"
    );
    Plan::build(&RunConfig::from_toml(&text)?, Path::new("."), &Device::Cpu, None)
}

fn go(plan: &Plan, state: &mut TrainState, dir: &Path, until: Option<u64>) -> Summary {
    run::run(plan, state, Options { directory: Some(dir), until, ..Options::default() }).unwrap()
}

fn steps_of(dir: &Path) -> Vec<u64> {
    checkpoint::list(&checkpoints_of(dir)).iter().map(|c| c.0).collect()
}

#[test]
fn an_absurd_rate_is_stopped_with_its_cause_and_a_healthy_state_left() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(400, 1e6, "[[policy]]\nkind = \"checkpoint\"\nevery = 1\n");
    let mut state = TrainState::new(&plan).unwrap();
    let start = bits(&state);
    let summary = go(&plan, &mut state, dir.path(), None);
    assert!(
        matches!(&summary.outcome, Outcome::Diverged(why) if why.contains("learning rate")),
        "{summary:?}"
    );
    let worst = summary.health.worst().unwrap();
    assert_eq!(
        (summary.health.level, worst.level, worst.cause),
        (Level::Ill, Level::Ill, Cause::LearningRate)
    );
    assert!(summary.step < 10, "{}", summary.step);
    // Checkpoints of every step were written; those after the healthy state are set aside.
    assert_eq!(steps_of(dir.path()), [0]);
    assert!(checkpoints_of(dir.path()).join("ill-step-00000001").is_dir());
    assert!(summary.checkpoint.unwrap().ends_with("step-00000000"));
    let (back, damaged) = resume(&plan, dir.path()).unwrap();
    assert!(damaged.is_empty());
    assert_eq!(bits(&back), start);
}

#[test]
fn without_a_guard_a_run_is_judged_and_not_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(20, 1e6, "");
    let mut state = TrainState::new(&plan).unwrap();
    let options = Options { directory: Some(dir.path()), watch_only: true, ..Options::default() };
    let summary = run::run(&plan, &mut state, options).unwrap();
    assert!(!dir.path().join("healthy").exists());
    assert_ne!(summary.health.level, Level::Well, "{:?}", summary.health);
}

/// Energies blow up at every rate above some; the factor brings it far below.
const BACK: &str = "[[policy]]\nkind = \"checkpoint\"\nevery = 7\nkeep = 2\n\
    [[policy]]\nkind = \"roll-back\"\nscale = [{ setting = \"optimiser.rate\", factor = 1e-8 }]\n";

#[test]
fn a_run_that_goes_back_ends_sound_and_tells_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(150, 1e5, BACK);
    let mut state = TrainState::new(&plan).unwrap();
    let summary = go(&plan, &mut state, dir.path(), None);
    assert_eq!((&summary.outcome, summary.step), (&Outcome::Done, 150), "{:?}", summary.health);
    let [back] = &summary.returns[..] else { panic!("{:?}", summary.returns) };
    assert_eq!((back.to, back.finding.cause), (0, Cause::LearningRate));
    assert_eq!(back.factors["optimiser.rate"], 1e-8);
    assert_eq!(summary.last.get("rolled_back"), Some(1.0));
    // Of the order of 1e5 times 1e-8.
    assert!((summary.last.get("rate").unwrap() / 1e-3 - 1.0).abs() < 1e-12);
}

#[test]
fn reports_tell_what_a_scheduled_setting_is_after_going_back_and_not_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let schedule = "[[schedule]]\nsetting = \"optimiser.rate\"\nto = 5e4\nevery = 10\n";
    let plan = plan(150, 1e5, &[BACK, schedule].concat());
    let mut state = TrainState::new(&plan).unwrap();
    let summary = go(&plan, &mut state, dir.path(), None);
    assert_eq!((summary.returns.len(), summary.step), (1, 150), "{:?}", summary.health);
    // 140 of 150 steps of the way are counted: 1e5 − 5e4·140/150, times 1e-8.
    let setting = summary.last.get("setting.optimiser.rate").unwrap();
    assert!((setting / (1e-8 * (1e5 - 5e4 * 140.0 / 150.0)) - 1.0).abs() < 1e-12, "{setting}");
    assert_eq!(summary.last.get("rate"), Some(setting));
}

#[test]
fn a_run_that_goes_back_is_continued_to_the_same_bytes_from_anywhere() {
    // A term that is far too strong comes in at step 50, so the state of step 32, which has proved healthy at 48, is gone back to.
    let late = |weight: f64| {
        let config = plan(80, 1e-3, BACK).config().to_toml().unwrap();
        let mut tree: toml::Table = toml::from_str(&config).unwrap();
        let part = |text: &str| toml::from_str::<toml::Table>(text).unwrap();
        tree["objective"] = part(&format!(
            "kind = \"sum\"\nterms = [{{ objective = {{ kind = \"contrast\" }} }},\n\
             {{ objective = {{ kind = \"energy-l2\" }}, weight = {weight:e}, on = 50 }}]"
        ))
        .into();
        tree["optimiser"] = part("kind = \"sgd\"\nrate = 1e-3").into();
        tree["policy"][1]["scale"] =
            toml::Value::Array(vec![part("setting = \"objective.terms[1].weight\"\nfactor = 1e-31").into()]);
        let config = RunConfig::from_toml(&toml::to_string(&tree).unwrap()).unwrap();
        Plan::build(&config, Path::new("."), &Device::Cpu, None).unwrap()
    };
    let whole = tempfile::tempdir().unwrap();
    let a = late(1e30);
    let mut s = TrainState::new(&a).unwrap();
    let straight = go(&a, &mut s, whole.path(), None);
    assert!(straight.returns.len() == 1 && straight.outcome == Outcome::Done, "{straight:?}");
    let (trip, back) = (straight.returns[0].from, straight.returns[0].to);
    assert!(back == 32 && trip >= 50, "{straight:?}");
    // Its random numbers from there are others than those of a run that had this weight from the start.
    let never = tempfile::tempdir().unwrap();
    let d = late(0.1);
    let mut n = TrainState::new(&d).unwrap();
    assert!(go(&d, &mut n, never.path(), None).returns.is_empty());
    let chains = |state: &TrainState| -> Vec<f64> {
        let held = bits(state).into_iter().filter(|(name, _)| name.starts_with("replay"));
        held.flat_map(|(_, v)| v.into_iter().map(f64::from_bits)).collect()
    };
    let apart = chains(&s).iter().zip(chains(&n)).filter(|(a, b)| (**a - b).abs() > 0.01).count();
    // Noise of 0.1 at each step; with the same numbers chains differ by roundings.
    assert!(2 * apart > chains(&n).len(), "{apart}");
    for cut in [1, trip - 1, back + 1, 60] {
        let dir = tempfile::tempdir().unwrap();
        let b = late(1e30);
        let mut t = TrainState::new(&b).unwrap();
        go(&b, &mut t, dir.path(), Some(cut));
        let c = late(1e30);
        let mut u = resume(&c, dir.path()).unwrap().0;
        let summary = go(&c, &mut u, dir.path(), None);
        assert_eq!(bits(&s), bits(&u), "cut at {cut}");
        assert_eq!((summary.returns, summary.health), (straight.returns.clone(), straight.health.clone()));
        assert_eq!(steps_of(dir.path()), steps_of(whole.path()));
    }
}

#[test]
fn settings_that_cannot_be_scaled_are_refused_before_the_run() {
    let text = built(5, 1e-3, &BACK.replace("optimiser.rate", "optimiser.rates")).err().unwrap().to_string();
    assert!(text.contains("policy[1].scale") && text.contains("sampler.transition.step_size"), "{text}");
}

#[test]
fn a_second_moment_that_overflows_is_an_error_and_not_kept() {
    // Gradients above 1e19 have squares that single precision cannot hold.
    let steep = plan(5, 1e-3, "").config().to_toml().unwrap().replace("energy_l2 = 0.1", "energy_l2 = 1e38");
    let config = RunConfig::from_toml(&steep).unwrap();
    let plan = Plan::build(&config, Path::new("."), &Device::Cpu, None).unwrap();
    let mut state = TrainState::new(&plan).unwrap();
    let before = bits(&state);
    let e = step(&plan, &mut state).unwrap_err();
    assert!(
        matches!(e, Error::Numeric { .. }) && e.to_string().contains("optimiser state exp_avg_sq"),
        "{e}"
    );
    assert_eq!(bits(&state), before);
}

#[test]
fn data_that_are_not_numbers_end_the_run_with_the_sample() {
    let bad = |epoch: u64| {
        crate::common::plan_of(&[("data", &format!("kind = \"test-data\"\ndim = 3\nnan_epoch = {epoch}"))])
    };
    let text = bad(0).err().unwrap().to_string();
    assert!(text.contains("test-data: sample 2 of the batch holds the value NaN (entry 2"), "{text}");
    let plan = bad(1).unwrap();
    let mut state = TrainState::new(&plan).unwrap();
    let e = run::run(&plan, &mut state, Options::default()).unwrap_err();
    assert!(
        matches!(e, Error::Data { .. }) && e.to_string().contains("batch at step 5 holds the value NaN"),
        "{e}"
    );
}
