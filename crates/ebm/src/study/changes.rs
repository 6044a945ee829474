//! What a study changes in its base: texts as `--set` takes them, tables of settings, and products of lists of values.

use serde::{Deserialize, Deserializer, Serialize};
use toml::Value;

use super::file::Variant;
use crate::config::Path;
use crate::config::overrides::Override;

/// Settings that a study gives every run itself, and what in the study file says them.
const OWN: [(&str, &str); 6] = [
    ("run.name", "the name of the variant"),
    ("run.seed", "`seeds`"),
    ("run.steps", "`limits.steps`"),
    ("run.report_every", "`limits.report_every`"),
    ("observer", "the study, whose runs write their numbers only"),
    ("policy", "`limits`"),
];

/// Values of one setting that a study goes through, together with those of the others and every variant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// The setting, such as `sampler.steps`.
    pub set: String,
    /// Its values.
    pub values: Vec<Value>,
    /// What they are called in names of runs, one each; without it the setting's last word and the value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// Reads changes: a list of texts `path=value`, or a table of settings.
pub(super) fn changes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    use serde::de::Error;
    let wanted =
        "wanted a list of texts such as [\"sampler.steps=60\"] or a table such as { sampler.steps = 60 }";
    match Value::deserialize(from)? {
        Value::Array(list) => list
            .into_iter()
            .map(|v| match v {
                Value::String(text) => Ok(text),
                other => Err(D::Error::custom(format!("found {other} in a list, {wanted}"))),
            })
            .collect(),
        Value::Table(table) => {
            let mut all = Vec::new();
            for (key, value) in table {
                flatten(key, value, &mut all);
            }
            Ok(all)
        }
        other => Err(D::Error::custom(format!("found {other}, {wanted}"))),
    }
}

/// The settings within a table; a part with a `kind` is one setting, since it takes the place of another.
fn flatten(path: String, value: Value, all: &mut Vec<String>) {
    match value {
        Value::Table(table) if !table.contains_key("kind") && !table.is_empty() => {
            for (key, value) in table {
                flatten(format!("{path}.{key}"), value, all);
            }
        }
        value => all.push(format!("{path}={value}")),
    }
}

/// Whether one of two settings is, or is within, the other.
fn meet(a: &Path, b: &Path) -> bool {
    let n = a.0.len().min(b.0.len());
    a.0[..n] == b.0[..n]
}

/// Refuses changes that the study would overwrite.
pub(super) fn heeded<'a>(changes: impl Iterator<Item = &'a Override>) -> Result<(), String> {
    for change in changes {
        for (own, by) in OWN {
            let Ok(own) = own.parse::<Path>() else { continue };
            if meet(&own, &change.path) {
                return Err(format!(
                    "`{}` would have no effect: {own} of every run is said by {by}; leave it out",
                    change.text
                ));
            }
        }
    }
    Ok(())
}

/// Each variant with each combination of values, the last axis changing fastest.
pub(super) fn product(variants: Vec<Variant>, axes: &[Axis]) -> Result<Vec<Variant>, String> {
    let mut all = match variants.is_empty() && !axes.is_empty() {
        true => vec![Variant { name: String::new(), set: Vec::new(), unset: Vec::new() }],
        false => variants,
    };
    for (i, axis) in axes.iter().enumerate() {
        let path = |text: &str| text.split('=').next().unwrap_or(text).trim().parse::<Path>().ok();
        let own = path(&axis.set);
        let other = axes[..i]
            .iter()
            .map(|a| a.set.as_str())
            .chain(all.iter().flat_map(|v| v.set.iter().filter(|_| i == 0).map(String::as_str)));
        if let Some(other) =
            other.into_iter().find(|text| path(text).zip(own.clone()).is_some_and(|(a, b)| meet(&a, &b)))
        {
            return Err(format!(
                "product of `{}`: is set by `{other}`, too, which would have no effect; leave one of them out",
                axis.set
            ));
        }
        if axis.values.is_empty() {
            return Err(format!("product of `{}`: has no values, wanted at least one", axis.set));
        }
        if !axis.names.is_empty() && axis.names.len() != axis.values.len() {
            let (n, m) = (axis.names.len(), axis.values.len());
            return Err(format!("product of `{}`: has {n} names for {m} values", axis.set));
        }
        let with = |variant: &Variant, i: usize| {
            let own = axis.name(i);
            let name = if variant.name.is_empty() { own } else { format!("{}_{own}", variant.name) };
            let mut set = variant.set.clone();
            set.push(format!("{}={}", axis.set, axis.values[i]));
            Variant { name, set, unset: variant.unset.clone() }
        };
        all =
            all.iter().flat_map(|v| (0..axis.values.len()).map(|i| with(v, i)).collect::<Vec<_>>()).collect();
    }
    Ok(all)
}

