//! Operations of a plan that follow one another and that a device may run as one.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use ebm_core::operators::{NormAct, NormOps, Operators, Parts, TangentOps};
use ebm_core::plan::{Activation, NetPlan, NodeId, Op, Pool};
use ebm_core::tie::{Back, tie1, tie2, tie3};
use ebm_core::{Diff, Result, View};

use crate::check::missing;
use crate::effective::Effective;
use crate::layers;

/// How much a pass can take as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Where gradients of parameters are asked for: no norm after a bias.
    Tracked,
    /// Where none is: an instance norm after a bias too, which takes it away.
    Frozen,
    /// Where channels come last besides: every norm after a bias, pooling with a bias before and a function after it, and the sum or mean
    /// over space.
    Last,
}

/// `conv` without its bias, then bias, norm, label's gain and bias, function, sum with an earlier node; nodes that follow one
/// another, each the only reader of the one before. What else there may be depends on the [`Reach`].
#[derive(Clone, Debug)]
pub(crate) struct Fusion {
    /// Where the operand comes from: of the convolution if there is one.
    input: NodeId,
    conv: Option<NodeId>,
    norm: Option<NodeId>,
    /// After the bias, before the function.
    pub pool: Option<Pool>,
    /// A mean or sum over space at the end.
    pub space: Option<NodeId>,
    label: Option<NodeId>,
    function: Option<Activation>,
    /// What is added at the end.
    skip: Option<NodeId>,
    /// The node whose value this is.
    pub last: NodeId,
}

/// The convolution at the start of a fusion, without its bias.
#[derive(Clone)]
pub(crate) struct Convolved {
    /// Its weight as it is used.
    pub weight: Tensor,
    pub stride: usize,
    pub padding: usize,
}

impl Fusion {
    /// Nothing yet, from a node on.
    fn at(start: NodeId) -> Fusion {
        Fusion {
            input: 0,
            conv: None,
            norm: None,
            pool: None,
            space: None,
            label: None,
            function: None,
            skip: None,
            last: start,
        }
    }

    /// Whether it has nothing but perhaps a function.
    fn alone(&self) -> bool {
        self.conv.is_none() && self.norm.is_none() && self.pool.is_none() && self.label.is_none()
    }

    /// The function.
    pub fn function(&self) -> Option<Activation> {
        self.function
    }

    /// Where the operand comes from, and what is added at the end.
    pub fn inputs(&self) -> (NodeId, Option<NodeId>) {
        (self.input, self.skip)
    }

