//! Crates depend on lower layers only; see the book's design chapter.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

/// Normal (not dev) dependencies of each package of the workspace that are packages of the workspace.
fn dependencies() -> Vec<(String, String, Vec<String>)> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let all: Value = serde_json::from_slice(&out.stdout).unwrap();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    all["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            let uses = p["dependencies"].as_array().unwrap().iter();
            let uses = uses
                .filter(|d| d["kind"].is_null() && !d["path"].is_null())
                .map(|d| text(&d["name"]))
                .collect();
            (text(&p["name"]), text(&p["manifest_path"]), uses)
        })
        .collect()
}

#[test]
fn every_crate_uses_lower_layers_only() {
    let all = dependencies();
    let plugins: Vec<&str> =
        all.iter().filter(|(_, at, _)| at.contains("/plugins/")).map(|(n, _, _)| n.as_str()).collect();
    assert!(plugins.len() > 10, "{plugins:?}");
    for (name, _, uses) in &all {
        let allowed: &[&str] = match name.as_str() {
            "ebm-derive" | "ebm-eval" | "ebm-data" => &[],
            "ebm-core" => &["ebm-derive"],
            "ebm-nn" | "ebm-engine-cpu" | "ebm-engine-gpu" | "ebm-ranks" | "ebm-train" | "ebm-testkit" => {
                &["ebm-core"]
            }
            "ebm-data-digits" | "ebm-data-mnist5k" => &["ebm-data"],
            "ebm-features" => &["ebm-data", "ebm-eval"],
            n if plugins.contains(&n) && n != "ebm-plugins" => {
                &["ebm-core", "ebm-nn", "ebm-data", "ebm-data-digits", "ebm-data-mnist5k"]
            }
            _ => continue, // the facade, the command, the standard set, examples and tests stand on top
        };
        for used in uses {
            assert!(allowed.contains(&used.as_str()), "{name} uses {used}, allowed are {allowed:?}");
        }
    }
    let facade = all.iter().find(|(n, _, _)| n == "ebm").unwrap();
    // Its sheets of samples are drawn with the observers' pictures; no kind of any plugin is named.
    let plugin = |u: &&String| plugins.contains(&u.as_str()) && *u != "ebm-observers";
    let named: Vec<&String> = facade.2.iter().filter(plugin).collect();
    assert!(named.is_empty(), "the facade names plugins: {named:?}");
}
