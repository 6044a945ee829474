//! Crates depend on lower layers only; see the book's design chapter.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub fn metadata(more: &[&str]) -> Value {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1"])
        .args(more)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

pub fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_string()
}

/// Normal (not dev) dependencies of each package of the workspace that are packages of the workspace.
fn dependencies() -> Vec<(String, String, Vec<String>)> {
    let all = metadata(&["--no-deps"]);
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

/// The words between backticks of a cell.
fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Rows of the table of layers in the book: a crate, and the cell of what it uses.
fn table(book: &'static str) -> Vec<(&'static str, &'static str)> {
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.split('|').collect();
        Some((*words(cells.get(1)?).first()?, *cells.get(3)?))
    };
    book.lines().filter(|l| l.starts_with("| `")).filter_map(row).collect()
}

#[test]
fn every_crate_uses_what_its_row_of_the_design_chapter_names_and_stands_above_it() {
    let (table, all) = (table(include_str!("../book/src/design/design.md")), dependencies());
    let row = |name: &str| table.iter().position(|(n, _)| *n == name);
    let of = |family: &str| -> Vec<&str> {
        all.iter().filter(|(_, at, _)| at.contains(family)).map(|(n, _, _)| n.as_str()).collect()
    };
    let plugins: Vec<&str> = of("/plugins/").into_iter().filter(|n| row(n).is_none()).collect();
    assert!(plugins.len() > 10, "{plugins:?}");
    let home = |name: &str| if plugins.contains(&name) { row("plugins/*") } else { row(name) };
    // Examples and tests stand on top of all.
    for (name, _, uses) in all.iter().filter(|(_, at, _)| at.contains("/crates/") || at.contains("/plugins/"))
    {
        let own = home(name).unwrap_or_else(|| panic!("the design chapter has no row of {name}"));
        let mut named = words(table[own].1);
        if name == "ebm" {
            let left_out = std::mem::replace(&mut named, of("/crates/"));
            named.retain(|n| !left_out.contains(n));
        }
        if named.contains(&"plugins/*") {
            named.extend(&plugins);
        }
        for used in uses {
            assert!(
                home(used).unwrap() < own,
                "{name} uses {used}, which stands below it in the design chapter"
            );
            assert!(named.contains(&used.as_str()), "{name} uses {used}, its row has {named:?}");
        }
    }
    for (name, _) in &table {
        let known = *name == "plugins/*" || all.iter().any(|(n, _, _)| n == name);
        assert!(known, "the design chapter has a row of `{name}`, which is no crate");
    }
}

/// Rust files below `folder`.
pub fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
}

/// Whether a text speaks of a flag, `--word`, or of a command, `ebm train`.
fn speaks_of_the_command_line(text: &str) -> bool {
    let flag = text.split("--").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
    let commands = ["train", "resume", "sample", "score", "eval", "check", "data", "study", "classifier"];
    // How to build a program is cargo's word.
    (flag && !text.contains("--features")) || commands.iter().any(|c| text.contains(&format!("ebm {c}")))
}

#[test]
fn libraries_speak_of_settings_and_the_command_line_alone_of_flags() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut files = Vec::new();
    for family in ["crates", "plugins"] {
        for entry in std::fs::read_dir(root.join(family)).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with("ebm-cli") && path.join("src").is_dir() {
                sources(&path.join("src"), &mut files);
            }
        }
    }
    assert!(files.len() > 300, "{}", files.len());
    let mut found = Vec::new();
    for file in files.iter().filter(|f| !f.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            // Between an odd and an even quote is a text.
            if line.split('"').skip(1).step_by(2).any(speaks_of_the_command_line) {
                found.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "flags and commands in libraries:\n{}", found.join("\n"));
}

/// Packages that `of` brings along, itself included, by name and version.
fn closure(all: &Value, of: &str) -> BTreeSet<String> {
    let nodes: BTreeMap<String, &Value> =
        all["resolve"]["nodes"].as_array().unwrap().iter().map(|n| (text(&n["id"]), n)).collect();
    let packages = all["packages"].as_array().unwrap();
    let first = packages.iter().find(|p| p["name"] == *of).map(|p| text(&p["id"])).unwrap();
    let (mut seen, mut next) = (BTreeSet::new(), vec![first]);
    while let Some(id) = next.pop() {
        let normal = |d: &&Value| d["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"].is_null());
        next.extend(
            nodes[&id]["deps"]
                .as_array()
                .unwrap()
                .iter()
                .filter(normal)
                .map(|d| text(&d["pkg"]))
                .filter(|id| !seen.contains(id)),
        );
        seen.insert(id);
    }
    seen
}

#[test]
fn the_contract_is_little_more_than_candle_and_measures_need_no_tensors() {
    // What other systems bring along need not be here.
    let version = Command::new(env!("CARGO")).arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).unwrap();
    let all = metadata(&["--filter-platform", host]);
    let (core, candle) = (closure(&all, "ebm-core"), closure(&all, "candle-core"));
    let beyond: Vec<&String> = core.difference(&candle).filter(|id| !id.starts_with("path+")).collect();
    assert!(beyond.len() <= 13, "{beyond:#?}");
    for (package, without) in [("ebm-core", "candle-nn"), ("ebm-eval", "candle-core")] {
        let brought = closure(&all, package);
        assert!(!brought.iter().any(|id| id.contains(&format!("{without}@"))), "{package} brings {without}");
    }
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut files = Vec::new();
    ["crates", "plugins", "examples", "tests"].iter().for_each(|f| sources(&root.join(f), &mut files));
    assert!(files.len() > 400, "{}", files.len());
    let lines = |file: &PathBuf| std::fs::read_to_string(file).unwrap().lines().count();
    let long: Vec<_> = files.iter().map(|f| (f.display(), lines(f))).filter(|(_, n)| *n > 500).collect();
    assert!(long.is_empty(), "two ideas may live in each of these: {long:?}");
}

/// Rooms of the facade, lowest first: a room may use those before it.
const ROOMS: [&str; 13] = [
    "median",
    "error",
    "tensors",
    "text_file",
    "whole_file",
    "config",
    "inputs",
    "run",
    "model",
    "measure",
    "report",
    "study",
    "interop",
];

#[test]
fn rooms_of_the_facade_use_lower_rooms_only_and_stay_small() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/ebm/src"));
    let mut files = Vec::new();
    sources(root, &mut files);
    let mut found = Vec::new();
    let mut folders = BTreeMap::<&Path, usize>::new();
    for file in files.iter().filter(|f| !f.ends_with("lib.rs")) {
        let inside = file.strip_prefix(root).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        *folders.entry(inside.parent().unwrap()).or_default() += 1;
        let first = Path::new(inside.iter().next().unwrap()).file_stem().unwrap().to_str().unwrap();
        let floor = |room: &str| ROOMS.iter().position(|r| *r == room);
        let code = text
            .lines()
            .filter(|l| !l.trim_start().starts_with("//"))
            .flat_map(|l| l.split("crate::").skip(1));
        for used in
            code.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
        {
            // What is wrong with a configuration is a kind of error.
            let allowed = used == first || floor(used) < floor(first) || (first, used) == ("error", "config");
            if floor(used).is_none() || !allowed {
                found.push(format!("{}: uses {used}, which is no lower room", inside.display()));
            }
        }
    }
    let full = folders.iter().filter(|(_, n)| **n > 20);
    found.extend(full.map(|(folder, n)| format!("{}: {n} files, wanted at most 20", folder.display())));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
