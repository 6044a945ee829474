//! Compiles a plan of fully connected layers into two instruction lists over one arena.
//!
//! All operations become four: linear map, pointwise function, sum, concatenation. (`Fourier` is a
//! fixed linear map, then cosine and sine; `SumAll` a fixed row of ones; `Scale` a pointwise
//! function.) A value of width `w` takes `ceil(w/16)` column blocks; a concatenation keeps the
//! padding of its parts, and `places` says where each coordinate stands.

use std::collections::HashMap;
use std::fmt;

use ebm_core::plan::{NetPlan, Node, Op};

use super::kernels::{Mode, NARROW};
use super::pointwise::Act;

/// Why a plan has no fused twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the dense engine does not cover this plan: {}", self.0)
    }
}

impl std::error::Error for Unsupported {}

fn refuse<T>(why: impl Into<String>) -> Result<T, Unsupported> {
    Err(Unsupported(why.into()))
}

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
enum Kind {
    Input,
    Linear(usize, usize),
    Act(Act, usize),
    Add(usize, usize),
    Concat(Vec<usize>),
}

#[derive(Clone, Debug)]
struct Value {
    kind: Kind,
    places: Vec<usize>,
    blocks: usize,
    /// Whether a trainable parameter stands at or before it.
    trained: bool,
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

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A plan as values, each made of earlier ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    values: Vec<Value>,
    pub linears: Vec<Linear>,
    /// Trainable tensors in order of use.
    pub params: Vec<Slot>,
    /// Constant tensors.
    pub buffers: Vec<Slot>,
    /// The values that are terms.
    terms: Vec<usize>,
    /// Trainable tensors that only shift the energy by a linear function of the sample or less, so
    /// that the gradient in the sample does not contain them.
    pub shifts: Vec<usize>,
    pub width: usize,
}

fn slot(slots: &mut Vec<Slot>, name: &str, shape: Vec<usize>) -> usize {
    let offset = slots.last().map_or(0, |s| s.offset + s.len());
    slots.push(Slot { name: name.into(), shape, offset });
    slots.len() - 1
}

