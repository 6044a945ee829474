//! Plans: complete text, and parts that do not fit are refused before the run, naming both.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use crate::common::{config, plan};
use ebm_core::candle::{DType, Device};
use ebm_core::{Accelerated, EnergyFn, Engine, Param, ParamKind, Result};
use ebm_model::{Model, Opening};
use ebm_train::{Generator, Plan, RUN_SECTIONS, RunConfig, TrainState, Weights, checkpoint, step};

/// Sections to replace.
type Parts<'a> = &'a [(&'a str, &'a str)];

fn refused(parts: &[(&str, &str)]) -> String {
    Plan::build(&config(parts), Path::new("."), &Device::Cpu, None).err().unwrap().to_string()
}

#[test]
fn the_text_is_complete_and_reads_back_equal() {
    let plan = plan(&[
        (
            "chains",
            "start = { kind = \"test-noise\", scale = 1.0 }\ntransitions = [{ kind = \"test-noise\", scale = 0.5 }]",
        ),
        ("generate", "sampler = { kind = \"test-chain\", steps = 9 }"),
        ("[policy]", "kind = \"checkpoint\"\nevery = 10"),
        ("[observer]", "kind = \"test-observer\""),
    ]);
    let text = plan.text();
    for want in
        ["report_every = 5", "restart = 0.05", "keep_every = 0", "betas = [0.0, 0.9]", "from = \"replay\""]
    {
        assert!(text.contains(want), "{want} is not in:\n{text}");
    }
    assert_eq!(RunConfig::from_toml(text).unwrap().to_toml().unwrap(), text);
}

#[test]
fn settings_out_of_range_or_unknown_are_refused() {
    let read = |text: &str| RunConfig::from_toml(text).err().unwrap().to_string();
    let good = config(&[]).to_toml().unwrap();
    assert!(read(&good.replace("format = 1", "format = 2")).contains("format: is 2"));
    assert!(read(&good.replace("restart = 0.05", "restart = 1.5")).contains("chains.restart: is 1.5"));
    assert!(read(&good.replace("batch = 8", "batch = 0")).contains("run.batch"));
    assert!(read(&good.replace("batch = 8", "bach = 8")).contains("bach"));
    assert!(read(&good.replace("\"adam\"", "\"adem\"")).contains("adem"));
}

#[test]
fn parts_that_do_not_fit_are_both_named() {
    let cases: [(Parts, &[&str]); 6] = [
        (
            &[
                ("energy", "kind = \"test-energy\"\nwidth = 4\ndifferences = true"),
                ("objective", "kind = \"test-cd\"\nexact = true"),
            ],
            &["test-cd", "exact second derivatives", "test-energy"],
        ),
        (
            &[
                ("sampler", "kind = \"test-chain\"\nsteps = 3\nblind = true"),
                ("objective", "kind = \"test-cd\"\ntrail = 1"),
            ],
            &["test-cd", "depend on the parameters", "test-chain"],
        ),
        (&[("objective", "kind = \"test-cd\"\ntrail = 4")], &["a trail of 4", "test-chain", "3 steps"]),
        (
            &[("replay", ""), ("chains", "from = \"fresh\""), ("objective", "kind = \"test-cd\"\nbank = 5")],
            &["test-cd", "5 earlier samples", "[replay]"],
        ),
        (&[("replay", "")], &["chains.from", "[replay]"]),
        (
            &[("energy", "kind = \"test-energy\"\nwidth = 4\ncondition = 2")],
            &["test-energy", "condition of length 2", "test-data"],
        ),
    ];
    for (parts, words) in cases {
        let text = refused(parts);
        words.iter().for_each(|w| assert!(text.contains(w), "{w} is not in: {text}"));
    }
}

#[test]
fn a_condition_that_fits_trains() {
    let plan = plan(&[
        ("data", "kind = \"test-data\"\ndim = 3\nlabels = 2"),
        ("energy", "kind = \"test-energy\"\nwidth = 4\ncondition = 2"),
        ("objective", "kind = \"test-cd\"\ntrail = 1"),
    ]);
    let mut state = TrainState::new(&plan).unwrap();
    (0..3).for_each(|_| drop(step(&plan, &mut state).unwrap()));
}

/// An engine that takes everything, or nothing.
struct Engines(bool);
impl Engine for Engines {
    fn name(&self) -> &str {
        "test-engine"
    }
    fn accelerate(&self, energy: &Arc<dyn EnergyFn>) -> Result<Accelerated> {
        Ok(if self.0 { Accelerated::Twin(energy.clone()) } else { Accelerated::Graph("it declines".into()) })
    }
}

#[test]
fn an_engine_is_used_required_or_left_aside() {
    let build = |choice: &str, engine: Option<bool>| {
        let run = format!("engine = \"{choice}\"\nbatch = 8");
        let engine = engine.map(|yes| Arc::new(Engines(yes)) as Arc<dyn Engine>);
        Plan::build(&config(&[("run", &run)]), Path::new("."), &Device::Cpu, engine)
    };
    assert!(build("auto", None).is_ok() && build("require", Some(true)).is_ok());
    assert!(build("auto", Some(false)).unwrap().notes().iter().any(|n| n.contains("it declines")));
    assert!(!build("graph", Some(false)).unwrap().notes().iter().any(|n| n.contains("declines")));
    let text = build("require", Some(false)).err().unwrap().to_string();
    assert!(
        text.contains("require") && text.contains("test-engine") && text.contains("no layer plan"),
        "{text}"
    );
    assert!(build("require", None).err().unwrap().to_string().contains("without an engine"));
}

