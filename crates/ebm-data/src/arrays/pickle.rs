//! Pickles of numbers, as CIFAR and ImageNet-32 are published: lists, dictionaries, texts and NumPy arrays, protocols
//! 0 to 5. Nothing is run: of what a pickle may call, only what builds an array is known, and built here.
//!
//! Source: `pickletools.py` of CPython and `numpy/core/src/multiarray`. Bytes stay in the file's memory, each opcode
//! makes at most one node, and nodes refer to each other by number, so memory is bounded by the file's length and no
//! depth of nesting is a recursion.

mod machine;
mod numpy;
mod text;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::error::Origin;
use crate::npy::Npy;
use crate::{DataError, Result};

use machine::{Calls, Machine};

/// Number of a node.
pub(super) type Id = usize;

/// What a pickle can hold here.
#[derive(Clone, Debug)]
pub(super) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Bytes(Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// `module.name`, of which only some may be called.
    Global(Cow<'a, str>, Cow<'a, str>),
    Dtype(numpy::Dtype),
    Array(numpy::Array),
    /// A call that was not made, with the state and the entries that the result would be given.
    Object {
        callable: Id,
        args: Id,
        state: Option<Id>,
        entries: Vec<(Id, Id)>,
    },
    /// Something that is kept elsewhere, by its name.
    Persistent(Id),
}

/// A pickle that was read.
pub struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: Id,
    path: PathBuf,
}

impl<'a> Pickle<'a> {
    /// Reads the bytes of a pickle; `path` stands in error messages.
    ///
    /// # Errors
    /// If the bytes are no pickle, are truncated, or call or name anything but what arrays, numbers and texts are
    /// made of.
    pub fn parse(bytes: &'a [u8], path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let (nodes, root, _) = Machine::run(bytes, Origin(&path), Calls::Refused)?;
        Ok(Pickle { nodes, root, path })
    }

    /// The same, with calls as notes of calls, and where the pickle ends.
    pub(super) fn with_notes(bytes: &'a [u8], path: &Path) -> Result<(Self, usize)> {
        let (nodes, root, end) = Machine::run(bytes, Origin(path), Calls::Kept)?;
        Ok((Pickle { nodes, root, path: path.to_path_buf() }, end))
    }

    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id]
    }

    pub(super) fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }

    /// As it stands in messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the outermost node.
    pub(super) fn outermost(&self) -> Id {
        self.root
    }

    /// The value under a key of the outermost dictionary, `None` if there is no such key or no dictionary.
    pub fn get(&self, key: &str) -> Option<Value<'_, 'a>> {
        let Node::Dict(entries) = &self.nodes[self.root] else { return None };
        // The last of several equal keys holds, as in Python.
        let (_, value) = entries.iter().rev().find(|(k, _)| self.text(*k) == Some(key))?;
        Some(Value { pickle: self, id: *value })
    }

    /// The outermost value.
    pub fn root(&self) -> Value<'_, 'a> {
        Value { pickle: self, id: self.root }
    }

    /// Keys of the outermost dictionary that are texts.
    pub fn keys(&self) -> Vec<&str> {
        match &self.nodes[self.root] {
            Node::Dict(entries) => entries.iter().filter_map(|(k, _)| self.text(*k)).collect(),
            _ => Vec::new(),
        }
    }

    /// Texts of Python 3 and byte strings of Python 2 alike.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match &self.nodes[id] {
            Node::Text(t) => Some(t),
            Node::Bytes(b) => std::str::from_utf8(b).ok(),
            _ => None,
        }
    }
}

/// One value of a pickle.
#[derive(Clone, Copy)]
pub struct Value<'p, 'a> {
    pickle: &'p Pickle<'a>,
    id: Id,
}

impl Value<'_, '_> {
    /// A NumPy array of plain numbers.
    ///
    /// # Errors
    /// If it is anything else, or its bytes are not as many as its shape says.
    pub fn array(&self) -> Result<Npy> {
        match &self.pickle.nodes[self.id] {
            Node::Array(array) => array.read(&self.pickle.nodes, &self.pickle.path),
            _ => Err(self.wrong("a NumPy array")),
        }
    }

