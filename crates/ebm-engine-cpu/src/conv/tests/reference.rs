//! The plain reference of the tests: naive loops over a plan in f64, differentiated by a tape of dual
//! numbers.
//!
//! Each scalar operation is one tape node. Values carry a tangent, so the reverse pass gives the
//! gradient and, in the tangents, its derivative along `v`: the Hessian-vector product and the mixed
//! second derivative, exactly; or with every operation rounded to f32, for what a net leaves of f32's digits.

use std::collections::BTreeMap;

use ebm_core::plan::{Activation, NetPlan, Op, Pool, WeightRule};

/// A dual number.
#[derive(Clone, Copy, Debug, Default)]
struct D {
    v: f64,
    t: f64,
}

impl D {
    fn mul(self, o: D) -> D {
        D { v: self.v * o.v, t: self.v * o.t + self.t * o.v }
    }
    fn add(self, o: D) -> D {
        D { v: self.v + o.v, t: self.t + o.t }
    }
}

/// A scalar on the tape.
type Id = usize;

struct Entry {
    value: D,
    /// Operands and partial derivatives.
    parents: [(Id, D); 3],
}

/// How the tape rounds each operation, forth and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// Not beyond f64.
    None,
    /// To the nearest of f32.
    Nearest,
    /// To one of the two of f32 around it, by chance: how large an error is, and not how lucky.
    Either(u64),
}

impl Rounding {
    fn of(&mut self, d: D) -> D {
        D { v: self.one(d.v), t: self.one(d.t) }
    }

    fn one(&mut self, v: f64) -> f64 {
        let near = v as f32;
        match self {
            Rounding::None => v,
            Rounding::Either(state) if f64::from(near) != v && near.is_finite() => {
                *state =
                    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let other = if f64::from(near) > v { near.next_down() } else { near.next_up() };
                f64::from(if *state >> 63 == 0 { near } else { other })
            }
            _ => f64::from(near),
        }
    }
}

struct Tape {
    e: Vec<Entry>,
    rounding: Rounding,
}

const NONE: (Id, D) = (usize::MAX, D { v: 0.0, t: 0.0 });

impl Tape {
    fn push(&mut self, value: D, parents: [(Id, D); 3]) -> Id {
        let value = self.rounding.of(value);
        let parents = parents.map(|(id, d)| (id, self.rounding.of(d)));
        self.e.push(Entry { value, parents });
        self.e.len() - 1
    }
    fn leaf(&mut self, v: f64, t: f64) -> Id {
        self.push(D { v, t }, [NONE; 3])
    }
    fn v(&self, a: Id) -> D {
        self.e[a].value
    }
    fn add(&mut self, a: Id, b: Id) -> Id {
        let one = D { v: 1.0, t: 0.0 };
        self.push(self.v(a).add(self.v(b)), [(a, one), (b, one), NONE])
    }
    fn mul(&mut self, a: Id, b: Id) -> Id {
        let (x, y) = (self.v(a), self.v(b));
        self.push(x.mul(y), [(a, y), (b, x), NONE])
    }
    /// `a·b + c`.
    fn fma(&mut self, a: Id, b: Id, c: Id) -> Id {
        let (x, y, z) = (self.v(a), self.v(b), self.v(c));
        self.push(x.mul(y).add(z), [(a, y), (b, x), (c, D { v: 1.0, t: 0.0 })])
    }
    fn scale(&mut self, a: Id, f: f64) -> Id {
        let x = self.v(a);
        self.push(D { v: x.v * f, t: x.t * f }, [(a, D { v: f, t: 0.0 }), NONE, NONE])
    }
    /// A function with value `f`, derivatives `d` and `dd` at `a`.
    fn unary(&mut self, a: Id, f: f64, d: f64, dd: f64) -> Id {
        let x = self.v(a);
        self.push(D { v: f, t: d * x.t }, [(a, D { v: d, t: dd * x.t }), NONE, NONE])
    }
    fn recip(&mut self, a: Id) -> Id {
        let r = 1.0 / self.v(a).v;
        self.unary(a, r, -r * r, 2.0 * r * r * r)
    }
    fn sqrt(&mut self, a: Id) -> Id {
        let s = self.v(a).v.sqrt();
        self.unary(a, s, 0.5 / s, -0.25 / (s * s * s))
    }
    fn sum(&mut self, of: &[Id]) -> Id {
        let zero = self.leaf(0.0, 0.0);
        of.iter().fold(zero, |s, &a| self.add(s, a))
    }
    fn mean(&mut self, of: &[Id]) -> Id {
        let s = self.sum(of);
        self.scale(s, 1.0 / of.len() as f64)
    }
    fn act(&mut self, a: Id, f: Activation) -> Id {
        let z = self.v(a).v;
        // Of e^(−|z|): in f64, too, 1 − tanh² has no digits left beyond ±19.
        let e = (-z.abs()).exp();
        let (large, small) = (1.0 / (1.0 + e), e / (1.0 + e));
        let (s, q) = if z > 0.0 { (large, small) } else { (small, large) };
        let ds = s * q;
        let (v, d, dd) = match f {
            Activation::Swish => (z * s, s * (1.0 + z * q), ds * (2.0 + z * (q - s))),
            Activation::Relu => (z.max(0.0), f64::from(z > 0.0), 0.0),
            Activation::LeakyRelu(k) => {
                if z > 0.0 {
                    (z, 1.0, 0.0)
                } else {
                    (k * z, k, 0.0)
                }
            }
            Activation::Tanh => {
                let e = (-2.0 * z.abs()).exp();
                let (t, d) = (z.tanh(), 4.0 * e / ((1.0 + e) * (1.0 + e)));
                (t, d, -2.0 * t * d)
            }
            Activation::Softplus => (z.max(0.0) + (-z.abs()).exp().ln_1p(), s, ds),
            Activation::Sigmoid => (s, ds, ds * (q - s)),
            Activation::Square => (z * z, 2.0 * z, 2.0),
        };
        self.unary(a, v, d, dd)
    }

