//! Settings on schedules: what they are at a step, what goes on through a change, continuation to the same bytes, refusals.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use crate::common::bits;
use ebm_core::Result;
use ebm_core::candle::Device;
use ebm_train::run::{self, Options, resume};
use ebm_train::{Plan, RunConfig, TrainState, step};
use {ebm_energies_net as _, ebm_objectives as _, ebm_optimisers as _, ebm_replays as _, ebm_samplers as _};

/// The noise of the second term has the moments of the data, and its log Z is learnt.
const TERMS: &str = "[[objective.terms]]\nobjective = { kind = \"contrast\" }\n\
    [[objective.terms]]\nweight = 0.5\nobjective = { kind = \"noise-contrast\", ratio = 1, log_z = true }\n";

fn built(schedules: &str) -> Result<Plan> {
    let text = format!(
        "format = 1\n[run]\nseed = 2\nsteps = 24\nbatch = 6\nreport_every = 0\n[data]\nkind = \"test-data\"\ndim = 4\n\
         [energy]\nkind = \"mlp\"\nhidden = [8, 8]\n\
         [sampler]\nkind = \"chain\"\nsteps = 2\n\
         transition = {{ kind = \"mala\", step_size = 0.1, target_acceptance = 0.6 }}\n\
         [replay]\nkind = \"random-overwrite\"\ncapacity = 40\n\
         [objective]\nkind = \"sum\"\n{TERMS}[optimiser]\nkind = \"adam\"\nrate = 1e-2\naverage = 0.9\n{schedules}"
    );
    Plan::build(&RunConfig::from_toml(&text)?, Path::new("."), &Device::Cpu, None)
}

const ALL: &str = "[[schedule]]\nsetting = \"sampler.steps\"\nto = 6.0\nend = 20\nevery = 5\n\
    [[schedule]]\nsetting = \"objective.terms[1].objective.ratio\"\nfrom = 3.0\nto = 1.0\nevery = 4\n\
    [[schedule]]\nsetting = \"optimiser.average\"\nto = 0.5\nbegin = 7\nend = 8\n";

fn options(directory: &Path, until: Option<u64>) -> Options<'_> {
    Options { directory: Some(directory), until, ..Options::default() }
}

#[test]
fn settings_have_their_values_and_a_run_goes_on_through_changes_to_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    let a = built(ALL).unwrap();
    let mut s = TrainState::new(&a).unwrap();
    run::run(&a, &mut s, options(whole.path(), None)).unwrap();
    for cut in [3, 5, 7, 8, 20] {
        let dir = tempfile::tempdir().unwrap();
        let b = built(ALL).unwrap();
        let mut t = TrainState::new(&b).unwrap();
        run::run(&b, &mut t, options(dir.path(), Some(cut))).unwrap();
        let c = built(ALL).unwrap();
        let mut u = resume(&c, dir.path()).unwrap().0;
        run::run(&c, &mut u, options(dir.path(), None)).unwrap();
        assert_eq!(bits(&s), bits(&u), "cut at {cut}");
    }
}

#[test]
fn a_change_at_once_is_made_when_it_is_due_and_not_only_by_a_run_that_goes_on_after_it() {
    let at_once = "[[schedule]]\nsetting = \"sampler.steps\"\nto = 6.0\nbegin = 10\nend = 10\n";
    let (jumps, plain) = (built(at_once).unwrap(), built("").unwrap());
    let (mut s, mut t) = (TrainState::new(&jumps).unwrap(), TrainState::new(&plain).unwrap());
    for k in 0..24 {
        step(&jumps, &mut s).unwrap();
        step(&plain, &mut t).unwrap();
        assert_eq!(bits(&s) == bits(&t), k < 10, "after update {k}");
    }
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // States share the parameters of their plan, so each has one of its own.
    let go = |until, directory: &Path| {
        let plan = built(at_once).unwrap();
        let mut state = TrainState::new(&plan).unwrap();
        run::run(&plan, &mut state, options(directory, until)).unwrap();
        bits(&state)
    };
    let straight = go(None, whole.path());
    go(Some(12), dir.path());
    let again = built(at_once).unwrap();
    let mut second = resume(&again, dir.path()).unwrap().0;
    run::run(&again, &mut second, options(dir.path(), None)).unwrap();
    assert!(straight == bits(&second), "a run that goes on after the change is another");
}

