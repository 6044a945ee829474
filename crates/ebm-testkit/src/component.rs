//! The laws of a component: its example, its table of settings and its serde form agree.

use std::collections::BTreeSet;

use ebm_core::candle::{DType, Device};
use ebm_core::catalogue::{Component, Family, Param, ParamKind, components};
use ebm_core::{
    BuildCx, DataConfig, EnergyConfig, EntropyConfig, Key, ObjectiveConfig, ObserverConfig, OptimiserConfig,
    PolicyConfig, ReplayConfig, RunPaths, SamplerConfig, TransitionConfig,
};
use toml::{Table, Value};

use crate::{Failure, Verdict, refusal};

/// Checks every linked component that comes from the crate `origin` (use `env!("CARGO_PKG_NAME")`),
/// which must have at least one.
///
/// # Errors
/// Names the component and the first law that fails.
pub fn check_components(origin: &str) -> Verdict {
    ebm_core::catalogue::check()?;
    let mine: Vec<_> = components().into_iter().filter(|c| c.origin == origin).collect();
    Failure::unless(!mine.is_empty(), || {
        format!("no component of `{origin}` is linked; write `use {} as _;`", origin.replace('-', "_"))
    })?;
    mine.into_iter().try_for_each(check_component)
}

/// Checks one component:
///
/// 1. its kind is kebab-case; summary, source and example are there, every setting is explained;
/// 2. the example parses, and survives writing and reading again;
/// 3. the table of settings and the serde fields are the same set, and unknown ones are refused;
/// 4. a setting without default is required; one with a default means it, to the value;
/// 5. the example builds for some shape of samples (data sources and observers apart: they need files);
/// 6. a number just outside of its range is refused by its whole path, in nested tables too, and whatever else is
///    refused while it is built has a path that begins with that of the component.
///
/// # Errors
/// Names the first law that fails.
pub fn check_component(c: &Component) -> Verdict {
    inner(c).map_err(|e| Failure::new(format!("{} `{}`: {e}", c.family.name(), c.kind)))
}

fn inner(c: &Component) -> Verdict {
    let kebab = |k: &str| k.chars().all(|a| a.is_ascii_lowercase() || a.is_ascii_digit() || a == '-');
    Failure::unless(kebab(c.kind) && !c.kind.is_empty(), || "the kind is not kebab-case".into())?;
    Failure::unless(!c.summary.is_empty() && !c.source.is_empty(), || "summary or source is empty".into())?;
    for p in c.params {
        Failure::unless(!p.doc.is_empty(), || format!("setting `{}` is not explained", p.name))?;
    }
    let example = example(c)?;
    let read =
        parse(c.family, &example).map_err(|e| Failure::new(format!("the example does not parse: {e}")))?;
    let again = parse(c.family, &read.written)
        .map_err(|e| Failure::new(format!("what was written does not parse again: {e}\n{}", read.written)))?;
    Failure::unless(again.written == read.written, || {
        format!("writing and reading changed it:\n{}\n{}", read.written, again.written)
    })?;
    fields(c, &example)?;
    defaults(c, &example)?;
    if matches!(c.family, Family::Data | Family::Observer) {
        return refusal::check(c, &example, &|| context(&[2], 0));
    }
    let (shape, condition) =
        fitting(&read.build).map_err(|e| Failure::new(format!("the example builds for no shape: {e}")))?;
    refusal::check(c, &example, &|| context(shape, condition))
}

pub(crate) fn example(c: &Component) -> Verdict<Table> {
    let mut table: Table =
        c.example.parse().map_err(|e| Failure::new(format!("the example is not TOML: {e}")))?;
    table.insert("kind".into(), Value::String(c.kind.into()));
    Ok(table)
}

/// The table of settings is the set of serde fields, which serde lists when it refuses a name.
fn fields(c: &Component, example: &Table) -> Verdict {
    let mut with = example.clone();
    with.insert("surely-not-a-setting".into(), Value::Integer(1));
    let Err(text) = parse(c.family, &with) else {
        return Err(Failure::new("an unknown setting is accepted; add #[serde(deny_unknown_fields)]"));
    };
    let expected = text.split_once("expected").map_or("", |(_, rest)| rest.lines().next().unwrap_or(""));
    let serde: BTreeSet<&str> = expected.split('`').skip(1).step_by(2).collect();
    let table: BTreeSet<&str> = c.params.iter().map(|p| p.name).collect();
    Failure::unless(serde == table, || {
        format!("settings {table:?} in the catalogue, {serde:?} in serde (message: {text})")
    })
}

