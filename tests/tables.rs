//! Runs on tables: what they learn of their columns is in samples, scores and measures.
#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::Scratch;

/// A small net on two columns.
const TABLE: &str = r#"format = 1
[run]
name = "table"
steps = 6
batch = 16
[data]
kind = "table"
path = "people.csv"
columns = ["height", "weight"]
held_out_every = 5
[energy]
kind = "mlp"
hidden = [8]
[sampler]
kind = "chain"
steps = 3
transition = { kind = "langevin", step_size = 0.1 }
[replay]
kind = "random-overwrite"
capacity = 100
[objective]
kind = "contrastive"
energy_l2 = 1.0
[optimiser]
kind = "adam"
rate = 1e-3
[generate]
steps = 3
count = 9
[[policy]]
kind = "checkpoint"
every = 3
"#;

/// Heights in metres and weights in grams, in this order of columns.
fn people(order: [usize; 3], separator: &str) -> String {
    let line = |row: [String; 3]| order.map(|i| row[i].clone()).join(separator) + "\n";
    let rows = (0..60).map(|i: u32| {
        let weight = 60_000 + 700 * (i * 29 % 41);
        line([format!("1.{:02}", 50 + i * 37 % 50), weight.to_string(), format!("p{i}")])
    });
    line(["height", "weight", "name"].map(String::from)) + &rows.collect::<String>()
}

fn trained() -> Scratch {
    let s = Scratch::with(TABLE);
    fs::write(s.path("people.csv"), people([0, 1, 2], ",")).unwrap();
    s.run(&["train", "run.toml", "--out", "run"]).ok();
    s
}

fn energies(s: &Scratch, what: &str) -> Vec<f64> {
    let ran = s.run(&["score", "run", what]).ok();
    let energy = |line: &str| line.rsplit(',').next().unwrap().parse::<f64>().unwrap();
    ran.out.lines().skip(1).map(energy).collect()
}

#[test]
fn scores_are_of_the_runs_own_numbers_whatever_the_file_is_like() {
    let s = trained();
    let all = energies(&s, "people.csv");
    assert_eq!(all.len(), 60);
    // Other columns, another order, another separator: the same rows. A part of them is not standardised by itself.
    fs::write(s.path("other.csv"), people([2, 1, 0], ";")).unwrap();
    assert_eq!(energies(&s, "other.csv"), all);
    let few: Vec<String> = people([0, 1, 2], ",").lines().take(4).map(String::from).collect();
    fs::write(s.path("few.csv"), few.join("\n")).unwrap();
    assert_eq!(energies(&s, "few.csv"), all[..3]);
    // The same as a source of its own, which has learnt other numbers; and as an array in the table's units. Both round to f32 on the way.
    let near = |found: Vec<f64>, wanted: &[f64]| {
        let off = found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(found.len() == wanted.len() && off < 1e-4, "{found:?} {wanted:?}");
    };
    near(energies(&s, "table:path=few.csv,columns=[\"height\",\"weight\"]"), &all[..3]);
    let rows: Vec<f32> = few[1..]
        .iter()
        .flat_map(|l| l.split(',').take(2).map(|v| v.parse::<f32>().unwrap()).collect::<Vec<_>>())
        .collect();
    ebm_data::npy::write(s.path("few.npy"), &rows, &[3, 2]).unwrap();
    near(energies(&s, "few.npy"), &all[..3]);
}

#[test]
fn samples_are_rows_in_the_tables_units_and_score_as_they_were_drawn() {
    let s = trained();
    s.run(&["sample", "run", "--n", "20", "--out", "drawn.csv"]).ok();
    s.run(&["sample", "run", "--n", "20", "--out", "drawn.npy"]).ok();
    let text = fs::read_to_string(s.path("drawn.csv")).unwrap();
    assert_eq!(text.lines().next(), Some("height,weight"));
    let row: Vec<f64> = text.lines().nth(1).unwrap().split(',').map(|v| v.parse().unwrap()).collect();
    // Fresh starts are of unit deviation, so within five of them: 1.75 ± 0.15 m, 74 ± 8 kg.
    assert!((row[0] - 1.75).abs() < 0.8 && (row[1] - 74_000.0).abs() < 45_000.0, "{row:?}");
    let (a, b) = (energies(&s, "drawn.csv"), energies(&s, "drawn.npy"));
    assert!(a.len() == 20 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4), "{a:?} {b:?}");
}