#[test]
fn reports_tell_the_values_and_parameters_of_an_objective_outlive_its_changes() {
    let plan = built(ALL).unwrap();
    let mut state = TrainState::new(&plan).unwrap();
    let (mut steps, mut ratios, mut last) = (Vec::new(), Vec::new(), 0.0);
    for k in 0..24 {
        let report = step(&plan, &mut state).unwrap();
        steps.push(report.get("setting.sampler.steps").unwrap());
        ratios.push(report.get("setting.objective.terms[1].objective.ratio").unwrap());
        let log_z = state.params.get("objective.noise-contrast.log_z").unwrap();
        let log_z = f64::from(log_z.to_vec1::<f32>().unwrap()[0]);
        // Adam moves by at most about its rate a step: a jump back to 0 would be more.
        assert!((log_z - last).abs() < 0.03 && log_z != last, "{k}: {last} {log_z}");
        last = log_z;
    }
    let each = |n: usize, v: &[f64]| v.iter().flat_map(|v| vec![*v; n]).collect::<Vec<_>>();
    assert_eq!(steps, [each(5, &[2.0, 3.0, 4.0, 5.0]), vec![6.0; 4]].concat());
    // 3 − 2·4k/24, rounded.
    assert_eq!(ratios, each(4, &[3.0, 3.0, 2.0, 2.0, 2.0, 1.0]));
    assert!(last.abs() > 0.03, "{last}");
}

#[test]
fn without_schedules_a_run_is_as_before() {
    let (a, b) =
        (built("").unwrap(), built("[[schedule]]\nsetting = \"sampler.steps\"\nto = 2.0\n").unwrap());
    let (mut s, mut t) = (TrainState::new(&a).unwrap(), TrainState::new(&b).unwrap());
    for _ in 0..4 {
        let plain = step(&a, &mut s).unwrap();
        assert!(plain.values.keys().all(|name| !name.starts_with("setting.")));
        step(&b, &mut t).unwrap();
    }
    assert_eq!(bits(&s), bits(&t));
}

#[test]
fn schedules_that_cannot_be_are_refused_before_the_run() {
    let refused = |text: &str| built(text).err().unwrap().to_string();
    let one = |rest: &str| format!("[[schedule]]\nsetting = \"sampler.steps\"\n{rest}\n");
    let text = refused(&one("to = 3.0").replace("sampler.steps", "sampler.step"));
    assert!(text.contains("schedule[0].setting") && text.contains("sampler.steps"), "{text}");
    let text = refused(&one("to = 3.0").replace("sampler.steps", "run.steps"));
    assert!(text.contains("schedule[0].setting"), "{text}");
    let text = refused(&one("to = 0.0"));
    assert!(text.contains("sampler.steps") && text.contains("≥ 1"), "{text}");
    let text = refused(&one("to = 0.0\ncourse = \"geometric\""));
    assert!(text.contains("schedule[0].to") && text.contains("one sign"), "{text}");
    let text = refused(&[one("to = 3.0"), one("to = 4.0")].concat());
    assert!(text.contains("schedule[1].setting") && text.contains("schedule[0]"), "{text}");
}

#[test]
fn a_sampler_that_ends_otherwise_than_samples_are_drawn_is_remarked_upon() {
    let noted = |rest: &str| {
        let one = format!("[[schedule]]\nsetting = \"sampler.transition.temperature\"\nevery = 5\n{rest}\n");
        built(&one).unwrap().notes().join("\n")
    };
    let text = noted("from = 9.0\nto = 4.0");
    assert!(
        text.contains("schedule[0].to: is 4.0") && text.contains("temperature = 1.0 as written"),
        "{text}"
    );
    // The temperature that is written, to which the schedule leads.
    assert!(!noted("from = 9.0\nto = 1.0").contains("as written"));
    let own = "to = 4.0\n[generate.sampler]\nkind = \"chain\"\nsteps = 3\ntransition = { kind = \"mala\", step_size = 0.1 }";
    assert!(!noted(own).contains("as written"));
    // Samples of the model take steps of their own number.
    assert!(!built(ALL).unwrap().notes().join("\n").contains("as written"));
    let never = built("[[schedule]]\nsetting = \"sampler.steps\"\nto = 6.0\n").unwrap();
    assert!(never.notes().join("\n").contains("schedule[0].every: is 100, so `sampler.steps` never changes"));
}
