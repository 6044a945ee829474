//! Slopes of plans on a device with operators, without a graph.
//!
//! candle's backward pass makes zeros for each gradient and adds to them, which reads and writes an image three times more than
//! a kernel of ours does. Here a gradient is taken as it is, and added only where a node has several readers. What has no operator is
//! a graph of its own, of one node.

use std::cell::RefCell;

use candle_core::{Tensor, Var};
use ebm_core::operators::{NormAct, Operators};
use ebm_core::plan::{NodeId, Op};
use ebm_core::{Result, View};

use crate::check::missing;
use crate::fusion::Fusion;
use crate::layers;
use crate::plan_net::PlanNet;

/// Maps the gradient of a node to those of its operands.
type Pull = Box<dyn FnOnce(&Tensor) -> Result<Vec<(NodeId, Tensor)>>>;

/// A pass forth: what is needed of it on the way back.
pub(crate) struct Sweep<'a> {
    pub net: &'a PlanNet,
    pub operators: &'a Operators,
    pub p: &'a View,
    pub cond: Option<&'a Tensor>,
}

impl Sweep<'_> {
    /// The values of the terms' nodes at `x`, and the gradient of their sum.
    ///
    /// # Errors
    /// If a parameter is missing or an operation fails.
    pub fn slope(&self, x: &Tensor) -> Result<(Vec<Tensor>, Tensor)> {
        let plan = self.net.plan();
        let ends: Vec<NodeId> = plan.terms.iter().map(|t| t.node).collect();
        let pulls = RefCell::new(Vec::new());
        let keep = |id: NodeId, pull: Pull| pulls.borrow_mut().push((id, pull));
        let values = self.net.visit(
            &ends,
            |f, values| {
                Ok(self.fused(f, values)?.map(|(y, pull)| {
                    keep(f.last, pull);
                    y
                }))
            },
            |id, values| {
                let (y, pull) = self.single(id, values, x)?;
                pull.into_iter().for_each(|pull| keep(id, pull));
                Ok(y)
            },
        )?;
        let mut pulls = pulls.into_inner();
        let mut grads: Vec<Option<Tensor>> = vec![None; plan.nodes.len()];
        let mut terms = Vec::with_capacity(ends.len());
        for end in ends {
            let term = values[end].clone().ok_or_else(|| missing(end))?;
            add(&mut grads[end], term.ones_like()?)?;
            terms.push(term);
        }
        drop(values);
        while let Some((id, pull)) = pulls.pop() {
            let Some(g) = grads[id].take() else { continue };
            for (of, g) in pull(&g)? {
                add(&mut grads[of], g)?;
            }
        }
        // The input is node 0.
        let grad = grads.swap_remove(0).map_or_else(|| x.zeros_like(), Ok)?;
        Ok((terms, grad))
    }

    /// A fusion, if the device covers it.
    fn fused(&self, f: &Fusion, values: &[Option<Tensor>]) -> Result<Option<(Tensor, Pull)>> {
        let Some(norms) = &self.operators.norms else { return Ok(None) };
        let plan = self.net.plan();
        let value = |id: NodeId| values[id].as_ref().ok_or_else(|| missing(id));
        let (input, skip) = f.inputs();
        let x = value(input)?;
        let (mut what, conv) = f.operands(plan, self.net.weights(), self.p, self.cond, x.dtype())?;
        what.skip = skip.map(value).transpose()?.cloned();
        let seen = match &conv {
            None => x.clone(),
            Some(c) => layers::convolve(plan.products, x, &c.weight, c.stride, c.padding)?,
        };
        let Some((y, kept)) = norms.norm_act(&seen, &what)? else { return Ok(None) };
        what.skip = None;
        let (_, _, h, w) = x.dims4()?;
        let (norms, products) = (norms.clone(), plan.products);
        let pull = move |g: &Tensor| {
            let mut of_x = norms.back(&seen, &what, &kept, g)?;
            if let Some(c) = conv {
                of_x = layers::pulled_back(products, &of_x, &c.weight, (h, w), c.stride, c.padding)?;
            }
            Ok([Some((input, of_x)), skip.map(|s| (s, g.clone()))].into_iter().flatten().collect())
        };
        Ok(Some((y, Box::new(pull))))
    }

    fn single(&self, id: NodeId, values: &[Option<Tensor>], x: &Tensor) -> Result<(Tensor, Option<Pull>)> {
        let node = &self.net.plan().nodes[id];
        let value = |id: NodeId| values[id].as_ref().ok_or_else(|| missing(id));
        match (&node.op, node.inputs.as_slice()) {
            (Op::Input, _) => Ok((x.clone(), None)),
            (Op::Conv { weight, bias, stride, padding, rule, .. }, &[from]) => {
                let x = value(from)?;
                let (_, _, h, w) = x.dims4()?;
                let (products, stride, padding) = (self.net.plan().products, *stride, *padding);
                let weight = self.net.weights().weight(self.p, weight, rule)?;
                let mut y = layers::convolve(products, x, &weight, stride, padding)?;
                if let Some(bias) = bias {
                    let bias = self.p.get(bias)?;
                    let what = NormAct { shift: Some(bias.clone()), ..NormAct::default() };
                    let norms = self.operators.norms.as_ref();
                    y = match norms.map(|o| o.norm_act(&y, &what)).transpose()?.flatten() {
                        Some((y, _)) => y,
                        None => y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?,
                    };
                }
                let pull = move |g: &Tensor| {
                    let g = layers::pulled_back(products, g, &weight, (h, w), stride, padding)?;
                    Ok(vec![(from, g)])
                };
                Ok((y, Some(Box::new(pull))))
            }
            (Op::Add, &[a, b]) if value(a)?.dims() == value(b)?.dims() => {
                let pull = move |g: &Tensor| Ok(vec![(a, g.clone()), (b, g.clone())]);
                Ok(((value(a)? + value(b)?)?, Some(Box::new(pull))))
            }
            (Op::Pool(rule), &[from]) => {
                let (_, _, h, w) = value(from)?.dims4()?;
                let Some(pools) = self.operators.pools.clone() else { return self.graph(id, values, x) };
                let Some(y) = pools.pool(value(from)?, rule)? else { return self.graph(id, values, x) };
                let rule = rule.clone();
                let pull = move |g: &Tensor| Ok(vec![(from, pools.pool_back(g, &rule, (h, w))?)]);
                Ok((y, Some(Box::new(pull))))
            }
            _ => self.graph(id, values, x),
        }
    }

    /// A node as a graph of its own.
    fn graph(&self, id: NodeId, values: &[Option<Tensor>], x: &Tensor) -> Result<(Tensor, Option<Pull>)> {
        let mut operands: Vec<NodeId> = self.net.plan().nodes[id].inputs.clone();
        operands.sort_unstable();
        operands.dedup();
        let (mut own, mut vars) = (vec![None; id], Vec::with_capacity(operands.len()));
        for of in operands {
            let var = Var::from_tensor(values[of].as_ref().ok_or_else(|| missing(of))?)?;
            own[of] = Some(var.as_tensor().clone());
            vars.push((of, var));
        }
        let y = self.net.apply(id, &own, self.p, x, self.cond)?;
        let value = y.detach();
        let pull = move |g: &Tensor| {
            let mut store = (&y * g)?.sum_all()?.backward()?;
            Ok(vars.into_iter().filter_map(|(of, var)| Some((of, store.remove(&var)?))).collect())
        };
        Ok((value, Some(Box::new(pull))))
    }
}

fn add(to: &mut Option<Tensor>, g: Tensor) -> Result<()> {
    *to = Some(match to.take() {
        None => g,
        Some(there) => (there + g)?,
    });
    Ok(())
}
