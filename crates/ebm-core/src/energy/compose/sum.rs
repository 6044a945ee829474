//! The weighted sum of energies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;

use super::{
    Part, common_spec, describe, layers, merged_params, no_terms, outlines, prefixed, prefixed_buffers,
};
use crate::energy::Added;
use crate::energy::outline::Outline;
use crate::operators::{Identity, map_entries, operators};
use crate::plan::NetPlan;
use crate::{Batch, EnergyFn, EnergySpec, Error, ParamSet, Result, Slope, ThetaGrad, WeightFn};

/// `E = Σ αₖEₖ`: conjunction, ensembles, negation (α < 0), temperature (α = 1/T).
///
/// Terms are the parts' terms side by side, times α.
pub struct Sum {
    parts: Vec<Part>,
    spec: EnergySpec,
    params: ParamSet,
    plan: Option<NetPlan>,
    identity: Identity,
}

impl Sum {
    /// The weighted sum of `parts`.
    ///
    /// # Errors
    /// If there are none, or shapes, conditions or names do not fit.
    pub fn new(parts: Vec<Part>) -> Result<Self> {
        let terms = parts
            .iter()
            .flat_map(|p| p.energy.spec().terms.iter().map(|t| format!("{}.{t}", p.name)))
            .collect();
        let (spec, params) = (common_spec("sum", &parts, terms)?, merged_params(&parts)?);
        let plans: Option<Vec<_>> =
            parts.iter().map(|p| Some((p.name.as_str(), p.weight, p.energy.plan()?))).collect();
        let plan = plans.and_then(|plans| NetPlan::side_by_side(&plans));
        Ok(Sum { spec, params, parts, plan, identity: Identity::new() })
    }

    /// One energy times `factor`, as a sum of one part.
    ///
    /// # Errors
    /// As [`Sum::new`].
    pub fn scaled(name: &str, energy: Arc<dyn EnergyFn>, factor: f64) -> Result<Self> {
        Sum::new(vec![Part::new(name, energy).weighted(factor)])
    }

    /// The parts.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl Sum {
    /// The slopes of the parts, in no order where the device can: no part reads what another makes.
    fn slopes(&self, at: &Batch) -> Result<Vec<Slope>> {
        let branches = operators(at.device()).and_then(|o| o.branches.clone());
        let Some(branches) = branches.filter(|_| self.parts.len() > 1) else {
            return self.parts.iter().map(|p| p.energy.slope(at)).collect();
        };
        let mut slopes: Vec<Option<Slope>> = self.parts.iter().map(|_| None).collect();
        let mut works: Vec<_> = (self.parts.iter().zip(&mut slopes))
            .map(|(p, slope)| {
                move || {
                    *slope = Some(p.energy.slope(at)?);
                    Ok(())
                }
            })
            .collect();
        let mut works: Vec<&mut dyn FnMut() -> Result<()>> = works.iter_mut().map(|w| w as _).collect();
        branches.apart(&mut works)?;
        let missing = || Error::config("sum", "the device left out a part; it is at fault");
        slopes.into_iter().map(|s| s.ok_or_else(missing)).collect()
    }
}

/// Gradients of the parts in one pass each. A weight may look at the terms of all parts, so the pass of a part waits for those of the parts
/// behind it, which run inside it, before it goes back: all parts' maps are there at once, as in one graph of the whole sum.
struct Pass<'a> {
    parts: &'a [Part],
    at: &'a Batch,
    w: &'a WeightFn<'a>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Terms of the parts so far, times their factors.
    terms: Vec<Tensor>,
    /// Terms and weights `(B, T)` of the sum, once all parts have theirs.
    weighed: Option<(Tensor, Tensor)>,
    grads: BTreeMap<String, Tensor>,
}