fn defaults(c: &Component, example: &Table) -> Verdict {
    let written = |t: &Table| parse(c.family, t).map(|p| p.written);
    for p in c.params {
        let mut without = example.clone();
        without.remove(p.name);
        let Some(default) = p.default else {
            Failure::unless(example.contains_key(p.name), || format!("the example lacks `{}`", p.name))?;
            Failure::unless(written(&without).is_err(), || {
                format!("`{}` has no default in the catalogue but may be left out", p.name)
            })?;
            continue;
        };
        let plain =
            written(&without).map_err(|e| Failure::new(format!("`{}` cannot be left out: {e}", p.name)))?;
        let mut with = without.clone();
        if default == "none" {
            // Absent by default: some value must be accepted.
            if let Some(v) = sample(p) {
                with.insert(p.name.into(), v);
                written(&with)
                    .map_err(|e| Failure::new(format!("a value for `{}` is refused: {e}", p.name)))?;
            }
            continue;
        }
        let value: Table = format!("v = {default}")
            .parse()
            .map_err(|e| Failure::new(format!("the default of `{}` is not TOML: {e}", p.name)))?;
        if let Some(v) = value.get("v") {
            with.insert(p.name.into(), v.clone());
        }
        let explicit = written(&with)
            .map_err(|e| Failure::new(format!("the default of `{}` is refused: {e}", p.name)))?;
        let same = explicit == plain;
        Failure::unless(same, || {
            format!("the default of `{}` in the catalogue is not serde's:\n{explicit:?}\n{plain:?}", p.name)
        })?;
    }
    Ok(())
}

/// Some value that the setting allows.
pub(crate) fn sample(p: &Param) -> Option<Value> {
    let number = [1.0, 0.5, 2.0, 0.0, -1.0, 10.0].into_iter().find(|v| p.allows(*v)).unwrap_or(1.0);
    Some(match p.kind {
        ParamKind::Bool => Value::Boolean(true),
        ParamKind::Int => Value::Integer(if p.allows(1.0) { 1 } else { number as i64 }),
        ParamKind::Float => Value::Float(number),
        ParamKind::Text => Value::String("a".into()),
        ParamKind::Ints => Value::Array(vec![Value::Integer(1), Value::Integer(2)]),
        ParamKind::Floats => Value::Array(vec![Value::Float(0.0), Value::Float(1.0)]),
        ParamKind::Texts => Value::Array(vec![Value::String("a".into())]),
        ParamKind::Given => Value::Integer(1),
        ParamKind::Choice(words) => Value::String((*words.first()?).into()),
        ParamKind::Part(f) => part(f)?,
        ParamKind::Parts(f) => Value::Array(vec![part(f)?]),
        ParamKind::Table(settings) => table(settings)?,
        ParamKind::Tables(settings) => Value::Array(vec![table(settings)?]),
    })
}

fn part(family: Family) -> Option<Value> {
    components().into_iter().filter(|c| c.family == family).find_map(|c| example(c).ok()).map(Value::Table)
}

pub(crate) fn table(settings: &[Param]) -> Option<Value> {
    let mut t = Table::new();
    for p in settings.iter().filter(|p| p.default.is_none()) {
        t.insert(p.name.into(), sample(p)?);
    }
    Some(Value::Table(t))
}

type Build = Box<dyn Fn(&mut BuildCx) -> ebm_core::Result<()>>;

/// A configuration that was read: its TOML form and how to build it.
pub(crate) struct Read {
    written: Table,
    pub(crate) build: Build,
}

/// The first shape of samples and length of the condition for which it builds.
fn fitting(build: &Build) -> Result<(&'static [usize], usize), String> {
    let mut reasons = Vec::new();
    let shapes: [&'static [usize]; 7] =
        [&[2], &[10], &[1, 8, 8], &[3, 16, 16], &[3, 32, 32], &[1, 28, 28], &[3, 64, 64]];
    for shape in shapes {
        for condition in [0, 2] {
            match build(&mut context(shape, condition)) {
                Ok(()) => return Ok((shape, condition)),
                Err(e) => reasons.push(format!("{shape:?}: {e}")),
            }
        }
    }
    Err(reasons.join("\n"))
}

fn context(shape: &[usize], condition: usize) -> BuildCx {
    BuildCx::new(shape, DType::F32, &Device::Cpu, Key::root(1)).with_condition(condition)
}

pub(crate) fn parse(family: Family, table: &Table) -> Result<Read, String> {
    let value = Value::Table(table.clone());
    macro_rules! read {
        ($config:ident) => {{
            let config: Box<dyn $config> = value.try_into().map_err(|e: toml::de::Error| e.to_string())?;
            let written = Table::try_from(&config).map_err(|e| e.to_string())?;
            Ok(Read { written, build: Box::new(move |cx| config.build(cx).map(|_| ())) })
        }};
    }
    match family {
        Family::Energy => read!(EnergyConfig),
        Family::Transition => read!(TransitionConfig),
        Family::Sampler => read!(SamplerConfig),
        Family::Entropy => read!(EntropyConfig),
        Family::Objective => read!(ObjectiveConfig),
        Family::Replay => read!(ReplayConfig),
        Family::Data => read!(DataConfig),
        Family::Optimiser => read!(OptimiserConfig),
        Family::Policy => read!(PolicyConfig),
        Family::Observer => {
            let config: Box<dyn ObserverConfig> =
                value.try_into().map_err(|e: toml::de::Error| e.to_string())?;
            let written = Table::try_from(&config).map_err(|e| e.to_string())?;
            let paths = |cx: &BuildCx| RunPaths::new("no-such-run").with_path(cx.path());
            Ok(Read { written, build: Box::new(move |cx| config.build(&paths(cx)).map(|_| ())) })
        }
    }
}
