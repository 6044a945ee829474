//! Checkpoints: every kind of damage is refused with its reason, and the newest whole one is taken.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{bits, plan};
use ebm_core::candle::Device;
use ebm_model::{Model, Opening};
use ebm_train::{TrainState, checkpoint, step};

/// A folder with checkpoints of steps 1, 2 and 3.
fn three() -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&[]);
    let mut state = TrainState::new(&plan).unwrap();
    let paths = (0..3).map(|_| {
        step(&plan, &mut state).unwrap();
        checkpoint::save(&plan, &state, dir.path()).unwrap()
    });
    let paths = paths.collect();
    (dir, paths)
}

/// The refusal of a checkpoint after `damage`; checks that the one before it is taken instead.
fn refused(damage: impl Fn(&Path)) -> String {
    let (dir, paths) = three();
    damage(&paths[2]);
    let found = checkpoint::newest(dir.path()).unwrap();
    assert_eq!(found.contents.path, paths[1]);
    assert_eq!(found.damaged.len(), 1);
    assert_eq!(found.damaged[0].0, paths[2]);
    found.damaged[0].1.clone()
}

fn change(file: &Path, f: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    f(&mut bytes);
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_whole_checkpoint_is_taken() {
    let (dir, paths) = three();
    let found = checkpoint::newest(dir.path()).unwrap();
    assert_eq!(found.contents.path, paths[2]);
    assert!(found.damaged.is_empty());
    assert_eq!(found.contents.manifest.step, 3);
}

#[test]
fn one_changed_bit_anywhere_is_found() {
    for file in ["state.safetensors", "optimiser.safetensors", "replay.safetensors", "config.toml"] {
        for place in [0.0, 0.5, 0.999] {
            let why = refused(|path| {
                change(&path.join(file), |b| {
                    let i = (b.len() as f64 * place) as usize;
                    b[i] ^= 1;
                });
            });
            assert!(why.contains(file) && why.contains("SHA-256"), "{why}");
        }
    }
}

#[test]
fn a_changed_number_in_the_manifest_is_found() {
    let why = refused(|path| {
        change(&path.join("state.json"), |b| {
            let text = String::from_utf8(b.clone()).unwrap();
            *b = text.replace("\"cursor\": 3", "\"cursor\": 2").into_bytes();
        });
    });
    assert!(why.contains("state.json") && why.contains("digest does not fit"), "{why}");
}

#[test]
fn truncated_and_missing_files_are_found() {
    let why = refused(|path| change(&path.join("state.safetensors"), |b| b.truncate(b.len() / 2)));
    assert!(why.contains("SHA-256"), "{why}");
    let why = refused(|path| change(&path.join("state.json"), |b| b.truncate(b.len() / 2)));
    assert!(why.contains("not the expected JSON"), "{why}");
    for file in
        ["state.safetensors", "optimiser.safetensors", "replay.safetensors", "config.toml", "state.json"]
    {
        let why = refused(|path| fs::remove_file(path.join(file)).unwrap());
        assert!(why.contains(file) && why.contains("incomplete"), "{why}");
    }
}

#[test]
fn another_format_is_refused_by_number() {
    let why = refused(|path| {
        change(&path.join("state.json"), |b| {
            let mut v: serde_json::Value = serde_json::from_slice(b).unwrap();
            v["manifest"]["format"] = 3.into();
            // Sealed anew, as a later version would.
            v["digest"] = ebm_train::digest::sha256(v["manifest"].to_string().as_bytes()).into();
            *b = v.to_string().into_bytes();
        });
    });
    assert!(why.contains("format 3") && why.contains("reads formats 1 to 2"), "{why}");
}

#[test]
fn without_any_whole_checkpoint_all_reasons_are_given() {
    let (dir, paths) = three();
    for p in &paths {
        fs::remove_file(p.join("state.safetensors")).unwrap();
    }
    let text = checkpoint::newest(dir.path()).err().unwrap().to_string();
    assert!(text.contains("no whole checkpoint") && text.matches("incomplete").count() == 3, "{text}");
    let text = checkpoint::newest(&dir.path().join("nowhere")).err().unwrap().to_string();
    assert!(text.contains("no whole checkpoint"), "{text}");
}

#[test]
fn half_written_folders_do_not_count() {
    let (dir, paths) = three();
    fs::rename(&paths[2], dir.path().join(".step-00000003.partial")).unwrap();
    fs::write(dir.path().join("step-notes.txt"), "x").unwrap();
    assert_eq!(checkpoint::newest(dir.path()).unwrap().contents.path, paths[1]);
}

#[test]
fn another_configuration_is_refused_and_safe_changes_are_not() {
    let (dir, _) = three();
    let found = checkpoint::newest(dir.path()).unwrap();
    let other = plan(&[("optimiser", "kind = \"adam\"\nrate = 0.02\nclip_norm = 0.5\naverage = 0.9")]);
    let untouched = bits(&TrainState::new(&other).unwrap());
    let text = checkpoint::restore(&other, &found.contents).err().unwrap().to_string();
    assert!(text.contains("optimiser.rate is 0.02, was 0.01"), "{text}");
    assert_eq!(bits(&TrainState::new(&other).unwrap()), untouched);
    let longer =
        plan(&[("run", "seed = 3\nsteps = 400\nbatch = 8\nname = \"longer\""), ("generate", "steps = 7")]);
    assert_eq!(checkpoint::restore(&longer, &found.contents).unwrap().step, 3);
}

#[test]
fn a_checkpoint_of_a_program_that_had_fewer_settings_is_continued() {
    let (dir, _) = three();
    let mut found = checkpoint::newest(dir.path()).unwrap().contents;
    let plan = plan(&[]);
    let line = found.config.lines().find(|l| l.starts_with("report_every")).unwrap().to_string();
    found.config = found.config.replace(&format!("{line}\n"), "");
    // A setting that counts, at its default.
    assert!(found.config.contains("\ntransitions = []\n"), "{}", found.config);
    found.config = found.config.replace("\ntransitions = []\n", "\n");
    // Its digest was of a text without them.
    found.manifest.config_digest = "of another text".into();
    assert_eq!(checkpoint::restore(&plan, &found).unwrap().step, 3);
    found.config = found.config.replace("rate = 0.01", "rate = 0.02");
    let text = checkpoint::restore(&plan, &found).err().unwrap().to_string();
    assert!(text.contains("optimiser.rate is 0.01, was 0.02"), "{text}");
}

#[test]
fn pruning_keeps_the_newest_and_the_multiples() {
    let (dir, paths) = three();
    checkpoint::prune(dir.path(), u64::MAX, 1, 2).unwrap();
    let left: Vec<PathBuf> = checkpoint::list(dir.path()).into_iter().map(|(_, p)| p).collect();
    assert_eq!(left, [paths[1].clone(), paths[2].clone()]);
}

#[test]
fn saving_the_same_step_again_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&[]);
    let mut state = TrainState::new(&plan).unwrap();
    step(&plan, &mut state).unwrap();
    checkpoint::save(&plan, &state, dir.path()).unwrap();
    state.rate_factor = 0.1 + 0.2;
    checkpoint::save(&plan, &state, dir.path()).unwrap();
    let found = checkpoint::newest(dir.path()).unwrap();
    assert_eq!(found.contents.manifest.rate_factor.to_bits(), (0.1f64 + 0.2).to_bits());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&[]);
    let state = TrainState::new(&plan).unwrap();
    let blocked = dir.path().join("file");
    fs::write(&blocked, "in the way").unwrap();
    let text = checkpoint::save(&plan, &state, &blocked).unwrap_err().to_string();
    assert!(text.contains("file"), "{text}");
}

