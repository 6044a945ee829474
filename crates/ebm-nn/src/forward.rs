//! A plan as a forward function.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use ebm_core::operators::{Identity, operators};
use ebm_core::plan::{NodeId, Op, WeightRule};
use ebm_core::{Diff, Forward, Result, View};

use crate::images::Images;
use crate::layers;
use crate::plan_net::PlanNet;
use crate::slope::Sweep;

impl Forward for PlanNet {
    fn terms<V: Diff>(&self, p: &View, x: &V, cond: Option<&Tensor>) -> Result<V> {
        let wanted: Vec<NodeId> = self.plan().terms.iter().map(|t| t.node).collect();
        let values = self.run(p, x, cond, &wanted)?;
        match values.as_slice() {
            [only] => Ok(only.clone()),
            all => V::join(all, |parts| Tensor::cat(parts, 1)),
        }
    }

    fn slope(&self, p: &View, x: &Tensor, cond: Option<&Tensor>) -> Result<Option<(Tensor, Tensor)>> {
        let Some(operators) = operators(x.device()).filter(|_| x.dtype() == DType::F32) else {
            return Ok(None);
        };
        let images = Images::of(self.plan(), &operators);
        let sweep = Sweep { net: self, operators: &operators, images, p, cond };
        let (terms, grad) = sweep.slope(x)?;
        Ok(Some((Tensor::cat(&terms, 1)?, grad)))
    }

    fn identity(&self) -> Option<Identity> {
        Some(self.weights().identity())
    }

    fn refreshed(&self, p: &View) -> Result<BTreeMap<String, Tensor>> {
        let mut all = BTreeMap::new();
        for node in &self.plan().nodes {
            if let Op::Conv { weight, rule: WeightRule::Spectral { u, v }, .. } = &node.op {
                let (new_u, new_v) = layers::power_iteration(p.get(weight)?, p.get(u)?)?;
                all.insert(u.clone(), new_u);
                all.insert(v.clone(), new_v);
            }
        }
        Ok(all)
    }
}
