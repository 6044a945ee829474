//! Draws of chains, their starts, and derivatives of energies as arrays of NumPy.

#![allow(clippy::unwrap_used)]

use crate::support::{SMALL, Scratch};
use ebm_data::npy::{Npy, NpyValues, encode_values};
use ebm_data::npz::Npz;

/// A density alone: nothing is trained.
const BARE: &str = r#"format = 1
[run]
dtype = "f64"
[energy]
kind = "gaussian"
mean = [1.0, -1.0]
covariance = [1.0, 0.5, 0.5, 2.0]
[sampler]
kind = "chain"
steps = 20
transition = { kind = "nuts" }
[generate]
shape = [2]
"#;

/// Its precision matrix.
const PRECISION: [[f64; 2]; 2] = [[8.0 / 7.0, -2.0 / 7.0], [-2.0 / 7.0, 4.0 / 7.0]];

fn times(v: &[f64]) -> [f64; 2] {
    PRECISION.map(|row| row[0] * v[0] + row[1] * v[1])
}

fn save(s: &Scratch, name: &str, values: Vec<f64>, dims: &[usize]) {
    std::fs::write(s.path(name), encode_values(&NpyValues::F64(values), dims).unwrap()).unwrap();
}

fn doubles(npy: &Npy) -> Vec<f64> {
    match npy.values() {
        NpyValues::F64(v) => v.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn draws_have_the_names_of_arviz_and_the_energies_of_their_states() {
    let s = Scratch::with(BARE);
    let chains = ["eval", "chains", "run.toml", "--steps", "40", "--warm-up", "30", "--thin", "2"];
    s.run(&[&chains[..], &["--draws", "d.npz"]].concat()).ok();
    let mut npz = Npz::open(s.path("d.npz")).unwrap();
    let names = npz.names();
    for name in [
        "acceptance_rate",
        "diverging",
        "energy",
        "lp",
        "n_steps",
        "reached_max_treedepth",
        "step_size",
        "tree_depth",
        "x",
    ] {
        assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
    }
    let x = npz.array("x").unwrap();
    assert_eq!(x.dims(), [4, 20, 2]);
    let (x, lp) = (doubles(&x), npz.array("lp").unwrap());
    assert_eq!(lp.dims(), [4, 20]);
    for (x, lp) in x.chunks(2).zip(doubles(&lp)) {
        let y = [x[0] - 1.0, x[1] + 1.0];
        let [a, b] = times(&y);
        // Rounding of a dozen operations on numbers of size ten.
        assert!((lp + 0.5 * (y[0] * a + y[1] * b)).abs() < 1e-12, "{x:?} {lp}");
    }
    // Potential and kinetic energy together, and no less than the first.
    let both = doubles(&npz.array("energy").unwrap());
    assert!(both.iter().zip(doubles(&lp)).all(|(h, lp)| *h >= -lp), "{both:?}");
    assert!(matches!(npz.array("diverging").unwrap().values(), NpyValues::Bool(_)));
    let steps = npz.array("n_steps").unwrap();
    assert!(matches!(steps.values(), NpyValues::I64(v) if v.iter().all(|n| *n > 0)), "{steps:?}");
    // The whole program is the same without the file, and the file the same each time.
    let first = std::fs::read(s.path("d.npz")).unwrap();
    s.run(&[&chains[..], &["--draws", "d.npz"]].concat()).fails(2, &["--draws", "already exists"]);
    s.run(&[&chains[..], &["--draws", "d.npz", "--force"]].concat()).ok();
    assert_eq!(std::fs::read(s.path("d.npz")).unwrap(), first);
    s.run(&["eval", "chains", "run.toml", "--draws", "d.npy"]).fails(2, &[".npz"]);
    // The chains of `sample` are its samples, and the last draw is what it writes.
    s.run(&["sample", "run.toml", "-n", "3", "--steps", "9", "--out", "x.npy", "--draws", "s.npz"]).ok();
    let last = Npy::read(s.path("x.npy")).unwrap().values().clone().into_f32();
    let all = Npz::open(s.path("s.npz")).unwrap().array("x").unwrap();
    assert_eq!(all.dims(), [3, 5, 2]);
    for (chain, last) in doubles(&all).chunks(10).zip(last.chunks(2)) {
        assert_eq!([chain[8] as f32, chain[9] as f32], [last[0], last[1]]);
    }
}

/// Bytes of images are the samples that the same file is in training and in scores, not numbers up to 255.
#[test]
fn chains_start_at_images_as_they_are_scored() {
    let s = Scratch::with(SMALL);
    s.run(&["train", "run.toml", "--out", "a"]).ok();
    let bytes: Vec<u8> = (0..128).map(|i| (2 * i) as u8).collect();
    let middles: Vec<f32> = bytes.iter().map(|b| (f32::from(*b) + 0.5) / 256.0).collect();
    // Digits have 17 levels, and so have bytes that they hold.
    let few: Vec<u8> = (0..128).map(|i| i % 17).collect();
    let of_few: Vec<f32> = few.iter().map(|b| (f32::from(*b) + 0.5) / 17.0).collect();
    let numbers = bytes.iter().map(|b| f32::from(*b)).collect();
    let save = |name: &str, values: NpyValues| {
        std::fs::write(s.path(name), encode_values(&values, &[2, 1, 8, 8]).unwrap()).unwrap();
    };
    save("bytes.npy", NpyValues::U8(bytes));
    save("few.npy", NpyValues::U8(few));
    save("of-few.npy", NpyValues::F32(of_few));
    save("middles.npy", NpyValues::F32(middles));
    save("numbers.npy", NpyValues::F32(numbers));
    for (one, other) in [("bytes", "middles"), ("few", "of-few")] {
        let [one, other] = [one, other].map(|name| {
            let (start, out) = (format!("{name}.npy"), format!("{name}-x.npy"));
            s.run(&["sample", "a", "--start", &start, "--steps", "1", "--out", &out]).ok();
            let energies = s.run(&["score", "a", &start]).ok().out.replace(&start, "");
            (std::fs::read(s.path(&out)).unwrap(), energies)
        });
        assert_eq!(one, other);
    }
    s.run(&["sample", "a", "--start", "numbers.npy"])
        .fails(3, &["numbers.npy", "up to 254", "divide them by 255"]);
}

#[test]
fn chains_start_where_a_file_says() {
    let s = Scratch::with(&BARE.replace("kind = \"nuts\"", "kind = \"ula\", step_size = 1e-12"));
    let start = vec![5.0, 6.0, -3.0, 0.25, 0.0, 1.0];
    save(&s, "start.npy", start.clone(), &[3, 2]);
    s.run(&["sample", "run.toml", "--start", "start.npy", "--steps", "1", "--out", "x.npy"]).ok();
    let x = Npy::read(s.path("x.npy")).unwrap();
    assert_eq!(x.dims(), [3, 2]);
    for (x, at) in x.values().clone().into_f32().iter().zip(&start) {
        // Steps of a millionth.
        assert!((f64::from(*x) - at).abs() < 1e-4, "{x} {at}");
    }
    let ran =
        s.run(&["eval", "chains", "run.toml", "--start", "start.npy", "--steps", "8", "--warm-up", "0"]).ok();
    assert!(ran.out.contains("3 chains"), "{ran:?}");
    s.run(&["sample", "run.toml", "--start", "start.npy", "-n", "4", "--out", "y.npy"])
        .fails(2, &["--n 4", "at most 3"]);
    save(&s, "wide.npy", vec![0.0; 9], &[3, 3]);
    s.run(&["sample", "run.toml", "--start", "wide.npy"]).fails(3, &["[3, 3]", "(n, 2)"]);
    save(&s, "nan.npy", vec![0.0, f64::NAN], &[1, 2]);
    s.run(&["sample", "run.toml", "--start", "nan.npy"]).fails(3, &["row 0"]);
    s.run(&["sample", "run.toml", "--start", "none.npy"]).fails(3, &["none.npy"]);
    assert!(!s.path("y.npy").exists() && !s.path("samples.npy").exists());
}

#[test]
fn slopes_and_products_are_those_of_the_closed_form() {
    let s = Scratch::with(BARE);
    let (x, v) = (vec![0.5, -0.25, 2.0, 1.0, -1.0, 0.0], vec![1.0, 0.0, 0.0, 1.0, 2.0, -1.0]);
    save(&s, "x.npy", x.clone(), &[3, 2]);
    save(&s, "v.npy", v.clone(), &[3, 2]);
    let score =
        ["score", "run.toml", "x.npy", "--energies", "e.npy", "--slope", "g.npy", "--hvp", "v.npy", "h.npy"];
    // Pieces of two samples: rows of V go with theirs.
    let ran = s.run(&[&score[..], &["--batch", "2"]].concat()).ok();
    assert_eq!(ran.out.lines().count(), 4);
    let read = |name: &str| Npy::read(s.path(name)).unwrap();
    let (e, g, h) = (read("e.npy"), read("g.npy"), read("h.npy"));
    assert_eq!((e.dims(), g.dims(), h.dims()), (&[3][..], &[3, 2][..], &[3, 2][..]));
    for i in 0..3 {
        let y = [x[2 * i] - 1.0, x[2 * i + 1] + 1.0];
        let [a, b] = times(&y);
        let [c, d] = times(&v[2 * i..2 * i + 2]);
        let want = [0.5 * (y[0] * a + y[1] * b), a, b, c, d];
        let found = [
            doubles(&e)[i],
            doubles(&g)[2 * i],
            doubles(&g)[2 * i + 1],
            doubles(&h)[2 * i],
            doubles(&h)[2 * i + 1],
        ];
        // Rounding in f64.
        assert!(want.iter().zip(found).all(|(w, f)| (w - f).abs() < 1e-12), "{want:?} {found:?}");
    }
    s.run(&score).fails(2, &["already exists"]);
    // Rows before the one that is missing have been written.
    let uneven = |v: &str, said: &str| {
        let ran = s.run(&["score", "run.toml", "x.npy", "--hvp", v, "new.npy"]);
        assert!(ran.code == Some(2) && ran.err.contains(said), "{ran:?}");
    };
    save(&s, "two.npy", v[..4].to_vec(), &[2, 2]);
    uneven("two.npy", "2 directions for at least 3 samples");
    save(&s, "four.npy", [&v[..], &[0.0, 0.0]].concat(), &[4, 2]);
    uneven("four.npy", "4 directions for 3 samples");
    s.run(&["score", "run.toml", "x.npy", "x.npy", "--hvp", "v.npy", "new.npy"]).fails(2, &["2 inputs"]);
    s.run(&["score", "run.toml", "x.npy", "--slope", "new.csv"]).fails(2, &[".npy"]);
    assert!(!s.path("new.npy").exists());
}
