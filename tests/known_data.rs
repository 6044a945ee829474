//! What a run knows of its data: the names of their classes, and whether they are still the same.
#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::{SMALL, Scratch};

/// A run of pictures in folders under one of two classes.
fn shapes() -> Scratch {
    let data = "kind = \"image-folder\"\nroot = \"shapes\"\nlabels = true";
    let net = "kind = \"conv-net\"\nlayers = [{ filters = 4, stride = 2 }]\nhidden = [8]\nconditional = true";
    let config = SMALL.replace("kind = \"digits\"", data).replace("kind = \"mlp\"\nhidden = [8]", net);
    let s = Scratch::with(&config);
    for (class, shade) in [("circle", 40u8), ("square", 200)] {
        pictures(&s, &format!("shapes/{class}"), shade, 6);
    }
    s
}

#[test]
fn classes_are_known_by_their_names_wherever_a_class_is_given() {
    let s = shapes();
    let checked = s.run(&["check", "run.toml", "--no-timing"]).ok().out;
    assert!(checked.contains("2 classes: circle, square"), "{checked}");
    let seen = s.run(&["data", "verify", "shapes"]).ok().out;
    assert!(seen.contains("2 classes: circle, square"), "{seen}");
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    // What the run knows does not need the data.
    fs::rename(s.path("shapes"), s.path("elsewhere")).unwrap();
    let mut drawn = Vec::new();
    for given in ["square", "1", "[0, 1]", "circle"] {
        let made =
            s.run(&["sample", "r", "-n", "3", "--steps", "1", "--given", given, "--out", "x.npy", "--force"]);
        let word = if given == "circle" { "given circle" } else { "given square" };
        assert!(made.ok().out.contains(word), "{given}");
        drawn.push(fs::read(s.path("x.npy")).unwrap());
    }
    assert!(drawn[0] == drawn[1] && drawn[0] == drawn[2] && drawn[0] != drawn[3]);
    let counted = s.run(&["sample", "r", "-n", "20", "--steps", "1", "--out", "y.npy"]).ok().out;
    assert!(counted.contains("given circle (") && counted.contains("square ("), "{counted}");
    let energies = |model: &str, more: &[&str]| {
        let scored = s.run(&[&["score", model, "y.npy"], more].concat()).ok().out;
        scored.lines().skip(1).map(|l| l.split(',').nth(2).unwrap().to_string()).collect::<Vec<_>>()
    };
    let square = energies("r given square", &[]);
    assert_eq!(square, energies("r given 1", &[]));
    assert_eq!(square, energies("r given \"square\"", &[]));
    assert_eq!(square, energies("r", &["--set", "generate.given=\"square\""]));
    assert_ne!(square, energies("r given circle", &[]));
    let file = "format = 1\n[energy]\nkind = \"checkpoint\"\npath = \"r\"\ncondition = \"square\"\n";
    fs::write(s.path("square.toml"), file).unwrap();
    assert_eq!(square, energies("square.toml", &[]));
    for model in ["r given sqare", "r"] {
        let set = if model == "r" { &["--given", "sqare"][..] } else { &[] };
        let ran = s.run(&[&["sample", model, "--out", "z.npy"], set].concat());
        ran.fails(2, &["sqare", "did you mean `square`?", "circle, square"]);
    }
    s.run(&["sample", "r given square", "--given", "square", "--out", "z.npy"])
        .fails(2, &["generate.given", "takes no condition"]);
}

/// Pictures of one shade below `folder`.
fn pictures(s: &Scratch, folder: &str, shade: u8, n: u8) {
    fs::create_dir_all(s.path(folder)).unwrap();
    for i in 0..n {
        let pixels: Vec<u8> = (0..64u8).map(|p| shade.wrapping_add(p ^ i)).collect();
        fs::write(s.path(&format!("{folder}/{i}.pgm")), [b"P5 8 8 255\n", &pixels[..]].concat()).unwrap();
    }
}

