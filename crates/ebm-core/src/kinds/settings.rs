//! Settings declared once, at their fields: what a derived type offers, and which types a setting may have.

mod serial;

use std::fmt;
use std::path::PathBuf;

pub use erased_serde;
pub use serde;
use serde::Serialize;
use serde::de::DeserializeOwned;
#[doc(hidden)]
pub use serial::{Put, choose, once, put, read, write};

use crate::kinds::catalogue::{InFamily, Param, ParamKind};
use crate::{Error, Result};

/// A setting that is out of its range: where, below the value that was checked, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Such as `layers[1].kernel`; empty for the value itself.
    at: String,
    message: String,
}

impl Misfit {
    /// The value itself does not fit.
    pub fn new(message: impl Into<String>) -> Self {
        Misfit { at: String::new(), message: message.into() }
    }

    /// The same seen from the table that holds the value under `name`.
    #[must_use]
    pub fn inside(mut self, name: &str) -> Self {
        self.at.insert_str(0, name);
        self
    }

    /// The same seen from the table as a value: what follows its name begins with a dot.
    #[must_use]
    pub fn of_table(self) -> Self {
        self.inside(".")
    }

    /// As an error of the component at `path`.
    pub fn under(self, path: &str) -> Error {
        Error::config(crate::kinds::config::joined(path, &self.at), self.message)
    }
}

/// Values that know whether they are in their ranges. Derived with [`Settings`].
pub trait Check {
    /// Compares every setting with its range, also in nested tables; a component in a setting is checked where it is
    /// built.
    ///
    /// # Errors
    /// Names the first that does not fit.
    fn check(&self) -> Result<(), Misfit> {
        Ok(())
    }
}

/// A struct of settings, declared at its fields: the type, the default, the range and the unit stand there, and the
/// doc comment is the help.
///
/// ```
/// use ebm_core::Settings;
///
/// /// Steps with noise.
/// #[derive(Debug, Settings)]
/// pub struct Noisy {
///     /// Factor of the gradient.
///     #[setting(above = 0.0)]
///     step_size: f64,
///     /// Number of steps.
///     #[setting(default = 20, at_least = 1)]
///     steps: usize,
///     /// Longest time of a run.
///     #[setting(above = 0.0, unit = "seconds")]
///     limit: Option<f64>,
/// }
/// ```
///
/// From it come serde's two traits (unknown settings are refused), the catalogue's table ([`Settings::PARAMS`]), the
/// check of ranges ([`Check`]), and `Default` if no setting must be given. At a field stand
///
/// - `default = VALUE`: a literal, a list or struct of them, or a choice such as `Shape::Linear`; `default` alone is the
///   default of the type. Without it the setting must be given, but for an `Option`, which is then absent;
/// - `at_least`, `above`, `at_most`, `below`: the range of a number or of each number of a list;
/// - `unit = "seconds"`; `words = &["a", "b"]` for a text; `name = "..."` if TOML has another name for it;
/// - `flatten`: the settings of that field stand among those of the struct. Several kinds share settings so;
/// - `omit_empty`: a list without entries is not written.
///
/// The type of a field is any [`Setting`]: `bool`, numbers, `String`, `PathBuf`, lists of these, a component such as
/// `Box<dyn EnergyConfig>` or a list of them, another struct of settings (a table) or a list of it, and an enum without
/// values that derives `Settings` (a choice of words in kebab-case).
pub trait Settings: Check + Sized {
    /// The first paragraph of the type's doc comment.
    const SUMMARY: &'static str;
    /// The table of the settings.
    const PARAMS: &'static [Param];

    /// What was read so far.
    #[doc(hidden)]
    type Partial: Default;

