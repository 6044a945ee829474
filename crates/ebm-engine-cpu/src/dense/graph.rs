//! A plan of fully connected layers as a graph of four operations.
//!
//! All operations become one of four: linear map, pointwise function, sum, concatenation.
//! A condition stands behind the sample in each row.
//! (`Fourier` is a fixed linear map, then cosine and sine; `SumAll` a fixed row of ones; `Scale` a
//! pointwise function.) A value of width `w` takes `ceil(w/16)` column blocks; a concatenation
//! keeps the padding of its parts, and `places` says where each coordinate stands.

use std::collections::HashMap;

use ebm_core::plan::{NetPlan, Node, Op};

use super::kernels::NARROW;
use crate::pointwise::Act;
use crate::unsupported::{Unsupported, refuse};

/// Where a weight comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// Trainable: index into [`Graph::params`].
    Param(usize),
    /// A buffer: index into [`Graph::buffers`].
    Buffer(usize),
    /// Ones (sum over all entries).
    Ones,
    /// The identity (brings coordinates into dense order).
    Identity,
}

/// A linear map `W a + b`; `W` is `(outputs, places.len())` row-major.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub weight: Source,
    pub bias: Option<usize>,
    pub outputs: usize,
    /// Place of each input coordinate in the padded argument.
    pub places: Vec<usize>,
    pub in_blocks: usize,
}

impl Linear {
    /// Inner length of the forward product: up to the last coordinate.
    pub fn k(&self) -> usize {
        self.places.iter().max().map_or(0, |p| p + 1)
    }

    pub fn out_blocks(&self) -> usize {
        self.outputs.div_ceil(16)
    }

    /// Forward as dot products.
    pub fn narrow(&self) -> bool {
        self.outputs <= NARROW
    }

    /// Backward as dot products.
    pub fn narrow_back(&self) -> bool {
        self.k() <= NARROW
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Input,
    Linear(usize, usize),
    Act(Act, usize),
    Add(usize, usize),
    Concat(Vec<usize>),
}

#[derive(Clone, Debug)]
pub(super) struct Value {
    pub kind: Kind,
    pub places: Vec<usize>,
    pub blocks: usize,
    /// Whether a trainable parameter stands at or before it.
    pub trained: bool,
}

/// A named tensor the plan needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name in the energy's parameter set.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where it begins in the flat vector of all slots of its kind.
    pub offset: usize,
}

impl Slot {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A plan as values, each made of earlier ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    pub values: Vec<Value>,
    pub linears: Vec<Linear>,
    /// Trainable tensors in order of use.
    pub params: Vec<Slot>,
    /// Constant tensors.
    pub buffers: Vec<Slot>,
    /// The values that are terms.
    pub terms: Vec<usize>,
    /// Numbers of a sample, and of its condition, which stands behind it in a row.
    pub sample: usize,
    pub condition: usize,
}

fn slot(slots: &mut Vec<Slot>, name: &str, shape: Vec<usize>) -> usize {
    let offset = slots.last().map_or(0, |s| s.offset + s.len());
    slots.push(Slot { name: name.into(), shape, offset });
    slots.len() - 1
}

impl Graph {
    pub fn build(plan: &NetPlan) -> Result<Graph, Unsupported> {
        let reads = plan.nodes.iter().any(|n| n.op == Op::Condition);
        let (sample, condition) = (plan.input.iter().product(), if reads { plan.condition } else { 0 });
        let mut g = Graph { sample, condition, ..Graph::default() };
        if g.sample == 0 {
            return refuse("the sample is empty");
        }
        if plan.terms.is_empty() {
            return refuse("it has no terms");
        }
        // Only what the terms need: a node nobody reads has no gradient.
        let mut needed = vec![false; plan.nodes.len()];
        for t in &plan.terms {
            match needed.get_mut(t.node) {
                Some(n) => *n = true,
                None => return refuse(format!("term `{}` names a node that does not exist", t.name)),
            }
        }
        for i in (0..plan.nodes.len()).rev().filter(|i| *i > 0) {
            if needed[i] {
                for j in &plan.nodes[i].inputs {
                    if *j >= i {
                        return refuse(format!("`{}` reads a later node", plan.nodes[i].name));
                    }
                    needed[*j] = true;
                }
            }
        }
        let mut value_of = vec![usize::MAX; plan.nodes.len()];
        for (i, node) in plan.nodes.iter().enumerate() {
            if needed[i] {
                let inputs: Vec<usize> = node.inputs.iter().map(|j| value_of[*j]).collect();
                let v = g.node(node, &inputs)?;
                let want: usize = node.shape.iter().product();
                if g.values[v].places.len() != want {
                    return refuse(format!(
                        "`{}` says shape {:?} but has {} entries",
                        node.name,
                        node.shape,
                        g.values[v].places.len()
                    ));
                }
                value_of[i] = v;
            }
        }
        for t in &plan.terms {
            let v = value_of[t.node];
            if g.values[v].places.len() != 1 {
                return refuse(format!("term `{}` is not a scalar", t.name));
            }
            g.terms.push(v);
        }
        let mut seen = HashMap::new();
        for p in &g.params {
            if seen.insert(p.name.clone(), ()).is_some() {
                return refuse(format!("parameter `{}` is used twice", p.name));
            }
        }
        Ok(g)
    }

