//! Drawing from a trained energy: strips, animations, neighbours, and pictures of which a part is given.

#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::{SMALL, Scratch};

/// A scratch folder with a trained run `r` and `digit.png`, an 8×8 picture.
fn trained() -> Scratch {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let sheet = ebm_data::png::Sheet { gap: 0, ..Default::default() };
    let digit: Vec<f32> = (0..64).map(|i| i as f32 / 63.0).collect();
    sheet.write(s.path("digit.png"), &digit, (1, 1, 8, 8)).unwrap();
    let half: Vec<f32> = (0..64).map(|i| f32::from(u8::from(i < 32))).collect();
    sheet.write(s.path("mask.png"), &half, (1, 1, 8, 8)).unwrap();
    s
}

#[test]
fn chains_over_time_and_neighbours() {
    let s = trained();
    let watched = s.run(&[
        "sample",
        "r",
        "--n",
        "9",
        "--steps",
        "60",
        "--out",
        "a.npy",
        "--strip",
        "strip.png",
        "--animation",
        "chains.gif",
        "--neighbours",
        "near.png",
    ]);
    assert!(watched.ok().err.contains("nearest training sample"));
    for (file, magic) in [("strip.png", &b"\x89PNG"[..]), ("chains.gif", b"GIF89a"), ("near.png", b"\x89PNG")]
    {
        assert!(fs::read(s.path(file)).unwrap().starts_with(magic), "{file}");
    }
    // Watching changes no sample.
    s.run(&["sample", "r", "--n", "9", "--steps", "60", "--out", "b.npy"]).ok();
    assert_eq!(fs::read(s.path("a.npy")).unwrap(), fs::read(s.path("b.npy")).unwrap());
    let again = ["sample", "r", "--n", "9", "--out", "c.npy", "--strip", "strip.png"];
    s.run(&again).fails(2, &["--strip strip.png", "already exists", "--force"]);
    s.run(&["sample", "r", "--out", "c.npy", "--animation", "c.png"]).fails(2, &["--animation", ".gif"]);
    s.run(&["sample", "r", "--out", "t.png", "--strip", "r/../t.png"])
        .fails(2, &["--out and --strip", "same file"]);
    assert!(!s.path("c.npy").exists() && !s.path("t.png").exists());
}

#[test]
fn what_is_given_stays_and_the_rest_is_drawn() {
    let s = trained();
    s.run(&["restore", "r", "--image", "digit.png", "--mask", "mask.png", "--n", "3", "--out", "m.png"]).ok();
    s.run(&["restore", "r", "--image", "digit.png", "--hole", "4,0,4,8", "--n", "3", "--out", "h.png"]).ok();
    // The mask's black half is the hole.
    assert_eq!(fs::read(s.path("m.png")).unwrap(), fs::read(s.path("h.png")).unwrap());
    s.run(&["restore", "r", "--image", "digit.png", "--noise", "0.2", "--n", "2", "--out", "n.png"]).ok();
    let bad = |more: &[&str], words: &[&str]| {
        let mut line = vec!["restore", "r", "--image", "digit.png", "--out", "bad.png"];
        line.extend(more);
        s.run(&line).fails(2, words);
        assert!(!s.path("bad.png").exists());
    };
    bad(&[], &["everything is given"]);
    bad(&["--hole", "4,0,5,8"], &["--hole 4,0,5,8", "8×8"]);
    bad(&["--hole", "4,0"], &["--hole", "four"]);
    bad(&["--hole", "4,0,1,1", "--mask", "mask.png"], &["mask and a hole"]);
    bad(&["--noise", "0"], &["noise 0"]);
    bad(&["--grey"], &["--grey", "one channel"]);
    bad(&["--hole", "0,0,1,1", "--temperature", "2"], &["--temperature"]);
    s.run(&["restore", "r", "--image", "none.png", "--hole", "0,0,1,1"]).fails(3, &["none.png"]);
    s.run(&["restore", "r", "--image", "m.png", "--hole", "0,0,1,1"]).fails(3, &["m.png", "(1, 8, 8)"]);
    s.run(&["restore", "r", "--image", "digit.png", "--noise", "0.2", "--out", "m.png"])
        .fails(2, &["m.png", "already exists"]);
    s.run(&["restore", "r", "--image", "digit.png", "--noise", "0.2", "--out", "m.npy"])
        .fails(2, &["m.npy", ".png"]);
}

#[test]
fn a_bracket_on_log_z_holds_the_quadrature() {
    let plane = SMALL
        .replace("kind = \"digits\"", "kind = \"toy2d\"\nname = \"moons\"")
        .replace(
            "kind = \"mlp\"\nhidden = [8]",
            "kind = \"temperature\"\ntemperature = 2.0\nenergy = { kind = \"double-well\" }",
        )
        .replace(", clamp = [0.0, 1.0]", "");
    let s = Scratch::with(&plane);
    let ran = s.run(&["eval", "log-z", "run.toml", "--rungs", "200", "--chains", "100", "--json"]).ok();
    let found: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let truth = found["quadrature"].as_f64().unwrap();
    for side in ["forward", "reverse"] {
        let (z, se) = (&found["log_z"][side]["log_z"], &found["log_z"][side]["se"]);
        let (z, se) = (z.as_f64().unwrap(), se.as_f64().unwrap());
        // Four standard errors, and the way back starts near the energy only.
        assert!((z - truth).abs() < 4.0 * se + 0.05 && se < 0.3, "{side}: {found}");
    }
    let (low, high) = (&found["log_likelihood"][0], &found["log_likelihood"][1]);
    assert!((low.as_f64().unwrap() - high.as_f64().unwrap()).abs() < 1.0, "{found}");
    let text = s.run(&["eval", "log-z", "run.toml", "--rungs", "20", "--chains", "10"]).ok().out;
    assert!(text.contains("log Z by quadrature") && text.contains("held-out samples"), "{text}");
    let with = |option: &str, value: &str, words: &[&str]| {
        s.run(&["eval", "log-z", "run.toml", option, value]).fails(2, words);
    };
    with("--moves", "{ kind = \"hmcc\" }", &["--moves", "hmcc"]);
    with("--base", "{ kind = \"mlp\", hidden = [4] }", &["known density"]);
    with("--temperature", "0", &["--temperature 0"]);
    with("--rungs", "0", &["--rungs 0"]);
}

#[test]
fn an_energy_and_a_sampler_alone_are_sampled_and_measured() {
    let sampler =
        "[sampler]\nkind = \"chain\"\nsteps = 50\ntransition = { kind = \"mala\", step_size = 0.05 }\n";
    // The moons are on the plane and nowhere else, so nobody need say it.
    let s = Scratch::with(&format!("[energy]\nkind = \"moons\"\n{sampler}"));
    let drawn = s.run(&["sample", "run.toml", "--n", "6", "--out", "x.npy"]).ok();
    assert!(drawn.out.contains("[6, 2]"), "{}", drawn.out);
    let measured = s.run(&["eval", "chains", "run.toml", "--chains", "2", "--steps", "40"]).ok();
    assert!(measured.out.contains("x[1]"), "{}", measured.out);
    // A bowl of any width: the file says which.
    let s = Scratch::with(&format!("[energy]\nkind = \"double-well\"\n{sampler}"));
    s.run(&["sample", "run.toml", "--n", "6", "--out", "x.npy"]).fails(2, &["generate.shape", "such as [2]"]);
    let shape = "--set=generate.shape=[3]";
    let drawn = s.run(&["sample", "run.toml", shape, "--n", "6", "--out", "x.npy"]).ok();
    assert!(drawn.out.contains("[6, 3]"), "{}", drawn.out);
}