    /// Reads the value of `name`; whether there is such a setting.
    #[doc(hidden)]
    fn take(
        into: &mut Self::Partial,
        name: &str,
        from: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<bool, erased_serde::Error>;

    /// The settings, with the defaults of those that were not given; fails with the name of one that must be given.
    #[doc(hidden)]
    fn finish(from: Self::Partial) -> Result<Self, &'static str>;

    /// Writes every setting.
    #[doc(hidden)]
    fn put(&self, to: &mut dyn Put);
}

/// A type that a setting may have.
#[diagnostic::on_unimplemented(
    message = "a setting cannot be of type `{Self}`",
    note = "it is a bool, a number, a text, a path, a component such as `Box<dyn EnergyConfig>`, a struct or an enum that \
            derives `Settings`, a list of these, or an `Option`"
)]
pub trait Setting: Serialize + DeserializeOwned {
    /// What it is for the catalogue.
    const KIND: ParamKind;
    /// Default as TOML of a setting that says nothing of one: `none` for an `Option`.
    const ABSENT: Option<&'static str> = None;
    /// The smallest number of the type, if it is the least that a setting allows.
    const LOW: Option<(f64, bool)> = None;
    /// `Default::default()` as TOML, for `#[setting(default)]`.
    const DEFAULT: Option<&'static str> = None;

    /// The value of a setting that is not given and has no default; `None` if it must be given.
    fn absent() -> Option<Self> {
        None
    }

    /// Whether nothing is to be written.
    fn is_absent(&self) -> bool {
        false
    }

    /// Compares the value with the range of `param`.
    ///
    /// # Errors
    /// If it is out of range.
    fn check(&self, param: &Param) -> Result<(), Misfit>;

    /// The value out of any format. Types of this crate have it here, so that no crate of settings has it again.
    #[doc(hidden)]
    fn read(from: &mut dyn erased_serde::Deserializer<'_>) -> Result<Self, erased_serde::Error> {
        erased_serde::deserialize(from)
    }

    /// The value for any format.
    #[doc(hidden)]
    fn shown(&self) -> &dyn erased_serde::Serialize {
        self
    }
}

/// Code of this crate, where the default of the trait would be code of each crate that has such a setting.
macro_rules! serial_here {
    () => {
        fn read(from: &mut dyn erased_serde::Deserializer<'_>) -> Result<Self, erased_serde::Error> {
            erased_serde::deserialize(from)
        }

        fn shown(&self) -> &dyn erased_serde::Serialize {
            self
        }
    };
}

fn check_number(value: f64, shown: &dyn fmt::Display, param: &Param) -> Result<(), Misfit> {
    if param.allows(value) {
        return Ok(());
    }
    let wanted = match param.range() {
        range if range.is_empty() => "a finite number".into(),
        range => range,
    };
    Err(Misfit::new(format!("is {shown}, must be {wanted}")))
}

macro_rules! numbers {
    ($($ty:ty, $kind:ident, $zero:literal, $low:expr;)*) => {$(
        impl Setting for $ty {
            const KIND: ParamKind = ParamKind::$kind;
            const LOW: Option<(f64, bool)> = $low;
            const DEFAULT: Option<&'static str> = Some($zero);

            fn check(&self, param: &Param) -> Result<(), Misfit> {
                check_number(*self as f64, self, param)
            }

            serial_here!();
        }
    )*};
}

numbers! {
    f64, Float, "0.0", None;
    i64, Int, "0", None;
    usize, Int, "0", Some((0.0, false));
    u64, Int, "0", Some((0.0, false));
    u32, Int, "0", Some((0.0, false));
}

macro_rules! free {
    ($($ty:ty, $kind:ident, $default:literal;)*) => {$(
        impl Setting for $ty {
            const KIND: ParamKind = ParamKind::$kind;
            const DEFAULT: Option<&'static str> = Some($default);

            fn check(&self, _: &Param) -> Result<(), Misfit> {
                Ok(())
            }

            serial_here!();
        }
    )*};
}

free! {
    bool, Bool, "false";
    String, Text, "\"\"";
    PathBuf, Text, "\"\"";
}

impl<T: Setting> Setting for Option<T> {
    const KIND: ParamKind = T::KIND;
    const LOW: Option<(f64, bool)> = T::LOW;
    const ABSENT: Option<&'static str> = Some("none");
    const DEFAULT: Option<&'static str> = Some("none");

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn check(&self, param: &Param) -> Result<(), Misfit> {
        self.as_ref().map_or(Ok(()), |given| given.check(param))
    }

    fn read(from: &mut dyn erased_serde::Deserializer<'_>) -> Result<Self, erased_serde::Error> {
        let mut found = None;
        serial::read_optional(from, &mut |value| {
            found = Some(T::read(value)?);
            Ok(())
        })?;
        Ok(found)
    }