#[test]
fn classes_of_other_sets_are_matched_by_their_names() {
    let s = shapes();
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    // The only class of this set is the second one of the run.
    pictures(&s, "others/square", 200, 5);
    let others = "image-folder:root=others,labels=true";
    s.run(&["eval", "classes", "r", "--in", others, "--json", "c.json"]).ok();
    let found: serde_json::Value = serde_json::from_slice(&fs::read(s.path("c.json")).unwrap()).unwrap();
    let of = |class: usize| (found["by_class"][class][0].clone(), found["by_class"][class][1].clone());
    assert_eq!((of(0), of(1)), (("circle".into(), 0.into()), ("square".into(), 5.into())), "{found}");
    pictures(&s, "strange/hexagon", 90, 5);
    s.run(&["eval", "classes", "r", "--in", "image-folder:root=strange,labels=true"])
        .fails(2, &["strange", "hexagon", "circle, square"]);
    // A classifier is examined on the same classes, too: these two are told apart at once.
    let train = ["classifier", "train", "--epochs", "20", "--batch", "4", "--features", "8", "--held-out"];
    let data = ["--data", "image-folder:root=shapes,labels=true", "--out"];
    s.run(&[&train[..], &[others], &data, &["net"]].concat()).ok();
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(s.path("net/summary.json")).unwrap()).unwrap();
    assert_eq!(
        summary["confusion"][1][0].as_u64().zip(summary["confusion"][1][1].as_u64()).map(|(a, b)| a + b),
        Some(5),
        "{summary}"
    );
    let strange = "image-folder:root=strange,labels=true";
    s.run(&[&train[..], &[strange], &data, &["no"]].concat()).fails(2, &["hexagon"]);
}

#[test]
fn a_run_does_not_go_on_with_data_that_number_its_classes_anew() {
    let s = shapes();
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    pictures(&s, "more/square", 200, 6);
    pictures(&s, "more/triangle", 90, 6);
    let more = |classes: &str| {
        fs::rename(s.path("shapes"), s.path("away")).ok();
        fs::rename(s.path(classes), s.path("shapes")).unwrap();
        s.run(&["resume", "r", "--steps", "8", "--other-data"])
    };
    more("more").fails(2, &["`square` as number 0", "number 1", "circle, square"]);
    fs::rename(s.path("shapes"), s.path("more")).unwrap();
    pictures(&s, "others/circle", 50, 6);
    pictures(&s, "others/square", 190, 6);
    more("others").ok();
}

#[test]
fn samples_have_the_classes_of_the_data_as_often_as_these() {
    let s = shapes();
    // Nine of ten pictures are squares; a batch of eight has few circles or none.
    pictures(&s, "shapes/square", 200, 54);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let draw = |more: &[&str]| -> (u64, u64) {
        let base = ["sample", "r", "-n", "1000", "--steps", "1", "--out", "x.npy", "--force"];
        let out = s.run(&[&base[..], more].concat()).ok().out;
        let count = |name: &str| -> u64 {
            let at = out.find(&format!("{name} (")).unwrap_or_else(|| panic!("{out}")) + name.len() + 2;
            out[at..].split(')').next().unwrap().parse().unwrap()
        };
        (count("circle"), count("square"))
    };
    let (circles, squares) = draw(&[]);
    // 100 of 1,000 with a standard deviation of 9.5.
    assert!(circles + squares == 1000 && circles.abs_diff(100) < 40, "{circles} {squares}");
    assert_eq!(draw(&[]), (circles, squares));
    assert_ne!(draw(&["--seed", "5"]), (circles, squares));
}