#[test]
fn a_model_opens_without_the_buffer_and_the_moments() {
    let (dir, paths) = three();
    let run = dir.path();
    fs::create_dir(run.join("checkpoints")).unwrap();
    let moved = run.join("checkpoints/step-00000003");
    fs::rename(&paths[2], &moved).unwrap();
    let plan = plan(&[]);
    let state = checkpoint::restore(&plan, &checkpoint::read(&moved).unwrap()).unwrap();
    for file in ["replay.safetensors", "optimiser.safetensors"] {
        fs::remove_file(moved.join(file)).unwrap();
    }
    assert!(checkpoint::read(&moved).is_err(), "a training cannot go on without them");
    let model = Model::open(run, Opening::on(&Device::Cpu)).unwrap();
    let draw = |g: ebm_train::Generator<'_>| {
        let x = g.draw(5, None, plan.key().at("generate")).unwrap();
        x.to_vec2::<f32>().unwrap()
    };
    assert_eq!(draw(model.generator()), draw(state.generator(&plan).unwrap()));
    assert_eq!(model.step(), Some(3));
}

#[test]
fn no_absolute_place_is_in_a_checkpoint() {
    let (dir, paths) = three();
    let absolute = dir.path().canonicalize().unwrap();
    for file in fs::read_dir(&paths[2]).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let place = absolute.to_str().unwrap();
        assert!(!bytes.windows(place.len()).any(|w| w == place.as_bytes()), "{place}");
    }
}
