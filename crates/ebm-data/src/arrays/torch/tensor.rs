//! A tensor of PyTorch as its pickle describes it: strides over a storage.

use std::collections::HashMap;

use crate::pickle::{Id, Node, Pickle};

/// A number type of PyTorch that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Number {
    F64,
    F32,
    F16,
    Bf16,
    F8E4M3,
    I64,
    I32,
    I16,
    U8,
}

impl Number {
    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            Number::F64 | Number::I64 => 8,
            Number::F32 | Number::I32 => 4,
            Number::F16 | Number::Bf16 | Number::I16 => 2,
            Number::F8E4M3 | Number::U8 => 1,
        }
    }

    /// Of a class of storages such as `FloatStorage`, or of a type such as `float32`.
    fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "DoubleStorage" | "float64" | "double" => Number::F64,
            "FloatStorage" | "float32" | "float" => Number::F32,
            "HalfStorage" | "float16" | "half" => Number::F16,
            "BFloat16Storage" | "bfloat16" => Number::Bf16,
            "float8_e4m3fn" => Number::F8E4M3,
            "LongStorage" | "int64" | "long" => Number::I64,
            "IntStorage" | "int32" | "int" => Number::I32,
            "ShortStorage" | "int16" | "short" => Number::I16,
            "ByteStorage" | "uint8" => Number::U8,
            _ => return None,
        })
    }
}

/// Bytes of an element of a storage of this class; those without a type count bytes.
fn width(class: &str) -> Option<usize> {
    Some(match class {
        "ComplexDoubleStorage" => 16,
        "ComplexFloatStorage" => 8,
        "QInt32Storage" => 4,
        "BoolStorage" | "CharStorage" | "QInt8Storage" | "QUInt8Storage" | "QUInt4x2Storage"
        | "QUInt2x4Storage" | "UntypedStorage" => 1,
        other => Number::of_name(other)?.size(),
    })
}

/// A tensor whose numbers lie in a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Type of its numbers.
    pub number: Number,
    /// Its shape.
    pub dims: Vec<usize>,
    /// Steps in the storage, in numbers.
    strides: Vec<usize>,
    /// Where it begins in the storage, in numbers.
    offset: usize,
    /// Whether its numbers are those of the storage with their signs turned: a negation that PyTorch put off.
    pub negated: bool,
    /// Name of the storage.
    pub(super) storage: String,
}

/// The tensor that the call `id` makes, or why it cannot be read; `None` if the call makes something else.
pub(super) fn of(pickle: &Pickle<'_>, id: Id) -> Option<Result<Tensor, String>> {
    let Node::Object { callable, args, .. } = pickle.node(id) else { return None };
    let (Node::Global(module, name), Node::Tuple(list)) = (pickle.node(*callable), pickle.node(*args)) else {
        return None;
    };
    match (&**module, &**name, &list[..]) {
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state", [inner, ..]) => {
            of(pickle, *inner)
        }
        // A tensor of a class of its own, with the call that makes the plain one.
        ("torch._tensor", "_rebuild_from_type_v2", [callable, _, args, ..]) => {
            plain(pickle, *callable, *args)
        }
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3", _) => {
            plain(pickle, *callable, *args)
        }
        ("torch._utils", other, _) if other.starts_with("_rebuild_") => Some(Err(format!(
            "made by `torch._utils.{other}`, which is not known: save it as a plain tensor"
        ))),
        _ => None,
    }
}

fn plain(pickle: &Pickle<'_>, callable: Id, args: Id) -> Option<Result<Tensor, String>> {
    let (Node::Global(_, name), Node::Tuple(args)) = (pickle.node(callable), pickle.node(args)) else {
        return None;
    };
    let typed = name == "_rebuild_tensor_v3";
    // storage, offset, size, stride, requires_grad, hooks, (type), metadata
    let marks = args.get(if typed { 7 } else { 6 }).map_or_else(Vec::new, |id| marks(pickle, *id));
    if let Some(other) = marks.iter().find(|mark| **mark != "neg") {
        let way = "save it after `.resolve_conj()` and `.clone()`";
        return Some(Err(format!(
            "marked `{other}`, which may change its numbers and is not applied: {way}"
        )));
    }
    let number = if typed { args.get(6) } else { None };
    let tensor = rebuilt(pickle, args, number.copied());
    Some(tensor.map(|tensor| Tensor { negated: !marks.is_empty(), ..tensor }))
}

/// Marks of a tensor: `neg` and `conj` stand for a change of sign that was put off.
fn marks<'p>(pickle: &'p Pickle<'_>, metadata: Id) -> Vec<&'p str> {
    match pickle.node(metadata) {
        Node::None => Vec::new(),
        Node::Dict(entries) => {
            let unset = |id: &Id| matches!(pickle.node(*id), Node::Bool(false) | Node::None);
            let set = entries.iter().filter(|(_, v)| !unset(v));
            set.map(|(k, _)| pickle.text(*k).unwrap_or("unnamed")).collect()
        }
        _ => vec!["a seventh argument"],
    }
}

