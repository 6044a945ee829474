//! Compositions of trained runs as one line: `runs/a given 3 and not 0.3 * runs/b`.
//!
//! ```text
//! any    = all ("or" all)*                       a mixture: soft-min of the energies
//! all    = [not] part ("and" [not] part)*        a product: their sum; "not" subtracts
//! part   = [NUMBER "*"] whole ["at" NUMBER]      weight, temperature
//! whole  = RUN ["given" CLASS | "given" NAME | "given" [c, ...]] | "(" any ")"
//! ```
//!
//! Runs that were trained at other sizes than the largest of them see the sample resized.
//! Source: Du, Li, Mordatch 2020 (arXiv 2004.06030), section 3.

mod expression;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ebm_core::{Columns, Given};
use ebm_model::checkpoint;
use ebm_model::config::tree_of;
use toml::{Table, Value};

use crate::config::source::Source;
use crate::error::{Error, Result};
use crate::inputs::named::seen_from;
use expression::{Expression, Part};

/// The configuration of a composition, which everything that takes a configuration takes.
///
/// Paths of runs stand in it as a file in `folder` writes them; as in `text` if that is the current one.
///
/// # Errors
/// If the text is no composition, a run is not there, has no such condition, or shapes do not go together.
pub fn compose(text: &str, folder: &Path) -> Result<String> {
    let expression =
        Expression::parse(text).map_err(|why| Error::unfit(format!("composition `{text}`"), why))?;
    let mut runs = BTreeMap::new();
    open_all(&expression, &mut runs)?;
    of_one_table(text, &runs)?;
    let mut composer = Composer { shape: Vec::new(), runs, folder };
    composer.shape = composer.largest(&expression);
    let mut document = Table::new();
    document.insert("format".into(), Value::Integer(1));
    document.insert("energy".into(), composer.energy(&expression)?.into());
    let body = toml::to_string(&document).map_err(|e| ebm_core::Error::plugin("composition", e))?;
    Ok(format!("# {}\n{body}", text.trim().replace('\n', " ")))
}

/// Whether `target` is no file and has words, as a composition does.
pub fn reads_as_line(target: &Path) -> bool {
    !target.exists() && target.to_str().is_some_and(|text| text.contains(char::is_whitespace))
}

/// The configuration that `target` stands for, if it reads as a composition.
pub(crate) fn source(target: &Path) -> Option<Result<Source>> {
    let text = target.to_str().filter(|_| reads_as_line(target))?;
    let source = |toml| Source::text(format!("the composition `{text}`"), toml);
    Some(compose(text, Path::new(".")).map(source))
}

/// What a composition needs to know of a run.
struct Run {
    shape: Vec<usize>,
    condition: usize,
    class_names: Vec<String>,
    columns: Columns,
    /// Whether its configuration says that it is sampled and scored by the weights of its last update, not by their average.
    live: bool,
}

fn open(path: &Path) -> Result<Run> {
    if !path.is_dir() {
        let found = if path.exists() { "is a file" } else { "is not there" };
        return Err(Error::unfit(
            path.display(),
            format!("{found}; wanted the directory of a run (paths with spaces in double quotes)"),
        ));
    }
    if !path.join("config.toml").is_file() {
        return Err(Error::unfit(
            path.display(),
            "is no run (no config.toml); wanted the directory of a run",
        ));
    }
    let (_, manifest) = checkpoint::manifest_of(path)?;
    let config = Source::file(path.join(checkpoint::CONFIG))?;
    let live = tree_of(&config.text)?.pointer("/generate/weights").is_some_and(|weights| weights == "live");
    Ok(Run {
        live,
        shape: manifest.sample_shape,
        condition: manifest.condition,
        class_names: manifest.class_names,
        columns: manifest.columns,
    })
}

fn kind(name: &str, settings: impl IntoIterator<Item = (&'static str, Value)>) -> Table {
    let kind = ("kind".to_string(), Value::from(name));
    [kind].into_iter().chain(settings.into_iter().map(|(k, v)| (k.to_string(), v))).collect()
}

/// Opens every run of an expression, each once however often it is named.
fn open_all(of: &Expression, runs: &mut BTreeMap<PathBuf, Run>) -> Result<()> {
    match of {
        Expression::Run { path, .. } if runs.contains_key(path) => Ok(()),
        Expression::Run { path, .. } => open(path).map(|run| _ = runs.insert(path.clone(), run)),
        Expression::All(parts) | Expression::Any(parts) => {
            parts.iter().try_for_each(|p| open_all(&p.of, runs))
        }
    }
}

/// Refuses runs of tables whose samples are not made of the same columns in the same way: one sample would mean another row to
/// each of them.
fn of_one_table(text: &str, runs: &BTreeMap<PathBuf, Run>) -> Result<()> {
    let mut all = runs.iter();
    let Some((first, run)) = all.next() else { return Ok(()) };
    for (path, other) in all {
        if let Some(difference) = run.columns.difference(&other.columns) {
            let (first, path) = (first.display(), path.display());
            let message = format!(
                "{first} and {path} were trained on tables with other columns or other standardising: {difference}; train them on one \
                 table, or with `standardise = false`"
            );
            return Err(Error::unfit(format!("composition `{text}`"), message));
        }
    }
    Ok(())
}

/// Writes energies of samples of one shape.
struct Composer<'a> {
    shape: Vec<usize>,
    runs: BTreeMap<PathBuf, Run>,
    folder: &'a Path,
}

