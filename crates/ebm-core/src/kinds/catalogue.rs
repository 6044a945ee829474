//! The catalogue of plugins: one declaration gives help, schema, validation and tables.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Error, Result};

/// A family of plugins: what trait they implement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Energies.
    Energy,
    /// Markov steps.
    Transition,
    /// Programs over transitions.
    Sampler,
    /// Entropy estimators.
    Entropy,
    /// Objectives.
    Objective,
    /// Replay buffers.
    Replay,
    /// Data sources.
    Data,
    /// Optimisers.
    Optimiser,
    /// Observers.
    Observer,
    /// Policies.
    Policy,
}

impl Family {
    /// All families in the order of the book.
    pub const ALL: [Family; 10] = [
        Family::Energy,
        Family::Transition,
        Family::Sampler,
        Family::Entropy,
        Family::Objective,
        Family::Replay,
        Family::Data,
        Family::Optimiser,
        Family::Observer,
        Family::Policy,
    ];

    /// The family's word in configuration and messages.
    pub fn name(self) -> &'static str {
        match self {
            Family::Energy => "energy",
            Family::Transition => "transition",
            Family::Sampler => "sampler",
            Family::Entropy => "entropy",
            Family::Objective => "objective",
            Family::Replay => "replay",
            Family::Data => "data",
            Family::Optimiser => "optimiser",
            Family::Observer => "observer",
            Family::Policy => "policy",
        }
    }

    /// One of the family, with its article: `an energy`, `a data source`.
    pub fn one(self) -> &'static str {
        match self {
            Family::Energy => "an energy",
            Family::Transition => "a transition",
            Family::Sampler => "a sampler",
            Family::Entropy => "an entropy estimator",
            Family::Objective => "an objective",
            Family::Replay => "a replay buffer",
            Family::Data => "a data source",
            Family::Optimiser => "an optimiser",
            Family::Observer => "an observer",
            Family::Policy => "a policy",
        }
    }

    /// The family of this name.
    pub fn named(name: &str) -> Option<Family> {
        Family::ALL.into_iter().find(|f| f.name() == name)
    }
}

/// Ties a configuration trait to its family.
pub trait InFamily {
    /// The family.
    const FAMILY: Family;
}

/// What a setting holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParamKind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// Text.
    Text,
    /// A list of whole numbers.
    Ints,
    /// A list of numbers.
    Floats,
    /// A list of texts.
    Texts,
    /// A condition: a class by its number or its name, or a list of numbers.
    Given,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A component of this family: a table with `kind`.
    Part(Family),
    /// A list of components of this family.
    Parts(Family),
    /// A table with these settings.
    Table(&'static [Param]),
    /// A list of tables with these settings.
    Tables(&'static [Param]),
}

/// One setting of a component: name, kind, meaning, default, range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Param {
    /// Its name in TOML.
    pub name: &'static str,
    /// What it holds.
    pub kind: ParamKind,
    /// What it means, with units.
    pub doc: &'static str,
    /// Default as TOML text; `None` means it must be given.
    pub default: Option<&'static str>,
    /// Smallest value, and whether it is itself excluded.
    pub low: Option<(f64, bool)>,
    /// Largest value, and whether it is itself excluded.
    pub high: Option<(f64, bool)>,
    /// Its unit, such as `seconds`.
    pub unit: Option<&'static str>,
}

impl Param {
    /// The range in words, such as `> 0` or `0 ..= 1`; empty if any value goes.
    pub fn range(&self) -> String {
        let low = self.low.map(|(v, open)| if open { format!("> {v}") } else { format!("≥ {v}") });
        let high = self.high.map(|(v, open)| if open { format!("< {v}") } else { format!("≤ {v}") });
        [low, high].into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }

    /// Whether a number is in range.
    pub fn allows(&self, v: f64) -> bool {
        let low = self.low.is_none_or(|(l, open)| if open { v > l } else { v >= l });
        let high = self.high.is_none_or(|(h, open)| if open { v < h } else { v <= h });
        low && high && v.is_finite()
    }
}

