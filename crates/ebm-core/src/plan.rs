//! A network described as data: what a graph interpreter runs on any device and what a fused
//! engine compiles.
//!
//! A [`NetPlan`] is a list of [`Node`]s in evaluation order; node 0 is the input. It holds no
//! weights, only the names under which they stand in the energy's parameter set, so one plan
//! serves every precision, device and checkpoint.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// How the factors and results of a network's convolutions are rounded. Their sums, all other layers, parameters and energies
/// keep their type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Products {
    /// Not at all.
    #[default]
    Full,
    /// To bfloat16, forth and back (mixed precision: Micikevicius et al. 2018, with the format of Kalamkar et al. 2019).
    Bf16,
}

/// Index of a node in [`NetPlan::nodes`].
pub type NodeId = usize;

/// A network from one sample `(C, H, W)`, `(D,)` or, where [`Op::Places`] reads it, of any axes to one or more scalar terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetPlan {
    /// Shape of one sample.
    pub input: Vec<usize>,
    /// Length of the condition vector; 0 if the network looks at none.
    pub condition: usize,
    /// Nodes in evaluation order; every input of a node stands before it. Node 0 is `Input`.
    pub nodes: Vec<Node>,
    /// The terms of the energy, in order; each names a node of shape `[1]`.
    pub terms: Vec<PlanTerm>,
    /// How convolutions round; an engine that does not round so has to refuse the plan.
    #[serde(default)]
    pub products: Products,
}

impl NetPlan {
    /// This network on the image of `before`, a list of operations with one input each and the shapes
    /// of their results, applied in order to samples of shape `input`.
    pub(crate) fn behind(&self, input: &[usize], before: &[(Op, Vec<usize>)]) -> NetPlan {
        let mut nodes =
            vec![Node { name: "input".into(), op: Op::Input, inputs: vec![], shape: input.to_vec() }];
        for (i, (op, shape)) in before.iter().enumerate() {
            // Numbers above those of the network's nodes, so that nested views differ.
            let name = format!("view.{}", self.nodes.len() + i);
            nodes.push(Node { name, op: op.clone(), inputs: vec![i], shape: shape.clone() });
        }
        let last = before.len();
        // Node 0, the input, becomes the last of the operations; all others move by their number.
        let moved = |id: NodeId| id + last;
        for node in self.nodes.iter().skip(1) {
            let inputs = node.inputs.iter().map(|&i| moved(i)).collect();
            nodes.push(Node { inputs, ..node.clone() });
        }
        let terms = self.terms.iter().map(|t| PlanTerm { name: t.name.clone(), node: moved(t.node) });
        NetPlan {
            input: input.to_vec(),
            condition: self.condition,
            nodes,
            terms: terms.collect(),
            products: self.products,
        }
    }

    /// Names of the biases that the slope in the sample does not contain, because nothing but linear maps and functions of two straight
    /// pieces stands behind them: mixed derivatives have no entry for them.
    pub fn shifts(&self) -> BTreeSet<&str> {
        // Whether the value of a node enters the derivative of a later one.
        let mut bends = vec![false; self.nodes.len()];
        let (mut free, mut bound) = (BTreeSet::new(), BTreeSet::new());
        for (id, node) in self.nodes.iter().enumerate().rev() {
            let bias = match &node.op {
                Op::Conv { bias, .. }
                | Op::Series { bias, .. }
                | Op::Linear { bias, .. }
                | Op::Norm { bias, .. } => bias.as_deref(),
                _ => None,
            };
            if let Some(bias) = bias {
                if bends[id] {
                    bound.insert(bias)
                } else {
                    free.insert(bias)
                };
            }
            let bent = match &node.op {
                Op::Norm { .. } | Op::Attention { .. } | Op::Fourier { .. } => true,
                Op::Activate(f) => !matches!(f, Activation::Relu | Activation::LeakyRelu(_)),
                _ => false,
            };
            for &from in &node.inputs {
                bends[from] |= bent || bends[id];
            }
        }
        &free - &bound
    }