    /// Whole numbers: a list or tuple of them, or an array `(N,)`, or `(N, 1)`.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn whole_numbers(&self) -> Result<Vec<i64>> {
        match &self.pickle.nodes[self.id] {
            Node::List(items) | Node::Tuple(items) => {
                let number = |id: &Id| match &self.pickle.nodes[*id] {
                    Node::Int(n) => Ok(*n),
                    Node::Bool(b) => Ok(i64::from(*b)),
                    _ => Err(self.wrong("a list of whole numbers")),
                };
                items.iter().map(number).collect()
            }
            Node::Array(_) => self.array()?.into_whole_numbers(),
            _ => Err(self.wrong("whole numbers")),
        }
    }

    /// A list or tuple of texts.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn texts(&self) -> Result<Vec<String>> {
        match &self.pickle.nodes[self.id] {
            Node::List(items) | Node::Tuple(items) => items
                .iter()
                .map(|id| {
                    self.pickle.text(*id).map(String::from).ok_or_else(|| self.wrong("a list of texts"))
                })
                .collect(),
            _ => Err(self.wrong("a list of texts")),
        }
    }

    /// Whether it is `False`.
    pub(super) fn is_false(&self) -> bool {
        matches!(self.pickle.nodes[self.id], Node::Bool(false))
    }

    fn wrong(&self, expected: &str) -> DataError {
        Origin(&self.pickle.path).format(0, "a value of the pickle", self.kind(), expected)
    }

    fn kind(&self) -> &'static str {
        match &self.pickle.nodes[self.id] {
            Node::None => "None",
            Node::Bool(_) => "a truth value",
            Node::Int(_) => "a whole number",
            Node::Float(_) => "a float",
            Node::Bytes(_) => "bytes",
            Node::Text(_) => "a text",
            Node::List(_) => "a list",
            Node::Tuple(_) => "a tuple",
            Node::Dict(_) => "a dictionary",
            Node::Global(..) => "a name",
            Node::Dtype(_) => "a NumPy type",
            Node::Array(_) => "a NumPy array",
            Node::Object { .. } => "an object",
            Node::Persistent(_) => "a reference",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// `pickle.dumps({"a": [1, 2], b"b": (True, None, "é")}, protocol=p)` of CPython 3.11.
    const PROTOCOL_2: &[u8] = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01K\x02eX\x01\x00\x00\x00bq\x03X\x02\x00\x00\x00\xc3\xa9q\x04u.";
    const PROTOCOL_0: &[u8] = b"(dp0\nVa\np1\n(lp2\nI1\naI-2\nasVb\np3\nV\\u00e9\np4\ns.";

    fn message(bytes: &[u8]) -> String {
        Pickle::parse(bytes, "f").err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn text_and_binary_protocols_give_the_same_values() {
        for (bytes, second) in [(PROTOCOL_2, 2), (PROTOCOL_0, -2)] {
            let pickle = Pickle::parse(bytes, "f").unwrap();
            assert_eq!(pickle.keys(), ["a", "b"]);
            assert_eq!(pickle.get("a").unwrap().whole_numbers().unwrap(), [1, second]);
            assert_eq!(pickle.text(pickle.get("b").unwrap().id), Some("é"));
            assert!(pickle.get("c").is_none());
        }
    }

    #[test]
    fn code_is_named_and_never_run() {
        // os.system("true") in protocol 0, and in protocol 4.
        assert!(
            message(b"cos\nsystem\n(S'true'\ntR.").contains("os.system"),
            "{}",
            message(b"cos\nsystem\n(S'true'\ntR.")
        );
        assert!(message(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.").contains("os.system"));
        let object = message(b"\x80\x02cbuiltins\neval\nq\x00)\x81q\x01.");
        assert!(object.contains("never run"), "{object}");
    }

    #[test]
    fn what_is_no_pickle_or_cut_is_told_by_its_place() {
        assert!(!message(b"hello").contains("byte 0"), "{}", message(b"hello"));
        assert!(message(&PROTOCOL_2[..10]).contains("byte"), "{}", message(&PROTOCOL_2[..10]));
        assert!(message(b"\x80\x09N.").contains("protocol"));
        assert!(message(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f").contains("byte"));
        assert!(message(b"h\x07.").contains("memo"));
        assert!(message(b"(lp0\n(h\x00ee.").contains("byte"));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Pickle::parse(&bytes, "f");
        }

        #[test]
        fn random_programs_never_panic(ops in prop::collection::vec(prop::sample::select(
            b"(.012FNILSVabcdeghijlopqrstu}]Q)JKMTUXBCR\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8e\x93\x94\x95\x96\x00\x01\x02\n".to_vec()), 0..200)) {
            let _ = Pickle::parse(&ops, "f");
        }

        #[test]
        fn damage_anywhere_never_panics(at in 0usize..50, byte in any::<u8>()) {
            for whole in [PROTOCOL_2, PROTOCOL_0] {
                let mut bytes = whole.to_vec();
                let at = at % bytes.len();
                prop_assert!(Pickle::parse(&bytes[..at], "f").is_err());
                bytes[at] = byte;
                let _ = Pickle::parse(&bytes, "f");
            }
        }
    }
}
