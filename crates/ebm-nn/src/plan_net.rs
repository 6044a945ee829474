//! The graph interpreter of network plans: runs a [`NetPlan`] on any [`Diff`] and any device.

use std::sync::Mutex;

use candle_core::{D, DType, DeviceLocation, Tensor};
use ebm_core::operators::operators;
use ebm_core::plan::{NetPlan, NodeId, Op, Pool};
use ebm_core::{Diff, Error, Result, View};

use crate::check::{missing, validate};
use crate::effective::Effective;
use crate::fusion::{self, Fusion, Reach, fusions};
use crate::layers;

/// A forward function made of a plan.
pub struct PlanNet {
    plan: NetPlan,
    /// For each node, the last node that reads it.
    last_use: Vec<NodeId>,
    /// Operations that a device may run as one, by the first of them, for each [`Reach`].
    fusions: [Vec<Option<Fusion>>; 3],
    pools: Mutex<Vec<PoolEntry>>,
    weights: Effective,
}

/// Row and column matrices of one pooling node on one device, made at its first use.
struct PoolEntry {
    node: NodeId,
    dtype: DType,
    place: DeviceLocation,
    rows: Tensor,
    columns: Tensor,
}

impl PlanNet {
    /// The interpreter of `plan`.
    ///
    /// # Errors
    /// If the plan is not [valid](validate).
    pub fn new(plan: NetPlan) -> Result<Self> {
        validate(&plan)?;
        let mut last_use: Vec<NodeId> = (0..plan.nodes.len()).collect();
        for (id, node) in plan.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&i| last_use[i] = id);
        }
        for term in &plan.terms {
            last_use[term.node] = plan.nodes.len();
        }
        let fusions = [Reach::Tracked, Reach::Frozen, Reach::Last].map(|reach| fusions(&plan, reach));
        Ok(PlanNet { plan, last_use, fusions, pools: Mutex::new(Vec::new()), weights: Effective::default() })
    }

    /// The plan.
    pub fn plan(&self) -> &NetPlan {
        &self.plan
    }

    /// The value `(B, ...)` of the node called `name`, for feature maps (`compute_feat` of the published program).
    ///
    /// # Errors
    /// If there is no such node or an operation fails.
    pub fn node<V: Diff>(&self, name: &str, p: &View, x: &V, cond: Option<&Tensor>) -> Result<V> {
        let Some(id) = self.plan.nodes.iter().position(|n| n.name == name) else {
            return Err(Error::config(name, "the plan has no node of this name"));
        };
        let mut wanted = self.run(p, x, cond, &[id])?;
        wanted.pop().ok_or_else(|| Error::config(name, "was not computed"))
    }

    /// Runs the plan and returns the values of `wanted` in order.
    pub(crate) fn run<V: Diff>(
        &self,
        p: &View,
        x: &V,
        cond: Option<&Tensor>,
        wanted: &[NodeId],
    ) -> Result<Vec<V>> {
        let o = operators(x.value().device());
        let values = self.visit(
            wanted,
            Reach::Tracked,
            |f, values| match &o {
                Some(o) => fusion::apply(f, &self.plan, &self.weights, o, values, p, cond),
                None => Ok(None),
            },
            |id, values| self.apply(id, values, p, x, cond),
        )?;
        wanted.iter().map(|&id| values[id].clone().ok_or_else(|| missing(id))).collect()
    }

    /// Goes over the nodes up to the last of `wanted`, by fusions where `fused` covers them and one by one where not; returns the values
    /// that are wanted. A value without further readers is let go, and freed if no graph holds it.
    pub(crate) fn visit<T>(
        &self,
        wanted: &[NodeId],
        reach: Reach,
        mut fused: impl FnMut(&Fusion, &[Option<T>]) -> Result<Option<T>>,
        mut single: impl FnMut(NodeId, &[Option<T>]) -> Result<T>,
    ) -> Result<Vec<Option<T>>> {
        let end = wanted.iter().copied().max().unwrap_or(0);
        let mut values: Vec<Option<T>> = self.plan.nodes.iter().map(|_| None).collect();
        let mut next = 0;
        while next <= end {
            let within = |e: Error| e.within(&self.plan.nodes[next].name);
            // What is wanted may lie inside.
            let whole = self.fusions[reach as usize][next]
                .as_ref()
                .filter(|f| !wanted.iter().any(|w| (next..f.last).contains(w)));
            let done = match whole {
                Some(f) => fused(f, &values).map_err(within)?.map(|v| (f.last, v)),
                None => None,
            };
            let (id, value) = match done {
                Some(done) => done,
                None => (next, single(next, &values).map_err(within)?),
            };
            values[id] = Some(value);
            for &i in self.plan.nodes[next..=id].iter().flat_map(|n| &n.inputs) {
                if self.last_use[i] <= id && !wanted.contains(&i) {
                    values[i] = None;
                }
            }
            next = id + 1;
        }
        Ok(values)
    }

    pub(crate) fn weights(&self) -> &Effective {
        &self.weights
    }

    /// The value of one node from those of its operands.
    pub(crate) fn apply<V: Diff>(
        &self,
        id: NodeId,
        values: &[Option<V>],
        p: &View,
        x: &V,
        cond: Option<&Tensor>,
    ) -> Result<V> {
        let node = &self.plan.nodes[id];
        let operand = |k: usize| -> Result<&V> {
            let i = node.inputs.get(k).copied().unwrap_or(usize::MAX);
            values.get(i).and_then(Option::as_ref).ok_or_else(|| missing(i))
        };
        let named = |name: &Option<String>| name.as_deref().map(|n| p.get(n)).transpose();
        match &node.op {
            Op::Input => Ok(x.clone()),
            Op::Conv { weight, bias, stride, padding, rule, .. } => {
                let weight = self.weights.weight(p, weight, rule)?;
                layers::conv2d_in(self.plan.products, operand(0)?, &weight, named(bias)?, *stride, *padding)
            }
            Op::Places { points } => {
                let last = self.plan.input.last().copied().unwrap_or(1);
                match points {
                    true => operand(0)?.linear(|t| {
                        t.reshape(((), 1, t.elem_count() / (t.dim(0)? * last), last))?
                            .permute((0, 3, 1, 2))?
                            .contiguous()
                    }),
                    false => operand(0)?.linear(|t| t.reshape((t.dim(0)?, (), 1, last))),
                }
            }
            Op::Series { weight, bias, stride, padding, .. } => {
                let row = operand(0)?.linear(|t| t.squeeze(2))?;
                layers::conv1d(&row, p.get(weight)?, named(bias)?, *stride, *padding)?
                    .linear(|t| t.unsqueeze(2))
            }
            Op::Linear { weight, bias } => layers::linear(operand(0)?, p.get(weight)?, named(bias)?),
            Op::Fourier { frequencies } => layers::fourier(operand(0)?, p.get(frequencies)?),
            Op::Pool(rule) => {
                let x = operand(0)?;
                let (rows, columns) = self.matrices(id, rule, x.value())?;
                layers::pool2d_by(x, rule, &rows, &columns)
            }
            Op::Norm { groups, epsilon, weight, bias } => {
                layers::group_norm(operand(0)?, *groups, *epsilon, named(weight)?, named(bias)?)
            }
            Op::LabelAffine { weight, bias } => {
                layers::label_affine(operand(0)?, cond, p.get(weight)?, p.get(bias)?)
            }
            Op::Activate(rule) => layers::activate(operand(0)?, *rule),
            Op::Add => operand(0)?.plus(operand(1)?),
            Op::Scale(factor) => operand(0)?.scale(*factor),
            Op::Attention { prefix } => layers::self_attention(operand(0)?, p, prefix),
            Op::SpatialMean => operand(0)?.linear(|t| t.flatten_from(2)?.mean(D::Minus1)),
            Op::SpatialSum => operand(0)?.linear(|t| t.flatten_from(2)?.sum(D::Minus1)),
            Op::Flatten => operand(0)?.flatten(),
            Op::Concat => {
                let parts: Vec<V> =
                    (0..node.inputs.len()).map(|k| operand(k).cloned()).collect::<Result<_>>()?;
                V::join(&parts, |t| Tensor::cat(t, 1))
            }
            Op::Condition => {
                // A constant: nothing of x but the number of rows.
                let zeros = x.linear(|t| Tensor::zeros((t.dim(0)?, node.shape[0]), t.dtype(), t.device()))?;
                match cond {
                    Some(c) => zeros.shift(&c.to_dtype(x.value().dtype())?),
                    None => Ok(zeros),
                }
            }
            Op::SumAll => operand(0)?.sum_last(),
            other => Err(Error::config("", format!("{other:?} is not known to the graph interpreter"))),
        }
    }

    fn matrices(&self, node: NodeId, rule: &Pool, like: &Tensor) -> Result<(Tensor, Tensor)> {
        let (dtype, place) = (like.dtype(), like.device().location());
        // A poisoned lock only means that another thread stopped while making a matrix.
        let mut pools = self.pools.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(e) = pools.iter().find(|e| e.node == node && e.dtype == dtype && e.place == place) {
            return Ok((e.rows.clone(), e.columns.clone()));
        }
        let (_, _, h, w) = like.dims4()?;
        let rows = layers::pooling_tensor(rule, h, like)?;
        let columns = layers::pooling_tensor(rule, w, like)?;
        pools.push(PoolEntry { node, dtype, place, rows: rows.clone(), columns: columns.clone() });
        Ok((rows, columns))
    }
}
