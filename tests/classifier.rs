//! Classifiers from the command line: trained, and read again.

#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::{SMALL, Scratch, numbers};

/// Rows of bars, class 0 lying and class 1 standing, in noise.
fn bars(n: usize, noise: &mut impl FnMut() -> u32) -> (Vec<u8>, Vec<u8>) {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for i in 0..n {
        let (class, at) = (i % 2, noise() as usize % 8);
        for p in 0..64 {
            let on = if class == 0 { p / 8 == at } else { p % 8 == at };
            pixels.push(if on { 250 } else { (noise() % 120) as u8 });
        }
        labels.push(class as u8);
    }
    (pixels, labels)
}

#[test]
fn a_classifier_takes_labels_from_files() {
    let s = Scratch::with(SMALL);
    let mut noise = numbers();
    for (name, n) in [("train", 400), ("held", 100)] {
        let (pixels, labels) = bars(n, &mut noise);
        s.idx(&format!("{name}.idx"), &pixels, &[n as u32, 8, 8]);
        s.idx(&format!("{name}-labels.idx"), &labels, &[n as u32]);
    }
    let train =
        ["classifier", "train", "--data", "train.idx", "--labels", "train-labels.idx", "--features", "8"];
    let held = ["--held-out", "held.idx", "--held-out-labels", "held-labels.idx"];
    let more = ["--epochs", "8", "--batch", "20", "--out", "net"];
    s.run(&[&train[..], &held, &more].concat()).ok();
    let summary = s.json("net/summary.json");
    let number = |key: &str| summary[key].as_f64().unwrap();
    assert_eq!((number("train_count"), number("held_out_count"), number("classes")), (400.0, 100.0, 2.0));
    assert!(number("held_out_accuracy") > 0.9, "{summary}");
    assert_eq!(summary["held_out"], "held.idx");
    // Columns of the confusion are what a class was taken for, rows what it is: fifty of each.
    let confusion: Vec<Vec<u64>> = serde_json::from_value(summary["confusion"].clone()).unwrap();
    assert!(confusion.iter().all(|row| row.iter().sum::<u64>() == 50), "{summary}");

    // The classes of the classifier are those of the file, in the same order.
    let classes = s.run(&["classifier", "classify", "net", "held.idx"]).ok().out;
    let right = classes.lines().skip(1).enumerate();
    let right = right.filter(|(i, line)| line.split(',').nth(2) == Some(&(i % 2).to_string())).count();
    assert_eq!(right, (100.0 * number("held_out_accuracy")).round() as usize);

    let out = ["--epochs", "1", "--out", "other"];
    s.run(&[&train[..], &["--held-out", "held.idx"], &out].concat()).fails(2, &["--held-out-labels"]);
    let wrong = ["--held-out", "held.idx", "--held-out-labels", "train-labels.idx"];
    s.run(&[&train[..], &wrong, &out].concat()).fails(2, &["train-labels.idx", "400 classes", "100"]);
    s.run(&[&train[..], &wrong[2..], &out].concat()).fails(2, &["--held-out"]);
    // Nobody taught it class 2; of class 1 there are images, of class 0 none.
    let others: Vec<u8> = (0..100).map(|i| 1 + u8::from(i % 7 == 0)).collect();
    s.idx("others.idx", &others, &[100]);
    let strange = ["--held-out", "held.idx", "--held-out-labels", "others.idx"];
    s.run(&[&train[..], &strange, &out].concat()).fails(2, &["found also 2", "none has"]);
    assert!(!s.path("other").exists());
    let gap: Vec<u8> = (0..400).map(|i| 2 * (i % 2) as u8).collect();
    s.idx("gap.idx", &gap, &[400]);
    let ran = s.run(&[
        "classifier",
        "train",
        "--data",
        "train.idx",
        "--labels",
        "gap.idx",
        "--features",
        "8",
        "--epochs",
        "1",
        "--out",
        "gap",
    ]);
    assert!(ran.ok().err.contains("no training image is of class 1;"));
}

