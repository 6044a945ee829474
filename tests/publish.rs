//! Every crate can be published: its manifest, its licences, its front page, and the versions that it was tried with.
#![allow(clippy::unwrap_used)]

use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::layers::{metadata, sources, text};

/// Categories of crates.io that are used here, by their exact slugs: it drops others without a word.
const CATEGORIES: [&str; 5] = ["science", "mathematics", "config", "development-tools", "visualization"];

/// Crates whose numbers are relied on, at the version that they were tried with. A caret lets users take later ones; a new one
/// in the lock file is tried here first: `scripts/check-hub.sh` for candle-datasets (axes of CIFAR-10), the scripts in
/// `findings/` for candle.
const TRIED: [(&str, &str); 4] = [
    ("candle-core", "0.11.1"),
    ("candle-datasets", "0.11.1"),
    ("candle-nn", "0.11.1"),
    ("nuts-rs", "0.19.1"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All packages of the workspace, and those of them that are published.
fn packages() -> (Vec<Value>, Vec<Value>) {
    let all = metadata(&["--no-deps"])["packages"].as_array().unwrap().clone();
    let published: Vec<Value> = all.iter().filter(|p| p["publish"].is_null()).cloned().collect();
    assert!(published.len() > 30 && published.len() < all.len(), "{}", published.len());
    (all, published)
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(text).collect()
}

fn folder(package: &Value) -> PathBuf {
    PathBuf::from(text(&package["manifest_path"])).parent().unwrap().to_path_buf()
}

/// What crates.io or docs.rs would miss in a package.
fn missing(p: &Value) -> Vec<String> {
    let (name, at, mut found) = (text(&p["name"]), folder(p), Vec::new());
    let mut wanted = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{name}: {what}"));
        }
    };
    wanted(!text(&p["description"]).is_empty(), "description");
    wanted(text(&p["repository"]).starts_with("https://"), "repository.workspace = true");
    wanted(
        text(&p["documentation"]) == format!("https://docs.rs/{name}"),
        "documentation = docs.rs and the name",
    );
    wanted(!text(&p["rust_version"]).is_empty(), "rust-version.workspace = true");
    wanted(p["metadata"]["docs"]["rs"]["targets"].is_array(), "[package.metadata.docs.rs] with targets");
    let letters = |w: &str| w.chars().all(|c| c.is_ascii_alphanumeric() || "_-+".contains(c));
    let word = |w: &String| w.len() <= 20 && w.starts_with(|c: char| c.is_ascii_alphanumeric()) && letters(w);
    let keywords = words(&p["keywords"]);
    wanted(
        (1..=5).contains(&keywords.len()) && keywords.iter().all(word),
        "one to five keywords of 20 letters",
    );
    let categories = words(&p["categories"]);
    let known = categories.iter().all(|c| CATEGORIES.contains(&c.as_str()));
    wanted((1..=5).contains(&categories.len()) && known, "categories of crates.io");
    wanted(text(&p["license"]).contains("MIT OR Apache-2.0"), "license");
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let own = std::fs::read_to_string(at.join(licence)).unwrap_or_default();
        wanted(own == read(root().join(licence)), &format!("{licence}, a link to that of the workspace"));
    }
    wanted(!text(&p["license"]).contains("CC-BY") || at.join("LICENSE-DATA").is_file(), "LICENSE-DATA");
    let page = std::fs::read_to_string(at.join("README.md")).unwrap_or_default();
    wanted(
        text(&p["readme"]) == "README.md" && page.starts_with(&format!("# {name}\n")),
        "README.md under its name",
    );
    wanted(page.contains("\n```rust"), "an example in README.md");
    let library = read(at.join("src/lib.rs"));
    let included = library.contains("#![doc = include_str!(\"../README.md\")]");
    wanted(
        library.starts_with("//! ") && included,
        "src/lib.rs: a first sentence, and README.md as its page",
    );
    found
}

#[test]
fn every_published_crate_has_its_papers_and_a_front_page_with_an_example() {
    let (_, published) = packages();
    let found: Vec<String> = published.iter().flat_map(missing).collect();
    assert!(found.is_empty(), "missing:\n{}", found.join("\n"));
}