#[test]
fn a_threshold_holds_for_the_condition_and_the_weights_it_was_fitted_with() {
    let s = shapes();
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    let fit = ["eval", "threshold", "r", "--in", "shapes", "--fpr", "0.2"];
    let plain = s.run(&fit).ok().out;
    assert!(!plain.contains("--given"), "{plain}");
    let given = s.run(&[&fit[..], &["--given", "square"]].concat()).ok().out;
    assert!(given.contains("--given square --threshold"), "{given}");
    let live = s.run(&[&fit[..], &["--set", "generate.weights=live"]].concat()).ok();
    assert!(live.out.contains("3.json"), "{live:?}");
    let score = |which: &str, more: &[&str]| {
        s.run(&[&["score", "r", "shapes", &format!("--threshold={which}")][..], more].concat())
    };
    let square = ["--given", "square"];
    score("1", &[]).ok();
    score("2", &square).ok();
    score("2", &["--set", "generate.given=1"]).ok();
    score("1", &square).fails(2, &["fitted on the marginal energy", "given square"]);
    score("1", &["--set", "generate.given=1"]).fails(2, &["fitted on the marginal energy", "given 1"]);
    score("2", &[]).fails(2, &["given square", "marginal energy"]);
    score("2", &["--given", "circle"]).fails(2, &["given square", "given circle"]);
    score("3", &[]).fails(2, &["live weights", "averaged"]);
    // A file of an earlier program holds for marginal energies.
    let old = fs::read_to_string(s.path("r/thresholds/1.json")).unwrap();
    let old = old.replace("\"format\": 2", "\"format\": 1").replace("  \"weights\": \"average\",\n", "");
    assert!(!old.contains("weights"), "{old}");
    fs::write(s.path("r/thresholds/9.json"), old).unwrap();
    let read = score("9", &[]).ok();
    assert!(read.err.contains("marginal energies"), "{read:?}");
    score("9", &square).fails(2, &["kept no condition", "given square"]);
}

#[test]
fn a_run_goes_on_with_its_own_data_unless_others_are_meant() {
    let s = Scratch::with(&SMALL.replace("kind = \"digits\"", "kind = \"npy\"\npath = \"x.npy\""));
    let write = |name: &str, n: usize, first: f32| {
        let mut values: Vec<f32> = (0..n * 64).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
        values[0] = first;
        ebm_data::npy::write(s.path(name), &values, &[n, 1, 8, 8]).unwrap();
    };
    write("x.npy", 20, 0.0);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    fs::rename(s.path("x.npy"), s.path("kept.npy")).unwrap();
    write("x.npy", 19, 0.0);
    s.run(&["resume", "r", "--steps", "8"]).fails(3, &["20 training samples", "19 now", "--other-data"]);
    // One value of twenty pictures.
    write("x.npy", 20, 0.5);
    s.run(&["resume", "r", "--steps", "8"]).fails(3, &["other values", "--data", "--other-data"]);
    s.run(&["resume", "r", "--steps", "8", "--data", "kept.npy"]).ok();
    s.run(&["resume", "r", "--steps", "10", "--data", "x.npy"]).fails(3, &["other values"]);
    s.run(&["resume", "r", "--steps", "10", "--data", "x.npy", "--other-data"]).ok();
    // Those are its data from now on.
    s.run(&["resume", "r", "--steps", "12", "--data", "x.npy"]).ok();
    s.run(&["resume", "r", "--steps", "14", "--data", "kept.npy"]).fails(3, &["other values"]);
}

