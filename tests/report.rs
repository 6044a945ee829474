//! `ebm report`: a page that a browser draws without an error and without a network.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{SMALL, Scratch};

const PLANE: &str = r#"format = 1
[run]
name = "plane"
steps = 4
batch = 16
[data]
kind = "toy2d"
name = "moons"
[energy]
kind = "mlp"
hidden = [8]
[sampler]
kind = "chain"
steps = 2
transition = { kind = "langevin", step_size = 0.01, noise = 0.1 }
[replay]
kind = "random-overwrite"
capacity = 100
[objective]
kind = "contrastive"
[optimiser]
kind = "adam"
rate = 1e-3
[generate]
steps = 2
count = 16
[[observer]]
kind = "jsonl"
[[observer]]
kind = "sheet"
every = 2
[[policy]]
kind = "checkpoint"
every = 2
"#;

#[test]
fn a_page_of_one_run_and_of_several() {
    let s =
        Scratch::with(&SMALL.replace("[[policy]]", "[[observer]]\nkind = \"sheet\"\nevery = 3\n[[policy]]"));
    fs::write(s.path("plane.toml"), PLANE).unwrap();
    s.run(&["train", "run.toml", "--out", "a"]).ok();
    s.run(&["train", "run.toml", "--out", "b", "--seed", "1", "--set", "optimiser.rate=2e-3"]).ok();
    s.run(&["train", "plane.toml", "--out", "p"]).ok();

    let ran = s.run(&["report", "a"]).ok();
    assert!(ran.out.contains("a: ") && ran.out.contains("report.html"), "{ran:?}");
    let page = fs::read_to_string(s.path("report.html")).unwrap();
    for part in [
        "energy.difference",
        "data:image/png;base64,",
        "held-out data",
        "uniform noise",
        "fd_pix",
        "Pairs in which the sample has the higher energy",
        "after update 3",
        "image-rendering: pixelated",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // What is looked at first stands first.
    let at = |part: &str| page.find(part).unwrap_or_else(|| panic!("no {part}"));
    let order = [
        "class=\"health",
        "Key figures",
        "Measures of the samples",
        "Samples over training",
        "id=\"curves",
        "id=\"settings",
    ];
    assert!(order.windows(2).all(|w| at(w[0]) < at(w[1])));
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(outside), "{outside}: the page must need no network");
    }
    s.run(&["report", "a"]).fails(2, &["report.html", "already exists", "--force"]);
    s.run(&["report", "a", "b", "--out", "both.html", "--charts", "."]).ok();
    let svg = fs::read_to_string(s.path("energies.svg")).unwrap();
    for text in ["energy (nats)", "update", "\na\n", "\nb\n"] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
    assert!(fs::read(s.path("energies.png")).unwrap().starts_with(b"\x89PNG"));
    let both = fs::read_to_string(s.path("both.html")).unwrap();
    assert!(
        both.contains("<th scope=\"row\">optimiser.rate</th><td>0.001</td><td>0.002</td>"),
        "what differs"
    );
    s.run(&["report", "p", "--out", "plane.html"]).ok();
    assert!(fs::read_to_string(s.path("plane.html")).unwrap().contains("alt=\"Energy over the plane, p\""));

    let Some(browser) = browser() else {
        println!("skipped: no browser; wanted chromium in PATH, or its path in EBM_CHROMIUM");
        return;
    };
    for (page, charts, dark) in [("report.html", 8, false), ("both.html", 8, true), ("plane.html", 6, true)] {
        drawn(&browser, &s.path(page), charts, dark);
    }
}

#[test]
fn bad_input_is_one_error_and_leaves_no_page() {
    let s = Scratch::with(SMALL);
    s.run(&["report", "none"]).fails(2, &["none", "config.toml"]);
    s.run(&["train", "run.toml", "--out", "a"]).ok();
    s.run(&["report", "a", "--out", "no/report.html"]).fails(2, &["no/report.html", "folder"]);
    s.run(&["report", "a", "--charts", "no"]).fails(2, &["--charts no"]);
    let metrics = fs::read_to_string(s.path("a/metrics.jsonl")).unwrap();
    fs::write(s.path("a/metrics.jsonl"), metrics.replacen('{', "", 1)).unwrap();
    s.run(&["report", "a"]).fails(2, &["metrics.jsonl:1"]);
    fs::write(s.path("a/metrics.jsonl"), metrics).unwrap();
    fs::write(s.path("a/measures.json"), "{").unwrap();
    assert!(!s.path("report.html").exists());
    // A side file that is damaged and a model that cannot be loaded are notes on the page of what can be shown.
    fs::remove_dir_all(s.path("a/checkpoints")).unwrap();
    s.run(&["report", "a"]).ok();
    assert!(fs::read_to_string(s.path("report.html")).unwrap().contains("Energies are not shown"));
    assert!(fs::read_to_string(s.path("report.html")).unwrap().contains("measures.json is no JSON"));
}

/// Loads the page in a headless browser: it is drawn to its end, with its charts, and nothing is logged.
fn drawn(browser: &Path, page: &Path, charts: usize, dark: bool) {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser);
    command
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"])
        .args(["--virtual-time-budget=10000", "--dump-dom", "--window-size=1300,2000"])
        .arg(format!("--user-data-dir={}", profile.path().display()));
    if dark {
        command.arg("--blink-settings=preferredColorScheme=0");
    }
    let out = command.arg(format!("file://{}", page.display())).output().unwrap();
    let (dom, log) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(dom.contains("data-ready=\"yes\""), "{page:?} is not drawn to its end:\n{log}");
    let found = dom.matches("<svg class=\"chart\"").count();
    assert!(found >= charts, "{page:?}: found {found} charts, wanted at least {charts}");
    let said: Vec<&str> = log.lines().filter(|l| l.contains("CONSOLE")).collect();
    assert!(said.is_empty(), "{page:?}: {said:?}");
    let paper = if dark { "data-paper=\"rgb(22, 24, 27)\"" } else { "data-paper=\"rgb(255, 255, 255)\"" };
    assert!(dom.contains(paper), "{page:?}: wanted {paper}");
}

fn browser() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("EBM_CHROMIUM") {
        return Some(path.into());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .flat_map(|f| ["chromium", "chromium-browser", "google-chrome"].map(|n| f.join(n)))
        .find(|p| p.is_file())
}
