//! The paper's configurations: counts of parameters as published, and a start on small stand-in data.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Scratch;

/// A configuration, its parameters that take part as published (specification of the networks, table of counts), and
/// what stands in for its data.
const ALL: [(&str, usize, Data); 9] = [
    ("cifar10", 6_564_196, Data::Cifar),
    ("cifar10-conditional", 6_643_044, Data::Cifar),
    ("cifar10-narrow", 413_788, Data::Cifar),
    ("celeba-hq128", 27_053_700, Data::Folder(0)),
    // Of 27,095,943 in the published state, three are never used.
    ("celeba-hq128-attribute", 27_095_940, Data::Folder(2)),
    ("lsun128", 6_772_548, Data::Folder(0)),
    // Of 13,819,591, three are never used.
    ("imagenet128", 13_819_588, Data::Folder(1000)),
    ("digits", 3_101_313, Data::Idx),
    ("objects", 6_793_668, Data::Folder(2)),
];

#[derive(Clone, Copy)]
enum Data {
    Cifar,
    /// Pictures in this many folders, or in none.
    Folder(usize),
    Idx,
}

fn configuration(name: &str) -> PathBuf {
    example("paper", name)
}

fn example(folder: &str, name: &str) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    examples.join(folder).join(name).with_extension("toml")
}

/// Writes stand-in data below the scratch folder and returns the changes that name them.
fn stand_in(s: &Scratch, data: Data) -> Vec<String> {
    let set = |path: &str, at: &str| format!("{path}={:?}", s.path(at).to_str().unwrap());
    match data {
        Data::Cifar => {
            let record = |i: usize| {
                let pixels = (0..3072).map(move |p| ((i * 31 + p * 7) % 251) as u8);
                std::iter::once((i % 10) as u8).chain(pixels)
            };
            let few: Vec<u8> = (0..10).flat_map(record).collect();
            for part in ["1", "2", "3", "4", "5"] {
                fs::write(s.path(&format!("data_batch_{part}.bin")), &few).unwrap();
            }
            fs::write(s.path("test_batch.bin"), &few).unwrap();
            vec![set("data.root", "")]
        }
        Data::Folder(classes) => {
            // 4×4 pixels: the configuration resizes.
            let picture: Vec<f32> = (0..48).map(|i| i as f32 / 48.0).collect();
            let alone = ebm_data::png::Sheet { gap: 0, ..Default::default() };
            let png = alone.encode(&picture, (1, 3, 4, 4)).unwrap();
            for i in 0..classes.max(4) {
                let folder =
                    if classes == 0 { s.path("set") } else { s.path(&format!("set/{:04}", i % classes)) };
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(format!("{i}.png")), &png).unwrap();
            }
            vec![set("data.root", "set")]
        }
        Data::Idx => {
            let images = |n: u32| {
                let header = [0x803u32, n, 28, 28].into_iter().flat_map(u32::to_be_bytes);
                header.chain((0..n * 784).map(|p| (p % 255) as u8)).collect::<Vec<u8>>()
            };
            let labels = |n: u32| {
                let header = [0x801u32, n].into_iter().flat_map(u32::to_be_bytes);
                header.chain((0..n).map(|i| (i % 10) as u8)).collect::<Vec<u8>>()
            };
            for (name, bytes) in [("x", images(20)), ("y", labels(20)), ("hx", images(4)), ("hy", labels(4))]
            {
                fs::write(s.path(name), bytes).unwrap();
            }
            vec![
                set("data.images", "x"),
                set("data.label_file", "y"),
                set("data.held_out_images", "hx"),
                set("data.held_out_labels", "hy"),
            ]
        }
    }
}

fn arguments(changes: &[String]) -> Vec<&str> {
    changes.iter().flat_map(|c| ["--set", c.as_str()]).collect()
}

