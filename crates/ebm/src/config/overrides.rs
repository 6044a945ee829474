//! Changes to a configuration: `path=value`.

use toml::{Table, Value};

use super::path::{Path, Segment};
use super::problem::describe;

/// One change: what is set where, and how it was written.
#[derive(Clone, Debug)]
pub struct Override {
    /// The place.
    pub path: Path,
    /// The new value; `None` takes the setting out.
    pub value: Option<Value>,
    /// As written, for messages.
    pub text: String,
}

impl Override {
    /// A change of `path` to `value`, for messages called `text`.
    pub fn new(path: Path, value: impl Into<Value>, text: impl Into<String>) -> Self {
        Override { path, value: Some(value.into()), text: text.into() }
    }

    /// Reads `sampler.steps=60`. The value is TOML; a word that is none is text, so `run.device=cpu` needs no quotes.
    ///
    /// # Errors
    /// If there is no `=` or the left side is no path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((path, value)) = text.split_once('=') else {
            return Err(format!("`{text}` has no `=`; write it like `sampler.steps=60`"));
        };
        let value = value.trim();
        let read = format!("v = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
        let value = read.unwrap_or_else(|| Value::String(value.to_string()));
        Ok(Override { path: path.trim().parse()?, value: Some(value), text: text.to_string() })
    }

    /// Takes the setting at a path such as `objective.kl` out.
    ///
    /// # Errors
    /// If it is no path; [`apply`](Self::apply) errs if there is no such setting.
    pub fn remove(path: &str) -> Result<Self, String> {
        Ok(Override { path: path.trim().parse()?, value: None, text: format!("unset {path}") })
    }

    /// Makes the change. Tables on the way are made; a list grows by one place at its end.
    ///
    /// # Errors
    /// If the path leads through something that is neither table nor list, or beyond the end of a list.
    pub fn apply(&self, document: &mut Table) -> Result<(), String> {
        let Some((Segment::Key(first), rest)) = self.path.0.split_first() else {
            return Err(format!("`{}` names no setting", self.text));
        };
        if self.value.is_none() {
            return match take(document, first, rest) {
                true => Ok(()),
                false => Err(format!("`{}`: there is no such setting", self.text)),
            };
        }
        let slot = document.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
        self.put(slot, Path::default().key(first), rest)
    }

    fn put(&self, value: &mut Value, at: Path, rest: &[Segment]) -> Result<(), String> {
        let Some((segment, rest)) = rest.split_first() else {
            if let Some(new) = &self.value {
                *value = new.clone();
            }
            return Ok(());
        };
        // A path that names the first place of a list that is not there yet makes the list.
        if matches!(segment, Segment::Index(0)) && value.as_table().is_some_and(Table::is_empty) {
            *value = Value::Array(Vec::new());
        }
        match (segment, value) {
            (Segment::Key(key), Value::Table(table)) => {
                let slot = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
                self.put(slot, at.key(key), rest)
            }
            (Segment::Index(index), Value::Array(list)) => {
                if *index == list.len() {
                    list.push(Value::Table(Table::new()));
                }
                let length = list.len();
                match list.get_mut(*index) {
                    Some(slot) => self.put(slot, at.index(*index), rest),
                    None => Err(format!(
                        "`{}`: `{at}` has {length} entries, so the place must be at most [{length}]",
                        self.text
                    )),
                }
            }
            (Segment::Key(_), other) => Err(wrong(self, &at, other, "a table")),
            (Segment::Index(_), other) => Err(wrong(self, &at, other, "a list")),
        }
    }
}

/// Takes what lies at `first` and then `rest` out of `table`; whether it was there.
fn take(table: &mut Table, first: &str, rest: &[Segment]) -> bool {
    let Some((last, between)) = rest.split_last() else { return table.remove(first).is_some() };
    let mut at = table.get_mut(first);
    for segment in between {
        at = match (segment, at) {
            (Segment::Key(key), Some(Value::Table(table))) => table.get_mut(key),
            (Segment::Index(index), Some(Value::Array(list))) => list.get_mut(*index),
            _ => return false,
        };
    }
    match (last, at) {
        (Segment::Key(key), Some(Value::Table(table))) => table.remove(key).is_some(),
        (Segment::Index(index), Some(Value::Array(list))) if *index < list.len() => {
            list.remove(*index);
            true
        }
        _ => false,
    }
}

fn wrong(change: &Override, at: &Path, found: &Value, wanted: &str) -> String {
    format!("`{}`: `{at}` is {}, not {wanted}", change.text, describe(found))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(document: &str, change: &str) -> Result<Table, String> {
        let mut table: Table = document.parse().unwrap();
        Override::parse(change)?.apply(&mut table)?;
        Ok(table)
    }

    #[test]
    fn values_are_toml_or_text() {
        let doc = "run = { steps = 1 }\nobserver = [{ kind = 'a' }]";
        let got = |change: &str| set(doc, change).unwrap().to_string();
        assert!(got("run.steps=60").contains("steps = 60"));
        assert!(got("run.device = cuda:0").contains("device = \"cuda:0\""));
        assert!(got("optimiser.betas=[0.0, 0.9]").contains("betas = [0.0, 0.9]"));
        assert!(got("energy={ kind = 'mlp' }").contains("kind = \"mlp\""));
        assert!(got("observer[0].every=5").contains("every = 5"));
        assert!(got("observer[1].kind=jsonl").contains("jsonl"));
        assert!(got("chains.transitions[0].kind=noise").contains("noise"));
    }

    #[test]
    fn settings_are_taken_out() {
        let doc = "o = { kl = { weight = 1 }, l = 2 }\nlist = [1, { a = 2 }]";
        let out = |path: &str| {
            let mut table: Table = doc.parse().unwrap();
            Override::remove(path).unwrap().apply(&mut table).map(|()| table.to_string())
        };
        assert!(!out("o.kl").unwrap().contains("kl") && out("o.kl").unwrap().contains("l = 2"));
        assert!(!out("o").unwrap().contains("l = 2"));
        assert!(!out("list[1].a").unwrap().contains("a = 2"));
        assert!(!out("list[0]").unwrap().contains("list = [1"));
        for path in ["o.kk", "o.l.x", "list[2]", "list.a"] {
            assert!(out(path).unwrap_err().contains("no such setting"), "{path}");
        }
    }

    #[test]
    fn a_path_through_something_else_is_refused() {
        let doc = "run = { steps = 1 }\nobserver = [1]";
        let err = |change: &str| set(doc, change).unwrap_err();
        assert_eq!(err("run.steps.x=1"), "`run.steps.x=1`: `run.steps` is the whole number 1, not a table");
        assert!(err("run[0]=1").contains("`run` is a table, not a list"));
        assert!(err("observer[4]=1").contains("has 1 entries"));
        assert!(err("run.steps").contains("has no `=`"));
    }
}