/// A plugin in the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// Its family.
    pub family: Family,
    /// Its name in `kind = "..."`, kebab-case.
    pub kind: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Paper and equation, or `this project`.
    pub source: &'static str,
    /// A complete example of its settings as TOML lines (without `kind`).
    pub example: &'static str,
    /// Its settings.
    pub params: &'static [Param],
    /// The crate that brings it.
    pub origin: &'static str,
    /// That crate's version.
    pub version: &'static str,
}

inventory::collect!(Component);

/// All linked components, by family, then kind.
pub fn components() -> Vec<&'static Component> {
    let mut all: Vec<&Component> = inventory::iter::<Component>.into_iter().collect();
    all.sort_by_key(|c| (c.family, c.kind, c.origin));
    all
}

/// The component of this family and kind.
pub fn find(family: Family, kind: &str) -> Option<&'static Component> {
    inventory::iter::<Component>.into_iter().find(|c| c.family == family && c.kind == kind)
}

/// The kinds of a family that are nearest to `kind`, best first, at most three.
pub fn nearest(family: Family, kind: &str) -> Vec<&'static str> {
    let all: Vec<&'static str> =
        components().into_iter().filter(|c| c.family == family).map(|c| c.kind).collect();
    closest(kind, all)
}

/// The words nearest to `word`, best first, at most three and none that is very unlike.
///
/// Two similarities are added: Jaro–Winkler rewards a common beginning (`noise` for `noise_fist`), Damerau–Levenshtein
/// sees swapped letters as one mistake (`mlp` for `mpl`), which in short words the first does not.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .filter_map(|k| {
            let (start, edits) =
                (strsim::jaro_winkler(word, k), strsim::normalized_damerau_levenshtein(word, k));
            (start > 0.7 || edits > 0.5).then_some((start + edits, k))
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.dedup_by_key(|(_, k)| *k);
    scored.truncate(3);
    scored.into_iter().map(|(_, k)| k).collect()
}

/// Crates that brought components, with the number of them.
pub fn origins() -> BTreeMap<&'static str, usize> {
    let mut all = BTreeMap::new();
    for c in components() {
        *all.entry(c.origin).or_insert(0) += 1;
    }
    all
}

/// Checks that no two components share a family and a kind. Call it before reading a configuration.
///
/// # Errors
/// Names the kind and both crates.
pub fn check() -> Result<()> {
    check_unique(&components())
}

fn check_unique(all: &[&Component]) -> Result<()> {
    for pair in all.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if a.family == b.family && a.kind == b.kind {
            return Err(Error::config(
                format!("{} `{}`", a.family.name(), a.kind),
                format!(
                    "is brought by two crates, {} {} and {} {}; rename one of them or link only one",
                    a.origin, a.version, b.origin, b.version
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn component(kind: &'static str, origin: &'static str) -> Component {
        Component {
            family: Family::Energy,
            kind,
            summary: "",
            source: "",
            example: "",
            params: &[],
            origin,
            version: "1.0.0",
        }
    }

    #[test]
    fn slips_of_the_fingers_are_found_and_strangers_left_out() {
        let known = ["mlp", "pull-back", "multi-scale", "temperature", "noise", "noise_first", "move_limit"];
        assert_eq!(closest("mpl", known), ["mlp"]);
        assert_eq!(closest("nois", known), ["noise", "noise_first"]);
        assert_eq!(closest("multiscale", known)[0], "multi-scale");
        assert!(closest("xyz", known).is_empty());
    }

    #[test]
    fn two_crates_with_one_kind_are_named() {
        let (a, b) = (component("bowl", "first-crate"), component("bowl", "second-crate"));
        let text = check_unique(&[&a, &b]).unwrap_err().to_string();
        assert!(
            text.contains("first-crate") && text.contains("second-crate") && text.contains("bowl"),
            "{text}"
        );
        check_unique(&[&a, &component("cup", "second-crate")]).unwrap();
    }

    #[test]
    fn ranges_read_as_they_check() {
        let p = Param {
            name: "x",
            kind: ParamKind::Float,
            doc: "",
            default: None,
            low: Some((0.0, true)),
            high: Some((1.0, false)),
            unit: None,
        };
        assert_eq!(p.range(), "> 0 and ≤ 1");
        assert!(!p.allows(0.0) && p.allows(1.0) && !p.allows(f64::NAN));
    }
}