    /// Gradients (with tangents) of every node.
    fn reverse(&mut self, seeds: &[(Id, f64)]) -> Vec<D> {
        let mut g = vec![D::default(); self.e.len()];
        for &(id, w) in seeds {
            g[id].v += w;
        }
        for i in (0..self.e.len()).rev() {
            let d = g[i];
            if d.v == 0.0 && d.t == 0.0 {
                continue;
            }
            for &(p, w) in &self.e[i].parents {
                if p != usize::MAX {
                    let part = self.rounding.of(d.mul(w));
                    g[p] = self.rounding.of(g[p].add(part));
                }
            }
        }
        g
    }
}

/// What the reference computes for one sample.
pub(crate) struct Answer {
    pub terms: Vec<f64>,
    /// ∇ₓ of the energy.
    pub grad: Vec<f64>,
    /// Its derivative along `v`.
    pub hvp: Vec<f64>,
    /// ∇_θ of the weighted sum of terms, by name.
    pub theta: BTreeMap<String, Vec<f64>>,
    /// ∇_θ ⟨v, ∇ₓ⟩, by name.
    pub mixed: BTreeMap<String, Vec<f64>>,
}

/// Named parameters.
pub(crate) type Params = BTreeMap<String, Vec<f32>>;

struct Net<'a> {
    t: Tape,
    params: BTreeMap<&'a str, Vec<Id>>,
    zero: Id,
}

