//! NumPy's arrays and types inside of pickles: the only calls that are known.

use std::borrow::Cow;
use std::path::Path;

use super::{Id, Node};
use crate::Result;
use crate::error::Origin;
use crate::npy::Npy;
use crate::npy_header::{Header, Stored};

/// A type such as `u1`; `None` for what holds no plain numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dtype(pub Option<Stored>);

/// An array whose bytes are another node.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    dims: Vec<u64>,
    dtype: Dtype,
    fortran: bool,
    /// `None` until its state is known.
    data: Option<Id>,
}

/// The result of a call that builds data; `None` for all others.
pub(super) fn call<'a>(nodes: &[Node<'a>], callable: Id, args: Id) -> Option<Node<'a>> {
    let (Node::Global(module, name), Node::Tuple(args)) = (&nodes[callable], &nodes[args]) else {
        return None;
    };
    // NumPy 2 calls its `core` `_core`.
    let module = module.replace("numpy._core", "numpy.core");
    match (module.as_str(), &**name, &args[..]) {
        ("numpy.core.multiarray", "_reconstruct", [_, _, _]) => {
            Some(Node::Array(Array { dims: vec![0], dtype: Dtype(None), fortran: false, data: None }))
        }
        ("numpy.core.numeric", "_frombuffer", &[data, dtype, shape, order]) => {
            let Node::Dtype(dtype) = &nodes[dtype] else { return None };
            let fortran = text(nodes, order)? == "F";
            Some(Node::Array(Array { dims: sizes(nodes, shape)?, dtype: *dtype, fortran, data: Some(data) }))
        }
        ("numpy.core.multiarray", "scalar", &[dtype, data]) => scalar(nodes, dtype, data),
        ("numpy", "dtype", [name, ..]) => Some(Node::Dtype(dtype(text(nodes, *name)?))),
        // How Python 3 writes bytes in protocols before 3.
        ("_codecs", "encode", &[value, code]) if ["latin1", "latin-1"].contains(&text(nodes, code)?) => {
            let Node::Text(value) = &nodes[value] else { return None };
            let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            Some(Node::Bytes(Cow::Owned(bytes?)))
        }
        ("__builtin__" | "builtins", "bytes", []) => Some(Node::Bytes(Cow::Borrowed(&[]))),
        ("collections", "OrderedDict", []) => Some(Node::Dict(Vec::new())),
        _ => None,
    }
}

/// `object` with its state.
pub(super) fn build<'a>(nodes: &[Node<'a>], object: Id, state: Id) -> Option<Node<'a>> {
    let Node::Tuple(state) = &nodes[state] else { return None };
    match (&nodes[object], &state[..]) {
        (Node::Array(_), &[_, shape, dtype, fortran, data]) => {
            let Node::Dtype(dtype) = &nodes[dtype] else { return None };
            let fortran = match &nodes[fortran] {
                Node::Bool(b) => *b,
                // Python 2 wrote truth values as numbers.
                Node::Int(n) => *n != 0,
                _ => return None,
            };
            Some(Node::Array(Array { dims: sizes(nodes, shape)?, dtype: *dtype, fortran, data: Some(data) }))
        }
        (Node::Dtype(dtype), [_, order, ..]) => {
            let big_endian = text(nodes, *order)? == ">";
            Some(Node::Dtype(Dtype(dtype.0.map(|s| Stored { big_endian, ..s }))))
        }
        _ => None,
    }
}

impl Array {
    pub fn read(&self, nodes: &[Node<'_>], path: &Path) -> Result<Npy> {
        let wrong =
            |found: &str, expected: &str| Origin(path).format(0, "an array of the pickle", found, expected);
        let Some(stored) = self.dtype.0 else {
            return Err(wrong("of objects or of another type", "plain numbers"));
        };
        let Some(Node::Bytes(bytes)) = self.data.map(|id| &nodes[id]) else {
            return Err(wrong("without bytes", "the bytes of its numbers"));
        };
        let header = Header { stored, dims: self.dims.clone(), fortran: self.fortran };
        let len = header.bytes().filter(|n| *n == bytes.len() as u64);
        if len.is_none() {
            let found = format!("{} bytes", bytes.len());
            return Err(wrong(&found, &format!("those of shape {:?}", self.dims)));
        }
        Npy::from_raw(bytes.to_vec(), &header, Origin(path))
    }
}

fn text<'n>(nodes: &'n [Node<'_>], id: Id) -> Option<&'n str> {
    match &nodes[id] {
        Node::Text(t) => Some(t),
        Node::Bytes(b) => std::str::from_utf8(b).ok(),
        _ => None,
    }
}

fn sizes(nodes: &[Node<'_>], shape: Id) -> Option<Vec<u64>> {
    let size = |id: &Id| match &nodes[*id] {
        Node::Int(n) => u64::try_from(*n).ok(),
        _ => None,
    };
    match &nodes[shape] {
        Node::Tuple(dims) => dims.iter().map(size).collect(),
        _ => None,
    }
}

fn dtype(name: &str) -> Dtype {
    Dtype(Stored::of_name(name.trim_start_matches(['<', '>', '|', '=']), name.starts_with('>')))
}

/// A number of NumPy, as lists of labels hold them.
fn scalar<'a>(nodes: &[Node<'a>], dtype: Id, data: Id) -> Option<Node<'a>> {
    let (Node::Dtype(Dtype(Some(stored))), Node::Bytes(bytes)) = (&nodes[dtype], &nodes[data]) else {
        return None;
    };
    if bytes.len() as u64 != stored.size {
        return None;
    }
    let values = crate::npy::decode(bytes.to_vec(), *stored);
    Some(match values.whole(0) {
        Some(whole) => Node::Int(whole),
        None => Node::Float(values.into_f32().first().map_or(f64::NAN, |v| f64::from(*v))),
    })
}