impl Pass<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing can panic while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn into_state(self) -> State {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the parts from `k` on; behind the last one, weighs the terms of all.
    fn part(&self, k: usize) -> Result<()> {
        let Some(p) = self.parts.get(k) else {
            let terms = Tensor::cat(&self.state().terms, 1)?;
            let weights = self.w.of(&terms)?;
            self.state().weighed = Some((terms, weights));
            return Ok(());
        };
        if p.energy.params().is_empty() {
            return self.behind(k, &p.energy.terms(self.at)?);
        }
        let found = p.energy.grad_theta(
            self.at,
            &WeightFn::of_all(|terms| {
                self.behind(k, terms)?;
                self.weights_of(k, terms)
            }),
        )?;
        // A part that nothing trains in asks for no weights.
        if self.state().weighed.is_none() {
            self.behind(k, &found.terms)?;
        }
        self.state().grads.extend(prefixed(&p.name, found.grads));
        Ok(())
    }

    /// Takes the terms of part `k`, then runs those behind it.
    fn behind(&self, k: usize, terms: &Tensor) -> Result<()> {
        let terms = terms.affine(self.parts[k].weight, 0.0)?;
        self.state().terms.push(terms);
        self.part(k + 1)
    }

    /// The weights of the terms of part `k`.
    fn weights_of(&self, k: usize, terms: &Tensor) -> Result<Tensor> {
        let count = |p: &Part| p.energy.spec().terms.len();
        let column = self.parts[..k].iter().map(count).sum();
        match &self.state().weighed {
            Some((_, all)) => {
                Ok(all.narrow(1, column, count(&self.parts[k]))?.affine(self.parts[k].weight, 0.0)?)
            }
            // Never: `behind` ends with them or with an error.
            None => Ok(terms.zeros_like()?),
        }
    }
}

