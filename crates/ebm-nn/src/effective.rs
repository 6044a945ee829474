//! The weights that convolutions use, made of their parameters once for each state of these.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Tensor};
use ebm_core::plan::WeightRule;
use ebm_core::{Result, View};

use crate::layers;

/// Standardised and spectrally normalised weights, kept as long as the parameters they come from do not change: a walk asks for
/// them at every step.
#[derive(Default)]
pub(crate) struct Effective(Mutex<Option<Held>>);

struct Held {
    /// Whose weights these are, and its version when they were made.
    of: View,
    version: u64,
    made: BTreeMap<String, Tensor>,
    /// What was derived from them, and from other parameters, for slopes.
    derived: BTreeMap<String, Tensor>,
}

/// A weight `(O, C, k, k)` as `(O, k, k, C)` in another type.
fn channels_last(w: &Tensor, to: DType) -> candle_core::Result<Tensor> {
    w.permute((0, 2, 3, 1))?.contiguous()?.to_dtype(to)
}

impl Held {
    fn new(p: &View, version: u64) -> Held {
        Held { of: p.clone(), version, made: BTreeMap::new(), derived: BTreeMap::new() }
    }

    fn fits(&self, p: &View, version: u64) -> bool {
        self.version == version && self.of.same(p)
    }

    /// What is held of this state of the parameters; of another it is let go.
    fn current<'a>(held: &'a mut Option<Held>, p: &View, version: u64) -> &'a mut Held {
        *held = held.take().filter(|h| h.fits(p, version));
        held.get_or_insert_with(|| Held::new(p, version))
    }
}

impl Effective {
    /// The weight of the parameter `name`; kept only where no gradient flows to it.
    ///
    /// # Errors
    /// If there is no such parameter or an operation fails.
    pub fn weight(&self, p: &View, name: &str, rule: &WeightRule) -> Result<Tensor> {
        let kept = match (rule, p.version()) {
            (WeightRule::Plain, _) | (_, None) => None,
            (_, version) => version.filter(|_| !p.get(name).is_ok_and(Tensor::track_op)),
        };
        let Some(version) = kept else { return layers::effective_weight(p, name, rule) };
        // A poisoned lock only means that another thread stopped while making a weight.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = Held::current(&mut held, p, version);
        if let Some(w) = held.made.get(name) {
            return Ok(w.clone());
        }
        let w = layers::effective_weight(p, name, rule)?;
        held.made.insert(name.into(), w.clone());
        Ok(w)
    }

    /// The weight of the parameter `name` with its channels last, in the type `to`, in which no gradient flows to it.
    ///
    /// # Errors
    /// As [`Effective::weight`].
    pub fn laid(&self, p: &View, name: &str, rule: &WeightRule, to: DType) -> Result<Tensor> {
        let make = || Ok(channels_last(&self.weight(p, name, rule)?.detach(), to)?);
        self.kept(p, &format!("{name} in {to:?}"), make)
    }

    /// What `make` makes of parameters, once for each state of them and under a name of its own; no gradient flows to it.
    ///
    /// # Errors
    /// If `make` fails.
    pub fn kept(&self, p: &View, name: &str, make: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let Some(version) = p.version() else { return make() };
        let known = |held: &Option<Held>| {
            let held = held.as_ref().filter(|h| h.fits(p, version))?;
            held.derived.get(name).cloned()
        };
        if let Some(w) = known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(w);
        }
        // Without the lock, which it may take itself.
        let w = make()?.detach();
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = Held::current(&mut held, p, version);
        held.derived.insert(name.into(), w.clone());
        Ok(w)
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
