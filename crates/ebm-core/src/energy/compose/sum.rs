//! The weighted sum of energies.

use std::collections::BTreeMap;
use std::sync::Arc;

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
            let inner = only
                .energy
                .grad_theta(at, &|t| Ok(w(&t.affine(only.weight, 0.0)?)?.affine(only.weight, 0.0)?))?;
            let terms = inner.terms.affine(only.weight, 0.0)?;
            return Ok(ThetaGrad { terms, grads: prefixed(&only.name, inner.grads) });
        }
        // A weight may look at the terms of other parts: they are needed before any part runs.
        let terms = self.terms(at)?;
        let weights = w(&terms)?;
        let mut grads = BTreeMap::new();
        let mut column = 0;
        for p in &self.parts {
            let count = p.energy.spec().terms.len();
            let mine = weights.narrow(1, column, count)?.affine(p.weight, 0.0)?;
            column += count;
            if !p.energy.params().is_empty() {
                grads.extend(prefixed(&p.name, p.energy.grad_theta(at, &|_| Ok(mine.clone()))?.grads));
            }
        }
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