#[test]
fn crates_share_one_version_and_ask_for_it_and_nothing_is_pinned() {
    let (all, _) = packages();
    let version = text(&all[0]["version"]);
    let mut found = Vec::new();
    for p in &all {
        let name = text(&p["name"]);
        if text(&p["version"]) != version {
            found.push(format!("{name}: version.workspace = true"));
        }
        for d in p["dependencies"].as_array().unwrap() {
            let (to, asked) = (text(&d["name"]), text(&d["req"]));
            // Crates for tests alone have none, for a circle of crates that test each other cannot be published.
            let wanted = match (d["path"].is_null(), text(&d["kind"]).as_str()) {
                (true, _) => !asked.starts_with('=') && asked != "*",
                (false, "dev") => asked == "*",
                (false, _) => asked == format!("^{version}"),
            };
            if !wanted {
                found.push(format!("{name} asks for {to} {asked}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let repository = text(&all[0]["repository"]);
    for line in [format!("version: {version}\n"), format!("repository-code: {repository}\n")] {
        assert!(read(root().join("CITATION.cff")).contains(&line), "CITATION.cff has no line {line:?}");
    }
}

/// `path` without `.` and `..`, by its words alone.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut all, part| {
        match part {
            Component::ParentDir => drop(all.pop()),
            Component::CurDir => (),
            other => all.push(other),
        }
        all
    })
}

#[test]
fn no_crate_includes_a_file_that_is_not_packed_with_it() {
    let (_, published) = packages();
    let (mut found, mut seen) = (Vec::new(), 0);
    for p in &published {
        let (at, mut files) = (folder(p), Vec::new());
        sources(&at.join("src"), &mut files);
        for file in files {
            let code = read(&file);
            for rest in code.split("include_str!(\"").chain(code.split("include_bytes!(\"")).skip(1) {
                let Some((path, _)) = rest.split_once("\")") else { continue };
                let target = plain(&file.parent().unwrap().join(path));
                if path.len() < 100 && target.is_file() {
                    seen += 1;
                    if !target.starts_with(plain(&at)) {
                        found.push(format!("{}: {path}", file.display()));
                    }
                }
            }
        }
    }
    assert!(found.is_empty() && seen > 40, "{seen} includes, outside of their crate: {found:?}");
}

/// Names of what `package` brings along with its default features.
fn brings(package: &str) -> Vec<String> {
    let out = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--package", package])
        // As a user builds it: features of other crates of this workspace do not count.
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let lines = String::from_utf8(out.stdout).unwrap();
    lines.lines().filter_map(|l| l.split(' ').next().map(str::to_string)).collect()
}

#[test]
fn images_under_a_share_alike_licence_come_with_the_program_alone() {
    let (_, published) = packages();
    let shared: Vec<String> = published
        .iter()
        .filter(|p| text(&p["license"]).contains("CC-BY-SA"))
        .map(|p| text(&p["name"]))
        .collect();
    assert_eq!(shared, ["ebm-data-mnist5k"]);
    for library in ["ebm", "ebm-plugins", "ebm-testkit"] {
        let brought = brings(library);
        assert!(brought.len() > 20, "{library}: {brought:?}");
        assert!(!brought.contains(&shared[0]), "{library} brings {}", shared[0]);
    }
    assert!(brings("ebm-cli").contains(&shared[0]), "the program has no {}", shared[0]);
}

#[test]
fn the_lock_file_has_the_versions_that_were_tried_and_the_tables_say_so() {
    let lock: toml::Table = toml::from_str(&read(root().join("Cargo.lock"))).unwrap();
    let locked = |name: &str| -> Vec<String> {
        let packages = lock["package"].as_array().unwrap().iter();
        let versions = packages.filter(|p| p["name"].as_str() == Some(name));
        versions.filter_map(|p| p["version"].as_str().map(str::to_string)).collect()
    };
    for (name, version) in TRIED {
        assert_eq!(locked(name), [version], "{name}: try it (see TRIED), then change the version there");
    }
    let (_, published) = packages();
    let short = |version: &str| version.rsplit_once('.').unwrap().0.to_string();
    let row = format!("| {} | {} |", short(&text(&published[0]["version"])), short(TRIED[0].1));
    for table in ["book/src/design/releases.md", "crates/ebm-core/README.md"] {
        assert!(read(root().join(table)).contains(&row), "{table} has no row {row}");
    }
    let rust = text(&published[0]["rust_version"]);
    for file in ["book/src/design/releases.md", "README.md", ".github/workflows/ci.yml"] {
        assert!(read(root().join(file)).contains(&rust), "{file} does not name Rust {rust}");
    }
}
