//! A run whose condition is a level of noise: training, continuing, sampling down the levels; scores and compositions at any level.

#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::{SMALL, Scratch};

/// The small run with noise levels, without chains.
fn levels() -> String {
    let from = SMALL.find("[sampler]").unwrap();
    let to = SMALL.find("[optimiser]").unwrap();
    let objective = "[objective]\nkind = \"denoising-score-matching\"\nlevels = {}\n";
    [&SMALL[..from], objective, &SMALL[to..]].concat().replace(
        "kind = \"mlp\"\nhidden = [8]",
        "kind = \"noise-conditioned\"\nlevel = 0.2\nenergy = { kind = \"mlp\", hidden = [8], conditional = true }",
    ).replace(
        "[generate]\nsteps = 3",
        "[generate]\nsampler = { kind = \"probability-flow\", levels = 4, clamp = [0.0, 1.0] }",
    )
}

fn scores(s: &Scratch, model: &str, more: &[&str]) -> Vec<f64> {
    let rows = s.run(&[&["score", model, "digits"], more].concat()).ok();
    assert!(!rows.err.contains("marginal"), "{rows:?}");
    rows.out.lines().skip(1).map(|l| l.split(',').nth(2).unwrap().parse().unwrap()).collect()
}

#[test]
fn a_run_of_noise_levels_goes_on_samples_scores_and_composes() {
    let s = Scratch::with(&levels());
    s.run(&["train", "run.toml", "--out", "whole"]).ok();
    s.run(&["train", "run.toml", "--out", "half", "--steps", "3", "--set", "run.schedule_steps=6"]).ok();
    s.run(&["resume", "half", "--steps", "6"]).ok();
    let state =
        |run: &str| fs::read(s.path(run).join("checkpoints/step-00000006/state.safetensors")).unwrap();
    assert!(state("whole") == state("half"));
    // A model is built without data: the mean and the deviation of these come from the checkpoint.
    let drawn = s.run(&["sample", "whole", "--n", "9", "--out", "a.npy"]).ok();
    assert!(drawn.out.contains("[9, 1, 8, 8]"), "{drawn:?}");
    let (own, other) = (scores(&s, "whole", &[]), scores(&s, "whole given [0.7]", &[]));
    assert_eq!(own, scores(&s, "whole given [0.2]", &[]));
    assert!(own.iter().zip(&other).all(|(a, b)| a != b));
    // Two levels at once: the sum of their energies.
    let both = scores(&s, "whole given [0.2] and whole given [0.7]", &[]);
    assert!(
        both.iter()
            .zip(own.iter().zip(&other))
            .all(|(sum, (a, b))| (sum - a - b).abs() < 1e-3 * (1.0 + sum.abs()))
    );
    s.run(&[
        "eval",
        "ood",
        "whole",
        "--out",
        "rule:uniform",
        "-n",
        "50",
        "--resamples",
        "10",
        "--given",
        "[0.7]",
    ])
    .ok();
    let plain =
        s.run(&["train", "run.toml", "--out", "c", "--set", "energy={ kind = \"mlp\", hidden = [8] }"]);
    assert!(plain.code == Some(2) && plain.err.contains("energy `mlp`"), "{plain:?}");
    let wrong = s.run(&["sample", "whole", "--n", "2", "--given", "[0.7]", "--out", "b.npy"]);
    assert!(wrong.code != Some(0) && wrong.err.contains("probability-flow"), "{wrong:?}");
    let wrong = s.run(&["score", "whole given [0.7, 0.1]", "digits"]);
    assert!(wrong.code != Some(0) && wrong.err.contains("wanted 1 numbers, found 2"), "{wrong:?}");
}
