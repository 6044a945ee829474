//! A configuration as text: changes, checks with line numbers, and only then values.

use std::path::PathBuf;

use ebm_core::settings::erased_serde;
use ebm_core::{Family, Param, Places, catalogue};
use ebm_model::config::{MODEL_SECTIONS, ModelConfig};
use ebm_train::RunConfig;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::locate::Map;
use super::overrides::Override;
use super::path::{Path, Side};
use super::problem::{Place, Problem, Problems};
use super::validate::{self, Finding};
use crate::error::{Error, Result};
use crate::text_file;

/// The configuration of the quick start: handwritten digits of 8×8 pixels, readable samples in minutes on two cores.
pub const QUICK_START: &str = include_str!("quickstart.toml");

/// A configuration as text, with its name and the folder from which its relative paths count.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's path or another name, for messages.
    pub name: String,
    /// TOML.
    pub text: String,
    /// Where relative paths in the configuration are looked for.
    pub places: Places,
    /// Changes from the command line, in order.
    pub overrides: Vec<Override>,
}

impl Source {
    /// The built-in quick start.
    pub fn quick_start() -> Self {
        Self::text("quickstart.toml (built in)", QUICK_START)
    }

    /// A text with a name for messages; relative paths count from the working directory.
    pub fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Source { name: name.into(), text: text.into(), places: Places::new("."), overrides: Vec::new() }
    }

    /// Reads a file; relative paths in it count from its folder.
    ///
    /// # Errors
    /// If the file cannot be read or is not text.
    pub fn file(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = text_file::read("configuration", path)?;
        let base = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        Ok(Source {
            name: path.display().to_string(),
            text,
            places: Places::new(base),
            overrides: Vec::new(),
        })
    }

    /// The same with changes `path=value`, applied in order.
    ///
    /// # Errors
    /// If a change is not of that form.
    pub fn with(mut self, changes: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        for change in changes {
            self.overrides.push(Override::parse(change.as_ref()).map_err(Error::Change)?);
        }
        Ok(self)
    }

    /// The document with all changes made, not yet checked.
    ///
    /// # Errors
    /// If the text is not TOML or a change does not fit it.
    pub fn document(&self) -> Result<Table> {
        let mut document = self.text.parse::<Table>().map_err(|e| self.syntax(&e))?;
        for change in &self.overrides {
            change.apply(&mut document).map_err(Error::Change)?;
        }
        Ok(document)
    }

    /// Reads the configuration of a run: syntax, then every setting against the catalogue, then the values.
    ///
    /// # Errors
    /// All that is wrong at once, each with its line.
    pub fn read(&self) -> Result<RunConfig> {
        catalogue::check()?;
        let document = self.document()?;
        self.refuse(validate::validate(&document, ebm_train::RUN_SECTIONS))?;
        self.values(Value::Table(document))
    }

    /// Checks a configuration of which only the model is wanted: whatever sections it has, and those that a model needs but for
    /// the program, which a run that it names may lend.
    ///
    /// # Errors
    /// All that is wrong at once, each with its line.
    pub(crate) fn check_model(&self, document: &Table) -> Result<()> {
        catalogue::check()?;
        let optional = |p: &Param| {
            if p.default.is_none() && p.name != "energy" {
                ebm_core::Param { default: Some("none"), ..*p }
            } else {
                *p
            }
        };
        let sections: Vec<Param> = ebm_train::RUN_SECTIONS.iter().map(optional).collect();
        self.refuse(validate::validate(document, &sections))
    }

    /// The sections of a model out of a document of this source. Sections of its training are passed over, so that their
    /// kinds need not be linked.
    ///
    /// # Errors
    /// All that is wrong at once, each with its line.
    pub(crate) fn model_of(&self, document: &Table) -> Result<ModelConfig> {
        catalogue::check()?;
        let mut document = document.clone();
        document.retain(|section, _| MODEL_SECTIONS.iter().any(|own| own.name == section));
        self.refuse(validate::validate(&document, MODEL_SECTIONS))?;
        self.values(Value::Table(document))
    }

    /// Reads one component of `family` out of the section `key`, checked alone.
    ///
    /// # Errors
    /// As [`Source::read`], or if there is no such section.
    pub fn read_part<T: DeserializeOwned>(&self, key: &str, family: Family) -> Result<T> {
        catalogue::check()?;
        let mut document = self.document()?;
        let path = Path::default().key(key);
        let value = document.remove(key).unwrap_or(Value::Table(Table::new()));
        self.refuse(validate::validate_part(&value, family, &path))?;
        self.values(value)
    }

    /// Adds the line to an error of a component that names its place in the configuration.
    pub fn place(&self, e: ebm_core::Error) -> Error {
        let (path, message) = match &e {
            ebm_core::Error::Config { path, message } => (path, message.clone()),
            ebm_core::Error::Shape { component, found, expected, hint } => {
                (component, format!("found shape {found:?}, expected {expected}; {hint}"))
            }
            // While parts are built, only files of data and of weights are opened: what they lack is a matter of data.
            ebm_core::Error::Io { path, source } => {
                return Error::Core(ebm_core::Error::data(path, source.to_string()));
            }
            _ => return Error::Core(e),
        };
        let map = Map::new(&self.name, &self.text, &self.overrides);
        match path.parse::<Path>().map(|p| map.place(&p, Side::Value)) {
            Ok(place @ (Place::Line { .. } | Place::Command(_))) => {
                Error::Config(Problems(vec![Problem { path: path.clone(), message, place }]))
            }
            _ => Error::Core(e),
        }
    }

    fn refuse(&self, findings: Vec<Finding>) -> Result<()> {
        if findings.is_empty() {
            return Ok(());
        }
        let map = Map::new(&self.name, &self.text, &self.overrides);
        let mut problems: Vec<Problem> = findings
            .into_iter()
            .map(|f| Problem {
                place: map.place(&f.path, f.side),
                path: f.path.to_string(),
                message: f.message,
            })
            .collect();
        problems.sort_by_key(|p| match &p.place {
            Place::Line { line, column, .. } => (*line, *column),
            _ => (usize::MAX, 0),
        });
        Err(Error::Config(Problems(problems)))
    }

    pub(crate) fn values<T: DeserializeOwned>(&self, value: Value) -> Result<T> {
        let mut values = None;
        let mut read = |from: &mut dyn erased_serde::Deserializer<'_>| {
            values = Some(erased_serde::deserialize(from)?);
            Ok(())
        };
        self.tracked(value, &mut read)?;
        values.ok_or_else(|| Error::Core(ebm_core::Error::config(&self.name, "has no values")))
    }

    /// Reads `value` and places what is wrong; one function for values of all types, for the tracking is much code.
    fn tracked(
        &self,
        value: Value,
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error>,
    ) -> Result<()> {
        let mut track = serde_path_to_error::Track::new();
        let from = serde_path_to_error::Deserializer::new(value, &mut track);
        let read = read(&mut <dyn erased_serde::Deserializer<'_>>::erase(from));
        read.map_err(|e| {
            let text = track.path().to_string();
            let path: Path = text.parse().unwrap_or_default();
            let map = Map::new(&self.name, &self.text, &self.overrides);
            // Only the first line says what is wrong; the rest repeats a place that typetag has lost.
            let inner = e.to_string();
            let message = inner.lines().next().unwrap_or_default().trim().to_string();
            let place = map.place(&path, Side::Value);
            Error::Config(Problems(vec![Problem { path: path.to_string(), message, place }]))
        })
    }

    fn syntax(&self, e: &toml::de::Error) -> Error {
        let map = Map::new(&self.name, &self.text, &self.overrides);
        let place = e.span().map_or_else(|| Place::Whole(self.name.clone()), |span| map.line(span));
        let message = format!("this is not TOML: {}", e.message().trim().replace('\n', ", "));
        Error::Config(Problems(vec![Problem { path: String::new(), message, place }]))
    }
}
