//! What `ebm new`, `ebm completions` and `ebm man` write: crates are those of the working example, configurations check out.

#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::Scratch;
use ebm_plugins as _;

/// Kind and type of the working example of each family.
const EXAMPLES: [(&str, &str, &str); 10] = [
    ("energy", "squared-experts", "SquaredExperts"),
    ("transition", "leaping", "Leaping"),
    ("sampler", "two-speed", "TwoSpeed"),
    ("entropy", "spread", "Spread"),
    ("objective", "denoising", "Denoising"),
    ("replay", "newest", "Newest"),
    ("data", "spiral", "Spiral"),
    ("optimiser", "heavy-ball", "HeavyBall"),
    ("observer", "lines", "Lines"),
    ("policy", "halving", "Halving"),
];

fn root() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/..")
}

#[test]
fn a_new_crate_is_the_working_example_under_its_own_name() {
    let s = Scratch::with(crate::support::SMALL);
    for (family, kind, name) in EXAMPLES {
        let own = format!("my-{family}");
        s.run(&["new", "plugin", &own, "--kind", family, "--ebm", root()]).ok();
        let read = |file: &str| fs::read_to_string(s.path(&own).join(file)).unwrap();
        let template =
            fs::read_to_string(format!("{}/crates/ebm-cli/templates/{family}.rs", root())).unwrap();
        let mut letters = family.chars();
        let first = letters.next().unwrap().to_ascii_uppercase();
        let pascal = format!("My{first}{}", letters.as_str());
        let named = |code: String, quote: char| {
            code.replace(&format!("{quote}{kind}{quote}"), &format!("{quote}{own}{quote}"))
        };
        let wanted = named(named(template.replace(name, &pascal), '"'), '`');
        assert_eq!(read("src/lib.rs"), wanted, "{family}");
        assert!(!read("src/lib.rs").contains(name) && read("src/lib.rs").contains(&format!("\"{own}\"")));
        // What the example crate compiles is what is written here.
        let example = fs::read_to_string(format!("{}/examples/own-plugins/src/lib.rs", root())).unwrap();
        assert!(example.contains(&format!("templates/{family}.rs")), "{family}");
        let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some(own.as_str()));
        // As fast to build as the workspace, and as fast to run as its tests.
        let workspace = fs::read_to_string(format!("{}/Cargo.toml", root())).unwrap();
        let workspace: toml::Table = workspace.parse().unwrap();
        assert_eq!(manifest["profile"]["dev"], workspace["profile"]["dev"], "{family}");
        for (table, dependency) in [
            ("dependencies", "ebm-core"),
            ("dependencies", "ebm-cli"),
            ("dependencies", "ebm-plugins"),
            ("dev-dependencies", "ebm-testkit"),
        ] {
            let path = manifest[table][dependency]["path"].as_str().unwrap();
            let theirs: toml::Table =
                fs::read_to_string(format!("{path}/Cargo.toml")).unwrap().parse().unwrap();
            assert_eq!(theirs["package"]["name"].as_str(), Some(dependency));
        }
        assert!(read("tests/conformance.rs").contains(&format!("conformance!(my_{family});")));
        assert!(read("LICENSE-MIT").starts_with("MIT License"));
        // The run names the plugin, whose settings are those that the example's kind has.
        let run = read("run.toml");
        assert!(run.starts_with("#:schema ") && run.contains(&format!("kind = \"{own}\"")), "{run}");
        let _: toml::Table = run.parse().unwrap();
    }
}

#[test]
fn places_of_the_framework_are_folders_addresses_or_versions() {
    let s = Scratch::with(crate::support::SMALL);
    for (from, wanted) in [
        ("https://example.org/ebm.git", "git = \"https://example.org/ebm.git\""),
        ("0.1.0", "version = \"0.1.0\""),
    ] {
        s.run(&["new", "plugin", "mine", "--kind", "energy", "--ebm", from, "--out", "a"]).ok();
        let text = fs::read_to_string(s.path("a/Cargo.toml")).unwrap();
        assert!(text.contains(wanted), "{text}");
        fs::remove_dir_all(s.path("a")).unwrap();
    }
}

#[test]
fn what_cannot_be_written_is_refused_and_leaves_nothing() {
    let s = Scratch::with(crate::support::SMALL);
    for (arguments, told) in [
        (vec!["mine", "--kind", "energies"], "wanted one of energy, transition"),
        (vec!["Mine", "--kind", "energy"], "small letters"),
        (vec!["mine-", "--kind", "energy"], "small letters"),
        (vec!["match", "--kind", "energy"], "word of the language"),
        (vec!["mlp", "--kind", "energy"], "is there already, from ebm-energies-net"),
        (vec!["mine", "--kind", "energy", "--ebm", "no-such-folder"], "no crates/ebm-cli/Cargo.toml"),
    ] {
        let mut all = vec!["new", "plugin"];
        all.extend(arguments);
        all.extend(["--out", "b"]);
        s.run(&all).fails(2, &[told]);
        assert!(!s.path("b").exists());
    }
    fs::create_dir(s.path("full")).unwrap();
    fs::write(s.path("full/note"), "mine").unwrap();
    s.run(&["new", "plugin", "mine", "--kind", "energy", "--out", "full"]).fails(2, &["full"]);
    assert_eq!(fs::read_dir(s.path("full")).unwrap().count(), 1);
    s.run(&["new", "run", "c.toml", "--recipe", "pseudo-likelihood"])
        .fails(2, &["--recipe: the data are real numbers"]);
    assert!(!s.path("c.toml").exists());
}

#[test]
fn configurations_of_every_recipe_check_out() {
    let s = Scratch::with(crate::support::SMALL);
    for (file, data, recipe) in [
        ("digits.toml", "digits", "contrastive"),
        ("levels.toml", "digits", "denoising"),
        ("moons.toml", "toy2d:name=moons", "contrastive"),
        ("scores.toml", "toy2d:name=moons", "denoising"),
        ("noise.toml", "toy2d:name=rings", "noise-contrast"),
        ("bits.toml", "digits:binary=threshold", "contrastive"),
        ("pseudo.toml", "digits:binary=threshold", "pseudo-likelihood"),
    ] {
        s.run(&["new", "run", file, "--data", data, "--recipe", recipe]).ok();
        let text = fs::read_to_string(s.path(file)).unwrap();
        assert!(text.starts_with("#:schema ./ebm.schema.json\n") && text.contains("\n# "), "{text}");
        s.run(&["check", file, "--no-timing"]).ok();
    }
    let schema: serde_json::Value =
        serde_json::from_slice(&fs::read(s.path("ebm.schema.json")).unwrap()).unwrap();
    assert_eq!(schema["title"], "configuration of an ebm run");
    // What is there stays.
    let before = fs::read(s.path("moons.toml")).unwrap();
    s.run(&["new", "run", "moons.toml"]).fails(2, &["moons.toml"]);
    assert_eq!(fs::read(s.path("moons.toml")).unwrap(), before);
}

#[test]
fn shells_and_manuals_know_the_commands() {
    let s = Scratch::with(crate::support::SMALL);
    for shell in ["bash", "zsh", "fish"] {
        let script = s.run(&["completions", shell]).ok().out;
        assert!(script.contains("ebm") && script.contains("resume"), "{shell}: {script}");
    }
    s.run(&["man", "manual"]).ok();
    for page in ["ebm.1", "ebm-train.1", "ebm-new-plugin.1", "ebm-data-list.1"] {
        let text = fs::read_to_string(s.path("manual").join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains(".SH"), "{page}: {text}");
    }
    s.run(&["man", "manual"]).fails(2, &["manual"]);
}