#[test]
fn a_classifier_of_colours_sees_them() {
    let s = Scratch::with(SMALL);
    let mut noise = numbers();
    // The class is the brightest channel of dark noise.
    let mut images = |n: usize| -> Vec<f32> {
        let pixel = |i: usize, c: usize, v: u32| 0.3 * v as f32 / 1009.0 + if i % 3 == c { 0.3 } else { 0.0 };
        (0..n * 3 * 64).map(|k| pixel(k / 192, k / 64 % 3, noise())).collect()
    };
    s.npy("x.npy", &images(300), &[300, 3, 8, 8]);
    s.idx("labels.idx", &(0..300).map(|i| (i % 3) as u8).collect::<Vec<_>>(), &[300]);
    s.run(&[
        "classifier",
        "train",
        "--data",
        "x.npy",
        "--labels",
        "labels.idx",
        "--epochs",
        "4",
        "--batch",
        "20",
        "--width",
        "4",
        "--features",
        "8",
        "--out",
        "net",
    ])
    .ok();
    let summary = s.json("net/summary.json");
    assert_eq!(summary["input"], serde_json::json!([3, 8, 8]));
    assert_eq!(summary["held_out"], "x.npy (every tenth)");
    assert_eq!((summary["train_count"].as_u64(), summary["held_out_count"].as_u64()), (Some(270), Some(30)));
    assert_eq!(summary["held_out_accuracy"].as_f64(), Some(1.0), "{summary}");
    s.npy("new.npy", &images(30), &[30, 3, 8, 8]);
    let classes = s.run(&["classifier", "classify", "net", "new.npy"]).ok().out;
    let found: Vec<&str> = classes.lines().skip(1).map(|l| l.split(',').nth(2).unwrap()).collect();
    assert_eq!(found, ["0", "1", "2"].repeat(10));
    // Coloured samples against coloured data, on these features.
    let table =
        s.run(&["eval", "samples", "new.npy", "--against", "x.npy", "--features", "net", "pixels"]).ok().out;
    assert!(table.contains("Frechet[net 8]") && table.contains("ClassScore[net 8]"), "{table}");
    s.run(&["eval", "samples", "digits", "--against", "x.npy", "--features", "net"]).fails(3, &["[3, 8, 8]"]);
}

#[test]
fn networks_that_are_not_whole_are_refused() {
    let s = Scratch::with(SMALL);
    s.run(&["classifier", "train", "--data", "digits", "--epochs", "1", "--features", "4", "--out", "net"])
        .ok();
    let classify = || s.run(&["classifier", "classify", "net", "digits"]);
    let good = fs::read_to_string(s.path("net/network.toml")).unwrap();
    let description = |from: &str, to: &str| {
        assert!(good.contains(from), "{good}");
        fs::write(s.path("net/network.toml"), good.replace(from, to)).unwrap();
    };
    description("logits = \"logits\"\n", "");
    classify().fails(2, &["no logits", "wanted a network with classes"]);
    description("\"hidden\"", "\"conv1\"");
    classify().fails(3, &["network net", "linear `conv1`"]);
    description("\"hidden\"", "\"hiden\"");
    classify().fails(3, &["`hiden.weight`: is not there"]);
    fs::write(s.path("net/network.toml"), good).unwrap();
    let weights = fs::read(s.path("net/weights.safetensors")).unwrap();
    fs::write(s.path("net/weights.safetensors"), &weights[..1000]).unwrap();
    classify().fails(3, &["weights.safetensors", "nor sound safetensors"]);
    fs::remove_file(s.path("net/weights.safetensors")).unwrap();
    classify().fails(3, &["weights.safetensors"]);
    fs::remove_file(s.path("net/network.toml")).unwrap();
    classify().fails(2, &["net: found no network.toml"]);
}
