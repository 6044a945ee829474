//! Paths into a configuration, such as `observer[1].every`.

use std::fmt;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A key of a table.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// A place in a configuration.
///
/// ```
/// let path: ebm::config::Path = "observer[1].every".parse()?;
/// assert_eq!(path.to_string(), "observer[1].every");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(pub Vec<Segment>);

impl Path {
    /// The place of `key` in the table at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Path {
        self.with(Segment::Key(key.to_string()))
    }

    /// Place `index` of the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Path {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Path {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }

    /// Whether `other` is this place or lies inside of it.
    pub fn holds(&self, other: &Path) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if i == 0 => write!(f, "{key}")?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is no path: {why}; write it like `observer[1].every`");
        let mut path = Path::default();
        for part in text.split('.') {
            let (key, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if key.is_empty() || !key.chars().all(plain) {
                return Err(wrong("a name is letters, digits, `_` and `-`"));
            }
            path.0.push(Segment::Key(key.to_string()));
            while !rest.is_empty() {
                let inside = rest.strip_prefix('[').and_then(|r| r.split_once(']'));
                let Some((index, after)) = inside.and_then(|(i, a)| Some((i.parse().ok()?, a))) else {
                    return Err(wrong("a place in a list is `[number]`"));
                };
                path.0.push(Segment::Index(index));
                rest = after;
            }
        }
        Ok(path)
    }
}

/// Whether a message is about a key or about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The key.
    Key,
    /// The value.
    Value,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_path_is_refused_with_the_reason() {
        for text in ["", "a..b", "a[b]", "a[1", "a[1]x", "a b", "[0]"] {
            assert!(text.parse::<Path>().unwrap_err().contains("write it like"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_path_reads_back(keys in prop::collection::vec(("[a-z_]{1,6}", prop::option::of(0usize..9)), 1..5)) {
            let mut path = Path::default();
            for (key, index) in keys {
                path = path.key(&key);
                if let Some(i) = index { path = path.index(i); }
            }
            prop_assert_eq!(path.to_string().parse::<Path>().unwrap(), path);
        }
    }
}
