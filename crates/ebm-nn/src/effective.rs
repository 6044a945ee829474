//! The weights that convolutions use, made of their parameters once for each state of these.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;
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
        let held = match &mut *held {
            Some(h) if h.version == version && h.of.same(p) => h,
            stale => stale.insert(Held { of: p.clone(), version, made: BTreeMap::new() }),
        };
        if let Some(w) = held.made.get(name) {
            return Ok(w.clone());
        }
        let w = layers::effective_weight(p, name, rule)?;
        held.made.insert(name.into(), w.clone());
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