impl Composer<'_> {
    /// Shape of a sample: that of the run with the most values.
    fn largest(&self, of: &Expression) -> Vec<usize> {
        match of {
            Expression::Run { path, .. } => self.runs.get(path).map(|r| r.shape.clone()).unwrap_or_default(),
            Expression::All(parts) | Expression::Any(parts) => {
                let size = |shape: &Vec<usize>| shape.iter().product::<usize>();
                // Of several the first.
                parts.iter().map(|p| self.largest(&p.of)).rev().max_by_key(size).unwrap_or_default()
            }
        }
    }

    fn energy(&self, of: &Expression) -> Result<Table> {
        match of {
            Expression::Run { path, given } => self.trained(path, given.as_ref()),
            Expression::All(parts) => Ok(kind("sum", [("parts", self.list(parts)?)])),
            Expression::Any(parts) => Ok(kind("soft-min", [("parts", self.list(parts)?)])),
        }
    }

    /// Parts with the largest first: what a configuration leaves out comes from the first run it names.
    fn list(&self, parts: &[Part]) -> Result<Value> {
        let mut first = Vec::new();
        let mut smaller = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            let mut energy = self.energy(&part.of)?;
            if let Some(t) = part.temperature {
                energy = kind("temperature", [("temperature", t.into()), ("energy", energy.into())]);
            }
            let mut table = Table::new();
            table.insert("name".into(), part.name(i).into());
            table.insert("weight".into(), part.weight.into());
            table.insert("energy".into(), energy.into());
            let full = self.largest(&part.of) == self.shape;
            if full { &mut first } else { &mut smaller }.push(Value::Table(table));
        }
        first.extend(smaller);
        Ok(Value::Array(first))
    }

    fn trained(&self, path: &Path, given: Option<&Given>) -> Result<Table> {
        let Some(run) = self.runs.get(path) else {
            return Err(Error::unfit(path.display(), "is no run of this composition"));
        };
        let at = seen_from(self.folder, path);
        let mut energy = kind("checkpoint", [("path", at.display().to_string().into())]);
        if run.live {
            energy.insert("weights".into(), "live".into());
        }
        if let Some(given) = given {
            let vector = match given {
                // A condition of the energy alone, such as a noise level; whoever builds it knows its length.
                Given::Vector(level) if run.condition == 0 => Ok(level.clone()),
                _ => given.vector(run.condition, &run.class_names),
            };
            let refused = |why| Error::unfit(format!("{} given {given}", path.display()), why);
            energy.insert("condition".into(), vector.map_err(refused)?.into());
        }
        if run.shape == self.shape {
            return Ok(energy);
        }
        match (self.shape.as_slice(), run.shape.as_slice()) {
            ([c, _, _], [channels, h, w]) if c == channels => {
                let size = Value::from(vec![*h as i64, *w as i64]);
                let view = Table::from_iter([("resize".to_string(), size)]);
                Ok(kind("pull-back", [("view", view.into()), ("energy", energy.into())]))
            }
            _ => Err(differ(path, &run.shape, &self.shape)),
        }
    }
}

fn differ(path: &Path, found: &[usize], wanted: &[usize]) -> Error {
    let why = "only images with as many channels are seen at another size";
    Error::unfit(
        path.display(),
        format!("its samples are {found:?}, those of the largest run {wanted:?}; {why}"),
    )
}

impl Part {
    /// A name that is its own among the parts of a list: parameters and terms are called by it.
    fn name(&self, i: usize) -> String {
        let last = match &self.of {
            Expression::Run { path, .. } => path.file_name().map(|n| n.to_string_lossy().into_owned()),
            _ => None,
        };
        let word: String = last
            .unwrap_or_default()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
            .collect();
        format!("{}{}{word}", i + 1, if word.is_empty() { "" } else { "-" })
    }
}
