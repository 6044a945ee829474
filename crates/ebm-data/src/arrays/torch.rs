//! What PyTorch saves (`torch.save`, `torch.jit.save`): the tensors of a file by their places in it, zipped or as the stream of
//! pickles that it was before version 1.6.
//!
//! Source: `torch/serialization.py` and `torch/_utils.py` of PyTorch 2.15. Nothing is run: dictionaries, lists and the attributes
//! of objects are walked through, and tensors are rebuilt here.

mod container;
mod tensor;

use std::path::{Path, PathBuf};

pub use container::is_torch;
pub use tensor::{Number, Tensor};

use crate::Result;
use crate::error::Origin;
use crate::pickle::{Id, Node, Pickle};

use container::Container;

/// Deepest nesting, and most entries, that are walked through; references may make a small file a deep one.
const DEEPEST: usize = 64;
const MOST_ENTRIES: usize = 1 << 21;

/// What stands at a place of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A tensor, or why it cannot be read.
    Tensor(Result<Tensor, String>),
    /// A number.
    Number(f64),
    /// What has no numbers to read: a text, nothing, an object without attributes.
    Other,
}

/// A file of PyTorch.
pub struct Torch {
    path: PathBuf,
    container: Container,
    entries: Vec<(Vec<String>, Item)>,
}

impl Torch {
    /// Opens the file at `path`; numbers of tensors are read when they are asked for.
    ///
    /// # Errors
    /// If it cannot be read, is none of PyTorch's, or is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (container, object) = Container::open(path)?;
        let (pickle, _) = Pickle::with_notes(&object, path)?;
        let mut walk = Walk { pickle: &pickle, place: Vec::new(), entries: Vec::new() };
        walk.node(pickle.outermost(), 0)?;
        let entries = walk.entries;
        let mut torch = Torch { path: path.to_path_buf(), container, entries };
        torch.container.measure(&tensor::widths(&pickle), path)?;
        Ok(torch)
    }

    /// Everything that is in it by its place, in the order of the file: keys, places in lists and attributes, outermost first.
    pub fn entries(&self) -> &[(Vec<String>, Item)] {
        &self.entries
    }

    /// The numbers of a tensor, row-major and little-endian.
    ///
    /// # Errors
    /// If its storage is missing or damaged, or the tensor reaches beyond it.
    pub fn read(&mut self, tensor: &Tensor) -> Result<Vec<u8>> {
        let storage = self.container.storage(&tensor.storage, &self.path)?;
        tensor.of(&storage).map_err(|found| {
            let item = format!("a tensor {:?} of storage {}", tensor.dims, tensor.storage);
            Origin(&self.path).format(0, item, found, "as much as it says")
        })
    }
}

/// Goes through the values of a pickle.
struct Walk<'p, 'a> {
    pickle: &'p Pickle<'a>,
    place: Vec<String>,
    entries: Vec<(Vec<String>, Item)>,
}

/// Attributes of a pickled module that hold its parts, and are no part of a parameter's name.
const MODULE: [&str; 3] = ["_parameters", "_buffers", "_modules"];

impl Walk<'_, '_> {
    fn node(&mut self, id: Id, depth: usize) -> Result<()> {
        if depth > DEEPEST || self.entries.len() >= MOST_ENTRIES {
            let path = self.pickle.path();
            let found = format!("more than {MOST_ENTRIES} values, or {DEEPEST} within each other");
            return Err(Origin(path).format(
                0,
                "the object",
                found,
                "weights, and what is usual beside them",
            ));
        }
        match self.pickle.node(id) {
            Node::Dict(entries) => self.entries(entries, depth),
            Node::List(items) | Node::Tuple(items) => {
                (0..).zip(items).try_for_each(|(i, item): (usize, _)| self.below(i.to_string(), *item, depth))
            }
            Node::Int(n) => self.leaf(Item::Number(*n as f64)),
            Node::Bool(b) => self.leaf(Item::Number(f64::from(u8::from(*b)))),
            Node::Float(v) => self.leaf(Item::Number(*v)),
            Node::Object { state, entries, .. } => match tensor::of(self.pickle, id) {
                Some(tensor) => self.leaf(Item::Tensor(tensor)),
                None => {
                    self.entries(entries, depth)?;
                    match state.map(|state| self.pickle.node(state)) {
                        Some(Node::Dict(state)) => self.entries(state, depth),
                        _ => self.leaf(Item::Other),
                    }
                }
            },
            _ => self.leaf(Item::Other),
        }
    }

    fn entries(&mut self, entries: &[(Id, Id)], depth: usize) -> Result<()> {
        for (key, value) in entries {
            let name = match (self.pickle.text(*key), self.pickle.node(*key)) {
                (Some(text), _) => text.to_string(),
                (None, Node::Int(n)) => n.to_string(),
                _ => continue,
            };
            if MODULE.contains(&name.as_str()) {
                self.node(*value, depth + 1)?;
            } else {
                self.below(name, *value, depth)?;
            }
        }
        Ok(())
    }

    fn below(&mut self, name: String, id: Id, depth: usize) -> Result<()> {
        self.place.push(name);
        let done = self.node(id, depth + 1);
        self.place.pop();
        done
    }

    fn leaf(&mut self, item: Item) -> Result<()> {
        self.entries.push((self.place.clone(), item));
        Ok(())
    }
}