#[test]
fn a_table_that_has_changed_is_no_longer_the_runs() {
    let s = trained();
    s.run(&["resume", "run", "--steps", "9"]).ok();
    let changed = people([0, 1, 2], ",").replace("60000", "90000");
    fs::write(s.path("people.csv"), changed).unwrap();
    let ran = s.run(&["resume", "run", "--steps", "12", "--other-data"]);
    assert!(ran.code != Some(0) && ran.err.contains("column `weight`"), "{}", ran.err);
    let ran = s.run(&["eval", "log-z", "run"]);
    assert!(ran.code != Some(0) && ran.err.contains("column `weight`"), "{}", ran.err);
}

#[test]
fn what_is_wrong_with_a_table_is_said_before_training() {
    let s = Scratch::with(TABLE);
    for (text, part) in [
        ("height,weight\n1.7,70000\n,80000\n", "row 1 (from 0; line 3), column `height` is missing"),
        ("height,weight\n1.7,heavy\n", "row 0 (from 0; line 2), column `weight` is the text \"heavy\""),
        ("height,weight\n1.7\n", "row 0 (from 0; line 2) is of 1 values"),
        ("height,height\n1.7,2\n", "column 2 is `height`"),
        ("height,weight\n1.7,inf\n", "column `weight` is inf"),
        ("height,weight\n1,7\n1,8\n1,9\n", "column `height` is constant"),
    ] {
        fs::write(s.path("people.csv"), text).unwrap();
        let ran = s.run(&["train", "run.toml", "--out", "run"]);
        assert!(ran.code != Some(0) && ran.err.contains(part), "{part}: {}", ran.err);
        assert!(!s.path("run/checkpoints").exists());
    }
}

#[test]
fn starting_points_are_in_the_tables_units_and_far_columns_keep_their_digits() {
    let s = trained();
    // Heights around 2,400,000: single precision has quarters there, and what stands for them has them all.
    let far = people([0, 1, 2], ",").replace("1.", "2400001.");
    fs::write(s.path("far.csv"), &far).unwrap();
    s.run(&["train", "run.toml", "--out", "far", "--set", "data.path=\"far.csv\""]).ok();
    for run in ["run", "far"] {
        s.run(&["sample", run, "--n", "12", "--out", &format!("{run}.npy")]).ok();
        s.run(&["sample", run, "--n", "12", "--out", &format!("{run}-of.csv")]).ok();
        let start = format!("{run}.npy");
        // No noise and steps of no length: the chains stay where they start.
        // A file that is there is replaced where that is wanted, and only there.
        s.run(&["sample", run, "--n", "12", "--out", &start]).fails(2, &["--force"]);
        s.run(&["sample", run, "--n", "12", "--out", &start, "--force"]).ok();
        let still = "generate.sampler={kind=\"chain\",steps=1,transition={kind=\"langevin\",step_size=1e-12,noise=0.0}}";
        let out = format!("{run}-still.csv");
        s.run(&["sample", run, "--start", &start, "--set", still, "--out", &out]).ok();
        let read = |name: String| -> Vec<f64> {
            let text = fs::read_to_string(s.path(&name)).unwrap();
            text.lines().skip(1).flat_map(|l| l.split(',')).map(|v| v.parse().unwrap()).collect()
        };
        let (drawn, still) = (read(format!("{run}-of.csv")), read(out));
        // Heights within 1e-6 and weights within 1e-2, which are some 1e-6 of their spreads.
        let off = |i: usize| (drawn[i] - still[i]).abs() / if i.is_multiple_of(2) { 1e-6 } else { 1e-2 };
        assert_eq!((drawn.len(), still.len()), (24, 24));
        assert!((0..24).all(|i| off(i) < 1.0), "{drawn:?} {still:?}");
        let quarters = drawn.iter().step_by(2).all(|h| (h * 4.0).fract() == 0.0);
        assert!(!quarters, "{drawn:?}");
    }
}

#[test]
fn runs_of_other_tables_do_not_compose() {
    let s = trained();
    s.run(&["train", "run.toml", "--out", "same"]).ok();
    s.run(&["train", "run.toml", "--out", "turned", "--set", "data.columns=[\"weight\", \"height\"]"]).ok();
    s.run(&["score", "run and same", "people.csv"]).ok();
    for line in ["run and turned", "run or 0.5 * turned", "turned and not run"] {
        s.run(&["score", line, "people.csv"]).fails(2, &["other columns or other standardising", "turned"]);
    }
}

