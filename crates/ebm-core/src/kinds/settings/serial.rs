//! Settings as serde's data. Tables, lists and words are read and written through trait objects: code that knows both the
//! settings and the format would be made anew for each pair of them, and was a tenth of the program.

use std::fmt;

use erased_serde::{Deserializer as Waiting, Error as Failure};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserializer, Serializer};

use super::{Choice, Setting, Settings, quoted};
use crate::Param;

/// Reads one value that waits.
type Read<'a> = &'a mut dyn FnMut(&mut dyn Waiting<'_>) -> Result<(), Failure>;
/// Reads the value of a name.
type ReadNamed<'a> = &'a mut dyn FnMut(&str, &mut dyn Waiting<'_>) -> Result<(), Failure>;

/// A value within another.
struct Inner<'a>(Read<'a>);

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        (self.0)(&mut <dyn Waiting<'_>>::erase(from)).map_err(D::Error::custom)
    }
}

/// A table with the settings that it may have.
struct Table<'a>(&'static [Param], ReadNamed<'a>);

impl<'de> Visitor<'de> for Table<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        let Table(known, read) = self;
        while let Some(name) = from.next_key::<String>()? {
            if !known.iter().any(|p| p.name == name) {
                return Err(A::Error::custom(unknown(&name, known)));
            }
            from.next_value_seed(Inner(&mut |value| read(&name, value)))?;
        }
        Ok(())
    }
}

fn unknown(name: &str, known: &[Param]) -> String {
    let known: Vec<String> = known.iter().map(|p| format!("`{}`", p.name)).collect();
    let expected = match known.as_slice() {
        [] => "there are no settings".to_string(),
        some => format!("expected one of {}", some.join(", ")),
    };
    format!("unknown setting `{name}`, {expected}")
}

fn read_table(
    known: &'static [Param],
    from: &mut dyn Waiting<'_>,
    read: ReadNamed<'_>,
) -> Result<(), Failure> {
    from.deserialize_map(Table(known, read))
}

/// Reads settings from a table.
#[doc(hidden)]
pub fn read<'de, T: Settings, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    let mut partial = T::Partial::default();
    read_table(T::PARAMS, &mut <dyn Waiting<'_>>::erase(from), &mut |name, value| {
        T::take(&mut partial, name, value).map(|_| ())
    })
    .map_err(D::Error::custom)?;
    T::finish(partial).map_err(D::Error::missing_field)
}

/// Reads the value of a setting that was not yet there.
#[doc(hidden)]
pub fn once<T: Setting>(
    place: &mut Option<T>,
    name: &'static str,
    from: &mut dyn Waiting<'_>,
) -> Result<bool, Failure> {
    match place.replace(T::read(from)?) {
        None => Ok(true),
        Some(_) => Err(Failure::duplicate_field(name)),
    }
}

/// A value or none.
struct Maybe<'a>(Read<'a>);

impl<'de> Visitor<'de> for Maybe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("option")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        Inner(self.0).deserialize(from)
    }
}

/// Reads a value if there is one.
pub(super) fn read_optional(from: &mut dyn Waiting<'_>, read: Read<'_>) -> Result<(), Failure> {
    from.deserialize_option(Maybe(read))
}

/// The values of a list.
struct Items<'a>(Read<'a>);

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Inner(self.0))?.is_some() {}
        Ok(())
    }
}

/// Reads each value of a list.
pub(super) fn read_list(from: &mut dyn Waiting<'_>, read: Read<'_>) -> Result<(), Failure> {
    from.deserialize_seq(Items(read))
}

/// One of some words, by its place among them.
struct Word(&'static [&'static str]);

impl Visitor<'_> for Word {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", quoted(self.0))
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<usize, E> {
        let found = self.0.iter().position(|w| *w == word);
        found.ok_or_else(|| E::unknown_variant(word, self.0))
    }
}

/// Reads a choice.
#[doc(hidden)]
pub fn choose<'de, T: Choice + Clone, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_str(Word(T::WORDS)).map(|at| T::ALL[at].1.clone())
}

/// Where settings are written, in whatever format.
#[doc(hidden)]
pub trait Put {
    /// Writes one setting, or that it is absent. What fails is told at the end.
    fn put(&mut self, name: &'static str, value: Option<&dyn erased_serde::Serialize>);
}

struct Written<S: SerializeStruct>(S, Result<(), S::Error>);

impl<S: SerializeStruct> Put for Written<S> {
    fn put(&mut self, name: &'static str, value: Option<&dyn erased_serde::Serialize>) {
        if self.1.is_ok() {
            self.1 = match value {
                Some(value) => self.0.serialize_field(name, value),
                None => self.0.skip_field(name),
            };
        }
    }
}

fn write_all<S: Serializer>(count: usize, put: &dyn Fn(&mut dyn Put), to: S) -> Result<S::Ok, S::Error> {
    let mut table = Written(to.serialize_struct("settings", count)?, Ok(()));
    put(&mut table);
    table.1.and_then(|()| table.0.end())
}

/// Writes settings as a struct.
#[doc(hidden)]
pub fn write<T: Settings, S: Serializer>(settings: &T, to: S) -> Result<S::Ok, S::Error> {
    write_all(T::PARAMS.len(), &|table| settings.put(table), to)
}

/// Writes one setting.
#[doc(hidden)]
pub fn put<T: Setting>(to: &mut dyn Put, name: &'static str, value: &T) {
    to.put(name, (!value.is_absent()).then(|| value.shown()));
}
