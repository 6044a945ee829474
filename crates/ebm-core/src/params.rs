//! Named parameters of an energy: trainable tensors and buffers, shared, with a version number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{Tensor, Var};

use crate::operators::operators;
use crate::{Error, Result};

/// What a named tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives gradients.
    Trainable,
    /// Constant inside a step (power-iteration vectors, fixed frequencies); saved with the rest.
    Buffer,
}

#[derive(Clone, Debug)]
struct Entry {
    var: Var,
    role: Role,
    version: Arc<AtomicU64>,
}

/// Tensors under dotted names such as `small.res_1a.conv1.weight`, in name order.
///
/// Cloning shares the tensors. Every write raises the version, so that an engine knows when its
/// packed copy is stale.
#[derive(Clone, Debug, Default)]
pub struct ParamSet {
    entries: BTreeMap<String, Entry>,
    live: View,
    frozen: View,
}

/// What a forward function sees of the parameters: tensors by name.
#[derive(Clone, Debug, Default)]
pub struct View {
    tensors: Arc<BTreeMap<String, Tensor>>,
    /// The counters of the sets whose tensors these are, each once; none for a view of given tensors.
    counters: Arc<[Arc<AtomicU64>]>,
}

impl View {
    /// The tensor called `name`.
    ///
    /// # Errors
    /// If there is none; the message lists the nearest names.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| {
            Error::config(
                name,
                format!("no parameter of this name; known: {}", nearest(name, self.tensors.keys())),
            )
        })
    }

    /// Whether there is a tensor called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A view of given tensors, for evaluating a forward function with other weights.
    pub fn of(tensors: BTreeMap<String, Tensor>) -> Self {
        View { tensors: Arc::new(tensors), counters: Arc::new([]) }
    }

    /// A number that grows with every write to any tensor; `None` for a view of given tensors.
    pub fn version(&self) -> Option<u64> {
        let sum = |sum: u64, c: &Arc<AtomicU64>| sum.wrapping_add(c.load(Ordering::Acquire));
        (!self.counters.is_empty()).then(|| self.counters.iter().fold(0, sum))
    }

    /// Whether both show the same tensors of the same set.
    pub fn same(&self, other: &View) -> bool {
        Arc::ptr_eq(&self.tensors, &other.tensors)
    }
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let mut names: Vec<&String> = known.collect();
    names.sort_by(|a, b| strsim::jaro_winkler(name, b).total_cmp(&strsim::jaro_winkler(name, a)));
    names.truncate(3);
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

