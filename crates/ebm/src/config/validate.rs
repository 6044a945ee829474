//! Compares a configuration with the catalogue, setting by setting, and finds all that is wrong at once.

use ebm_core::{Component, Family, Param, ParamKind, catalogue};
use toml::{Table, Value};

use super::path::{Path, Side};
use super::problem::describe;
use ebm_core::catalogue::closest;

/// One thing that is wrong, at a path that is not yet a line.
#[derive(Debug)]
pub(crate) struct Finding {
    pub path: Path,
    pub side: Side,
    pub message: String,
}

/// Compares `document` with the table of the top level.
pub(crate) fn validate(document: &Table, sections: &[Param]) -> Vec<Finding> {
    let mut out = Findings(Vec::new());
    out.settings(document, sections, &Path::default(), "the configuration");
    out.0
}

/// The place of a component in a configuration, checked alone: the value of `data` and the like.
pub(crate) fn validate_part(value: &Value, family: Family, path: &Path) -> Vec<Finding> {
    let mut out = Findings(Vec::new());
    out.part(value, family, path);
    out.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, path: &Path, side: Side, message: String) {
        self.0.push(Finding { path: path.clone(), side, message });
    }

    /// Every key against the settings of `owner`; every setting without default against the keys.
    fn settings(&mut self, table: &Table, params: &[Param], path: &Path, owner: &str) {
        for (key, value) in table {
            let at = path.key(key);
            match params.iter().find(|p| p.name == key) {
                Some(param) => self.value(value, param, &at),
                None => self.add(&at, Side::Key, unknown_setting(owner, key, params)),
            }
        }
        for param in params.iter().filter(|p| p.default.is_none() && !table.contains_key(p.name)) {
            let message = format!("missing, wanted {} ({})", wanted(param), inside(param.doc));
            self.add(&path.key(param.name), Side::Value, message);
        }
    }

    fn value(&mut self, value: &Value, param: &Param, path: &Path) {
        let wrong = |v: &Value| format!("found {}, wanted {}", describe(v), wanted(param));
        match (&param.kind, value) {
            (ParamKind::Bool, Value::Boolean(_)) | (ParamKind::Text, Value::String(_)) => {}
            (ParamKind::Int, Value::Integer(_)) | (ParamKind::Float, Value::Integer(_) | Value::Float(_)) => {
                if !number(value).is_some_and(|v| param.allows(v)) {
                    self.add(path, Side::Value, wrong(value));
                }
            }
            (ParamKind::Given, Value::String(_)) => {}
            (ParamKind::Given, Value::Integer(class)) if *class >= 0 => {}
            (ParamKind::Given, Value::Array(list)) if list.iter().all(|v| number(v).is_some()) => {}
            (ParamKind::Choice(words), Value::String(word)) => {
                if !words.contains(&word.as_str()) {
                    let near = nearest(closest(word, words.iter().copied()));
                    self.add(path, Side::Value, format!("{}{near}", wrong(value)));
                }
            }
            (ParamKind::Ints | ParamKind::Floats | ParamKind::Texts, Value::Array(list)) => {
                let element = Param { kind: element(param.kind), ..*param };
                list.iter().enumerate().for_each(|(i, v)| self.value(v, &element, &path.index(i)));
            }
            (ParamKind::Part(family), _) => self.part(value, *family, path),
            (ParamKind::Parts(family), Value::Array(list)) => {
                list.iter().enumerate().for_each(|(i, v)| self.part(v, *family, &path.index(i)));
            }
            (ParamKind::Table(params), Value::Table(table)) => {
                self.settings(table, params, path, &format!("`{}`", param.name));
            }
            (ParamKind::Tables(params), Value::Array(list)) => {
                for (i, v) in list.iter().enumerate() {
                    let at = path.index(i);
                    match v {
                        Value::Table(t) => self.settings(t, params, &at, &format!("`{}`", param.name)),
                        other => self.add(
                            &at,
                            Side::Value,
                            format!("found {}, wanted a table with {}", describe(other), names(params)),
                        ),
                    }
                }
            }
            _ => self.add(path, Side::Value, wrong(value)),
        }
    }

    fn part(&mut self, value: &Value, family: Family, path: &Path) {
        let Value::Table(table) = value else {
            let message = format!("found {}, wanted {}", describe(value), a_part(family));
            return self.add(path, Side::Value, message);
        };
        let kind = match table.get("kind") {
            Some(Value::String(kind)) => kind,
            Some(other) => {
                let message = format!("found {}, wanted the name of {}", describe(other), family.one());
                return self.add(&path.key("kind"), Side::Value, message);
            }
            None => {
                let message = format!("missing, wanted the name of {}: {}", family.one(), kinds(family));
                return self.add(&path.key("kind"), Side::Value, message);
            }
        };
        let Some(component) = catalogue::find(family, kind) else {
            return self.add(&path.key("kind"), Side::Value, unknown_kind(family, kind));
        };
        let mut rest = table.clone();
        rest.remove("kind");
        self.settings(&rest, component.params, path, &owner(component));
    }
}