/// Evaluates one sample.
pub(crate) fn evaluate(
    plan: &NetPlan,
    params: &Params,
    (x, v): (&[f32], &[f32]),
    cond: Option<&[f32]>,
    weights: &[f32],
    rounding: Rounding,
) -> Answer {
    let mut t = Tape { e: Vec::new(), rounding };
    let zero = t.leaf(0.0, 0.0);
    let mut net = Net { t, params: BTreeMap::new(), zero };
    for (name, p) in params {
        let ids = p.iter().map(|&a| net.t.leaf(f64::from(a), 0.0)).collect();
        net.params.insert(name, ids);
    }
    let input: Vec<Id> = x.iter().zip(v).map(|(&a, &b)| net.t.leaf(f64::from(a), f64::from(b))).collect();
    let mut values: Vec<Vec<Id>> = Vec::new();
    for node in &plan.nodes {
        let ins: Vec<&Vec<Id>> = node.inputs.iter().map(|&i| &values[i]).collect();
        let shapes: Vec<&[usize]> = node.inputs.iter().map(|&i| &plan.nodes[i].shape[..]).collect();
        let out = if node.op == Op::Input {
            input.clone()
        } else {
            net.op(&node.op, &ins, &shapes, &node.shape, cond)
        };
        assert_eq!(out.len(), node.shape.iter().product::<usize>(), "{}", node.name);
        values.push(out);
    }
    let ends: Vec<Id> = plan.terms.iter().map(|t| values[t.node][0]).collect();
    let mut reverse = |weight: &dyn Fn(usize) -> f64| {
        net.t.reverse(&ends.iter().enumerate().map(|(k, &e)| (e, weight(k))).collect::<Vec<_>>())
    };
    let (g, weighted) = (reverse(&|_| 1.0), reverse(&|k| f64::from(weights[k])));
    let pick = |of: &[D], f: fn(D) -> f64| -> BTreeMap<String, Vec<f64>> {
        let list = |ids: &Vec<Id>| ids.iter().map(|&i| f(of[i])).collect();
        net.params.iter().map(|(k, ids)| ((*k).to_string(), list(ids))).collect()
    };
    Answer {
        terms: ends.iter().map(|&e| net.t.v(e).v).collect(),
        grad: input.iter().map(|&i| g[i].v).collect(),
        hvp: input.iter().map(|&i| g[i].t).collect(),
        theta: pick(&weighted, |d| d.v),
        mixed: pick(&g, |d| d.t),
    }
}