#[test]
fn data_outside_of_the_clamp_are_refused_at_the_beginning_and_remarked_upon_later() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    // A program before this one began with such a clamp.
    for file in ["r/config.toml", "r/checkpoints/step-00000006/config.toml"] {
        let text = fs::read_to_string(s.path(file)).unwrap();
        let narrow = text.replace("clamp = [0.0, 1.0]", "clamp = [0.0, 0.5]");
        assert_ne!(text, narrow);
        fs::write(s.path(file), narrow).unwrap();
    }
    s.run(&["check", "r/config.toml", "--no-timing"]).fails(2, &["sampler.transition.clamp"]);
    let state = s.path("r/checkpoints/step-00000006/state.json");
    let mut sealed: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    let config = fs::read(s.path("r/checkpoints/step-00000006/config.toml")).unwrap();
    let digest = |bytes: &[u8]| ebm::train::digest::sha256(bytes);
    sealed["manifest"]["files"]["config.toml"] = digest(&config).into();
    sealed["digest"] = digest(ebm::train::digest::sorted(&sealed["manifest"]).to_string().as_bytes()).into();
    fs::write(&state, sealed.to_string()).unwrap();
    let ran = s.run(&["resume", "r", "--steps", "7"]).ok();
    assert!(
        ran.err.contains("sampler.transition.clamp") && ran.err.contains("goes on as it began"),
        "{ran:?}"
    );
}

#[test]
fn of_a_folder_in_splits_only_the_part_that_is_asked_for_is_scored() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "r"]).ok();
    for (split, n) in [("train", 4u8), ("test", 2)] {
        fs::create_dir_all(s.path("set").join(split)).unwrap();
        for i in 0..n {
            let pixels: Vec<u8> = (0..64u8).map(|p| 40u8.wrapping_add(p ^ i)).collect();
            fs::write(s.path(&format!("set/{split}/{i}.pgm")), [b"P5 8 8 255\n", &pixels[..]].concat())
                .unwrap();
        }
    }
    let scored = |what: &str| s.run(&["score", "r", what]).ok().out.lines().count() - 1;
    assert_eq!(
        (scored("set"), scored("set:training"), scored("set:held-out"), scored("set/train")),
        (2, 4, 2, 4)
    );
    assert_eq!(scored("digits:training"), 1437);
    s.run(&["score", "r", "set/train:held-out"]).code.filter(|code| *code == 3).expect("no held-out part");
    // Bytes that are only 0 and 1 are black and white here as in training.
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8, 8), }";
    let data: Vec<u8> = (0..128).map(|i| u8::from(i % 3 == 0)).collect();
    let len = (header.len() as u16).to_le_bytes();
    fs::write(s.path("bits.npy"), [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), &data].concat())
        .unwrap();
    let floats: Vec<f32> = data.iter().map(|b| (f32::from(*b) + 0.5) / 2.0).collect();
    ebm_data::npy::write(s.path("same.npy"), &floats, &[2, 1, 8, 8]).unwrap();
    let energies = |file: &str| {
        let out = s.run(&["score", "r", file]).ok().out;
        out.lines().skip(1).map(|l| l.split(',').nth(2).unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(energies("bits.npy"), energies("same.npy"));
}

#[test]
fn words_that_may_be_parts_or_classes_are_asked_about_with_the_setting_that_answers() {
    let s = Scratch::with(SMALL);
    for (folder, shade) in [("only/test/a", 90), ("glass/beakers", 140), ("glass/test_tubes", 200)] {
        pictures(&s, folder, shade, 2);
    }
    for (root, parts) in
        [("only", ["only/test as root", "splits = false"]), ("glass", ["`test_tubes`", "`beakers`"])]
    {
        s.run(&["data", "verify", root]).fails(3, &parts);
        let as_classes = format!("image-folder:root={root},splits=false");
        s.run(&["data", "verify", &as_classes]).ok();
    }
    let seen = s.run(&["data", "verify", "only/test"]).ok().out;
    assert!(seen.contains("2 training and 0 held-out samples"), "{seen}");
    let labels: Vec<f32> = vec![7.0, 1e9];
    ebm_data::npy::write(s.path("y.npy"), &labels, &[2]).unwrap();
    ebm_data::npy::write(s.path("x.npy"), &[0.5; 8], &[2, 4]).unwrap();
    s.run(&["data", "verify", "npy:path=x.npy,label_file=y.npy,labels=true"])
        .fails(2, &["row 1 of", "y.npy is 1000000000", "labels = false"]);
}
