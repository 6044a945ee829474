//! `ebm parity`: the whole program against golden files, and what it says of files that are none.

#![allow(clippy::unwrap_used)]

use crate::golden::{Golden, committed, more};
use crate::support::Scratch;

fn path(p: &std::path::Path) -> &str {
    p.to_str().unwrap()
}

#[test]
fn the_committed_file_agrees_in_all_ways() {
    let s = Scratch::with("");
    let file = committed();
    let fused = s.run(&["parity", path(&file)]).ok();
    for part in ["energies at x_init", "f32 on engine: fused", "everything agrees"] {
        assert!(fused.out.contains(part), "{part}: {fused:?}");
    }
    assert!(!fused.out.contains("OVER"));
    let graph = s.run(&["parity", path(&file), "--engine", "graph"]).ok();
    assert!(graph.out.contains("f32 on engine: graph"), "{graph:?}");
    let double = s.run(&["parity", path(&file), "--dtype", "f64", "--json"]).ok();
    let all: serde_json::Value = serde_json::from_str(&double.out).unwrap();
    assert_eq!((&all[0]["dtype"], &all[0]["pass"]), (&"f64".into(), &true.into()));
    let rows = all[0]["compared"]["rows"].as_array().unwrap();
    assert!(rows.len() > 20 && rows.iter().all(|r| r["pass"] == true), "{rows:?}");
    // The section that a user would write to get this network.
    assert!(all[0]["compared"]["energy"].as_str().unwrap().contains("square = true"), "{all}");
    s.run(&["parity", path(&file), "--dtype", "f64", "--engine", "fused"]).fails(2, &["f32 only"]);
}

#[test]
fn a_deviation_is_found_and_ends_with_1() {
    let s = Scratch::with("");
    let mut g = Golden::open(&committed());
    // The first energy off by a hundredth of it.
    let (_, _, data) = g.tensors.get_mut("e_pos").unwrap();
    let value = f64::from_le_bytes(data[..8].try_into().unwrap()) * 1.01;
    data[..8].copy_from_slice(&value.to_le_bytes());
    g.save(&s.path("off.safetensors"));
    let file = committed();
    let ran = s.run(&["parity", path(&file), "off.safetensors", "--brief"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let over: Vec<&str> = ran.out.lines().filter(|l| l.ends_with("OVER")).collect();
    assert!(over.len() == 1 && over[0].contains("energies at x_pos"), "{ran:?}");
    assert!(ran.out.contains("1 quantities are over"), "{ran:?}");
}

/// Saves the committed file after a change; the comparison must refuse it in one error with these words.
fn refused(change: impl FnOnce(&mut Golden), words: &[&str]) {
    let s = Scratch::with("");
    let mut g = Golden::open(&committed());
    change(&mut g);
    g.save(&s.path("g.safetensors"));
    s.run(&["parity", "g.safetensors"]).fails(3, &[&["g.safetensors"], words].concat());
}

#[test]
fn files_that_contradict_themselves_are_refused_in_words() {
    let set = |key: &'static str, value: &'static str| {
        move |g: &mut Golden| {
            g.settings.insert(key.into(), value.into());
        }
    };
    let without = |name: &'static str| {
        move |g: &mut Golden| {
            g.tensors.remove(name).unwrap();
        }
    };
    refused(set("net", "TransformerModel"), &["`TransformerModel`", "wanted ResNetModel"]);
    refused(set("filter_dim", "many"), &["`filter_dim` is `many`", "whole number"]);
    refused(set("filter_dim", "100000000"), &["w.conv1.weight", "wanted [100000000"]);
    refused(set("filter_dim", "18446744073709551615"), &["w.conv1.weight"]);
    refused(set("im_size", "64"), &["`x_init`", "64, 64]"]);
    refused(set("batch", "0"), &["at least 1"]);
    refused(set("steps", "0"), &["at least 1"]);
    refused(set("steps", "9"), &["noise."]);
    refused(set("multiscale", "True"), &["w.small_conv1.weight"]);
    refused(set("cond", "True"), &["label"]);
    refused(set("alias", "True").clone_with("self_attn", "True"), &["self_attn"]);
    refused(set("zero_gradient", "{"), &["zero_gradient"]);
    refused(without("w.res_2a.conv1.weight"), &["no weight `w.res_2a.conv1.weight`"]);
    refused(without("x_pos"), &["no tensor `x_pos`"]);
    refused(without("e_neg"), &["no tensor `e_neg`"]);
    refused(without("loss.ent"), &["no tensor `loss.ent`"]);
    refused(
        |g| {
            g.settings.remove("step_lr").unwrap();
        },
        &["no setting `step_lr`"],
    );
    refused(
        |g| {
            let extra = g.tensors["x_pos"].clone();
            g.tensors.insert("w.extra".into(), extra);
        },
        &["`w.extra`"],
    );
    refused(
        |g| {
            let t = g.tensors.get_mut("w.res_1a.bn1.bias").unwrap();
            (t.1, t.2) = (vec![1], t.2[..4].to_vec());
        },
        &["w.res_1a.bn1.bias", "has shape [1]"],
    );
    refused(
        |g| {
            let t = g.tensors.get_mut("grad_x").unwrap();
            t.1.insert(0, 1);
        },
        &["`grad_x`"],
    );
    refused(|g| g.settings.clear(), &["without a golden file's settings", "wanted a safetensors file"]);
}

trait CloneWith {
    fn clone_with(self, key: &'static str, value: &'static str) -> impl FnOnce(&mut Golden);
}

impl<F: FnOnce(&mut Golden)> CloneWith for F {
    fn clone_with(self, key: &'static str, value: &'static str) -> impl FnOnce(&mut Golden) {
        move |g| {
            self(g);
            g.settings.insert(key.into(), value.into());
        }
    }
}

#[test]
fn foreign_and_damaged_files_are_refused_and_the_others_still_compared() {
    let s = Scratch::with("not tensors");
    let whole = std::fs::read(committed()).unwrap();
    for cut in [0, 4, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(s.path("cut.safetensors"), &whole[..cut]).unwrap();
        let found = format!("found {cut} bytes");
        s.run(&["parity", "cut.safetensors"]).fails(3, &["cut.safetensors", &found, "no whole safetensors"]);
    }
    s.run(&["parity", "nowhere.safetensors"]).fails(3, &["nowhere.safetensors", "cannot be read"]);
    let ran = s.run(&["parity", "run.toml", path(&committed())]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("run.toml") && ran.out.contains("energies at x_pos"), "{ran:?}");
}

#[test]
fn a_directory_of_golden_files_agrees() {
    let files = more();
    let s = Scratch::with("");
    for mode in [&["--brief"][..], &["--brief", "--dtype", "f64"]] {
        if files.is_empty() {
            return;
        }
        let names: Vec<&str> = files.iter().map(|f| path(f)).collect();
        s.run(&[&["parity"][..], mode, &names].concat()).ok();
    }
}