    /// The networks side by side on the same samples, each under the prefix of its parameters, its
    /// terms times a factor. `None` if inputs, conditions or rounding differ.
    pub(crate) fn side_by_side(parts: &[(&str, f64, &NetPlan)]) -> Option<NetPlan> {
        let (_, _, first) = parts.first()?;
        let condition = parts.iter().map(|p| p.2.condition).max()?;
        let mut all = NetPlan {
            input: first.input.clone(),
            condition,
            nodes: vec![Node {
                name: "input".into(),
                op: Op::Input,
                inputs: vec![],
                shape: first.input.clone(),
            }],
            terms: Vec::new(),
            products: first.products,
        };
        for &(prefix, factor, plan) in parts {
            let same = plan.input == all.input && plan.products == all.products;
            if !same || (plan.condition != 0 && plan.condition != condition) {
                return None;
            }
            let from = all.nodes.len();
            let moved = |id: NodeId| if id == 0 { 0 } else { id + from - 1 };
            for node in plan.nodes.iter().skip(1) {
                all.nodes.push(Node {
                    name: format!("{prefix}.{}", node.name),
                    op: node.op.under(prefix),
                    inputs: node.inputs.iter().map(|&i| moved(i)).collect(),
                    shape: node.shape.clone(),
                });
            }
            for term in &plan.terms {
                let name = format!("{prefix}.{}", term.name);
                let mut node = moved(term.node);
                if factor != 1.0 {
                    all.nodes.push(Node {
                        name: format!("{name}.scale.{}", all.nodes.len()),
                        op: Op::Scale(factor),
                        inputs: vec![node],
                        shape: vec![1],
                    });
                    node = all.nodes.len() - 1;
                }
                all.terms.push(PlanTerm { name, node });
            }
        }
        Some(all)
    }
}

/// One term (head) of the energy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanTerm {
    /// Name of the term in logs.
    pub name: String,
    /// The node that computes it.
    pub node: NodeId,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// A unique readable name such as `res_1a.conv1`.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Where its operands come from.
    pub inputs: Vec<NodeId>,
    /// Shape of its result for one sample: `[C, H, W]` or `[D]`.
    pub shape: Vec<usize>,
}

/// How a convolution's effective weight comes from its parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WeightRule {
    /// Used as it is.
    Plain,
    /// Standardised per output channel: `(w − mean)/(std + 1e−5)`, unbiased deviation (Qiao et al. 2019).
    Standardised,
    /// Divided by `σ = uᵀWv` with `u`, `v` constant buffers of these names (Miyato et al. 2018).
    Spectral {
        /// Left vector, `(out,)`.
        u: String,
        /// Right vector, `(in·k·k,)`.
        v: String,
    },
}

/// A pooling rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pool {
    /// 3×3 average, stride 2, zero padding 1 counted (always divides by 9); output `ceil(H/2)`.
    Average3,
    /// Reflect padding 1, `[1,2,1]⊗[1,2,1]/16`, stride 2 (Zhang 2019); output `ceil(H/2)`; needs `H ≥ 2`.
    Blur,
    /// `k×k` average with stride `k`, no padding; output `floor(H/k)`.
    Average {
        /// Window and stride.
        size: usize,
    },
}

impl Pool {
    /// Length of a side of `n` pixels after pooling.
    pub fn length(&self, n: usize) -> usize {
        match self {
            Pool::Average3 | Pool::Blur => n.div_ceil(2),
            Pool::Average { size } => n / (*size).max(1),
        }
    }
}

/// A pointwise function.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Activation {
    /// `x·sigmoid(x)`.
    Swish,
    /// `max(x, 0)`.
    Relu,
    /// `x` if positive, else `slope·x`.
    LeakyRelu(f64),
    /// Hyperbolic tangent.
    Tanh,
    /// `log(1 + exp x)`.
    Softplus,
    /// `1/(1 + exp(−x))`.
    Sigmoid,
    /// `x²`.
    Square,
}