#[test]
fn classes_of_another_table_are_told_in_the_units_of_the_run() {
    let s = Scratch::with(TABLE);
    // Heights and weights that go up with the class, of whole numbers so that both are one.
    let kinds = ["ant", "bee", "cat"];
    let table = |rows: &mut dyn Iterator<Item = usize>| {
        let line = |i: usize| {
            format!(
                "{},{},{}\n",
                150 + i * 37 % 50 + 30 * (i % 3),
                60 + i * 29 % 41 + 20 * (i % 3),
                kinds[i % 3]
            )
        };
        String::from("height,weight,kind\n") + &rows.map(line).collect::<String>()
    };
    fs::write(s.path("people.csv"), table(&mut (0..60))).unwrap();
    let labels =
        ["--set", "data.label=\"kind\"", "--set", "data.labels=true", "--set", "energy.conditional=true"];
    let steps =
        ["--steps", "60", "--set", "objective={kind=\"noise-contrast\"}", "--set", "optimiser.rate=0.02"];
    s.run(&[&["train", "run.toml", "--out", "run"], &labels[..], &steps].concat()).ok();
    // Rows of two of the classes, whose mean and spread are not those of the run.
    fs::write(s.path("two.csv"), table(&mut (0..60).filter(|i| i % 3 > 0))).unwrap();
    let under: Vec<Vec<f64>> = (kinds.iter())
        .map(|kind| {
            let ran = s.run(&["score", &format!("run given {kind}"), "two.csv"]).ok();
            ran.out.lines().skip(1).map(|l| l.rsplit(',').next().unwrap().parse().unwrap()).collect()
        })
        .collect();
    let (mut loss, mut right) = (0.0, [0, 0, 0]);
    for i in 0..40 {
        let class = 1 + i % 2;
        let all = under.iter().map(|e| (-e[i]).exp()).sum::<f64>();
        loss -= ((-under[class][i]).exp() / all).ln() / 40.0;
        right[class] += usize::from((0..3).all(|k| under[class][i] <= under[k][i]));
    }
    for set in ["two.csv", "table:path=two.csv,columns=[\"height\",\"weight\"],label=kind,labels=true"] {
        s.run(&["eval", "classes", "run", "--in", set, "--json", "c.json", "--force"]).ok();
        let found: serde_json::Value = serde_json::from_slice(&fs::read(s.path("c.json")).unwrap()).unwrap();
        // Energies are printed with all digits of single precision.
        assert!((found["log_loss"].as_f64().unwrap() - loss).abs() < 1e-5, "{set}: {found} for {loss}");
        let counts = |k: usize| (found["by_class"][k][1].as_u64(), found["by_class"][k][2].as_u64());
        for (class, right) in right.into_iter().enumerate() {
            assert_eq!(counts(class), (Some(20 * class.min(1) as u64), Some(right as u64)), "{set}: {found}");
        }
        // Columns in another order are found by their names.
        let turned = table(&mut (0..60).filter(|i| i % 3 > 0))
            .lines()
            .map(|l| l.split(',').rev().collect::<Vec<_>>().join(",") + "\n")
            .collect::<String>();
        fs::write(s.path("turned.csv"), turned).unwrap();
        let turned = set.replace("two", "turned").replace("\"height\",\"weight\"", "\"weight\",\"height\"");
        s.run(&["eval", "classes", "run", "--in", &turned, "--json", "t.json", "--force"]).ok();
        let same: serde_json::Value = serde_json::from_slice(&fs::read(s.path("t.json")).unwrap()).unwrap();
        assert_eq!((&same["by_class"], &same["log_loss"]), (&found["by_class"], &found["log_loss"]), "{set}");
        // A few are taken from all over the set.
        s.run(&["eval", "classes", "run", "--in", set, "--n", "10", "--json", "c.json", "--force"]).ok();
    }
    fs::write(s.path("none.csv"), "height,weight\n170,70\n180,80\n").unwrap();
    s.run(&["eval", "classes", "run", "--in", "none.csv"]).fails(2, &["no labels", "column `kind`"]);
    fs::write(s.path("dog.csv"), "height,weight,kind\n170,70,dog\n180,80,ant\n").unwrap();
    s.run(&["eval", "classes", "run", "--in", "dog.csv"]).fails(2, &["class `dog`", "ant, bee, cat"]);
}
