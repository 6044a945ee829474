//! Classes of samples in NumPy's format: whole numbers, or words, which are numbered in their order.

use std::path::Path;

use crate::npy::Npy;
use crate::npy_header::{self, Header};
use crate::unpack::Unpacked;
use crate::{DataError, Result};

/// The class of each sample, and the names of the classes by their number; no names where classes are numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// A class a sample; `None` where it is missing: a number below 0 or not-a-number.
    pub labels: Vec<Option<u32>>,
    /// Sorted; empty where classes are numbers.
    pub names: Vec<String>,
}

impl Classes {
    /// The classes of an `.npy` file `(N,)` or `(N, 1)`.
    ///
    /// # Errors
    /// If the file is missing or damaged, holds other sizes, or numbers that are not whole.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::parse_from(Unpacked::open(path.as_ref())?)
    }

    pub(crate) fn parse_from(mut from: Unpacked<'_>) -> Result<Self> {
        let header = npy_header::read_any(&mut from)?;
        let file = from.origin().0.to_path_buf();
        let wrong = |found: String| {
            DataError::mismatch(format!("{}: the classes", file.display()), found, "sizes (N,) or (N, 1)")
        };
        let bytes = header.bytes().ok_or_else(|| wrong(format!("the shape {:?}", header.dims)))?;
        let raw = from.rest(bytes, "the classes")?;
        if !matches!(header.stored.kind, b'U' | b'S') {
            let labels = Npy::from_raw(raw, &header, from.origin())?.into_classes()?;
            return Ok(Classes { labels, names: Vec::new() });
        }
        if header.dims.iter().skip(1).any(|d| *d != 1) {
            return Err(wrong(format!("the shape {:?}", header.dims)));
        }
        let words: Vec<String> =
            raw.chunks_exact(header.stored.size as usize).map(|word| text(word, &header)).collect();
        let mut names = words.clone();
        names.sort();
        names.dedup();
        let number = |word: &String| names.binary_search(word).ok().map(|n| n as u32);
        Ok(Classes { labels: words.iter().map(number).collect(), names })
    }

    /// The same with the numbers that these `names` give their words; numbers stay as they are.
    ///
    /// # Errors
    /// If a word is none of the names.
    pub fn under(self, names: &[String]) -> Result<Self> {
        if self.names.is_empty() || self.names == names {
            return Ok(self);
        }
        let mut numbers = Vec::with_capacity(self.names.len());
        for word in &self.names {
            let number = names.iter().position(|name| name == word).ok_or_else(|| {
                let expected = format!("one of {}", names.join(", "));
                DataError::mismatch("a class of held-out samples", format!("`{word}`"), expected)
            })?;
            numbers.push(number as u32);
        }
        let number = |label: &Option<u32>| label.and_then(|l| numbers.get(l as usize).copied());
        let labels = self.labels.iter().map(number).collect();
        Ok(Classes { labels, names: names.to_vec() })
    }
}

/// A text that is filled up with zeros: code points of four bytes, or bytes.
fn text(word: &[u8], header: &Header) -> String {
    if header.stored.kind == b'S' {
        return String::from_utf8_lossy(word).trim_end_matches('\0').to_string();
    }
    let point = |four: &[u8]| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(four);
        let point =
            if header.stored.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    word.chunks_exact(4).map(point).collect::<String>().trim_end_matches('\0').to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let len = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
    }

    fn read(bytes: &[u8]) -> Result<Classes> {
        Classes::parse_from(Unpacked::from_bytes(bytes, Path::new("f")))
    }

    #[test]
    fn words_are_classes_in_their_order_and_numbers_stay() {
        let wide = |words: [&str; 3]| -> Vec<u8> {
            let points = words.iter().flat_map(|w| {
                let mut all: Vec<u32> = w.chars().map(u32::from).collect();
                all.resize(3, 0);
                all
            });
            points.flat_map(u32::to_le_bytes).collect()
        };
        let found = read(&file("<U3", "(3,)", &wide(["dog", "cat", "dog"]))).unwrap();
        assert_eq!(
            (found.labels.clone(), found.names.clone()),
            ([1, 0, 1].map(Some).to_vec(), vec!["cat".into(), "dog".into()])
        );
        let found = read(&file("|S2", "(2, 1)", b"b\0a\0")).unwrap();
        assert_eq!(
            (found.labels, found.names),
            ([1, 0].map(Some).to_vec(), vec!["a".to_string(), "b".into()])
        );
        let found = read(&file("|u1", "(2,)", &[3, 0])).unwrap();
        assert_eq!((found.labels, found.names.len()), ([3, 0].map(Some).to_vec(), 0));
        assert!(read(&file("|S1", "(1, 2)", b"ab")).is_err());
        assert!(read(&file("<U3", "(9,)", b"ab")).is_err());
    }

    #[test]
    fn held_out_words_have_the_numbers_of_training() {
        let names: Vec<String> = ["ant", "cat", "dog"].map(String::from).to_vec();
        let held = Classes { labels: vec![Some(1), Some(0)], names: vec!["cat".into(), "dog".into()] };
        assert_eq!(held.clone().under(&names).unwrap().labels, [Some(2), Some(1)]);
        assert!(held.under(&names[..2]).unwrap_err().to_string().contains("`dog`"));
    }
}
