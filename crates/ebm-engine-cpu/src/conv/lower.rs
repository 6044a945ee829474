//! Lowers a network plan to the engine's own steps, fusing neighbours that one pass can compute.
//!
//! Fused: convolution and 3×3 average pooling (one stride-2 convolution of box sums); norm, label
//! affine, activation and residual sum (one [`Affine`]). Attention becomes three 1×1 convolutions, a
//! core without weights and a blend. A convolution's bias that an instance norm removes is dropped.

use std::collections::HashMap;

use ebm_core::plan::{Activation, NetPlan, Node, NodeId, Op, Pool, WeightRule};

use super::cells::Axis;
use super::kernels::affine::code;
use super::program::{
    Affine, Algorithm, Conv, Kind, Label, Norm, Param, ParamId, Program, Rule, Step, Value, ValueId,
};
use super::taps::Taps;
use crate::unsupported::{Unsupported, refuse};

/// Most channels of a sample that convolutions read without a tensor of it.
const FEW: usize = 8;

/// Most products of a strided convolution, of 100 of a plain one, that pay for their transforms.
const ENOUGH: usize = 90;

struct Lowering<'a> {
    plan: &'a NetPlan,
    users: Vec<Vec<NodeId>>,
    value_of: Vec<Option<ValueId>>,
    skip: Vec<bool>,
    names: HashMap<String, ParamId>,
    out: Program,
}

/// The program of `plan`.
pub(crate) fn lower(plan: &NetPlan) -> Result<Program, Unsupported> {
    let n = plan.nodes.len();
    let mut live = vec![false; n];
    if plan.terms.is_empty() || n == 0 || plan.nodes[0].op != Op::Input {
        return refuse("the plan has no terms or does not begin with its input");
    }
    for t in &plan.terms {
        match plan.nodes.get(t.node) {
            Some(node) if node.shape == [1] => live[t.node] = true,
            _ => return refuse(format!("term `{}` is not a node of shape [1]", t.name)),
        }
    }
    let mut users = vec![Vec::new(); n];
    for id in (0..n).rev() {
        if !live[id] {
            continue;
        }
        for &i in &plan.nodes[id].inputs {
            if i >= id {
                return refuse(format!("node `{}` reads a later node", plan.nodes[id].name));
            }
            live[i] = true;
            users[i].push(id);
        }
    }
    live[0] = true;
    for t in &plan.terms {
        // A term is read from outside: it must exist as a value of its own.
        users[t.node].push(usize::MAX);
    }
    let mut low = Lowering {
        plan,
        users,
        value_of: vec![None; n],
        skip: live.iter().map(|l| !l).collect(),
        names: HashMap::new(),
        out: Program {
            values: Vec::new(),
            steps: Vec::new(),
            params: Vec::new(),
            terms: Vec::new(),
            sample_len: plan.input.iter().product(),
            condition: plan.condition,
            convs: 0,
            affines: 0,
        },
    };
    for id in 0..n {
        if !low.skip[id] {
            low.node(id)?;
        }
    }
    for t in &plan.terms {
        match low.value_of[t.node] {
            Some(v) => low.out.terms.push(v),
            None => return refuse(format!("term `{}` was not computed", t.name)),
        }
    }
    Ok(low.out)
}