    /// The bias of the convolution where it does not stand in [`NormAct`]: before a norm or a pooling. An instance norm takes it away.
    ///
    /// # Errors
    /// If there is no such parameter.
    pub fn before<'a>(&self, plan: &NetPlan, p: &'a View) -> Result<Option<&'a Tensor>> {
        let op = |node: Option<NodeId>| node.map(|id| &plan.nodes[id]);
        let away = op(self.norm).is_some_and(|n| takes_bias_away(&n.op, &n.shape));
        match op(self.conv).map(|n| &n.op) {
            Some(Op::Conv { bias: Some(bias), .. })
                if (self.norm.is_some() || self.pool.is_some()) && !away =>
            {
                Ok(Some(p.get(bias)?))
            }
            _ => Ok(None),
        }
    }

    /// The factor of the sum over space at the end, if there is one.
    pub fn over_space(&self, plan: &NetPlan) -> Option<f64> {
        let node = &plan.nodes[self.space?];
        let from = &plan.nodes[*node.inputs.first()?].shape;
        let places: usize = from.iter().skip(1).product();
        Some(if node.op == Op::SpatialMean { 1.0 / places.max(1) as f64 } else { 1.0 })
    }

    /// Everything but the operand and what is added, in the type of the operand.
    ///
    /// # Errors
    /// If a parameter is missing or an operation fails.
    pub fn operands(
        &self,
        plan: &NetPlan,
        weights: &Effective,
        p: &View,
        cond: Option<&Tensor>,
        dtype: DType,
        stored: Option<DType>,
    ) -> Result<(NormAct, Option<Convolved>)> {
        let op = |node: Option<NodeId>| node.map(|id| &plan.nodes[id].op);
        let mut what = NormAct { function: self.function, ..NormAct::default() };
        let mut conv = None;
        if let Some(Op::Conv { weight, bias, stride, padding, rule, .. }) = op(self.conv) {
            if self.pool.is_none() {
                what.shift = bias.as_ref().map(|b| p.get(b).cloned()).transpose()?;
            }
            let weight = match stored {
                None => weights.weight(p, weight, rule)?,
                Some(to) => weights.laid(p, weight, rule, to)?,
            };
            conv = Some(Convolved { weight, stride: *stride, padding: *padding });
        }
        if let Some(Op::Norm { groups, epsilon, weight, bias }) = op(self.norm) {
            what.norm = Some((*groups, *epsilon));
            what.gain = weight.as_ref().map(|w| p.get(w).cloned()).transpose()?;
            what.shift = bias.as_ref().map(|b| p.get(b).cloned()).transpose()?;
        }
        if let (Some(Op::LabelAffine { weight, bias }), Some(label)) = (op(self.label), cond) {
            let (gain, shift) = layers::label_gain(label, p.get(weight)?, p.get(bias)?, dtype)?;
            (what.gain2, what.shift2) = (Some(gain), Some(shift));
        }
        Ok((what, conv))
    }
}

/// Whether a norm subtracts the same number from all that a channel's bias was added to.
fn takes_bias_away(norm: &Op, shape: &[usize]) -> bool {
    matches!(norm, Op::Norm { groups, .. } if shape.first() == Some(groups))
}

/// The fusions of a plan by their first node.
pub(crate) fn fusions(plan: &NetPlan, reach: Reach) -> Vec<Option<Fusion>> {
    let n = plan.nodes.len();
    let mut readers = vec![0usize; n];
    plan.nodes.iter().flat_map(|node| &node.inputs).for_each(|&i| readers[i] += 1);
    plan.terms.iter().for_each(|t| readers[t.node] += 1);
    let mut all: Vec<Option<Fusion>> = vec![None; n];
    let mut start = 0;
    while start < n {
        let mut f = Fusion::at(start);
        let mut at = start;
        while at < n {
            let node = &plan.nodes[at];
            // Of a sum one operand comes from here and the other from before.
            let before = match (&node.op, node.inputs.as_slice()) {
                (Op::Add, [a, b]) if at > start && a.max(b) + 1 == at && a.min(b) < &start => Some(*a.min(b)),
                _ => None,
            };
            let last = before.is_some() || node.inputs == [at.wrapping_sub(1)];
            let follows = at == start || (last && readers[at - 1] == 1);
            let image = node.shape.len() == 3 && f.skip.is_none() && f.space.is_none();
            let over_space = matches!(node.op, Op::SpatialMean | Op::SpatialSum);
            let (wide, after_conv) = (reach == Reach::Last, at > start && f.conv == Some(at - 1));
            let fits = follows
                && (image || (wide && over_space && f.alone() && f.skip.is_none()))
                && match &node.op {
                    Op::Conv { bias, .. } if at == start && (bias.is_some() || wide) => {
                        f.conv = Some(at);
                        true
                    }
                    Op::Norm { .. }
                        if at == start
                            || (after_conv
                                && (wide
                                    || (reach == Reach::Frozen
                                        && takes_bias_away(&node.op, &node.shape)))) =>
                    {
                        f.norm = Some(at);
                        true
                    }
                    Op::Pool(rule) if wide && (at == start || after_conv) => {
                        f.pool = Some(rule.clone());
                        true
                    }
                    Op::SpatialMean | Op::SpatialSum => {
                        f.space = Some(at);
                        true
                    }
                    Op::LabelAffine { .. }
                        if f.label.is_none() && f.function.is_none() && f.pool.is_none() =>
                    {
                        f.label = Some(at);
                        true
                    }
                    Op::Activate(function) if f.function.is_none() => {
                        f.function = Some(*function);
                        true
                    }
                    Op::Add if before.is_some() && f.pool.is_none() => {
                        f.skip = before;
                        true
                    }
                    _ => false,
                };
            if !fits {
                break;
            }
            at += 1;
        }
        // A convolution alone gains nothing.
        let more = f.norm.is_some() || f.label.is_some() || f.function.is_some() || f.skip.is_some();
        if more || f.pool.is_some() || f.space.is_some() {
            f.input = plan.nodes[start].inputs[0];
            f.last = at - 1;
            all[start] = Some(f);
            start = at;
        } else {
            start += 1;
        }
    }
    all
}