impl Graph {
    pub fn build(plan: &NetPlan) -> Result<Graph, Unsupported> {
        let mut g = Graph { width: plan.input.iter().product(), ..Graph::default() };
        if g.width == 0 {
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
        g.shifts = g.shifts();
        Ok(g)
    }

    /// Biases after which no bent function follows.
    fn shifts(&self) -> Vec<usize> {
        let mut bent = vec![false; self.values.len()];
        let mut out = Vec::new();
        for (i, v) in self.values.iter().enumerate().rev() {
            let here = bent[i];
            match &v.kind {
                Kind::Input => {}
                Kind::Linear(s, l) => {
                    bent[*s] |= here;
                    out.extend(self.linears[*l].bias.filter(|_| !here));
                }
                Kind::Act(act, s) => bent[*s] |= here || !matches!(act, Act::Scale(_)),
                Kind::Add(a, b) => [*a, *b].iter().for_each(|s| bent[*s] |= here),
                Kind::Concat(parts) => parts.iter().for_each(|s| bent[*s] |= here),
            }
        }
        out
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
            Op::Input => self.push(Kind::Input, (0..self.width).collect(), self.width.div_ceil(16), false),
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

/// A buffer of each stream: the values, and with a tangent its own buffer (else the same number).
pub(super) type Pair = [usize; 2];

/// A step of the forward pass; numbers are column blocks of the arena.
#[derive(Clone, Debug)]
pub(super) enum Forward {
    Linear {
        linear: usize,
        src: Pair,
        dst: Pair,
    },
    /// `a`, `d`, and with a tangent `(zt, at, e)`.
    Act {
        act: Act,
        blocks: usize,
        z: usize,
        a: usize,
        d: usize,
        tangent: Option<(usize, usize, usize)>,
    },
    Sum {
        blocks: usize,
        a: Pair,
        b: Pair,
        dst: Pair,
    },
    Copy {
        blocks: usize,
        src: Pair,
        dst: Pair,
    },
}

/// A step of the reverse pass. `trained`: whether it leads to a trainable parameter.
#[derive(Clone, Debug)]
pub(super) struct Backward {
    pub what: Reverse,
    pub g: Pair,
    pub to: Pair,
    pub mode: Mode,
    pub trained: bool,
}

/// What a [`Backward`] multiplies with.
#[derive(Clone, Debug)]
pub(super) enum Reverse {
    Linear {
        linear: usize,
    },
    /// `d = f′`, `e = f″·zt`.
    Act {
        blocks: usize,
        d: usize,
        e: usize,
    },
    Copy {
        blocks: usize,
    },
}

/// The gradient of a linear map: adjoint of its result times its argument.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    pub linear: usize,
    pub src: Pair,
    pub delta: Pair,
}

/// Instructions for values (order 1) or for values with a tangent (order 2).
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub dual: bool,
    pub forward: Vec<Forward>,
    pub backward: Vec<Backward>,
    pub weights: Vec<Weights>,
    /// Column blocks of one arena.
    pub blocks: usize,
    pub input: Pair,
    pub input_grad: Pair,
    /// Buffer of each term, buffer of its gradient, and how a seed goes there.
    pub terms: Vec<(Pair, Pair, Mode)>,
}

impl Graph {
    /// Lays out buffers and lists instructions.
    pub fn schedule(&self, dual: bool) -> Program {
        let count = self.values.len();
        let mut uses = vec![0usize; count];
        for v in &self.values {
            match &v.kind {
                Kind::Input => {}
                Kind::Linear(s, _) | Kind::Act(_, s) => uses[*s] += 1,
                Kind::Add(a, b) => {
                    uses[*a] += 1;
                    uses[*b] += 1;
                }
                Kind::Concat(parts) => parts.iter().for_each(|p| uses[*p] += 1),
            }
        }
        // A term is read at the end, so it may not be overwritten: count that as two uses.
        self.terms.iter().for_each(|t| uses[*t] += 2);
        let only_feeds_linear = |v: usize| {
            uses[v] == 1 && self.values.iter().any(|w| matches!(w.kind, Kind::Linear(s, _) if s == v))
        };

        let mut blocks = 0;
        let mut one = |n: usize| {
            blocks += n;
            blocks - n
        };
        let mut value: Vec<Pair> = Vec::with_capacity(count);
        let mut factor = vec![[0usize; 2]; count];
        let mut forward = Vec::new();
        for v in &self.values {
            let n = v.blocks;
            let mut pair = |fresh: bool, old: Pair| match (fresh, dual) {
                (false, _) => old,
                (true, false) => [one(n); 2],
                (true, true) => [one(n), one(n)],
            };
            let at = match &v.kind {
                Kind::Input => pair(true, [0; 2]),
                Kind::Linear(src, linear) => {
                    let dst = pair(true, [0; 2]);
                    forward.push(Forward::Linear { linear: *linear, src: value[*src], dst });
                    dst
                }
                Kind::Act(act, src) => {
                    let z = value[*src];
                    // In place if nobody else reads the argument; the sample itself is kept.
                    let inside = uses[*src] == 1 && self.values[*src].kind != Kind::Input;
                    let a = pair(!inside, z);
                    let d = one(n);
                    let e = if dual { one(n) } else { d };
                    factor[value.len()] = [d, e];
                    let tangent = dual.then_some((z[1], a[1], e));
                    forward.push(Forward::Act { act: *act, blocks: n, z: z[0], a: a[0], d, tangent });
                    a
                }
                Kind::Add(a, b) => {
                    let dst = pair(true, [0; 2]);
                    forward.push(Forward::Sum { blocks: n, a: value[*a], b: value[*b], dst });
                    dst
                }
                Kind::Concat(parts) => {
                    let dst = pair(true, [0; 2]);
                    let mut at = 0;
                    for p in parts {
                        let blocks = self.values[*p].blocks;
                        let to = [dst[0] + at, dst[1] + at];
                        forward.push(Forward::Copy { blocks, src: value[*p], dst: to });
                        at += blocks;
                    }
                    dst
                }
            };
            value.push(at);
        }

        // An activation between two linear maps: the product of the later one multiplies f′ where it
        // stands, which gives the gradient of the activation's argument without a pass of its own.
        let mut grad = vec![[usize::MAX; 2]; count];
        let mut fused = vec![false; count];
        for (i, v) in self.values.iter().enumerate() {
            if let Kind::Act(_, src) = v.kind
                && !dual
                && only_feeds_linear(i)
                && uses[src] == 1
            {
                fused[i] = true;
                grad[i] = [factor[i][0]; 2];
                grad[src] = grad[i];
            }
        }
        for (g, v) in grad.iter_mut().zip(&self.values) {
            if g[0] == usize::MAX {
                let p = one(v.blocks);
                *g = [p, if dual { one(v.blocks) } else { p }];
            }
        }

        let mut written = vec![false; count];
        let mut mode = |v: usize| {
            if std::mem::replace(&mut written[v], true) { Mode::Add } else { Mode::Write }
        };
        let terms = self.terms.iter().map(|t| (value[*t], grad[*t], mode(*t))).collect();
        let (mut backward, mut weights) = (Vec::new(), Vec::new());
        for (i, v) in self.values.iter().enumerate().rev() {
            let g = grad[i];
            let mut push = |what: Reverse, g: Pair, src: usize, mode: Mode| {
                backward.push(Backward { what, g, to: grad[src], mode, trained: self.values[src].trained });
            };
            match &v.kind {
                Kind::Input => {}
                Kind::Linear(src, linear) => {
                    if matches!(self.linears[*linear].weight, Source::Param(_)) {
                        weights.push(Weights { linear: *linear, src: value[*src], delta: g });
                    }
                    let m = if fused[*src] { Mode::Mul } else { mode(*src) };
                    push(Reverse::Linear { linear: *linear }, g, *src, m);
                }
                Kind::Act(_, _) if fused[i] => {}
                Kind::Act(_, src) => {
                    let [d, e] = factor[i];
                    push(Reverse::Act { blocks: v.blocks, d, e }, g, *src, mode(*src));
                }
                Kind::Add(a, b) => {
                    for s in [*a, *b] {
                        push(Reverse::Copy { blocks: v.blocks }, g, s, mode(s));
                    }
                }
                Kind::Concat(parts) => {
                    let mut at = 0;
                    for p in parts {
                        let blocks = self.values[*p].blocks;
                        push(Reverse::Copy { blocks }, [g[0] + at, g[1] + at], *p, mode(*p));
                        at += blocks;
                    }
                }
            }
        }
        weights.reverse();
        let input = self.values.iter().position(|v| v.kind == Kind::Input).unwrap_or(0);
        Program {
            dual,
            forward,
            backward,
            weights,
            blocks,
            input: value[input],
            input_grad: grad[input],
            terms,
        }
    }
}