fn rebuilt(pickle: &Pickle<'_>, args: &[Id], number: Option<Id>) -> Result<Tensor, String> {
    let odd = || "of an unusual form".to_string();
    let [storage, offset, size, stride, ..] = args else { return Err(odd()) };
    let Node::Persistent(storage) = pickle.node(*storage) else { return Err(odd()) };
    let (class, name) = class_and_name(pickle, *storage).ok_or_else(odd)?;
    let kind = match number.map(|id| pickle.node(id)) {
        Some(Node::Global(_, name)) => &**name,
        Some(_) => return Err(odd()),
        None => class,
    };
    let number = Number::of_name(kind).ok_or_else(|| {
        format!("of type `{}`, which is not read", kind.trim_end_matches("Storage").to_lowercase())
    })?;
    let whole = |id: &Id| match pickle.node(*id) {
        Node::Int(n) => usize::try_from(*n).map_err(|_| odd()),
        _ => Err(odd()),
    };
    let all = |id: &Id| match pickle.node(*id) {
        Node::Tuple(items) => items.iter().map(whole).collect::<Result<Vec<usize>, String>>(),
        _ => Err(odd()),
    };
    let (dims, strides) = (all(size)?, all(stride)?);
    if dims.len() != strides.len() {
        return Err(odd());
    }
    let (offset, storage) = (whole(offset)?, name.to_string());
    Ok(Tensor { number, dims, strides, offset, negated: false, storage })
}

/// Class and name of a storage that stands elsewhere, but for a view into another, as files before version 0.4 have them.
fn class_and_name<'p>(pickle: &'p Pickle<'_>, storage: Id) -> Option<(&'p str, &'p str)> {
    let Node::Tuple(parts) = pickle.node(storage) else { return None };
    let &[_, class, name, _, _, ref view @ ..] = &parts[..] else { return None };
    let Node::Global(_, class) = pickle.node(class) else { return None };
    let whole = view.iter().all(|id| matches!(pickle.node(*id), Node::None));
    whole.then_some((&**class, pickle.text(name)?))
}

/// Bytes of an element of every storage that a file names, by the storage's name; `None` where its class is not known.
pub(super) fn widths(pickle: &Pickle<'_>) -> HashMap<String, Option<usize>> {
    let storages = pickle.nodes().iter().filter_map(|node| match node {
        Node::Persistent(id) => class_and_name(pickle, *id),
        _ => None,
    });
    storages.map(|(class, name)| (name.to_string(), width(class))).collect()
}

/// Bytes of a tensor at most, however often it repeats what it has.
const LONGEST: usize = 1 << 36;

impl Tensor {
    /// The numbers as they are stored, row-major, out of the bytes of the storage.
    pub(super) fn of(&self, storage: &[u8]) -> Result<Vec<u8>, String> {
        let width = self.number.size();
        let count = self.dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let bytes = count.and_then(|n| n.checked_mul(width)).filter(|n| *n <= LONGEST);
        let bytes = bytes.ok_or("more numbers than any memory holds")?;
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let steps = self.dims.iter().zip(&self.strides);
        let last = steps.clone().try_fold(self.offset, |at, (d, s)| at.checked_add((d - 1).checked_mul(*s)?));
        let end = last.and_then(|at| at.checked_add(1)?.checked_mul(width));
        if end.is_none_or(|end| end > storage.len()) {
            return Err(format!("beyond its storage of {} bytes", storage.len()));
        }
        let mut out = Vec::with_capacity(bytes);
        let mut index = vec![0usize; self.dims.len()];
        loop {
            let at = index.iter().zip(&self.strides).fold(self.offset, |at, (i, s)| at + i * s) * width;
            out.extend_from_slice(&storage[at..at + width]);
            let Some(d) = (0..index.len()).rev().find(|d| index[*d] + 1 < self.dims[*d]) else {
                return Ok(out);
            };
            index[d] += 1;
            index[d + 1..].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tensor(dims: &[usize], strides: &[usize], offset: usize) -> Tensor {
        let (dims, strides) = (dims.to_vec(), strides.to_vec());
        Tensor { number: Number::U8, dims, strides, offset, negated: false, storage: "0".into() }
    }

    #[test]
    fn strides_offsets_and_repeats_are_read_and_what_reaches_beyond_is_not() {
        let storage: Vec<u8> = (0..12).collect();
        assert_eq!(tensor(&[2, 3], &[3, 1], 0).of(&storage).unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(tensor(&[3, 2], &[1, 3], 1).of(&storage).unwrap(), [1, 4, 2, 5, 3, 6]);
        assert_eq!(tensor(&[2, 2], &[0, 1], 10).of(&storage).unwrap(), [10, 11, 10, 11]);
        assert_eq!(tensor(&[], &[], 7).of(&storage).unwrap(), [7]);
        assert!(tensor(&[0, 3], &[3, 1], 99).of(&storage).unwrap().is_empty());
        for beyond in [
            tensor(&[13], &[1], 0),
            tensor(&[2], &[12], 0),
            tensor(&[2], &[usize::MAX], 1),
            tensor(&[usize::MAX, 9], &[0, 0], 0),
            tensor(&[1 << 40], &[0], 0),
        ] {
            assert!(beyond.of(&storage).is_err(), "{beyond:?}");
        }
    }
}