/// One operation of a plan. Weights are named; `(out, in)` orders follow PyTorch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Op {
    /// The sample.
    Input,
    /// Square convolution on `[C, H, W]`; `weight` is `(out, in, k, k)`, `bias` `(out,)`.
    Conv {
        /// Parameter name.
        weight: String,
        /// Parameter name.
        bias: Option<String>,
        /// Kernel side.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Zero padding on each side.
        padding: usize,
        /// How the effective weight is made.
        rule: WeightRule,
    },
    /// The sample of any axes as a map of one row, `[C, 1, T]`: its last axis are the places and all others the channels, or with
    /// `points` the last are the channels and all others the places.
    Places {
        /// Whether the last axis are the channels.
        points: bool,
    },
    /// Convolution along the row of a map `[C, 1, T]`; `weight` is `(out, in, k)`, `bias` `(out,)`.
    Series {
        /// Parameter name.
        weight: String,
        /// Parameter name.
        bias: Option<String>,
        /// Length of the kernel.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Zero padding at both ends.
        padding: usize,
    },
    /// `W x + b` on `[D]`; `weight` is `(out, in)`.
    Linear {
        /// Parameter name.
        weight: String,
        /// Parameter name.
        bias: Option<String>,
    },
    /// `[cos(Bx), sin(Bx)]` on `[D]` with the fixed matrix `frequencies` `(m, D)` (Tancik et al. 2020); result `[2m]`.
    Fourier {
        /// Buffer name.
        frequencies: String,
    },
    /// Pooling.
    Pool(Pool),
    /// Group norm over `C/groups` channels and space, biased variance, `ε` inside the root;
    /// `groups = C` is instance norm. `weight`, `bias` are `(C,)`.
    Norm {
        /// Number of groups.
        groups: usize,
        /// Inside the root.
        epsilon: f64,
        /// Parameter name of the gain.
        weight: Option<String>,
        /// Parameter name of the shift.
        bias: Option<String>,
    },
    /// Label gain and bias: `(g, s) = split(W y + b)`, `x·g + s` per channel; identity if the
    /// batch has no condition. `weight` is `(2C, condition)`, `bias` `(2C,)`.
    LabelAffine {
        /// Parameter name.
        weight: String,
        /// Parameter name.
        bias: String,
    },
    /// A pointwise function.
    Activate(Activation),
    /// Sum of two equal shapes.
    Add,
    /// Multiplication by a constant.
    Scale(f64),
    /// `x + γ·V softmax(QᵀK)ᵀ` over positions, softmax over keys, no `1/√q`. All 1×1
    /// convolutions with bias; parameters are `{prefix}.query_conv`, `key_conv`, `value_conv`
    /// (`.weight`, `.bias`) and the scalar `{prefix}.gamma` `(1,)`.
    Attention {
        /// Prefix of the parameter names.
        prefix: String,
    },
    /// Mean over space: `[C, H, W]` to `[C]`.
    SpatialMean,
    /// Sum over space: `[C, H, W]` to `[C]`.
    SpatialSum,
    /// `[C, H, W]` to `[C·H·W]` in that order.
    Flatten,
    /// Concatenation along the first axis of `[D]` operands.
    Concat,
    /// The condition vector, `[condition]`; zeros where the batch has none.
    Condition,
    /// Sum over all entries of `[D]`: `[1]`.
    SumAll,
}

impl Op {
    /// The same operation with its parameters under a prefix.
    fn under(&self, prefix: &str) -> Op {
        let mut op = self.clone();
        let put = |name: &mut String| *name = format!("{prefix}.{name}");
        match &mut op {
            Op::Conv { weight, bias, rule, .. } => {
                put(weight);
                bias.iter_mut().for_each(put);
                if let WeightRule::Spectral { u, v } = rule {
                    put(u);
                    put(v);
                }
            }
            Op::Linear { weight, bias } | Op::Series { weight, bias, .. } => {
                put(weight);
                bias.iter_mut().for_each(put);
            }
            Op::Norm { weight, bias, .. } => {
                weight.iter_mut().for_each(put);
                bias.iter_mut().for_each(put);
            }
            Op::LabelAffine { weight, bias } => {
                put(weight);
                put(bias);
            }
            Op::Fourier { frequencies } => put(frequencies),
            Op::Attention { prefix } => put(prefix),
            Op::Input
            | Op::Places { .. }
            | Op::Pool(_)
            | Op::Activate(_)
            | Op::Add
            | Op::Scale(_)
            | Op::SpatialMean
            | Op::SpatialSum
            | Op::Flatten
            | Op::Concat
            | Op::Condition
            | Op::SumAll => {}
        }
        op
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_before_what_bends_are_no_shifts() {
        let linear =
            |name: &str| Op::Linear { weight: format!("{name}.weight"), bias: Some(format!("{name}.bias")) };
        let ops = [
            Op::Input,
            linear("bent"),
            Op::Activate(Activation::Tanh),
            linear("pieces"),
            Op::Activate(Activation::Relu),
            linear("head"),
            Op::Scale(2.0),
        ];
        let node = |(i, op): (usize, &Op)| Node {
            name: format!("{i}"),
            op: op.clone(),
            inputs: (i > 0).then(|| i - 1).into_iter().collect(),
            shape: vec![1],
        };
        let plan = NetPlan {
            input: vec![1],
            condition: 0,
            nodes: ops.iter().enumerate().map(node).collect(),
            terms: vec![PlanTerm { name: "e".into(), node: 6 }],
            products: Products::Full,
        };
        assert_eq!(plan.shifts().into_iter().collect::<Vec<_>>(), ["head.bias", "pieces.bias"]);
    }
}