    fn shown(&self) -> &dyn erased_serde::Serialize {
        self.as_ref().map_or(&(), T::shown)
    }
}

impl<T: Setting> Setting for Vec<T> {
    const KIND: ParamKind = list_of(T::KIND);
    const LOW: Option<(f64, bool)> = T::LOW;
    const DEFAULT: Option<&'static str> = Some("[]");

    fn check(&self, param: &Param) -> Result<(), Misfit> {
        check_list(self, param)
    }

    fn read(from: &mut dyn erased_serde::Deserializer<'_>) -> Result<Self, erased_serde::Error> {
        let mut all = Vec::new();
        serial::read_list(from, &mut |value| {
            all.push(T::read(value)?);
            Ok(())
        })?;
        Ok(all)
    }
}

impl<T: Setting, const N: usize> Setting for [T; N]
where
    [T; N]: Serialize + DeserializeOwned,
{
    const KIND: ParamKind = list_of(T::KIND);
    const LOW: Option<(f64, bool)> = T::LOW;

    fn check(&self, param: &Param) -> Result<(), Misfit> {
        check_list(self, param)
    }
}

fn check_list<T: Setting>(list: &[T], param: &Param) -> Result<(), Misfit> {
    let mut all = list.iter().enumerate();
    all.try_for_each(|(i, v)| v.check(param).map_err(|e| e.inside(&format!("[{i}]"))))
}

const fn list_of(kind: ParamKind) -> ParamKind {
    match kind {
        ParamKind::Int => ParamKind::Ints,
        ParamKind::Float => ParamKind::Floats,
        ParamKind::Text => ParamKind::Texts,
        ParamKind::Part(family) => ParamKind::Parts(family),
        ParamKind::Table(settings) => ParamKind::Tables(settings),
        _ => panic!("a list of settings holds numbers, texts, components or tables"),
    }
}

/// A component in a setting: its own settings are checked where it is built.
macro_rules! parts {
    ($($config:ident),*) => {$(
        impl Setting for Box<dyn crate::$config> {
            const KIND: ParamKind = ParamKind::Part(<dyn crate::$config as InFamily>::FAMILY);

            fn check(&self, _: &Param) -> Result<(), Misfit> {
                Ok(())
            }

            serial_here!();
        }
    )*};
}

parts!(
    EnergyConfig,
    TransitionConfig,
    SamplerConfig,
    EntropyConfig,
    ObjectiveConfig,
    ReplayConfig,
    DataConfig,
    OptimiserConfig,
    ObserverConfig,
    PolicyConfig
);

/// An enum without values: a choice of words. Derived with [`Settings`].
pub trait Choice: Sized + 'static {
    /// Every word with its value.
    const ALL: &'static [(&'static str, Self)];
    /// The words.
    const WORDS: &'static [&'static str];

    /// The word of this value.
    fn word(&self) -> &'static str;
}

/// Compares a text with the words it may be.
#[doc(hidden)]
pub fn check_word(text: &str, param: &Param) -> Result<(), Misfit> {
    match param.kind {
        ParamKind::Choice(words) if !words.contains(&text) => {
            Err(Misfit::new(format!("is {text:?}, must be one of {}", quoted(words))))
        }
        _ => Ok(()),
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ")
}

/// Number of settings of all tables together.
#[doc(hidden)]
pub const fn total(tables: &[&[Param]]) -> usize {
    let (mut sum, mut i) = (0, 0);
    while i < tables.len() {
        sum += tables[i].len();
        i += 1;
    }
    sum
}

/// The settings of all tables in their order.
#[doc(hidden)]
pub const fn joined<const N: usize>(tables: &[&[Param]]) -> [Param; N] {
    const NONE: Param =
        Param { name: "", kind: ParamKind::Bool, doc: "", default: None, low: None, high: None, unit: None };
    let mut all = [NONE; N];
    let (mut next, mut i) = (0, 0);
    while i < tables.len() {
        let mut k = 0;
        while k < tables[i].len() {
            all[next] = tables[i][k];
            next += 1;
            k += 1;
        }
        i += 1;
    }
    all
}
