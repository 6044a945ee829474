//! Digests of files and configurations, and what differs between two configurations.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal, two small letters or digits each.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Settings that may change between a run and its continuation: they do not enter what a step computes.
const SAFE: [&str; 12] = [
    "/run/guard",
    "/run/name",
    "/run/steps",
    "/run/schedule_steps",
    "/run/device",
    "/run/engine",
    "/run/report_every",
    "/generate",
    "/observer",
    "/policy",
    "/chains/fill",
    "/format",
];

/// Names of settings of the data that say where they lie, not what they are.
const PLACES: [&str; 5] = ["root", "path", "folder", "directory", "cache"];

/// More of them, which enter digests, as they did in the first checkpoints, but are no difference between two runs.
const FILES: [&str; 5] = ["images", "label_file", "held_out", "held_out_images", "held_out_labels"];

/// The part of a configuration's tree that a continuation must share.
fn essential(tree: &Value) -> Value {
    let mut tree = tree.clone();
    for path in SAFE {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if let Some(Value::Object(table)) = tree.pointer_mut(parent) {
            table.remove(name);
        }
    }
    if let Some(Value::Object(data)) = tree.get_mut("data") {
        PLACES.iter().for_each(|p| {
            data.remove(*p);
        });
    }
    tree
}

/// Digest of the settings that a continuation must share. Keys are in order, so equal settings have
/// equal digests.
pub fn config_digest(tree: &Value) -> String {
    sha256(sorted(&essential(tree)).to_string().as_bytes())
}

/// The same tree with the keys of every table in order.
pub fn sorted(v: &Value) -> Value {
    match v {
        Value::Object(table) => {
            let mut all: Vec<(&String, &Value)> = table.iter().collect();
            all.sort_by_key(|(k, _)| *k);
            Value::Object(all.into_iter().map(|(k, v)| (k.clone(), sorted(v))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// `path: old, now new` for each setting in which `now` differs from `old`.
pub fn differences(old: &Value, now: &Value) -> Vec<String> {
    let mut out = Vec::new();
    walk("", old, now, &mut out);
    out
}

/// As [`differences`], of the settings that a continuation must share.
pub fn essential_differences(old: &Value, now: &Value) -> Vec<String> {
    let without_files = |tree: &Value| {
        let mut tree = essential(tree);
        if let Some(Value::Object(data)) = tree.get_mut("data") {
            data.retain(|name, value| !(FILES.contains(&name.as_str()) && value.is_string()));
        }
        tree
    };
    different(&without_files(old), &without_files(now))
}

/// As [`differences`], but for where the trained energies lie that a part is made of.
pub fn different(old: &Value, now: &Value) -> Vec<String> {
    differences(&without_runs(old), &without_runs(now))
}

/// The tree without the paths of energies of the kind `checkpoint`.
fn without_runs(tree: &Value) -> Value {
    match tree {
        Value::Object(table) => {
            let is_run = table.get("kind").is_some_and(|kind| kind == "checkpoint");
            let kept = table.iter().filter(|(name, _)| !(is_run && *name == "path"));
            Value::Object(kept.map(|(name, value)| (name.clone(), without_runs(value))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(without_runs).collect()),
        other => other.clone(),
    }
}

fn walk(path: &str, old: &Value, now: &Value, out: &mut Vec<String>) {
    let join = |k: &str| if path.is_empty() { k.to_string() } else { format!("{path}.{k}") };
    match (old, now) {
        (Value::Object(a), Value::Object(b)) => {
            for (k, v) in a {
                walk(&join(k), v, b.get(k).unwrap_or(&Value::Null), out);
            }
            for (k, v) in b.iter().filter(|(k, _)| !a.contains_key(*k)) {
                walk(&join(k), &Value::Null, v, out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{path} is {b}, was {a}").replace("null", "absent")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_digest_of_abc_is_the_published_one() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn safe_settings_do_not_count_and_others_do() {
        let a = json!({"run": {"steps": 10, "seed": 1}, "data": {"kind": "x", "root": "/a"}});
        let b = json!({"run": {"seed": 1, "steps": 20}, "data": {"root": "/b", "kind": "x"}});
        let c = json!({"run": {"steps": 10, "seed": 2}, "data": {"kind": "x", "root": "/a"}});
        assert_eq!(config_digest(&a), config_digest(&b));
        assert_ne!(config_digest(&a), config_digest(&c));
        assert_eq!(essential_differences(&a, &c), ["run.seed is 2, was 1"]);
        assert!(essential_differences(&a, &b).is_empty());
        let moved = json!({"data": {"images": "/b/x"}, "energy": {"kind": "checkpoint", "path": "runs/b", "weights": "live"}});
        let was = json!({"data": {"images": "/a/x"}, "energy": {"kind": "checkpoint", "path": "runs/a", "weights": "average"}});
        assert_eq!(essential_differences(&was, &moved), ["energy.weights is \"live\", was \"average\""]);
    }
}
