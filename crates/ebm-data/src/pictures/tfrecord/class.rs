//! The class in a `tf.train.Example`, read without the picture beside it.

use std::fs::File;
use std::io::{BufReader, Read, Result, Seek, SeekFrom};

use crate::pictures::example;

/// Names of features that hold a class as a number, and as a text, the likeliest first.
const NUMBERS: [&str; 5] = ["image/class/label", "label", "class", "labels", "fine_label"];
const TEXTS: [&str; 3] = ["image/class/text", "class_name", "label_name"];

/// No name or class is longer; longer values are passed over.
const LONGEST: u64 = 1 << 10;

/// What a record says of its class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Class {
    pub number: Option<i64>,
    pub text: Option<String>,
}

/// The class of the record of `len` bytes at `at`; nothing where the record is none of `tf.train.Example`.
pub(super) fn of(file: &mut File, at: u64, len: u64) -> Result<Class> {
    file.seek(SeekFrom::Start(at))?;
    let mut scan = Scan { from: BufReader::with_capacity(4096, file), left: len };
    let mut numbers = [None; NUMBERS.len()];
    let mut texts: [Option<String>; TEXTS.len()] = Default::default();
    while let Some((field, inside)) = scan.field()? {
        if field != 1 {
            scan.skip(inside)?;
            continue;
        }
        // The map of features: entries one after the other.
        let end = scan.left.saturating_sub(inside);
        while scan.left > end {
            let Some((_, entry)) = scan.field()? else { break };
            let after = scan.left.saturating_sub(entry);
            if let Some((name, value)) = scan.entry(after)? {
                if let Some(i) = NUMBERS.iter().position(|n| *n == name) {
                    numbers[i] = number(&value);
                } else if let Some(i) = TEXTS.iter().position(|n| *n == name) {
                    texts[i] = example::single_bytes(&value).map(|t| String::from_utf8_lossy(t).into_owned());
                }
            }
            scan.skip(scan.left.saturating_sub(after))?;
        }
    }
    Ok(Class { number: numbers.into_iter().flatten().next(), text: texts.into_iter().flatten().next() })
}

/// The only whole number of a feature.
fn number(feature: &[u8]) -> Option<i64> {
    match example::whole_numbers(feature)?[..] {
        [one] => Some(one as i64),
        _ => None,
    }
}

/// Reads a message field by field.
struct Scan<'f> {
    from: BufReader<&'f mut File>,
    left: u64,
}

impl Scan<'_> {
    fn byte(&mut self) -> Result<Option<u8>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut one = [0];
        if self.from.read(&mut one)? == 0 {
            self.left = 0;
            return Ok(None);
        }
        self.left -= 1;
        Ok(Some(one[0]))
    }

    fn varint(&mut self) -> Result<Option<u64>> {
        let mut value = 0u64;
        for i in 0..10u32 {
            let Some(byte) = self.byte()? else { return Ok(None) };
            value |= u64::from(byte & 0x7f).checked_shl(7 * i).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Number and length of the next field that has one; nothing at the end or of another message.
    fn field(&mut self) -> Result<Option<(u64, u64)>> {
        let Some(tag) = self.varint()? else { return Ok(None) };
        let len = if tag & 7 == 2 { self.varint()? } else { None };
        match len.filter(|len| *len <= self.left) {
            Some(len) => Ok(Some((tag >> 3, len))),
            None => {
                self.skip(self.left)?;
                Ok(None)
            }
        }
    }

    /// Name and value of an entry that ends where `after` bytes are left, if they are short.
    fn entry(&mut self, after: u64) -> Result<Option<(String, Vec<u8>)>> {
        let (mut name, mut value) = (None, None);
        while self.left > after {
            let Some((field, len)) = self.field()? else { return Ok(None) };
            if len > LONGEST {
                self.skip(len)?;
                continue;
            }
            let mut bytes = vec![0; len as usize];
            self.from.read_exact(&mut bytes)?;
            self.left -= len;
            match field {
                1 => name = Some(String::from_utf8_lossy(&bytes).into_owned()),
                2 => value = Some(bytes),
                _ => {}
            }
        }
        Ok(name.zip(value))
    }

    fn skip(&mut self, len: u64) -> Result<()> {
        self.from.seek_relative(len as i64)?;
        self.left -= len.min(self.left);
        Ok(())
    }
}
