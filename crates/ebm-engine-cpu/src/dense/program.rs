//! Instruction lists over one arena for a graph of layers: forward, reverse and weight gradients.

use super::graph::{Graph, Kind, Source};
use super::kernels::Mode;
use crate::pointwise::Act;

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