#[test]
fn the_description_counts() {
    let d = plan(&[]).describe();
    assert_eq!((d.parameters, d.samples, d.batches), (12, 37, 4));
    // Twelve floats of four bytes; parameter, gradient, two moments, average.
    assert_eq!(d.memory.weights, 12 * 4 * 5);
    assert!(d.parts.contains(&("energy".into(), "test-energy".into())), "{:?}", d.parts);
}

#[test]
fn the_table_of_sections_has_the_defaults_of_the_types() {
    // A configuration with nothing but what must be given, against the table's defaults.
    let text = "format = 1\n[data]\nkind = \"test-data\"\ndim = 3\n[energy]\nkind = \"test-energy\"\nwidth = 4\n\
        [sampler]\nkind = \"test-chain\"\nsteps = 3\n[objective]\nkind = \"test-cd\"\n[optimiser]\nkind = \"sgd\"\nrate = 1.0\n";
    let tree = RunConfig::from_toml(text).unwrap().tree().unwrap();
    let names = |params: &[Param]| params.iter().map(|p| p.name.to_string()).collect::<Vec<_>>();
    for section in RUN_SECTIONS {
        let ParamKind::Table(settings) = section.kind else { continue };
        let table = tree[section.name].as_object().unwrap();
        table
            .keys()
            .for_each(|k| assert!(names(settings).contains(k), "{}.{k} is not in the table", section.name));
        for p in settings {
            let want = p.default.unwrap();
            let found = table.get(p.name);
            if want == "none" {
                assert!(found.is_none(), "{}", p.name);
                continue;
            }
            let want: serde_json::Value =
                toml::from_str::<serde_json::Value>(&format!("x = {want}")).unwrap()["x"].clone();
            assert_eq!(found, Some(&want), "{}.{}", section.name, p.name);
        }
    }
    let all = names(RUN_SECTIONS);
    tree.as_object().unwrap().keys().for_each(|k| assert!(all.contains(k), "{k} is not in the table"));
}

#[test]
fn generation_does_not_depend_on_the_piece() {
    let plan = plan(&[("generate", "steps = 5")]);
    let mut state = TrainState::new(&plan).unwrap();
    step(&plan, &mut state).unwrap();
    let draw = |batch: usize| {
        let g = Generator { batch, ..state.generator(&plan).unwrap() };
        let x = g.draw(10, None, plan.key().at("generate")).unwrap();
        x.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap()
    };
    let (small, large) = (draw(3), draw(64));
    for (a, b) in small.iter().flatten().zip(large.iter().flatten()) {
        // The matrix product may add in another order for another number of rows.
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    let untrained = crate::common::plan(&[("generate", "steps = 5")]);
    let fresh = TrainState::new(&untrained).unwrap();
    let other = fresh.generator(&untrained).unwrap().draw(10, None, plan.key().at("generate")).unwrap();
    assert_ne!(
        other.to_vec2::<f32>().unwrap()[0].iter().map(|v| f64::from(*v)).collect::<Vec<_>>(),
        large[0]
    );
}

#[test]
fn a_trained_energy_loads_without_its_data_and_is_a_part() {
    let dir = tempfile::tempdir().unwrap();
    let first = plan(&[]);
    let mut state = TrainState::new(&first).unwrap();
    (0..3).for_each(|_| drop(step(&first, &mut state).unwrap()));
    checkpoint::save(&first, &state, &dir.path().join("run/checkpoints")).unwrap();
    let w = |e: &dyn EnergyFn| e.params().get("w").unwrap().to_vec2::<f32>().unwrap();
    let run = dir.path().join("run");
    let load = |weights| {
        let opening = Opening { weights: Some(weights), ..Opening::on(&Device::Cpu) };
        Model::open(&run, opening).unwrap()
    };
    assert_eq!(w(load(Weights::Live).energy().as_ref()), w(first.energy().as_ref()));
    let average = load(Weights::Average);
    assert_eq!(w(average.energy().as_ref()), state.average.as_ref().unwrap()["w"].to_vec2::<f32>().unwrap());
    assert_eq!(average.generator().draw(6, None, first.key()).unwrap().dims(), [6, 3]);

    // As the energy of another run, by a path that counts from that run's folder.
    let with = |energy: &str, dim: usize| {
        let data = format!("kind = \"test-data\"\ndim = {dim}");
        Plan::build(&config(&[("energy", energy), ("data", &data)]), dir.path(), &Device::Cpu, None)
    };
    let part = with("kind = \"checkpoint\"\npath = \"run\"\nweights = \"live\"", 3).unwrap();
    let batch =
        ebm_core::Batch::new(ebm_core::candle::Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap())
            .unwrap();
    let value = |e: &dyn EnergyFn| e.energy(&batch).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(value(part.energy().as_ref()), value(first.energy().as_ref()));
    assert_eq!(part.energy().params().count(), 0, "frozen");
    // A run without parameters still steps (its buffer fills) and saves.
    let mut still = TrainState::new(&part).unwrap();
    step(&part, &mut still).unwrap();
    let saved = checkpoint::save(&part, &still, &dir.path().join("still")).unwrap();
    let again = checkpoint::restore(&part, &checkpoint::read(&saved).unwrap()).unwrap();
    assert_eq!(crate::common::bits(&still), crate::common::bits(&again));
    let trainable = with("kind = \"checkpoint\"\npath = \"run\"\ntrainable = true", 3).unwrap();
    assert_eq!(trainable.energy().params().count(), 12);
    let text = with("kind = \"checkpoint\"\npath = \"run\"", 2).err().unwrap().to_string();
    assert!(text.contains("trained on another shape"), "{text}");
    let text = with("kind = \"checkpoint\"\npath = \"nowhere\"", 3).err().unwrap().to_string();
    assert!(text.contains("nowhere") && text.contains("not a run directory"), "{text}");
}
