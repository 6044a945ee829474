//! The law of refusals: a setting that does not fit is refused by its whole path, whoever builds the component.

use ebm_core::catalogue::{Component, Family, Param, ParamKind};
use ebm_core::{BuildCx, Error};
use toml::{Table, Value};

use crate::component::{parse, sample, table};
use crate::{Failure, Verdict};

/// Where the component stands in these tests.
pub(crate) const HERE: &str = "here[1].there";

/// Numbers just outside of their ranges are refused by their own path; whatever else is refused while the component is
/// built in `context` has a path that begins with that of the component.
pub(crate) fn check(c: &Component, example: &Table, context: &dyn Fn() -> BuildCx) -> Verdict {
    let build = |changed: &Table| match parse(c.family, changed) {
        // What the type cannot hold is refused when it is read, with its line.
        Err(_) => Ok(()),
        Ok(read) => (read.build)(&mut context().with_path(HERE)),
    };
    for (at, changed) in changes(c.params, example, &beyond) {
        let (want, readable) = (format!("{HERE}.{at}"), parse(c.family, &changed).is_ok());
        match build(&changed) {
            Err(Error::Config { path, .. }) if path == want => {}
            Err(e) => {
                return Err(Failure::new(format!(
                    "`{at}` is out of range; found `{e}`, wanted the path `{want}`"
                )));
            }
            Ok(()) if readable => return Err(Failure::new(format!("`{at}` is out of range, but is taken"))),
            Ok(()) => {}
        }
    }
    // An observer that is built opens files.
    if c.family == Family::Observer {
        return Ok(());
    }
    for (at, changed) in changes(c.params, example, &odd) {
        let path = match build(&changed) {
            Err(Error::Config { path, .. }) => path,
            Err(Error::Shape { component, .. }) => component,
            _ => continue,
        };
        Failure::unless(path.starts_with(HERE), || {
            format!(
                "with an odd `{at}` it is refused at `{path}`, wanted a path in `{HERE}`: use `cx.refuse`"
            )
        })?;
    }
    Ok(())
}

type Change = dyn Fn(&Param, Option<&Value>) -> Vec<(&'static str, Value)>;

/// The example with one setting changed, for every setting of `params` and of the tables in it; with the path of it.
fn changes(params: &[Param], example: &Table, change: &Change) -> Vec<(String, Table)> {
    let mut all = Vec::new();
    for p in params {
        let given = example.get(p.name).cloned();
        let default = p.default.and_then(|d| format!("v = {d}").parse::<Table>().ok()?.remove("v"));
        let given = given.or(default).or_else(|| sample(p));
        let mut add = |at: String, value: Value| {
            let mut whole = example.clone();
            whole.insert(p.name.into(), value);
            all.push((format!("{}{at}", p.name), whole));
        };
        for (at, value) in change(p, given.as_ref()) {
            add(at.into(), value);
        }
        let (inner, list) = match p.kind {
            ParamKind::Table(inner) => (inner, false),
            ParamKind::Tables(inner) => (inner, true),
            _ => continue,
        };
        let one = if list { given.as_ref().and_then(|v| v.as_array()?.first()) } else { given.as_ref() };
        let Some(Value::Table(one)) = one.cloned().or_else(|| table(inner)) else { continue };
        for (at, value) in changes(inner, &one, change) {
            match list {
                true => add(format!("[0].{at}"), Value::Array(vec![Value::Table(value)])),
                false => add(format!(".{at}"), Value::Table(value)),
            }
        }
    }
    all
}

/// Numbers just beyond either end of the range, and what is not a number; in a list as its first.
fn beyond(p: &Param, given: Option<&Value>) -> Vec<(&'static str, Value)> {
    let mut values = Vec::new();
    match p.kind {
        ParamKind::Int | ParamKind::Ints => {
            values.extend(p.low.map(|(v, open)| Value::Integer(v as i64 - i64::from(!open))));
            values.extend(p.high.map(|(v, open)| Value::Integer(v as i64 + i64::from(!open))));
        }
        ParamKind::Float | ParamKind::Floats => {
            values.extend(p.low.map(|(v, open)| Value::Float(if open { v } else { v.next_down() })));
            values.extend(p.high.map(|(v, open)| Value::Float(if open { v } else { v.next_up() })));
            values.push(Value::Float(f64::NAN));
        }
        _ => return values.into_iter().map(|v| ("", v)).collect(),
    }
    let first = |v: Value| match given {
        Some(Value::Array(list)) => {
            let rest = list.iter().skip(1).cloned();
            ("[0]", Value::Array(std::iter::once(v).chain(rest).collect()))
        }
        _ => ("", v),
    };
    values.into_iter().map(first).collect()
}

/// Values in range that a component may yet refuse: nothing in a list, a falling pair, zero, an unknown word.
fn odd(p: &Param, _: Option<&Value>) -> Vec<(&'static str, Value)> {
    let values = match p.kind {
        ParamKind::Floats => {
            vec![Value::Array(vec![Value::Float(0.7), Value::Float(0.6)]), Value::Array(Vec::new())]
        }
        ParamKind::Ints | ParamKind::Texts | ParamKind::Parts(_) | ParamKind::Tables(_) => {
            vec![Value::Array(Vec::new())]
        }
        ParamKind::Int => vec![Value::Integer(0), Value::Integer(1)],
        ParamKind::Float => vec![Value::Float(0.0), Value::Float(-1.0), Value::Float(1e30)],
        ParamKind::Bool => vec![Value::Boolean(true), Value::Boolean(false)],
        ParamKind::Text => vec![Value::String("?".into())],
        ParamKind::Given => vec![Value::Integer(0), Value::String("?".into()), Value::Array(Vec::new())],
        ParamKind::Choice(words) => words.iter().map(|w| Value::String((*w).into())).collect(),
        ParamKind::Part(_) | ParamKind::Table(_) => Vec::new(),
    };
    values.into_iter().map(|v| ("", v)).collect()
}