fn owner(component: &Component) -> String {
    format!("{} `{}`", component.family.name(), component.kind)
}

fn unknown_setting(owner: &str, key: &str, params: &[Param]) -> String {
    let near = nearest(closest(key, params.iter().map(|p| p.name)));
    format!("{owner} has no setting `{key}`{near}; it has {}", names(params))
}

/// The message for a kind that no linked crate brings.
pub(crate) fn unknown_kind(family: Family, kind: &str) -> String {
    let near = nearest(closest(
        kind,
        catalogue::components().into_iter().filter(|c| c.family == family).map(|c| c.kind),
    ));
    let elsewhere: Vec<&str> = Family::ALL
        .into_iter()
        .filter(|f| *f != family && catalogue::find(*f, kind).is_some())
        .map(Family::name)
        .collect();
    let elsewhere = match elsewhere.as_slice() {
        [] => String::new(),
        some => format!("; there is one in the family {}", some.join(", ")),
    };
    let linked: Vec<String> = catalogue::origins().into_iter().map(|(c, n)| format!("{c} ({n})")).collect();
    let linked = if linked.is_empty() { "none".into() } else { linked.join(", ") };
    format!(
        "no {} of the kind `{kind}`{near}{elsewhere}; linked plugin crates: {linked}; a crate of your own is linked \
         by the line `use my_plugin as _;` in your main.rs",
        family.name()
    )
}

fn nearest(names: Vec<&str>) -> String {
    match names.as_slice() {
        [] => String::new(),
        some => format!(", did you mean {}?", quoted(some, " or ")),
    }
}

fn quoted(names: &[&str], between: &str) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(between)
}

fn names(params: &[Param]) -> String {
    match params {
        [] => "no settings".into(),
        some => quoted(&some.iter().map(|p| p.name).collect::<Vec<_>>(), ", "),
    }
}

fn kinds(family: Family) -> String {
    let all: Vec<&str> =
        catalogue::components().into_iter().filter(|c| c.family == family).map(|c| c.kind).collect();
    if all.is_empty() { "none is linked".into() } else { quoted(&all, ", ") }
}

fn a_part(family: Family) -> String {
    let example = catalogue::components().into_iter().find(|c| c.family == family);
    let example = example.map_or(String::new(), |c| format!(", such as {{ kind = \"{}\", ... }}", c.kind));
    format!("a table with the `kind` of {}{example}", family.one())
}

const fn element(kind: ParamKind) -> ParamKind {
    match kind {
        ParamKind::Ints => ParamKind::Int,
        ParamKind::Floats => ParamKind::Float,
        _ => ParamKind::Text,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(v) => Some(*v as f64),
        Value::Float(v) => Some(*v),
        _ => None,
    }
}

/// A sentence as it stands in the middle of another; names and symbols keep their letters.
fn inside(doc: &str) -> String {
    let mut letters = doc.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(letters).collect(),
        _ => doc.into(),
    }
}

/// What a setting wants, in words.
pub fn wanted(param: &Param) -> String {
    let with_range = |what: &str| {
        let range = Some(param.range()).filter(|r| !r.is_empty()).map_or(String::new(), |r| format!(" {r}"));
        let unit = param.unit.map_or(String::new(), |unit| format!(" in {unit}"));
        format!("{what}{range}{unit}")
    };
    match &param.kind {
        ParamKind::Bool => "true or false".into(),
        ParamKind::Int => with_range("a whole number"),
        ParamKind::Float => with_range("a number"),
        ParamKind::Text => "text in quotes".into(),
        ParamKind::Ints => with_range("a list of whole numbers"),
        ParamKind::Floats => with_range("a list of numbers"),
        ParamKind::Texts => "a list of texts in quotes".into(),
        ParamKind::Given => "a class by its number or its name in quotes, or a list of numbers".into(),
        ParamKind::Choice(words) => {
            let words: Vec<String> = words.iter().map(|w| format!("\"{w}\"")).collect();
            format!("one of {}", words.join(", "))
        }
        ParamKind::Part(family) => a_part(*family),
        ParamKind::Parts(family) => format!("a list, each entry {}", a_part(*family)),
        ParamKind::Table(params) => format!("a table with {}", names(params)),
        ParamKind::Tables(params) => format!("a list of tables with {}", names(params)),
    }
}