/// The value of the fusion's last node, if the device covers it.
pub(crate) fn apply<V: Diff>(
    f: &Fusion,
    plan: &NetPlan,
    weights: &Effective,
    o: &Operators,
    values: &[Option<V>],
    p: &View,
    cond: Option<&Tensor>,
) -> Result<Option<V>> {
    let Some(norms) = &o.norms else { return Ok(None) };
    let value = |id: NodeId| values[id].as_ref().ok_or_else(|| missing(id));
    let (x, skip) = (value(f.input)?, f.skip.map(value).transpose()?);
    let (what, conv) = f.operands(plan, weights, p, cond, x.value().dtype(), None)?;
    let convolved =
        conv.map(|c| x.linear(|t| layers::convolve(plan.products, t, &c.weight, c.stride, c.padding)));
    let convolved = convolved.transpose()?;
    let from = convolved.as_ref().unwrap_or(x);
    let parts: Vec<&V> = [Some(from), skip].into_iter().flatten().collect();
    let y = V::fused(
        &parts,
        |parts| forward(norms, parts, &what),
        |parts, tangents, _| {
            let Some(o) = &o.tangents else { return Ok(None) };
            let dy = along(o, parts[0], tangents[0], &what)?;
            dy.map(|dy| added(dy, tangents.get(1).copied())).transpose()
        },
    )?;
    // A convolution that is done is not done again: what follows it, by tensor operations.
    match (y, convolved) {
        (None, Some(x)) => unfused(&x, &what, skip).map(Some),
        (y, _) => Ok(y),
    }
}

/// The value of `parts`: what the norm sees and what is added.
fn forward(o: &Arc<dyn NormOps>, parts: &[&Tensor], what: &NormAct) -> Result<Option<Tensor>> {
    let affine = [&what.gain, &what.shift, &what.gain2, &what.shift2];
    if !affine.into_iter().flatten().any(Tensor::track_op) {
        return frozen(o, parts, what.clone());
    }
    let x = parts[0];
    let both = affine_maps(x, what)?;
    let (plain, what) = (x.detach(), of_channels(what, &both)?);
    let Some((y, kept)) = o.norm_act(&plain, &what)? else { return Ok(None) };
    let pass = Arc::new((o.clone(), plain, what, kept));
    let also = pass.clone();
    let back = || Box::new(move |g: &Tensor| input_of(&*pass.0, &pass.1, &pass.2, &pass.3, g)) as Back;
    let back_both = || Box::new(move |g: &Tensor| also.0.affine_back(&also.1, &also.2, &also.3, g)) as Back;
    let y = tie2("norm_act", x, &both, y, back, back_both)?;
    added(y, parts.get(1).copied()).map(Some)
}

/// The gradient of the input of a norm, from that of its result.
fn input_of(
    o: &dyn NormOps,
    x: &Tensor,
    what: &NormAct,
    kept: &Tensor,
    g: &Tensor,
) -> candle_core::Result<Tensor> {
    Ok(o.back(x, what, kept, Parts(g, None), false)?.0)
}

