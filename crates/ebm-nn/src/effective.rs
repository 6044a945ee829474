//! The weights that convolutions use, made of their parameters once for each state of these.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Tensor};
use ebm_core::operators::{Identity, operators};
use ebm_core::plan::WeightRule;
use ebm_core::{Result, View};

use crate::layers;

/// Standardised and spectrally normalised weights, kept as long as the parameters they come from do not change: a walk asks for
/// them at every step.
///
/// Where a device records steps, those of another state of the parameters are written over in place, so that what reads them goes on to see
/// the weights of the moment.
#[derive(Default)]
pub(crate) struct Effective(Mutex<Held>);

struct Held {
    /// Whose weights these are.
    of: View,
    /// By name, each with the version of the parameters that it was made of.
    kept: BTreeMap<String, (u64, Tensor)>,
    /// Another once any of them lies elsewhere than before.
    identity: Identity,
}

impl Default for Held {
    fn default() -> Self {
        Held { of: View::default(), kept: BTreeMap::new(), identity: Identity::new() }
    }
}

/// Whether the device of `t` records steps.
fn recorded(t: &Tensor) -> bool {
    operators(t.device()).is_some_and(|o| o.tapes.is_some())
}

impl Held {
    fn get(&self, p: &View, version: u64, name: &str) -> Option<Tensor> {
        let (of, w) = self.kept.get(name).filter(|_| self.of.same(p))?;
        (*of == version).then(|| w.clone())
    }

    /// Keeps `w`, where what it replaces lies if that is to stay.
    fn keep(&mut self, p: &View, version: u64, name: &str, w: Tensor) -> Result<Tensor> {
        if !self.of.same(p) {
            if !self.kept.is_empty() {
                self.identity = Identity::new();
            }
            (self.of, self.kept) = (p.clone(), BTreeMap::new());
        }
        if !recorded(&w) {
            // Nothing of another state is of use.
            self.kept.retain(|_, (of, _)| *of == version);
        }
        let w = match self.kept.remove(name) {
            Some((_, old)) if old.dims() == w.dims() && old.dtype() == w.dtype() && recorded(&old) => {
                old.slice_set(&w.contiguous()?, 0, 0)?;
                old
            }
            Some(_) => {
                self.identity = Identity::new();
                w
            }
            None => w,
        };
        self.kept.insert(name.into(), (version, w.clone()));
        Ok(w)
    }
}

impl Effective {
    /// Stays the same as long as all that is kept stays where it is.
    pub fn identity(&self) -> Identity {
        self.held().identity.clone()
    }

    /// A poisoned lock only means that another thread stopped while making a weight.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The weight of the parameter `name`; kept only where no gradient flows to it.
    ///
    /// # Errors
    /// If there is no such parameter or an operation fails.
    pub fn weight(&self, p: &View, name: &str, rule: &WeightRule) -> Result<Tensor> {
        let make = || layers::effective_weight(p, name, rule);
        if *rule == WeightRule::Plain || p.get(name).is_ok_and(Tensor::track_op) {
            return make();
        }
        self.kept(p, name, make)
    }

    /// The weight of the parameter `name` with its channels last, in the type `to`, in which no gradient flows to it.
    ///
    /// # Errors
    /// As [`Effective::weight`].
    pub fn laid(&self, p: &View, name: &str, rule: &WeightRule, to: DType) -> Result<Tensor> {
        let make = || Ok(layers::channels_last(&self.weight(p, name, rule)?.detach(), to)?);
        self.kept(p, &format!("{name} in {to:?}"), make)
    }

    /// What `make` makes of parameters, once for each state of them and under a name of its own; no gradient flows to it. It lies in memory of
    /// its own.
    ///
    /// # Errors
    /// If `make` fails.
    pub fn kept(&self, p: &View, name: &str, make: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let Some(version) = p.version() else { return make() };
        if let Some(w) = self.held().get(p, version, name) {
            return Ok(w);
        }
        // Without the lock, which it may take itself.
        let w = make()?.detach();
        self.held().keep(p, version, name, w)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{DType, Device};
    use ebm_core::{ParamSet, Role};

    use super::*;

    fn set(scale: f64) -> ParamSet {
        let w = Tensor::arange(0f32, 24.0, &Device::Cpu).unwrap().reshape((2, 3, 2, 2)).unwrap();
        let w = w.affine(scale, 0.0).unwrap().sin().unwrap().to_dtype(DType::F64).unwrap();
        ParamSet::new([("w".to_string(), w, Role::Trainable)]).unwrap()
    }

    #[test]
    fn a_weight_is_made_once_for_each_state_of_its_parameters() {
        let (kept, rule) = (Effective::default(), WeightRule::Standardised);
        let (a, b) = (set(1.0), set(2.0));
        let numbers = |p: &View| {
            let w = kept.weight(p, "w", &rule).unwrap();
            (w.id(), w.flatten_all().unwrap().to_vec1::<f64>().unwrap())
        };
        let first = numbers(a.frozen());
        assert_eq!(first.0, numbers(a.frozen()).0);
        // Other parameters, a write, a write in place, and weights that are trained.
        assert_ne!(first.1, numbers(b.frozen()).1);
        assert_eq!(first.1, numbers(a.frozen()).1);
        let before = numbers(a.frozen());
        a.set("w", b.get("w").unwrap()).unwrap();
        assert_eq!(numbers(a.frozen()).1, numbers(b.frozen()).1);
        a.var("w").unwrap().set(&set(3.0).get("w").unwrap().copy().unwrap()).unwrap();
        a.touch();
        assert_eq!(numbers(a.frozen()).1, numbers(set(3.0).frozen()).1);
        assert_ne!(before.1, numbers(a.frozen()).1);
        assert!(kept.weight(a.live(), "w", &rule).unwrap().track_op());
        let given = View::of(BTreeMap::from([("w".into(), b.get("w").unwrap().detach())]));
        assert_eq!(numbers(&given).1, numbers(b.frozen()).1);
    }
}