    /// Numbers of a row: a sample and its condition.
    pub fn width(&self) -> usize {
        self.sample + self.condition
    }

    fn push(&mut self, kind: Kind, places: Vec<usize>, blocks: usize, trained: bool) -> usize {
        self.values.push(Value { kind, places, blocks, trained });
        self.values.len() - 1
    }

    fn linear(&mut self, src: usize, weight: Source, bias: Option<usize>, outputs: usize) -> usize {
        let Value { places, blocks, trained, .. } = self.values[src].clone();
        let trained = trained || matches!(weight, Source::Param(_)) || bias.is_some();
        self.linears.push(Linear { weight, bias, outputs, places, in_blocks: blocks });
        let kind = Kind::Linear(src, self.linears.len() - 1);
        self.push(kind, (0..outputs).collect(), outputs.div_ceil(16), trained)
    }

    fn act(&mut self, src: usize, act: Act) -> usize {
        let v = self.values[src].clone();
        self.push(Kind::Act(act, src), v.places, v.blocks, v.trained)
    }

    fn concat(&mut self, parts: &[usize]) -> usize {
        let (mut places, mut blocks, mut trained) = (Vec::new(), 0, false);
        for p in parts {
            let v = &self.values[*p];
            places.extend(v.places.iter().map(|q| q + blocks * 16));
            blocks += v.blocks;
            trained |= v.trained;
        }
        self.push(Kind::Concat(parts.to_vec()), places, blocks, trained)
    }

    /// The value with its coordinates in dense order.
    fn dense(&mut self, v: usize) -> usize {
        let n = self.values[v].places.len();
        if self.values[v].places.iter().enumerate().all(|(i, p)| i == *p) {
            v
        } else {
            self.linear(v, Source::Identity, None, n)
        }
    }

    fn node(&mut self, node: &Node, inputs: &[usize]) -> Result<usize, Unsupported> {
        let arity = |n: usize| {
            if inputs.len() == n {
                Ok(inputs[0])
            } else {
                refuse(format!("`{}` has {} operands, needs {n}", node.name, inputs.len()))
            }
        };
        let wanted: usize = node.shape.iter().product();
        Ok(match &node.op {
            Op::Input => self.push(Kind::Input, (0..self.sample).collect(), self.width().div_ceil(16), false),
            // Node 0 is the input, and so is value 0: the condition is the end of its rows, brought to places of its own.
            Op::Condition if self.values.first().is_some_and(|v| v.kind == Kind::Input) => {
                let (places, n) = ((self.sample..self.width()).collect(), self.condition);
                let in_blocks = self.values[0].blocks;
                let weight = Source::Identity;
                self.linears.push(Linear { weight, bias: None, outputs: n, places, in_blocks });
                let kind = Kind::Linear(0, self.linears.len() - 1);
                self.push(kind, (0..n).collect(), n.div_ceil(16), false)
            }
            Op::Flatten => arity(1)?,
            Op::Linear { weight, bias } => {
                let src = arity(1)?;
                let shape = vec![wanted, self.values[src].places.len()];
                let w = slot(&mut self.params, weight, shape);
                let b = bias.as_ref().map(|b| slot(&mut self.params, b, vec![wanted]));
                self.linear(src, Source::Param(w), b, wanted)
            }
            Op::Fourier { frequencies } => {
                let src = arity(1)?;
                let m = wanted / 2;
                let b = slot(&mut self.buffers, frequencies, vec![m, self.values[src].places.len()]);
                let phase = self.linear(src, Source::Buffer(b), None, m);
                let (cosine, sine) = (self.act(phase, Act::Cosine), self.act(phase, Act::Sine));
                self.concat(&[cosine, sine])
            }
            Op::Activate(a) => self.act(arity(1)?, Act::from(*a)),
            Op::Scale(c) => self.act(arity(1)?, Act::Scale(*c as f32)),
            Op::Add => {
                arity(2)?;
                let (mut a, mut b) = (inputs[0], inputs[1]);
                if self.values[a].places != self.values[b].places {
                    (a, b) = (self.dense(a), self.dense(b));
                }
                let v = self.values[a].clone();
                if v.places != self.values[b].places {
                    return refuse(format!("`{}` adds vectors of different length", node.name));
                }
                let trained = v.trained || self.values[b].trained;
                self.push(Kind::Add(a, b), v.places, v.blocks, trained)
            }
            Op::Concat if !inputs.is_empty() => self.concat(inputs),
            Op::SumAll => self.linear(arity(1)?, Source::Ones, None, 1),
            other => return refuse(format!("`{}` is {}", node.name, op_name(other))),
        })
    }
}

/// The operation's name without its parameters.
fn op_name(op: &Op) -> String {
    let text = format!("{op:?}");
    text.chars().take_while(|c| c.is_alphanumeric()).collect()
}
