//! What is said of runs with given numbers.
#![allow(clippy::unwrap_used)]

use ebm_core::{Cause, Finding, Level, Report};
use ebm_health::{Facts, Health, Watch};

type Column<'a> = (&'a str, fn(f64) -> f64);

/// A run of `steps` with these numbers; what stopped it, and its health.
fn run(steps: u64, facts: &Facts, columns: &[Column<'_>]) -> (Option<Finding>, Health) {
    let mut watch = Watch::default();
    let mut end = None;
    for step in 1..=steps {
        let values = columns.iter().map(|(name, f)| ((*name).to_string(), f(step as f64))).collect();
        let found = watch.see(facts, &Report { step, of: steps, values });
        if end.is_none() {
            found.iter().for_each(|found| watch.end_by(found.clone()));
            end = found;
        }
    }
    (end, watch.health(facts))
}

fn health(columns: &[Column<'_>]) -> Health {
    run(200, &Facts::default(), columns).1
}

const SD: [Column<'_>; 2] = [("energy.data.sd", |_| 0.3), ("energy.samples.sd", |_| 0.4)];

#[test]
fn overlap_is_judged_by_both_spreads() {
    let level = |difference| health(&[("energy.difference", difference), SD[0], SD[1]]).level;
    // A difference of one of each has the deviation 0.5; normal numbers of deviations 1.4, 1.8 and 2.6.
    assert_eq!(level(|_| -0.7), Level::Well);
    assert_eq!(level(|_| -0.9), Level::Watch);
    assert_eq!(level(|_| -1.3), Level::Ill);
    assert_eq!(level(|_| 0.9), Level::Watch);
    assert_eq!(
        level(|t| if t < 150.0 { -2.0 } else { 0.01 }),
        Level::Well,
        "a run that has recovered is well"
    );
}

#[test]
fn overlap_of_the_energies_themselves_outweighs_their_spreads() {
    let found = health(&[("energy.difference", |_| -0.1), ("energy.overlap", |_| 0.995), SD[0], SD[1]]);
    assert!(found.level == Level::Ill && found.worst().unwrap().cause == Cause::ChainsStuck, "{found:?}");
    assert!(found.sentence.contains("99.5 %"), "{}", found.sentence);
    let facts = Facts { batch: Some(32), ..Facts::default() };
    let columns: [Column<'_>; 5] =
        [("energy.difference", |_| -0.1), ("energy.overlap", |_| 0.995), ("replay", |_| 32.0), SD[0], SD[1]];
    let (_, small) = run(200, &facts, &columns);
    assert_eq!(small.worst().unwrap().cause, Cause::BufferTooSmall);
    let (_, early) = run(50, &facts, &columns);
    assert_eq!(early.level, Level::Watch, "training may still mend it");
}

#[test]
fn energies_that_leave_their_numbers_end_a_run_and_spikes_do_not() {
    let blown: Column<'_> = ("energy.data", |t| if t < 50.0 { 1.0 } else { 1e7 });
    let (end, found) = run(200, &Facts::default(), &[blown]);
    assert_eq!((end.unwrap().step, found.level), (52, Level::Ill));
    let (end, _) =
        run(200, &Facts::default(), &[("energy.samples", |t| if t < 50.0 { -2.0 } else { -1e17 })]);
    assert_eq!(end.unwrap().step, 50);
    let (end, found) =
        run(200, &Facts::default(), &[("energy.data", |t| if t % 50.0 < 2.0 { 1e8 } else { 1.0 })]);
    assert!(end.is_none(), "{end:?} {found:?}");
}

#[test]
fn the_cause_is_told_by_what_was_large() {
    let cause = |facts: Facts, more: &[Column<'_>]| {
        let mut all: Vec<Column<'_>> = vec![("energy.data", |t| if t < 9.0 { 1.0 } else { 1e10 })];
        all.extend_from_slice(more);
        run(20, &facts, &all).0.unwrap().cause
    };
    let data = Facts { data: Some((0.0, 1.0)), step_size: Some(1.0), noise: Some(0.03), ..Facts::default() };
    let reg: Column<'_> = ("loss.reg", |_| 1.0);
    assert_eq!(cause(data.clone(), &[reg, ("update", |_| 3.0)]), Cause::LearningRate);
    assert_eq!(cause(data.clone(), &[reg, ("sampler.grad_rms", |_| 9.0)]), Cause::StepSize);
    assert_eq!(cause(data.clone(), &[reg, ("samples.reach", |_| 90.0)]), Cause::Unclamped);
    let noisy = Facts { noise: Some(2.0), ..data.clone() };
    assert_eq!(cause(noisy, &[reg, ("samples.reach", |_| 90.0)]), Cause::Noise);
    assert_eq!(cause(data.clone(), &[]), Cause::MissingPenalty);
    assert_eq!(cause(data, &[reg]), Cause::Unknown);
}

#[test]
fn what_never_changes_ends_a_run() {
    let facts = Facts { batch: Some(8), trainable: Some(3), ..Facts::default() };
    let flat: [Column<'_>; 2] = [("energy.data.sd", |_| 0.0), ("energy.samples.sd", |_| 0.0)];
    let (end, found) = run(100, &facts, &flat);
    let end = end.unwrap();
    assert_eq!((end.step, end.cause, found.level), (20, Cause::ConstantEnergy, Level::Ill));
    let one = Facts { batch: Some(1), ..facts.clone() };
    assert!(run(100, &one, &flat).0.is_none(), "a single sample has no spread");
    let still: [Column<'_>; 2] = [("update", |_| 0.0), ("rate", |_| 0.1)];
    assert_eq!(run(100, &facts, &still).0.unwrap().cause, Cause::Frozen);
    let fixed = Facts { trainable: Some(0), ..facts };
    let (end, found) = run(100, &fixed, &still);
    assert!(end.is_none() && found.level == Level::Watch && found.sentence.contains("Nothing is trained"));
}

#[test]
fn a_few_steps_are_never_ill() {
    let flat: [Column<'_>; 3] =
        [("energy.data.sd", |_| 0.0), ("energy.samples.sd", |_| 0.0), ("update", |_| 0.0)];
    let (end, found) = run(6, &Facts::default(), &flat);
    assert!(end.is_none() && found.level == Level::Watch, "{found:?}");
    let alike: [Column<'_>; 2] = [("energy.data.sd", |_| 0.0), ("energy.samples.sd", |_| 0.3)];
    let level = |steps| run(steps, &Facts::default(), &alike).1.level;
    assert_eq!((level(6), level(99), level(100)), (Level::Watch, Level::Watch, Level::Ill));
}

#[test]
fn growth_without_end_is_told() {
    let found =
        health(&[("energy.difference", |_| 0.0), SD[0], SD[1], ("energy.data", |t| (0.05 * t).exp())]);
    assert!(found.level == Level::Watch && found.sentence.contains("-fold"), "{found:?}");
    let settles = health(&[("energy.difference", |_| 0.0), SD[0], SD[1], ("energy.data", |t| 5.0 - 5.0 / t)]);
    assert_eq!(settles.level, Level::Well, "{settles:?}");
}

#[test]
fn samples_on_the_clamp_are_compared_with_the_data() {
    let all: Column<'_> = ("sampler.saturated", |_| 0.99);
    let of = |at_ends: Option<f64>| {
        let clamp = Some((0.0, 1.0));
        run(200, &Facts { clamp, data_at_ends: at_ends, ..Facts::default() }, &[all]).1.level
    };
    assert_eq!(
        (of(Some(0.95)), of(Some(0.6)), of(Some(0.1)), of(None)),
        (Level::Well, Level::Watch, Level::Ill, Level::Watch)
    );
}

#[test]
fn the_worst_comes_first_and_the_rest_follows() {
    let mut watch = Watch::default();
    let facts = Facts::default();
    for step in 1..=200u64 {
        let t = step as f64;
        let columns =
            [("grad", t * t), ("sampler.accepted", 0.01), ("sampler.saturated", 0.99), ("loss.ent", 0.0)];
        let values = columns.into_iter().map(|(name, v)| (name.to_string(), v)).collect();
        assert!(watch.see(&facts, &Report { step, of: 200, values }).is_none());
    }
    watch.skipped(2);
    let end = watch.bound_left(&facts, "|energy.data| is 12, above 10");
    watch.end_by(end);
    let found = watch.health(&facts);
    assert_eq!(found.level, Level::Ill);
    assert!(found.sentence.contains("above 10"), "{}", found.sentence);
    let all = found.remarks.join("\n");
    for word in ["gradient's norm", "accepted", "clamp", "2 batches", "`ent` has not acted"] {
        assert!(all.contains(word), "{word}: {all}");
    }
}

#[test]
fn half_of_the_batches_left_out_end_a_run() {
    let (mut watch, facts) = (Watch::default(), Facts::default());
    let report = |step| Report { step, of: 100, ..Report::default() };
    let mut end = None;
    for step in 1..=40 {
        watch.see(&facts, &report(step));
        end = end.or(watch.left_out(&facts, "energy of the data", 1, 3));
    }
    assert!(end.unwrap().evidence.contains("16 of the last 32 batches"));
    assert!(
        watch.left_out(&facts, "energy of the data", 4, 3).unwrap().evidence.contains("4 batches in a row")
    );
}

#[test]
fn a_watch_goes_on_after_it_was_written_and_read() {
    let facts = Facts::default();
    let (mut whole, mut cut) = (Watch::default(), Watch::default());
    for step in 1..=300u64 {
        let wave = (step as f64 * 0.7).sin();
        let columns = [
            ("energy.data", wave),
            ("grad", 1.0 / 3.0 + wave * wave),
            ("update", 0.01),
            ("samples.reach", 0.7),
        ];
        let values = columns.into_iter().map(|(name, v)| (name.to_string(), v)).collect();
        let report = Report { step, of: 300, values };
        whole.see(&facts, &report);
        cut.see(&facts, &report);
        if step % 70 == 0 {
            cut = serde_json::from_str(&serde_json::to_string(&cut).unwrap()).unwrap();
        }
    }
    assert_eq!(serde_json::to_string(&whole).unwrap(), serde_json::to_string(&cut).unwrap());
    assert_eq!(whole.health(&facts), cut.health(&facts));
}
