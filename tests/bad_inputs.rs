//! Everything that can be wrong with what a user gives: one clear error each, and nothing overwritten.

#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::{SMALL, Scratch};

/// Trains `config`, which must fail, and leave nothing behind.
fn refused(config: &str, code: i32, parts: &[&str]) {
    let s = Scratch::with(config);
    let before = s.tree();
    s.run(&["train", "run.toml", "--out", "r"]).fails(code, parts);
    assert_eq!(s.tree(), before);
}

fn changed(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    SMALL.replacen(from, to, 1)
}

#[test]
fn an_unknown_plugin() {
    refused(
        &changed("\"mlp\"", "\"mpl\""),
        2,
        &["run.toml:10", "`mpl`", "did you mean `mlp`", "use my_plugin as _;"],
    );
}

#[test]
fn unknown_mistyped_and_out_of_range_settings() {
    refused(&changed("hidden", "hiden"), 2, &["energy.hiden", "`hidden`", "run.toml:11"]);
    refused(
        &changed("hidden = [8]", "hidden = 8"),
        2,
        &["energy.hidden", "whole number 8", "a list of whole numbers"],
    );
    refused(
        &changed("capacity = 1000", "capacity = 0"),
        2,
        &["replay.capacity", "found the whole number 0", "≥ 1"],
    );
    // The range is checked by the transition, deep inside of the sampler; the line is known all the same.
    refused(
        &changed("clamp = [0.0, 1.0]", "clamp = [1.0, 0.0]"),
        2,
        &["sampler.transition.clamp", "run.toml:15", "rising order"],
    );
    refused(&changed("[energy]", "[energie]"), 2, &["energie", "`energy`", "energy: missing"]);
    refused("format = 1\nrun = {", 2, &["not TOML", "run.toml:2"]);
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_taken() {
    refused(&changed("hidden = [8]", "hidden = [9000000000000000000]"), 2, &["lower the widths"]);
    refused(&changed("hidden = [8]", "hidden = [100000000, 100000000]"), 2, &["lower the widths"]);
    refused(&changed("batch = 8", "batch = 1000000000"), 2, &["run.batch", "1000000"]);
    refused(&changed("name = \"small\"", "name = \"\""), 2, &["run.name", "empty"]);
}

#[test]
fn missing_and_truncated_data() {
    let idx = "kind = \"idx\"\nimages = \"train.idx\"";
    refused(&changed("kind = \"digits\"", idx), 3, &["train.idx: ", "No such file"]);
    let folder = "kind = \"image-folder\"\nroot = \"pictures\"";
    refused(&changed("kind = \"digits\"", folder), 3, &["pictures"]);

    let s = Scratch::with(&changed("kind = \"digits\"", "kind = \"npy\"\npath = \"x.npy\""));
    let file = ebm_data::npy::encode(&[0.5; 8 * 4], &[8, 4]).unwrap();
    fs::write(s.path("x.npy"), &file[..file.len() - 7]).unwrap();
    let before = s.tree();
    s.run(&["train", "run.toml", "--out", "r"]).fails(3, &["x.npy", "121 bytes", "128 bytes"]);
    assert_eq!(s.tree(), before);
}

#[test]
fn samples_of_another_shape_than_the_energys() {
    let points = changed("kind = \"digits\"", "kind = \"toy2d\"\nname = \"moons\"");
    let text = points.replace("kind = \"mlp\"\nhidden = [8]", "kind = \"conv-net\"");
    refused(&text, 2, &["energy", "[2]", "(C, H, W)"]);

    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r", "--steps", "1"]).ok();
    ebm_data::npy::write(s.path("big.npy"), &[0.5; 2 * 784], &[2, 1, 28, 28]).unwrap();
    let ran = s.run(&["score", "r", "big.npy"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("big.npy: found shape [1, 28, 28], expected [1, 8, 8]"), "{ran:?}");
    let mut values = [0.5; 3 * 64];
    values[130] = f32::NAN;
    ebm_data::npy::write(s.path("nan.npy"), &values, &[3, 1, 8, 8]).unwrap();
    let ran = s.run(&["score", "r", "nan.npy"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("nan.npy: sample 2 holds the value NaN"), "{ran:?}");
}

#[test]
fn samples_that_would_overwrite_a_file() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r", "--steps", "1"]).ok();
    fs::write(s.path("mine.npy"), "mine").unwrap();
    let out = ["sample", "r", "--n", "2", "--out"];
    s.run(&[&out[..], &["mine.npy"]].concat()).fails(2, &["mine.npy", "already exists", "--force"]);
    assert_eq!(fs::read(s.path("mine.npy")).unwrap(), b"mine");
    s.run(&[&out[..], &["nowhere/x.npy"]].concat()).fails(2, &["nowhere/x.npy", "folder is not there"]);
    s.run(&[&out[..], &["mine.npy", "--force"]].concat()).ok();
    assert_ne!(fs::read(s.path("mine.npy")).unwrap(), b"mine");
}

#[test]
fn a_directory_that_holds_a_run() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r", "--steps", "1"]).ok();
    let (before, summary) = (s.tree(), fs::read(s.path("r/summary.json")).unwrap());
    s.run(&["train", "run.toml", "--out", "r"]).fails(2, &["--out r", "already holds a run", "ebm resume"]);
    assert_eq!(s.tree(), before);
    assert_eq!(fs::read(s.path("r/summary.json")).unwrap(), summary);
    s.run(&["train", "run.toml", "--out", "run.toml"]).fails(2, &["already exists"]);
    s.run(&["resume", "nowhere"]).fails(2, &["nowhere", "no config.toml"]);
    s.run(&["train", "r"]).fails(2, &["is a folder", "ebm resume"]);
}

#[test]
fn a_device_that_is_not_there() {
    // A number that no machine has, so that the test holds with and without a GPU.
    let device = "cuda:97";
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r", "--device", device]).fails(5, &[device, "--device auto"]);
    assert!(!s.path("r").exists());
    s.run(&["train", "run.toml", "--device", "gpu"]).fails(2, &["\"gpu\"", "cuda:N"]);
    s.run(&["train", "run.toml", "--device", "auto", "--steps", "1"]).ok();
}

#[test]
fn a_checkpoint_of_another_configuration() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r", "--steps", "3"]).ok();
    let config = fs::read_to_string(s.path("r/config.toml")).unwrap();
    assert!(config.contains("hidden = [8]"), "{config}");
    fs::write(s.path("r/config.toml"), config.replace("hidden = [8]", "hidden = [9]")).unwrap();
    let before = s.tree();
    s.run(&["resume", "r", "--steps", "5"]).fails(2, &["energy.hidden", "step-00000003"]);
    assert_eq!(s.tree(), before);
    fs::write(s.path("r/config.toml"), config).unwrap();
    fs::remove_dir_all(s.path("r/checkpoints")).unwrap();
    s.run(&["resume", "r"]).fails(3, &["checkpoints", "no whole checkpoint"]);
}