impl Axis {
    /// What value `i` is called; names become names of folders.
    fn name(&self, i: usize) -> String {
        if let Some(name) = self.names.get(i) {
            return name.clone();
        }
        let last = self.set.rsplit('.').next().unwrap_or_default();
        match &self.values[i] {
            Value::String(text) => format!("{last}-{text}"),
            value @ (Value::Integer(_) | Value::Float(_) | Value::Boolean(_)) => format!("{last}-{value}"),
            // A part is known by its kind, a list by its place.
            Value::Table(table) => match table.get("kind") {
                Some(Value::String(kind)) => format!("{last}-{kind}"),
                _ => format!("{last}-{}", i + 1),
            },
            _ => format!("{last}-{}", i + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn axis(text: &str) -> Axis {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_product_has_every_combination_under_a_name_of_its_own() {
        let steps = axis("set = 'sampler.steps'\nvalues = [20, 40]");
        let rate = axis("set = 'optimiser.rate'\nvalues = [1e-3, 0.5]\nnames = ['slow', 'fast']");
        let all = product(Vec::new(), &[steps.clone(), rate]).unwrap();
        let names: Vec<&str> = all.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names, ["steps-20_slow", "steps-20_fast", "steps-40_slow", "steps-40_fast"]);
        assert_eq!(all[3].set, ["sampler.steps=40", "optimiser.rate=0.5"]);
        let variant = Variant { name: "kl".into(), set: vec!["a=1".into()], unset: vec!["b".into()] };
        let all = product(vec![variant], &[steps]).unwrap();
        assert_eq!((all[1].name.as_str(), all[1].set.len(), all[1].unset.len()), ("kl_steps-40", 2, 1));
        let e = product(Vec::new(), &[axis("set = 'x'\nvalues = [1, 2]\nnames = ['a']")]).unwrap_err();
        assert!(e.contains("1 names for 2 values"), "{e}");
    }

    #[test]
    fn a_product_does_not_overwrite_variants_and_other_products() {
        let steps = axis("set = 'sampler.steps'\nvalues = [20, 40]");
        let e =
            product(Vec::new(), &[steps.clone(), axis("set = 'sampler.steps'\nvalues = [1]")]).unwrap_err();
        assert!(e.contains("`sampler.steps`") && e.contains("no effect"), "{e}");
        let variant = |set: &str| Variant { name: "v".into(), set: vec![set.into()], unset: Vec::new() };
        for set in ["sampler.steps=4", "sampler={ kind = 'chain' }"] {
            let e = product(vec![variant(set)], std::slice::from_ref(&steps)).unwrap_err();
            assert!(e.contains(set), "{e}");
        }
        product(vec![variant("sampler.transition.noise=0.1")], &[steps]).unwrap();
    }

    #[test]
    fn tables_of_settings_are_changes() {
        #[derive(Deserialize)]
        struct Read {
            #[serde(deserialize_with = "changes")]
            set: Vec<String>,
        }
        let read = |text: &str| toml::from_str::<Read>(text).map(|r| r.set);
        let found =
            read("set = { run.batch = 6, sampler.transition = { kind = 'mala', step_size = 0.1 } }").unwrap();
        assert_eq!(found[0], "run.batch=6");
        assert!(found[1].starts_with("sampler.transition={") && found[1].contains("mala"), "{found:?}");
        assert!(Override::parse(&found[1]).unwrap().value.unwrap().is_table());
        assert_eq!(read("set = ['run.batch=6']").unwrap(), ["run.batch=6"]);
        assert!(read("set = [6]").unwrap_err().to_string().contains("wanted a list of texts"));
    }

    #[test]
    fn changes_that_a_study_overwrites_are_refused() {
        let refused = |text: &str| heeded([&Override::parse(text).unwrap()].into_iter()).err();
        for text in ["run.steps=9", "run.seed=1", "observer=[]", "policy[0].every=1", "run={ batch = 4 }"] {
            let why = refused(text).unwrap();
            assert!(why.contains("no effect") && why.contains(text), "{why}");
        }
        assert_eq!(refused("run.batch=4"), None);
    }
}