/// A value and what is added to it.
fn added<V: Diff>(y: V, skip: Option<&V>) -> Result<V> {
    match skip {
        Some(skip) => y.plus(skip),
        None => Ok(y),
    }
}

/// Where no affine map is tracked: nothing but the gradients of `parts` is asked for.
fn frozen(o: &Arc<dyn NormOps>, parts: &[&Tensor], mut what: NormAct) -> Result<Option<Tensor>> {
    let (x, skip) = (parts[0], parts.get(1));
    what.skip = skip.map(|s| s.detach());
    let plain = x.detach();
    let Some((y, kept)) = o.norm_act(&plain, &what)? else { return Ok(None) };
    // Its gradient is the result's.
    what.skip = None;
    let o = o.clone();
    let back = || Box::new(move |g: &Tensor| input_of(&*o, &plain, &what, &kept, g)) as Back;
    let back_skip = || Box::new(|g: &Tensor| Ok(g.clone())) as Back;
    Ok(Some(match skip {
        Some(skip) => tie2("norm_act", x, skip, y, back, back_skip)?,
        None => tie1("norm_act", x, y, back)?,
    }))
}

/// The derivative of the value without what is added, where `x` moves along `dx`.
fn along(o: &Arc<dyn TangentOps>, x: &Tensor, dx: &Tensor, what: &NormAct) -> Result<Option<Tensor>> {
    let both = affine_maps(x, what)?;
    let (plain, moved, what) = (x.detach(), dx.detach(), of_channels(what, &both)?);
    let Some((dy, kept)) = o.tangent(&plain, &what, &moved)? else { return Ok(None) };
    let (o, affine) = (o.clone(), both.track_op());
    let back = move |g: &Tensor| {
        let grads = o.back(&plain, &what, &moved, &kept, g, affine)?;
        Ok((grads.x, grads.dx, grads.affine))
    };
    Ok(Some(tie3("norm_act_tangent", [x, dx, &both], dy, Box::new(back))?))
}

/// All affine maps as one gain and one shift of each channel of each sample, `(2, B, C)`, through which their gradients go on.
fn affine_maps(x: &Tensor, what: &NormAct) -> Result<Tensor> {
    let (b, c, _, _) = x.dims4()?;
    let each = |t: &Option<Tensor>, without: f64| match t {
        Some(t) => t.broadcast_as((b, c)),
        None => Tensor::zeros((b, c), x.dtype(), x.device())?.affine(1.0, without),
    };
    let (mut gain, mut shift) = (each(&what.gain, 1.0)?, each(&what.shift, 0.0)?);
    if let (Some(g), Some(s)) = (&what.gain2, &what.shift2) {
        (gain, shift) = ((gain * g)?, ((shift * g)? + s)?);
    }
    Ok(Tensor::stack(&[gain, shift], 0)?)
}

/// The same operation with `both` of [`affine_maps`], and nothing added.
fn of_channels(what: &NormAct, both: &Tensor) -> Result<NormAct> {
    let both = both.detach();
    let (gain2, shift2) = (Some(both.get(0)?), Some(both.get(1)?));
    Ok(NormAct { norm: what.norm, function: what.function, gain2, shift2, ..NormAct::default() })
}

/// The same by tensor operations, without a norm.
fn unfused<V: Diff>(x: &V, what: &NormAct, skip: Option<&V>) -> Result<V> {
    let mut x = x.clone();
    if let Some(shift) = &what.shift {
        x = x.shift(&shift.reshape((1, (), 1, 1))?)?;
    }
    if let (Some(gain), Some(shift)) = (&what.gain2, &what.shift2) {
        let (b, c) = gain.dims2()?;
        x = x.times(&gain.reshape((b, c, 1, 1))?)?.shift(&shift.reshape((b, c, 1, 1))?)?;
    }
    if let Some(f) = what.function {
        x = layers::activate(&x, f)?;
    }
    added(x, skip)
}
