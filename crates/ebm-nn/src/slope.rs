//! Slopes of plans on a device with operators, without a graph.
//!
//! candle's backward pass makes zeros for each gradient and adds to them, which reads and writes an image three times more than
//! a kernel of ours does. Here a gradient is taken as it is, and added only where a node has several readers and nothing reads it in two
//! parts. What has no operator is a graph of its own, of one node.

mod gradient;
mod heads;
mod last;

use std::cell::RefCell;

use candle_core::{Tensor, Var};
use ebm_core::operators::{NormAct, Operators};
use ebm_core::plan::{NodeId, Op};
use ebm_core::{Result, View, total};

use crate::check::missing;
use crate::fusion::{Convolved, Fusion, Reach};
use crate::images::Images;
use crate::plan_net::PlanNet;
use gradient::Gradient;

/// Maps the gradient of a node to those of its operands.
type Pull = Box<dyn FnOnce(&Gradient) -> Result<Vec<(NodeId, Tensor)>>>;

/// A pass forth: what is needed of it on the way back.
pub(crate) struct Sweep<'a> {
    pub net: &'a PlanNet,
    pub operators: &'a Operators,
    pub images: Images,
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
        let entered = self.images.enter(x)?;
        let reach = if self.images.last().is_some() { Reach::Last } else { Reach::Frozen };
        let values = self.net.visit(
            &ends,
            reach,
            |f, values| {
                Ok(self.fused(f, values)?.map(|(y, pull)| {
                    keep(f.last, pull);
                    y
                }))
            },
            |id, values| {
                let (y, pull) = self.single(id, values, &entered)?;
                pull.into_iter().for_each(|pull| keep(id, pull));
                Ok(y)
            },
        )?;
        let mut pulls = pulls.into_inner();
        let mut grads: Vec<Option<Gradient>> = plan.nodes.iter().map(|_| None).collect();
        let mut terms = Vec::with_capacity(ends.len());
        for end in ends {
            let term = values[end].clone().ok_or_else(|| missing(end))?;
            Gradient::add(&mut grads[end], term.ones_like()?)?;
            terms.push(term);
        }
        drop(values);
        while let Some((id, pull)) = pulls.pop() {
            let Some(g) = grads[id].take() else { continue };
            for (of, g) in pull(&g)? {
                Gradient::add(&mut grads[of], g)?;
            }
        }
        // The input is node 0.
        let grad = match grads.swap_remove(0) {
            Some(g) => self.images.leave(&g.whole()?)?,
            None => x.zeros_like()?,
        };
        Ok((terms, grad))
    }

    /// A fusion, if the device covers it.
    fn fused(&self, f: &Fusion, values: &[Option<Tensor>]) -> Result<Option<(Tensor, Pull)>> {
        if let Some(last) = self.images.last() {
            return self.fused_last(last, f, values);
        }
        let Some(norms) = &self.operators.norms else { return Ok(None) };
        let plan = self.net.plan();
        let value = |id: NodeId| values[id].as_ref().ok_or_else(|| missing(id));
        let (input, skip) = f.inputs();
        let x = value(input)?;
        let (mut what, conv) = f.operands(plan, self.net.weights(), self.p, self.cond, x.dtype(), None)?;
        what.skip = skip.map(value).transpose()?.cloned();
        let seen = match &conv {
            None => x.clone(),
            Some(c) => self.images.convolve(x, c)?,
        };
        let Some((y, kept)) = norms.norm_act(&seen, &what)? else { return Ok(None) };
        what.skip = None;
        let (size, norms, images) = (self.images.sides(x)?, norms.clone(), self.images.clone());
        let pull = move |g: &Gradient| {
            let (mut of_x, whole) = norms.back(&seen, &what, &kept, g.parts(), skip.is_some())?;
            if let Some(c) = conv {
                of_x = images.pulled_back(&of_x, &c, size)?;
            }
            Ok([Some((input, of_x)), skip.zip(whole)].into_iter().flatten().collect())
        };
        Ok(Some((y, Box::new(pull))))
    }

    fn single(&self, id: NodeId, values: &[Option<Tensor>], x: &Tensor) -> Result<(Tensor, Option<Pull>)> {
        let node = &self.net.plan().nodes[id];
        let value = |id: NodeId| values[id].as_ref().ok_or_else(|| missing(id));
        let done = match (&node.op, node.inputs.as_slice()) {
            (Op::Input, _) => return Ok((x.clone(), None)),
            (Op::Conv { weight, bias, stride, padding, rule, .. }, &[from]) => {
                let x = value(from)?;
                let (size, images) = (self.images.sides(x)?, self.images.clone());
                let weight = images.weight(self.net.weights(), self.p, weight, rule)?;
                let c = Convolved { weight, stride: *stride, padding: *padding };
                let mut y = images.convolve(x, &c)?;
                if let Some(bias) = bias {
                    y = self.shifted(y, self.p.get(bias)?)?;
                }
                let pull = move |g: &Gradient| Ok(vec![(from, images.pulled_back(&g.whole()?, &c, size)?)]);
                Some((y, Box::new(pull) as Pull))
            }
            (Op::Add, &[a, b]) if value(a)?.dims() == value(b)?.dims() => {
                let pull = move |g: &Gradient| {
                    let g = g.whole()?;
                    Ok(vec![(a, g.clone()), (b, g)])
                };
                Some(((value(a)? + value(b)?)?, Box::new(pull) as Pull))
            }
            (Op::Pool(rule), &[from]) if self.images.last().is_none() => {
                let (x, pools) = (value(from)?, self.operators.pools.clone());
                let size = self.images.sides(x)?;
                let pooled = pools.as_ref().map(|o| o.pool(x, rule)).transpose()?.flatten();
                pooled.zip(pools).map(|(y, pools)| {
                    let rule = rule.clone();
                    let pull = move |g: &Gradient| Ok(vec![(from, pools.pool_back(g.parts(), &rule, size)?)]);
                    (y, Box::new(pull) as Pull)
                })
            }
            (op, &[from]) => self.head(op, from, value(from)?)?,
            _ => None,
        };
        match done {
            Some((y, pull)) => Ok((y, Some(pull))),
            None => self.graph(id, values, x),
        }
    }

    /// `y + bias` of each channel.
    fn shifted(&self, y: Tensor, bias: &Tensor) -> Result<Tensor> {
        let what = NormAct { shift: Some(bias.clone()), ..NormAct::default() };
        let shifted = match (self.images.last(), &self.operators.norms) {
            (Some(last), _) => last.ops.norm_act(&y, None, &what)?,
            (None, Some(norms)) => norms.norm_act(&y, &what)?,
            (None, None) => None,
        };
        match (shifted, self.images.last()) {
            (Some((y, _)), _) => Ok(y),
            (None, None) => Ok(y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?),
            (None, Some(_)) => Ok(y.broadcast_add(&bias.to_dtype(y.dtype())?)?),
        }
    }

    /// A node as a graph of its own, on images whose channels come first.
    fn graph(&self, id: NodeId, values: &[Option<Tensor>], x: &Tensor) -> Result<(Tensor, Option<Pull>)> {
        let mut operands: Vec<NodeId> = self.net.plan().nodes[id].inputs.clone();
        operands.sort_unstable();
        operands.dedup();
        let (mut own, mut vars) = (vec![None; id], Vec::with_capacity(operands.len()));
        for of in operands {
            let value = self.images.leave(values[of].as_ref().ok_or_else(|| missing(of))?)?;
            let var = Var::from_tensor(&value)?;
            own[of] = Some(var.as_tensor().clone());
            vars.push((of, var));
        }
        let y = self.net.apply(id, &own, self.p, &self.images.leave(x)?, self.cond)?;
        let (value, images) = (self.images.enter(&y.detach())?, self.images.clone());
        let pull = move |g: &Gradient| {
            let g = images.leave(&g.whole()?)?;
            let mut store = total(&(&y * g)?)?.backward()?;
            let of = vars.into_iter().filter_map(|(of, var)| Some((of, store.remove(&var)?)));
            of.map(|(of, g)| Ok((of, images.enter(&g)?))).collect()
        };
        Ok((value, Some(Box::new(pull))))
    }
}