impl ParamSet {
    /// A set of new tensors.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn new(tensors: impl IntoIterator<Item = (String, Tensor, Role)>) -> Result<Self> {
        let version = Arc::new(AtomicU64::new(0));
        let mut entries = BTreeMap::new();
        for (name, tensor, role) in tensors {
            let entry = Entry { var: Var::from_tensor(&tensor)?, role, version: version.clone() };
            entries.insert(name, entry);
        }
        Ok(Self::from_entries(entries))
    }

    fn from_entries(entries: BTreeMap<String, Entry>) -> Self {
        let frozen: BTreeMap<_, _> =
            entries.iter().map(|(k, e)| (k.clone(), e.var.as_detached_tensor())).collect();
        let live = entries
            .iter()
            .map(|(k, e)| match e.role {
                Role::Trainable => (k.clone(), e.var.as_tensor().clone()),
                Role::Buffer => (k.clone(), e.var.as_detached_tensor()),
            })
            .collect();
        let mut counters: Vec<Arc<AtomicU64>> = Vec::new();
        for e in entries.values() {
            if !counters.iter().any(|c| Arc::ptr_eq(c, &e.version)) {
                counters.push(e.version.clone());
            }
        }
        let counters: Arc<[_]> = counters.into();
        let view = |tensors| View { tensors: Arc::new(tensors), counters: counters.clone() };
        ParamSet { live: view(live), frozen: view(frozen), entries }
    }

    /// The union of `(prefix, set)` pairs; names become `prefix.name`, tensors are shared.
    ///
    /// # Errors
    /// If two names collide.
    pub fn merge<'a>(parts: impl IntoIterator<Item = (&'a str, &'a ParamSet)>) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (prefix, set) in parts {
            for (name, entry) in &set.entries {
                let full = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                if entries.insert(full.clone(), entry.clone()).is_some() {
                    return Err(Error::config(
                        full,
                        "two parts of a composed energy have a parameter of this name; give the parts different names",
                    ));
                }
            }
        }
        Ok(Self::from_entries(entries))
    }

    /// Tensors that build a graph: gradients flow to the trainable ones.
    pub fn live(&self) -> &View {
        &self.live
    }

    /// The same storage detached: no gradient flows to it.
    pub fn frozen(&self) -> &View {
        &self.frozen
    }

    /// A number that grows with every write to any tensor of the set.
    pub fn version(&self) -> u64 {
        self.frozen.version().unwrap_or(0)
    }

    /// Writes a tensor of the same shape and dtype.
    ///
    /// # Errors
    /// If the name is unknown or the shape differs.
    pub fn set(&self, name: &str, value: &Tensor) -> Result<()> {
        let entry = self.entries.get(name).ok_or_else(|| {
            Error::config(
                name,
                format!("no parameter of this name; known: {}", nearest(name, self.entries.keys())),
            )
        })?;
        if entry.var.dims() != value.dims() {
            return Err(Error::shape(
                name,
                value.dims(),
                format!("{:?}", entry.var.dims()),
                "the tensor belongs to another network",
            ));
        }
        // `Var::set` refuses a tensor that shares its own storage; writing a value onto itself is no change.
        let value = value.detach().to_dtype(entry.var.dtype())?;
        entry.var.set(&value.copy()?)?;
        entry.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// [`set`](ParamSet::set) of all of `new`, which nothing is written of if one does not fit; at once where the device can.
    ///
    /// # Errors
    /// As [`ParamSet::set`].
    pub fn set_all(&self, new: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut pairs = Vec::with_capacity(new.len());
        for (name, value) in new {
            let Some(entry) = self.entries.get(name).filter(|e| e.var.dims() == value.dims()) else {
                // Says what is wrong, and writes nothing.
                return self.set(name, value);
            };
            pairs.push((value, entry));
        }
        let many =
            pairs.first().and_then(|(value, _)| operators(value.device())).and_then(|o| o.many.clone());
        let tensors: Vec<(&Tensor, &Tensor)> = pairs.iter().map(|(v, e)| (*v, e.var.as_tensor())).collect();
        if many.map(|o| o.copy(&tensors)).transpose()?.unwrap_or(false) {
            for (_, entry) in pairs {
                entry.version.fetch_add(1, Ordering::Release);
            }
            return Ok(());
        }
        new.iter().try_for_each(|(name, value)| self.set(name, value))
    }

    /// Raises the version after a write that went around [`ParamSet::set`] (an in-place kernel).
    pub fn touch(&self) {
        for e in self.entries.values() {
            e.version.fetch_add(1, Ordering::Release);
        }
    }

    /// The variable called `name`, for optimisers that write in place (then call [`ParamSet::touch`]).
    pub fn var(&self, name: &str) -> Option<&Var> {
        self.entries.get(name).map(|e| &e.var)
    }

    /// The tensor called `name`, detached.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.frozen.tensors.get(name)
    }

    /// What the tensor called `name` is for.
    pub fn role(&self, name: &str) -> Option<Role> {
        self.entries.get(name).map(|e| e.role)
    }

    /// All names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Names of the trainable tensors in order.
    pub fn trainable(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|(_, e)| e.role == Role::Trainable).map(|(k, _)| k.as_str())
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of trainable scalars.
    pub fn count(&self) -> usize {
        self.entries.values().filter(|e| e.role == Role::Trainable).map(|e| e.var.elem_count()).sum()
    }

    /// Copies of all tensors by name.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        self.entries.iter().map(|(k, e)| Ok((k.clone(), e.var.as_detached_tensor().copy()?))).collect()
    }

    /// Writes all of `tensors`, after checking that names and shapes fit exactly.
    ///
    /// # Errors
    /// If a name is missing or unknown or a shape differs; then nothing is written.
    pub fn restore(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, e) in &self.entries {
            match tensors.get(name) {
                None => {
                    return Err(Error::config(
                        name,
                        format!(
                            "missing in the given weights, which have: {}",
                            nearest(name, tensors.keys())
                        ),
                    ));
                }
                Some(t) if t.dims() != e.var.dims() => {
                    return Err(Error::shape(
                        name,
                        t.dims(),
                        format!("{:?}", e.var.dims()),
                        "the weights belong to another network",
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(extra) = tensors.keys().find(|k| !self.entries.contains_key(*k)) {
            return Err(Error::config(
                extra,
                "the network has no parameter of this name; the weights belong to another",
            ));
        }
        tensors.iter().try_for_each(|(name, t)| self.set(name, t))
    }
}