impl Lowering<'_> {
    fn node(&mut self, id: NodeId) -> Result<(), Unsupported> {
        let plan = self.plan;
        let node = &plan.nodes[id];
        let kind = match &node.op {
            // Laid out in another way, it is that node's value.
            Op::Input if self.places().is_some() => return Ok(()),
            Op::Input => Kind::Input { points: false },
            Op::Places { points } => match self.places() {
                Some(first) if first == id => Kind::Input { points: *points },
                Some(first) => {
                    self.value_of[id] = self.value_of[first];
                    return Ok(());
                }
                None => return refuse(format!("node `{}` is not all that reads the sample", node.name)),
            },
            Op::Condition => Kind::Condition,
            Op::Series { weight, bias, kernel, stride, padding } => {
                let x = self.shape(node, 0)?;
                let of = (*kernel, *stride, *padding);
                let plain = &WeightRule::Plain;
                Kind::Conv(self.conv(node, (weight, bias.as_ref()), x[0], of, true, plain)?)
            }
            Op::Conv { weight, bias, kernel, stride, padding, rule } => {
                let pooled = *kernel == 3 && *stride == 1 && *padding == 1 && {
                    let next = self.sole(id);
                    next.is_some_and(|n| plan.nodes[n].op == Op::Pool(Pool::Average3))
                };
                let x = self.shape(node, 0)?;
                let conv = self.conv(
                    node,
                    (weight, bias.as_ref()),
                    x[0],
                    (*kernel, *stride, *padding),
                    false,
                    rule,
                )?;
                if let (true, Some(pool)) = (pooled, self.sole(id)) {
                    let algorithm = strided(&x, true).unwrap_or(Algorithm::Boxes);
                    let conv = Conv { algorithm, bias_dropped: false, ..conv };
                    self.skip[pool] = true;
                    let inputs = self.inputs(node)?;
                    return self.emit(pool, &format!("{}+pool", node.name), Kind::Conv(conv), inputs);
                }
                let bias_dropped = self.sole(id).is_some_and(
                    |n| matches!(plan.nodes[n].op, Op::Norm { groups, .. } if groups == node.shape[0]),
                );
                let (h, w) = (node.shape[1], node.shape[2]);
                let algorithm = match (*kernel, *stride, *padding) {
                    (3, 1, 1) if h.max(w) <= 2 => Algorithm::Winograd(4),
                    (3, 1, 1) => Algorithm::Winograd(6),
                    _ if node.inputs == [0] && self.by_samples() => Algorithm::Sample,
                    (3, 2, 1) => strided(&x, false).unwrap_or(Algorithm::Patches),
                    _ => Algorithm::Patches,
                };
                Kind::Conv(Conv { algorithm, bias_dropped, ..conv })
            }
            Op::Linear { weight, bias } => {
                let (mut x, mut kernel) = (self.shape(node, 0)?, 1);
                let whole = node.inputs.first().copied().filter(|&i| self.whole(i));
                if let Some(map) = whole {
                    x = self.shape(&plan.nodes[map], 0)?;
                    kernel = x[1];
                }
                let of = (kernel, 1, 0);
                let conv = self.conv(node, (weight, bias.as_ref()), x[0], of, false, &WeightRule::Plain)?;
                let inputs = self.inputs(whole.map_or(node, |map| &plan.nodes[map]))?;
                return self.emit(id, &node.name, Kind::Conv(conv), inputs);
            }
            Op::Norm { .. } | Op::LabelAffine { .. } | Op::Activate(_) => return self.affine(id),
            Op::Pool(rule) => {
                let x = self.shape(node, 0)?;
                Kind::Pool(
                    Taps::new(rule, x[1], x[2]).map_err(|reason| Unsupported {
                        reason: format!("node `{}`: {reason}", node.name),
                    })?,
                )
            }
            Op::Attention { prefix } => return self.attention(id, prefix),
            Op::Add => Kind::Add,
            Op::Scale(f) => Kind::Scale(*f as f32),
            Op::SpatialMean => {
                let x = self.shape(node, 0)?;
                Kind::SpatialSum(1.0 / (x[1] * x[2]) as f32)
            }
            Op::SpatialSum => Kind::SpatialSum(1.0),
            Op::Flatten if self.whole(id) => return Ok(()),
            Op::Flatten => Kind::Flatten,
            Op::Concat => Kind::Concat,
            Op::SumAll => Kind::SumAll,
            other => return refuse(format!("node `{}`: no kernel for {other:?}", node.name)),
        };
        let inputs = match kind {
            Kind::Input { .. } => Vec::new(),
            _ => self.inputs(node)?,
        };
        self.emit(id, &node.name, kind, inputs)
    }

    /// Adds the step and its value, which stands for node `id` from now on.
    fn emit(&mut self, id: NodeId, name: &str, kind: Kind, inputs: Vec<ValueId>) -> Result<(), Unsupported> {
        let shape = &self.plan.nodes[id].shape;
        let out = self.value(shape, name)?;
        self.value_of[id] = Some(out);
        self.out.steps.push(Step { name: name.into(), kind, inputs, out });
        Ok(())
    }

    fn value(&mut self, shape: &[usize], name: &str) -> Result<ValueId, Unsupported> {
        let value = match *shape {
            [c] if c > 0 => Value { c, h: 1, w: 1 },
            [c, h, w] if c * h * w > 0 => Value { c, h, w },
            _ => return refuse(format!("node `{name}` has shape {shape:?}, wanted [C, H, W] or [D]")),
        };
        self.out.values.push(value);
        Ok(self.out.values.len() - 1)
    }

    fn inputs(&self, node: &Node) -> Result<Vec<ValueId>, Unsupported> {
        node.inputs
            .iter()
            .map(|&i| match self.value_of[i] {
                Some(v) => Ok(v),
                None => refuse(format!("node `{}` reads a node inside a fused step", node.name)),
            })
            .collect()
    }

    fn shape(&self, node: &Node, input: usize) -> Result<Vec<usize>, Unsupported> {
        match node.inputs.get(input) {
            Some(&i) => Ok(self.plan.nodes[i].shape.clone()),
            None => refuse(format!("node `{}` has no operand", node.name)),
        }
    }

    /// The node that lays the sample's axes out, if all that reads the sample does so in the same way: the first that does.
    fn places(&self) -> Option<NodeId> {
        let op = |&n: &NodeId| self.plan.nodes.get(n).map(|node| &node.op);
        let first = *self.users[0].iter().min()?;
        let same = self.users[0].iter().all(|n| op(n) == op(&first));
        (same && matches!(op(&first), Some(Op::Places { .. }))).then_some(first)
    }

    /// Whether the sample has few channels and only convolutions of a kind that can read it without a tensor of it.
    fn by_samples(&self) -> bool {
        let reads = |&id: &NodeId| match self.plan.nodes.get(id).map(|n| &n.op) {
            Some(Op::Conv { kernel, stride, padding, .. }) => (*kernel, *stride, *padding) != (3, 1, 1),
            _ => false,
        };
        matches!(self.plan.nodes[0].shape[..], [c, _, _] if c <= FEW) && self.users[0].iter().all(reads)
    }

    /// Whether node `id` is a square map that is laid out in a row for one linear layer: a convolution by a kernel of the map's own size, for
    /// the weights stand in the same order.
    fn whole(&self, id: NodeId) -> bool {
        let node = &self.plan.nodes[id];
        let of = node.inputs.first().map(|&i| &self.plan.nodes[i].shape[..]);
        node.op == Op::Flatten
            && matches!(of, Some(&[c, h, w]) if h == w && h > 1 && c.is_multiple_of(16))
            && self.sole(id).is_some_and(|n| matches!(self.plan.nodes[n].op, Op::Linear { .. }))
    }

    /// The only reader of a node, if there is just one.
    fn sole(&self, id: NodeId) -> Option<NodeId> {
        match self.users[id][..] {
            [n] if n != usize::MAX => Some(n),
            _ => None,
        }
    }

    fn param(&mut self, name: &str, len: usize, trainable: bool) -> Result<ParamId, Unsupported> {
        if let Some(&id) = self.names.get(name) {
            if self.out.params[id].len != len {
                return refuse(format!("parameter `{name}` is used with two shapes"));
            }
            return Ok(id);
        }
        self.out.params.push(Param { name: name.into(), len, trainable });
        self.names.insert(name.into(), self.out.params.len() - 1);
        Ok(self.out.params.len() - 1)
    }

    fn conv(
        &mut self,
        node: &Node,
        (weight, bias): (&str, Option<&String>),
        cin: usize,
        (kernel, stride, padding): (usize, usize, usize),
        along: bool,
        rule: &WeightRule,
    ) -> Result<Conv, Unsupported> {
        let cout = node.shape[0];
        if kernel == 0 || stride == 0 {
            return refuse(format!("node `{}` has kernel {kernel}, stride {stride}", node.name));
        }
        if self.names.contains_key(weight) {
            return refuse(format!("node `{}` shares the weight `{weight}` with another", node.name));
        }
        let fan = cin * kernel * if along { 1 } else { kernel };
        let rule = match rule {
            WeightRule::Plain => Rule::Plain,
            WeightRule::Standardised => Rule::Standardised,
            WeightRule::Spectral { u, v } => {
                Rule::Spectral { u: self.param(u, cout, false)?, v: self.param(v, fan, false)? }
            }
        };
        let index = self.out.convs;
        self.out.convs += 1;
        Ok(Conv {
            weight: self.param(weight, cout * fan, true)?,
            bias: bias.map(|b| self.param(b, cout, true)).transpose()?,
            bias_dropped: false,
            cin,
            cout,
            kernel,
            stride,
            padding,
            along,
            rule,
            algorithm: Algorithm::Patches,
            index,
        })
    }

    /// Norm, label affine, activation, residual: as long a chain from `id` on as has no other reader.
    fn affine(&mut self, id: NodeId) -> Result<(), Unsupported> {
        let plan = self.plan;
        let c = plan.nodes[id].shape[0];
        let mut step =
            Affine { norm: None, label: None, act: (code::IDENTITY, 0.0), residual: false, index: 0 };
        let inputs = self.inputs(&plan.nodes[id])?;
        let mut inputs = inputs[..1].to_vec();
        let mut at = id;
        let mut stage = 0;
        loop {
            let node = &plan.nodes[at];
            match &node.op {
                Op::Norm { groups, epsilon, weight, bias } => {
                    if *groups == 0 || !c.is_multiple_of(*groups) {
                        return refuse(format!("node `{}`: {groups} groups of {c} channels", node.name));
                    }
                    step.norm = Some(Norm {
                        groups: *groups,
                        epsilon: *epsilon as f32,
                        weight: weight.as_ref().map(|w| self.param(w, c, true)).transpose()?,
                        bias: bias.as_ref().map(|b| self.param(b, c, true)).transpose()?,
                    });
                    stage = 1;
                }
                Op::LabelAffine { weight, bias } => {
                    if plan.condition == 0 {
                        return refuse(format!("node `{}` needs a condition, the plan has none", node.name));
                    }
                    step.label = Some(Label {
                        weight: self.param(weight, 2 * c * plan.condition, true)?,
                        bias: self.param(bias, 2 * c, true)?,
                    });
                    stage = 2;
                }
                Op::Activate(a) => {
                    step.act = activation(*a);
                    stage = 3;
                }
                Op::Add => {
                    step.residual = true;
                    stage = 4;
                }
                _ => {}
            }
            self.skip[at] = true;
            let Some(next) = self.sole(at) else { break };
            let ready = match &plan.nodes[next].op {
                Op::LabelAffine { .. } => stage < 2,
                Op::Activate(_) => stage < 3,
                Op::Add if stage < 4 => {
                    let ins = &plan.nodes[next].inputs;
                    let other = ins.iter().find(|&&i| i != at).and_then(|&i| self.value_of[i]);
                    match other {
                        Some(v) if ins.len() == 2 => {
                            inputs.push(v);
                            true
                        }
                        _ => false,
                    }
                }
                _ => false,
            };
            if !ready {
                break;
            }
            at = next;
        }
        step.index = self.out.affines;
        self.out.affines += 1;
        self.emit(at, &plan.nodes[at].name, Kind::Affine(step), inputs)
    }

    fn attention(&mut self, id: NodeId, prefix: &str) -> Result<(), Unsupported> {
        let node = &self.plan.nodes[id];
        let [c, h, w] = node.shape[..] else {
            return refuse(format!("node `{}`: attention needs [C, H, W]", node.name));
        };
        if c < 8 {
            return refuse(format!("node `{}`: attention needs at least 8 channels", node.name));
        }
        let x = self.inputs(node)?[0];
        let mut parts = Vec::new();
        for (part, out) in [("query_conv", c / 8), ("key_conv", c / 8), ("value_conv", c)] {
            let name = format!("{prefix}.{part}");
            let shape = vec![out, h, w];
            let fake = Node { name: name.clone(), op: Op::Flatten, inputs: vec![], shape: shape.clone() };
            let bias = format!("{name}.bias");
            let conv = self.conv(
                &fake,
                (&format!("{name}.weight"), Some(&bias)),
                c,
                (1, 1, 0),
                false,
                &WeightRule::Plain,
            )?;
            let v = self.value(&shape, &name)?;
            self.out.steps.push(Step { name, kind: Kind::Conv(conv), inputs: vec![x], out: v });
            parts.push(v);
        }
        let o = self.value(&[c, h, w], &node.name)?;
        let name = format!("{}.core", node.name);
        self.out.steps.push(Step { name, kind: Kind::Attention, inputs: parts, out: o });
        let gamma = self.param(&format!("{prefix}.gamma"), 1, true)?;
        self.emit(id, &node.name, Kind::Blend(gamma), vec![x, o])
    }
}

/// The algorithm with fewer products for a strided 3×3 convolution of a map of shape `x` or of its box sums, if they are few enough.
fn strided(x: &[usize], boxes: bool) -> Option<Algorithm> {
    let [_, h, w] = *x else { return None };
    let products = Axis::new(h, boxes).products() * Axis::new(w, boxes).products();
    let plain = 9 * h.div_ceil(2) * w.div_ceil(2);
    (100 * products <= ENOUGH * plain).then_some(Algorithm::Strided { boxes })
}

fn activation(a: Activation) -> (u8, f32) {
    match a {
        Activation::Swish => (code::SWISH, 0.0),
        Activation::Relu => (code::LEAKY, 0.0),
        Activation::LeakyRelu(s) => (code::LEAKY, s as f32),
        Activation::Tanh => (code::TANH, 0.0),
        Activation::Softplus => (code::SOFTPLUS, 0.0),
        Activation::Sigmoid => (code::SIGMOID, 0.0),
        Activation::Square => (code::SQUARE, 0.0),
    }
}