#[test]
fn every_configuration_has_the_published_number_of_parameters() {
    for (name, parameters, data) in ALL {
        let s = Scratch::with("");
        let mut changes = stand_in(&s, data);
        // The count needs no kernels.
        changes.push("run.engine=\"graph\"".into());
        let file = configuration(name);
        let head = ["check", file.to_str().unwrap(), "--no-timing"];
        let ran = s.run(&[&head[..], &arguments(&changes)].concat()).ok();
        let line = format!("parameters    {parameters}\n");
        assert!(ran.out.contains(&line), "{name}: {ran:?}");
        assert!(ran.out.contains("memory") && ran.out.contains("full replay buffer"), "{name}: {ran:?}");
        if name == "cifar10-narrow" {
            // 10,000 chains of 3·32·32 bytes, not floats.
            assert!(ran.out.contains("full replay buffer 30.7 MB"), "{ran:?}");
        }
    }
}

#[test]
fn every_configuration_starts_on_stand_in_data() {
    for (name, _, data) in ALL {
        let s = Scratch::with("");
        let mut changes = stand_in(&s, data);
        match data {
            Data::Idx => changes.push("energy.filters=2".into()),
            _ => changes.extend((0..3).map(|i| format!("energy.parts[{i}].energy.filters=4"))),
        }
        for small in [
            "run.batch=2",
            "run.report_every=1",
            "sampler.steps=2",
            "generate.sampler.rounds=2",
            "generate.sampler.steps=1",
            "generate.sampler.refine=1",
            "generate.count=2",
        ] {
            changes.push(small.into());
        }
        let file = configuration(name);
        let file = file.to_str().unwrap();
        let ran =
            s.run(&[&["train", file, "--steps", "2", "--out", "r"][..], &arguments(&changes)].concat()).ok();
        assert_eq!(crate::support::logged(&s.path("r")), [1, 2], "{name}: {ran:?}");
        assert!(s.path("r/samples.png").is_file(), "{name}: {ran:?}");
        if name == "cifar10" {
            let ran = s.run(&[&["check", file][..], &arguments(&changes)].concat()).ok();
            assert!(ran.out.contains("a step (timed)") && ran.out.contains("for the run"), "{ran:?}");
            assert!(!ran.out.contains("stays on the graph"), "{ran:?}");
        }
    }
}

/// CIFAR-10 by objectives of other papers: as they stand they are checked, and small ones train.
#[test]
fn cifar10_by_other_objectives_is_checked_and_starts_on_stand_in_data() {
    for name in ["energy-matching", "recovery"] {
        let s = Scratch::with("");
        let mut changes = stand_in(&s, Data::Cifar);
        let file = example("cifar10", name);
        let file = file.to_str().unwrap();
        let check = [&["check", file, "--no-timing"][..], &arguments(&changes)].concat();
        let ran = s.run(&check).ok();
        assert!(ran.out.contains("parameters"), "{name}: {ran:?}");
        let small = [
            "energy.energy.filters=4",
            "run.batch=6",
            "run.report_every=1",
            "sampler.steps=2",
            "generate.count=2",
        ];
        changes.extend(small.map(String::from));
        changes.push(match name {
            // Chains from the first step on.
            "energy-matching" => "objective.terms[1].on=0".into(),
            _ => "generate.sampler.levels=3".to_string(),
        });
        let train = [&["train", file, "--steps", "2", "--out", "r"][..], &arguments(&changes)].concat();
        let ran = s.run(&train).ok();
        assert_eq!(crate::support::logged(&s.path("r")), [1, 2], "{name}: {ran:?}");
    }
}

/// Configurations of the plane that train by objectives without chains from the first step on.
#[test]
fn the_plane_by_other_objectives_starts() {
    for name in ["energy-matching", "equilibrium-matching"] {
        let s = Scratch::with("");
        let file = example("plane", name);
        let small = ["--set", "run.batch=16", "--set", "generate.steps=2", "--set", "generate.count=4"];
        let head = ["train", file.to_str().unwrap(), "--steps", "2", "--out", "r"];
        s.run(&[&head[..], &small].concat()).ok();
    }
}