impl EnergyFn for Sum {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }

    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        let all = self
            .parts
            .iter()
            .map(|p| Ok(p.energy.terms(at)?.affine(p.weight, 0.0)?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&all, 1)?)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        let mut sum: Option<Slope> = None;
        for (p, s) in self.parts.iter().zip(self.slopes(at)?) {
            let factor = p.weight;
            sum = Some(match sum {
                // Most sums weigh nothing: a factor of 1 is no work.
                None if factor == 1.0 => s,
                None => Slope { energy: s.energy.affine(factor, 0.0)?, grad: s.grad.affine(factor, 0.0)? },
                Some(t) => {
                    let [energy] = map_entries(&Added { factor }, [&t.energy, &s.energy])?;
                    let [grad] = map_entries(&Added { factor }, [&t.grad, &s.grad])?;
                    Slope { energy, grad }
                }
            });
        }
        sum.ok_or_else(|| Error::config("sum", "has no parts"))
    }

    fn identity(&self) -> Option<Identity> {
        self.identity.with(self.parts.iter().map(|p| p.energy.identity()))
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        if let [only] = self.parts.as_slice() {
            let inner = only.energy.grad_theta(at, &w.borrowed().of_scaled(only.weight))?;
            let terms = inner.terms.affine(only.weight, 0.0)?;
            return Ok(ThetaGrad { terms, grads: prefixed(&only.name, inner.grads) });
        }
        let pass = Pass { parts: &self.parts, at, w, state: Mutex::default() };
        pass.part(0)?;
        let State { weighed: Some((terms, _)), grads, .. } = pass.into_state() else {
            return Err(Error::config("sum", "a part kept its terms to itself; it is at fault"));
        };
        Ok(ThetaGrad { terms, grads })
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        let mut grads = BTreeMap::new();
        for p in self.parts.iter().filter(|p| !p.energy.params().is_empty()) {
            let inner = p.energy.grad_theta_slope(at, &v.affine(p.weight, 0.0)?)?;
            grads.extend(prefixed(&p.name, inner.grads));
        }
        Ok(ThetaGrad { terms: no_terms(at)?, grads })
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        let mut sum = at.x.zeros_like()?;
        for p in &self.parts {
            sum = (sum + p.energy.hvp(at, v)?.affine(p.weight, 0.0)?)?;
        }
        Ok(sum)
    }

    fn plan(&self) -> Option<&NetPlan> {
        self.plan.as_ref()
    }

    fn outline(&self) -> Result<Outline> {
        Ok(Outline::Sum(outlines(&self.parts)?))
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        prefixed_buffers(&self.parts)
    }

    fn engine(&self) -> String {
        describe("sum", &self.parts)
    }

    fn layers(&self, batch: usize) -> String {
        layers(&self.parts, batch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use candle_core::Device;

    use super::*;
    use crate::{Autograd, Diff, Forward, Frozen, Role, View};

    /// E = (w·x)⁴ with a count of its passes.
    struct Net(Arc<AtomicUsize>);
    impl Forward for Net {
        fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
            self.0.fetch_add(1, Ordering::Relaxed);
            x.matmul(p.get("w")?)?.square()?.square()?.sum_last()
        }
    }

    fn net(w: [f64; 2], count: &Arc<AtomicUsize>) -> Arc<dyn EnergyFn> {
        let w = Tensor::new(&w, &Device::Cpu).unwrap().reshape((2, 1)).unwrap();
        let params = ParamSet::new([("w".to_string(), w, Role::Trainable)]).unwrap();
        Arc::new(Autograd::new("net", Net(count.clone()), EnergySpec::new(&[2], &["e"]), params))
    }

    /// Weights see the terms of all parts, in the one pass that each part has.
    #[test]
    fn each_part_of_a_sum_has_one_pass() {
        let counts: [Arc<AtomicUsize>; 3] = std::array::from_fn(|_| Arc::default());
        let nets: Vec<_> =
            [[0.3, -0.7], [1.1, 0.2], [0.5, 0.5]].into_iter().zip(&counts).map(|(w, n)| net(w, n)).collect();
        let factors = [2.0, -0.5, 0.7];
        let sum = Sum::new(vec![
            Part::new("a", nets[0].clone()).weighted(factors[0]),
            Part::new("b", Arc::new(Frozen::new(nets[1].clone()))).weighted(factors[1]),
            Part::new("c", nets[2].clone()).weighted(factors[2]),
        ])
        .unwrap();
        let x = Tensor::new(&[[0.1, 0.4], [0.9, -0.3], [0.2, 0.6]], &Device::Cpu).unwrap();
        let at = Batch::new(x).unwrap();
        let weigh = |t: &Tensor| Ok(t.broadcast_mul(&t.sum_keepdim(1)?)?);
        for w in [WeightFn::of_all(weigh), WeightFn::by_row(|_, t| weigh(t))] {
            counts.iter().for_each(|n| n.store(0, Ordering::Relaxed));
            let got = sum.grad_theta(&at, &w).unwrap();
            assert_eq!(counts.each_ref().map(|n| n.load(Ordering::Relaxed)), [1; 3]);
            assert_eq!(got.grads.keys().collect::<Vec<_>>(), ["a.w", "c.w"]);
            let terms = sum.terms(&at).unwrap();
            assert_eq!(got.terms.to_vec2::<f64>().unwrap(), terms.to_vec2::<f64>().unwrap());
            let weights = weigh(&terms).unwrap();
            for (k, name) in [(0, "a.w"), (2, "c.w")] {
                let own = weights.narrow(1, k, 1).unwrap().affine(factors[k], 0.0).unwrap();
                let alone = nets[k].grad_theta(&at, &WeightFn::fixed(own)).unwrap();
                let bits = |t: &Tensor| t.to_vec2::<f64>().unwrap();
                assert_eq!(bits(&got.grads[name]), bits(&alone.grads["w"]), "{name}");
            }
        }
        let no = WeightFn::of_all(|_| Err(Error::config("w", "no")));
        assert!(sum.grad_theta(&at, &no).unwrap_err().to_string().contains("no"));
    }
}