impl Net<'_> {
    fn p(&self, name: &str) -> Vec<Id> {
        self.params[name].clone()
    }

    fn weight(&mut self, name: &str, rule: &WeightRule, out: usize) -> Vec<Id> {
        let w = self.p(name);
        let fan = w.len() / out;
        match rule {
            WeightRule::Plain => w,
            WeightRule::Standardised => {
                let mut all = Vec::new();
                for row in w.chunks(fan) {
                    let m = self.t.mean(row);
                    let m = self.t.scale(m, -1.0);
                    let c: Vec<Id> = row.iter().map(|&a| self.t.add(a, m)).collect();
                    let sq: Vec<Id> = c.iter().map(|&a| self.t.mul(a, a)).collect();
                    let s = self.t.sum(&sq);
                    let s = self.t.scale(s, 1.0 / (fan as f64 - 1.0));
                    let s = self.t.sqrt(s);
                    let eps = self.t.leaf(1e-5, 0.0);
                    let s = self.t.add(s, eps);
                    let r = self.t.recip(s);
                    all.extend(c.iter().map(|&a| self.t.mul(a, r)));
                }
                all
            }
            WeightRule::Spectral { u, v } => {
                let (u, v) = (self.p(u), self.p(v));
                let mut s = self.zero;
                for (row, &uo) in w.chunks(fan).zip(&u) {
                    let mut d = self.zero;
                    for (&a, &b) in row.iter().zip(&v) {
                        d = self.t.fma(a, b, d);
                    }
                    s = self.t.fma(d, uo, s);
                }
                let r = self.t.recip(s);
                w.iter().map(|&a| self.t.mul(a, r)).collect()
            }
        }
    }

    fn conv(
        &mut self,
        w: &[Id],
        b: Option<&[Id]>,
        x: &[Id],
        s: &[usize],
        o: &[usize],
        ([k, stride, pad], along): ([usize; 3], bool),
    ) -> Vec<Id> {
        let (high, top) = if along { (1, 0) } else { (k, pad) };
        let mut y = Vec::new();
        for c in 0..o[0] {
            for r in 0..o[1] {
                for q in 0..o[2] {
                    let mut sum = b.map_or(self.zero, |b| b[c]);
                    for ci in 0..s[0] {
                        for kh in 0..high {
                            for kw in 0..k {
                                let (a, e) = (
                                    (r * stride + kh).wrapping_sub(top),
                                    (q * stride + kw).wrapping_sub(pad),
                                );
                                if a < s[1] && e < s[2] {
                                    let wi = w[((c * s[0] + ci) * high + kh) * k + kw];
                                    sum = self.t.fma(wi, x[(ci * s[1] + a) * s[2] + e], sum);
                                }
                            }
                        }
                    }
                    y.push(sum);
                }
            }
        }
        y
    }

    fn pool(&mut self, rule: &Pool, x: &[Id], s: &[usize], o: &[usize]) -> Vec<Id> {
        let reflect = |i: isize, n: usize| {
            let last = n as isize - 1;
            (if i < 0 {
                -i
            } else if i > last {
                2 * last - i
            } else {
                i
            }) as usize
        };
        let mut y = Vec::new();
        for c in 0..o[0] {
            for r in 0..o[1] {
                for q in 0..o[2] {
                    let mut sum = self.zero;
                    let mut tap = |net: &mut Self, a: usize, b: usize, f: f64| {
                        let v = net.t.scale(x[(c * s[1] + a) * s[2] + b], f);
                        sum = net.t.add(sum, v);
                    };
                    match rule {
                        Pool::Average { size } => {
                            for a in 0..*size {
                                for b in 0..*size {
                                    tap(self, r * size + a, q * size + b, 1.0 / (size * size) as f64);
                                }
                            }
                        }
                        _ => {
                            for da in -1..=1isize {
                                for db in -1..=1isize {
                                    let (a, b) = (2 * r as isize + da, 2 * q as isize + db);
                                    if *rule == Pool::Blur {
                                        let f = [1.0, 2.0, 1.0];
                                        let f = f[(da + 1) as usize] * f[(db + 1) as usize] / 16.0;
                                        tap(self, reflect(a, s[1]), reflect(b, s[2]), f);
                                    } else if a >= 0 && b >= 0 && (a as usize) < s[1] && (b as usize) < s[2] {
                                        tap(self, a as usize, b as usize, 1.0 / 9.0);
                                    }
                                }
                            }
                        }
                    }
                    y.push(sum);
                }
            }
        }
        y
    }

    fn op(
        &mut self,
        op: &Op,
        ins: &[&Vec<Id>],
        shapes: &[&[usize]],
        out: &[usize],
        cond: Option<&[f32]>,
    ) -> Vec<Id> {
        if let Op::Condition = op {
            return (0..out[0]).map(|i| self.t.leaf(cond.map_or(0.0, |c| f64::from(c[i])), 0.0)).collect();
        }
        let (x, s) = (ins[0], shapes[0]);
        match op {
            Op::Conv { weight, bias, kernel, stride, padding, rule } => {
                let w = self.weight(weight, rule, out[0]);
                let b = bias.as_ref().map(|b| self.p(b));
                self.conv(&w, b.as_deref(), x, s, out, ([*kernel, *stride, *padding], false))
            }
            Op::Series { weight, bias, kernel, stride, padding } => {
                let (w, b) = (self.p(weight), bias.as_ref().map(|b| self.p(b)));
                self.conv(&w, b.as_deref(), x, s, out, ([*kernel, *stride, *padding], true))
            }
            Op::Places { points: false } => x.clone(),
            Op::Places { points: true } => {
                let (c, n) = (out[0], out[2]);
                (0..c * n).map(|o| x[o % n * c + o / n]).collect()
            }
            Op::Linear { weight, bias } => {
                let w = self.p(weight);
                let b = bias.as_ref().map(|b| self.p(b));
                self.conv(&w, b.as_deref(), x, &[s[0], 1, 1], &[out[0], 1, 1], ([1, 1, 0], false))
            }
            Op::Pool(rule) => self.pool(rule, x, s, out),
            Op::Norm { groups, epsilon, weight, bias } => {
                let size = x.len() / groups;
                let plane = x.len() / s[0];
                let mut y = Vec::new();
                for g in x.chunks(size) {
                    let m = self.t.mean(g);
                    let m = self.t.scale(m, -1.0);
                    let c: Vec<Id> = g.iter().map(|&a| self.t.add(a, m)).collect();
                    let sq: Vec<Id> = c.iter().map(|&a| self.t.mul(a, a)).collect();
                    let var = self.t.mean(&sq);
                    let eps = self.t.leaf(*epsilon, 0.0);
                    let var = self.t.add(var, eps);
                    let sd = self.t.sqrt(var);
                    let r = self.t.recip(sd);
                    y.extend(c.iter().map(|&a| self.t.mul(a, r)));
                }
                if let Some(w) = weight {
                    let w = self.p(w);
                    y = y.iter().enumerate().map(|(i, &a)| self.t.mul(a, w[i / plane])).collect();
                }
                if let Some(b) = bias {
                    let b = self.p(b);
                    y = y.iter().enumerate().map(|(i, &a)| self.t.add(a, b[i / plane])).collect();
                }
                y
            }
            Op::LabelAffine { weight, bias } => {
                let Some(cond) = cond else { return x.clone() };
                let (w, b) = (self.p(weight), self.p(bias));
                let plane = x.len() / s[0];
                let gs: Vec<Id> = w
                    .chunks(cond.len())
                    .zip(&b)
                    .map(|(row, &b)| {
                        row.iter().zip(cond).fold(b, |sum, (&w, &c)| {
                            let v = self.t.scale(w, f64::from(c));
                            self.t.add(sum, v)
                        })
                    })
                    .collect();
                x.iter()
                    .enumerate()
                    .map(|(i, &a)| self.t.fma(a, gs[i / plane], gs[s[0] + i / plane]))
                    .collect()
            }
            Op::Activate(f) => x.iter().map(|&a| self.t.act(a, *f)).collect(),
            Op::Add => x.iter().zip(ins[1]).map(|(&a, &b)| self.t.add(a, b)).collect(),
            Op::Scale(f) => x.iter().map(|&a| self.t.scale(a, *f)).collect(),
            Op::Attention { prefix } => self.attention(prefix, x, s),
            Op::SpatialMean => x.chunks(x.len() / s[0]).map(|p| self.t.mean(p)).collect(),
            Op::SpatialSum => x.chunks(x.len() / s[0]).map(|p| self.t.sum(p)).collect(),
            Op::Flatten => x.clone(),
            Op::Concat => ins.iter().flat_map(|v| v.iter().copied()).collect(),
            Op::SumAll => vec![self.t.sum(x)],
            other => panic!("no reference for {other:?}"),
        }
    }

    fn attention(&mut self, prefix: &str, x: &[Id], s: &[usize]) -> Vec<Id> {
        let (c, n) = (s[0], s[1] * s[2]);
        let part = |net: &mut Self, name: &str, out: usize| {
            let (w, b) = (net.p(&format!("{prefix}.{name}.weight")), net.p(&format!("{prefix}.{name}.bias")));
            net.conv(&w, Some(&b), x, s, &[out, s[1], s[2]], ([1, 1, 0], false))
        };
        let q = part(self, "query_conv", c / 8);
        let k = part(self, "key_conv", c / 8);
        let v = part(self, "value_conv", c);
        let gamma = self.p(&format!("{prefix}.gamma"))[0];
        let mut y = x.to_vec();
        for p in 0..n {
            let logits: Vec<Id> = (0..n)
                .map(|j| (0..c / 8).fold(self.zero, |sum, d| self.t.fma(q[d * n + p], k[d * n + j], sum)))
                .collect();
            // The softmax does not depend on a common shift, so the largest may be taken as constant.
            let max = logits.iter().map(|&s| self.t.v(s).v).fold(f64::NEG_INFINITY, f64::max);
            let e: Vec<Id> = logits
                .iter()
                .map(|&s| {
                    let e = (self.t.v(s).v - max).exp();
                    self.t.unary(s, e, e, e)
                })
                .collect();
            let z = self.t.sum(&e);
            let r = self.t.recip(z);
            for ch in 0..c {
                let o = (0..n).fold(self.zero, |sum, j| self.t.fma(e[j], v[ch * n + j], sum));
                let o = self.t.mul(o, r);
                y[ch * n + p] = self.t.fma(gamma, o, y[ch * n + p]);
            }
        }
        y
    }
}