/// A limit on the size of a file stands for the full disk: it needs no rights and takes the same way through the
/// program (a write fails in the middle of a file).
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_while_saving() {
    let s = Scratch::with(SMALL);
    let program = env!("CARGO_BIN_EXE_ebm-under-test");
    // 24 blocks of 512 or 1024 bytes: room for the buffer of step 3 (24 chains of 256 bytes), not for that of step 300.
    let script = format!(
        "trap '' XFSZ; ulimit -f 48; exec '{program}' train run.toml --out r --set run.steps=300 --set policy[0].every=100 --set observer=[] --set policy[0].keep=9"
    );
    let ran =
        std::process::Command::new("sh").args(["-c", &script]).current_dir(s.path("")).output().unwrap();
    let ran = crate::support::Ran::of(ran);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("replay.safetensors: File too large"), "{ran:?}");
    // What was saved before is whole, what was not has left nothing.
    let saved =
        |s: &Scratch| s.tree().into_iter().filter(|n| n.starts_with("r/checkpoints/")).collect::<Vec<_>>();
    assert!(saved(&s).iter().all(|n| !n.contains("partial")), "{:?}", s.tree());
    // With room again, the run is started afresh or goes on.
    if !saved(&s).is_empty() {
        s.run(&["resume", "r"]).ok();
    }
}

/// The same on a file system that is really full, where the test may mount one.
#[cfg(target_os = "linux")]
#[test]
fn a_file_system_that_is_full_while_saving() {
    let s = Scratch::with(SMALL);
    let disk = s.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=160k", "tmpfs", disk.to_str().unwrap()])
        .output()
        .is_ok_and(|o| o.status.success());
    if !mounted {
        eprintln!("skipped: mounting a small file system needs rights that this test does not have");
        return;
    }
    let ran = s.run(&[
        "train",
        "run.toml",
        "--out",
        "disk/r",
        "--set",
        "run.steps=300",
        "--set",
        "policy[0].every=20",
    ]);
    let tree = s.tree();
    let unmounted = std::process::Command::new("umount").arg(&disk).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("No space left on device"), "{ran:?}");
    assert!(
        tree.iter().any(|n| n.starts_with("disk/r/checkpoints/step-") && n.ends_with("state.json")),
        "{tree:?}"
    );
    assert!(tree.iter().all(|n| !n.contains("partial")), "{tree:?}");
}

#[test]
fn the_command_line_itself() {
    let s = Scratch::with(SMALL);
    for (arguments, part) in [
        (&["trian"][..], "train"),
        (&["train", "run.toml", "--set", "run.steps"], "has no `=`"),
        (&["train", "no.toml"], "no.toml"),
        (&["plugins", "show", "langevine"], "langevin"),
        (&["data", "fetch", "cifar10"], "by hand: cifar-10-binary.tar.gz"),
        (&["sample", "run.toml", "--out", "x.gif"], ".png or .npy"),
    ] {
        let ran = s.run(arguments);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains(part), "{ran:?}");
    }
    s.run(&["--version"]).ok();
}
