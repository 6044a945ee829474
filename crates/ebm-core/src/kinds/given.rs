//! A condition as people write it: a class by its number or its name, or the numbers themselves.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::catalogue::{Param, ParamKind, closest};
use crate::settings::{Misfit, Setting};

/// A condition as a setting or a line gives it: `3`, `"circle"`, `[0.5, -1.0]`.
///
/// Where all names of a set's classes are whole numbers, as those of folders called `0` to `10` are, a number is the name.
///
/// ```
/// use ebm_core::Given;
/// let names = ["circle".to_string(), "square".to_string()];
/// assert_eq!(Given::from("square").vector(2, &names), Ok(vec![0.0, 1.0]));
/// assert_eq!(Given::Class(0).vector(2, &names), Ok(vec![1.0, 0.0]));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Given {
    /// A class by its number.
    Class(u64),
    /// A class by its name.
    Name(String),
    /// The condition itself.
    Vector(Vec<f64>),
}

impl Given {
    /// The condition of `length` numbers in a set whose classes have these `names` (none: no names): for a class 1 at its
    /// place and 0 elsewhere.
    ///
    /// # Errors
    /// In words, if there is no such class, or the numbers are not as many.
    pub fn vector(&self, length: usize, names: &[String]) -> Result<Vec<f64>, String> {
        let class = match self {
            _ if length == 0 => return Err("there is no condition".into()),
            Given::Vector(v) if v.len() != length => {
                return Err(format!("wanted {length} numbers, found {}", v.len()));
            }
            Given::Vector(v) => return Ok(v.clone()),
            Given::Name(name) => named(name, length, names)?,
            Given::Class(n) if !names.is_empty() && names.iter().all(|name| is_number(name)) => {
                named(&n.to_string(), length, names)?
            }
            Given::Class(n) => {
                let class = usize::try_from(*n).ok().filter(|class| *class < length);
                class.ok_or_else(|| format!("wanted a class from 0 to {}{}", length - 1, listed(names)))?
            }
        };
        Ok((0..length).map(|i| f64::from(u8::from(i == class))).collect())
    }
}

fn is_number(name: &str) -> bool {
    name.parse::<u64>().is_ok()
}

/// The number of the class of this name, whatever the case of its letters if that leaves one.
fn named(name: &str, length: usize, names: &[String]) -> Result<usize, String> {
    let known = names.get(..length).unwrap_or(names);
    if known.is_empty() {
        return Err(format!("its classes have no names, wanted a class from 0 to {}", length - 1));
    }
    if let Some(class) = known.iter().position(|n| n == name) {
        return Ok(class);
    }
    let folded: Vec<usize> =
        (0..known.len()).filter(|i| known[*i].to_lowercase() == name.to_lowercase()).collect();
    match folded[..] {
        [one] => Ok(one),
        _ => {
            let near = closest(name, known.iter().map(String::as_str));
            let near = near.first().map_or(String::new(), |n| format!(", did you mean `{n}`?"));
            Err(format!("no class is called so{near}{}", listed(known)))
        }
    }
}

/// Most names that a message holds.
const SHOWN: usize = 20;

/// `; the classes are a, b, c`; nothing without names.
fn listed(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; the classes are {}", class_list(names)) }
}

/// Names of classes in a line, the first twenty of many.
pub fn class_list(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let some = names[..names.len() - more].join(", ");
    if more == 0 { some } else { format!("{some} and {more} more") }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Given::Class(n) => write!(f, "{n}"),
            Given::Name(name) => f.write_str(name),
            Given::Vector(v) => write!(f, "{v:?}"),
        }
    }
}

impl From<&str> for Given {
    /// A whole number is a class, numbers in brackets are the condition, all else is a name.
    fn from(text: &str) -> Self {
        let list = text.trim().strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        let numbers = list.and_then(|list| list.split(',').map(|n| n.trim().parse().ok()).collect());
        match (numbers, text.trim().parse()) {
            (Some(numbers), _) => Given::Vector(numbers),
            (None, Ok(class)) => Given::Class(class),
            (None, Err(_)) => Given::Name(text.into()),
        }
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Given;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a class by its number or its name, or a list of numbers")
            }

            fn visit_u64<E: serde::de::Error>(self, class: u64) -> Result<Given, E> {
                Ok(Given::Class(class))
            }

            fn visit_i64<E: serde::de::Error>(self, class: i64) -> Result<Given, E> {
                let wrong = |_| E::invalid_value(serde::de::Unexpected::Signed(class), &self);
                u64::try_from(class).map(Given::Class).map_err(wrong)
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Given, E> {
                Ok(Given::Name(name.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Given, A::Error> {
                let mut numbers = Vec::new();
                while let Some(number) = list.next_element()? {
                    numbers.push(number);
                }
                Ok(Given::Vector(numbers))
            }
        }

        from.deserialize_any(Any)
    }
}

impl Setting for Given {
    const KIND: ParamKind = ParamKind::Given;

    fn check(&self, _: &Param) -> Result<(), Misfit> {
        match self {
            Given::Vector(v) if v.iter().any(|v| !v.is_finite()) => {
                Err(Misfit::new(format!("is {self}, must be finite numbers")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_class_is_known_by_its_name_and_by_its_number() {
        let names = names(&["circle", "square", "Star"]);
        for (text, class) in [("circle", 0), ("2", 2), ("star", 2), ("SQUARE", 1)] {
            let vector = Given::from(text).vector(3, &names).unwrap();
            assert_eq!(vector.iter().position(|v| *v == 1.0), Some(class), "{text}");
            assert_eq!(vector.iter().sum::<f64>(), 1.0);
        }
        assert_eq!(Given::from("[0.5, -1]").vector(2, &[]), Ok(vec![0.5, -1.0]));
    }

    #[test]
    fn names_that_are_numbers_go_before_the_order_of_the_classes() {
        // Folders 0 to 10 in the order of their bytes.
        let names = names(&["0", "1", "10", "2"]);
        assert_eq!(Given::from("2").vector(4, &names), Ok(vec![0.0, 0.0, 0.0, 1.0]));
        assert!(Given::from("3").vector(4, &names).unwrap_err().contains("0, 1, 10, 2"));
    }

    #[test]
    fn what_is_no_class_is_told_with_those_that_are() {
        let names = names(&["circle", "square"]);
        let why = |text: &str, length, names: &[String]| Given::from(text).vector(length, names).unwrap_err();
        assert_eq!(
            why("circel", 2, &names),
            "no class is called so, did you mean `circle`?; the classes are circle, square"
        );
        assert_eq!(why("7", 2, &names), "wanted a class from 0 to 1; the classes are circle, square");
        assert_eq!(why("circle", 3, &[]), "its classes have no names, wanted a class from 0 to 2");
        assert_eq!(why("[1.0]", 2, &[]), "wanted 2 numbers, found 1");
        assert_eq!(why("0", 0, &[]), "there is no condition");
        let many: Vec<String> = (0..30).map(|i| format!("c{i}")).collect();
        assert!(why("x", 30, &many).ends_with("c19 and 10 more"));
    }

    #[test]
    fn settings_are_read_as_they_are_written() {
        #[derive(Serialize, Deserialize)]
        struct Table {
            given: Given,
        }
        for text in ["given = 3\n", "given = \"circle\"\n", "given = [0.5, 1.0]\n"] {
            let table: Table = toml::from_str(text).unwrap();
            assert_eq!(toml::to_string(&table).unwrap(), text);
        }
        assert!(toml::from_str::<Table>("given = -1").is_err());
        assert!(toml::from_str::<Table>("given = true").is_err());
    }
}
