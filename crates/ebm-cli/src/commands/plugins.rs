//! `ebm plugins`.

use clap::{Args, Subcommand};
use ebm::config::wanted;
use ebm::core::catalogue::closest;
use ebm::core::catalogue::{self, Component};
use ebm::core::{Family, Param, ParamKind};
use serde_json::{Value, json};

use super::schema;
use crate::outcome::{End, Failure, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Plugins {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All linked plugins, by family.
    List,
    /// Settings, source and example of a plugin.
    Show {
        /// Its kind, such as `langevin`, or `family/kind`.
        name: String,
    },
    /// JSON Schema of the configuration, for editors.
    Schema,
}

impl Plugins {
    pub fn run(self, out: &mut Output) -> Outcome {
        catalogue::check()?;
        match self.action.unwrap_or(Action::List) {
            Action::List => list(out, self.json)?,
            Action::Show { name } => show(out, &name, self.json)?,
            Action::Schema => out.json(&schema::schema())?,
        }
        out.flush()?;
        Ok(End::Done)
    }
}

fn list(out: &mut Output, json: bool) -> Result<(), Failure> {
    let all = catalogue::components();
    if json {
        return out.json(&all.iter().map(|c| as_json(c)).collect::<Vec<_>>());
    }
    let wide = all.iter().map(|c| c.kind.len()).max().unwrap_or(0);
    for family in Family::ALL {
        let of: Vec<_> = all.iter().filter(|c| c.family == family).collect();
        if of.is_empty() {
            continue;
        }
        out.line(format!("{}:", family.name()))?;
        for c in of {
            out.line(format!("  {:<wide$}  {}", c.kind, c.summary))?;
        }
    }
    if all.is_empty() {
        out.line("no plugin is linked; add `use ebm_plugins as _;` to your main.rs")?;
    }
    Ok(())
}

fn show(out: &mut Output, name: &str, json: bool) -> Result<(), Failure> {
    let (family, kind) = name.split_once('/').map_or((None, name), |(f, k)| (Some(f), k));
    let all = catalogue::components();
    let found: Vec<&Component> = all
        .iter()
        .copied()
        .filter(|c| c.kind == kind && family.is_none_or(|f| c.family.name() == f))
        .collect();
    if found.is_empty() {
        let near: Vec<String> =
            closest(kind, all.iter().map(|c| c.kind)).iter().map(|k| format!("`{k}`")).collect();
        let near = if near.is_empty() { String::new() } else { format!("; nearest: {}", near.join(", ")) };
        return Err(Failure::Usage(format!("no plugin of the kind `{name}` is linked{near}")));
    }
    if json {
        return out.json(&found.iter().map(|c| as_json(c)).collect::<Vec<_>>());
    }
    for c in found {
        out.line(format!("{} {}: {}", c.family.name(), c.kind, c.summary))?;
        out.line(format!("source: {}\ncrate:  {} {}\n", c.source, c.origin, c.version))?;
        settings(out, c.params, "")?;
        out.line(format!("\nexample:\n  kind = \"{}\"", c.kind))?;
        for line in c.example.lines() {
            out.line(format!("  {line}"))?;
        }
    }
    Ok(())
}

fn settings(out: &mut Output, params: &[Param], prefix: &str) -> Result<(), Failure> {
    for p in params {
        let default = match p.default {
            None => "required".to_string(),
            Some("none") => "optional".to_string(),
            Some(d) => format!("default {d}"),
        };
        out.line(format!("  {prefix}{}  ({default})", p.name))?;
        out.line(format!("      {}; {}", p.doc, wanted(p)))?;
        if let ParamKind::Table(inner) | ParamKind::Tables(inner) = p.kind {
            settings(out, inner, &format!("{prefix}{}.", p.name))?;
        }
    }
    Ok(())
}

fn as_json(c: &Component) -> Value {
    json!({
        "family": c.family.name(), "kind": c.kind, "summary": c.summary, "source": c.source,
        "crate": c.origin, "version": c.version, "example": c.example,
        "settings": c.params.iter().map(param_json).collect::<Vec<_>>(),
    })
}

fn param_json(p: &Param) -> Value {
    let inner = match p.kind {
        ParamKind::Table(inner) | ParamKind::Tables(inner) => inner.iter().map(param_json).collect(),
        _ => Vec::new(),
    };
    json!({
        "name": p.name, "wants": wanted(p), "meaning": p.doc, "default": p.default, "unit": p.unit,
        "required": p.default.is_none(), "settings": inner,
    })
}
