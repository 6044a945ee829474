//! The definition, slowly: plans evaluated row by row in f64 with exact mixed second derivatives.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::ops::{Add, Mul};

use ebm_core::plan::{Activation, NetPlan, Node, Op, PlanTerm, Products};

/// `v + aε + bδ + cεδ` with `ε² = δ² = 0`: two first derivatives and their mixed one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hyper {
    pub v: f64,
    pub a: f64,
    pub b: f64,
    pub c: f64,
}

impl Add for Hyper {
    type Output = Hyper;
    fn add(self, o: Hyper) -> Hyper {
        Hyper { v: self.v + o.v, a: self.a + o.a, b: self.b + o.b, c: self.c + o.c }
    }
}

impl Mul for Hyper {
    type Output = Hyper;
    fn mul(self, o: Hyper) -> Hyper {
        Hyper {
            v: self.v * o.v,
            a: self.v * o.a + self.a * o.v,
            b: self.v * o.b + self.b * o.v,
            c: self.v * o.c + self.a * o.b + self.b * o.a + self.c * o.v,
        }
    }
}

impl Hyper {
    pub fn of(v: f64) -> Hyper {
        Hyper { v, ..Hyper::default() }
    }

    /// `f(self)` from the value and two derivatives of `f`.
    fn map(self, [f, d, dd]: [f64; 3]) -> Hyper {
        Hyper { v: f, a: d * self.a, b: d * self.b, c: d * self.c + dd * self.a * self.b }
    }
}

/// Value and two derivatives of an activation.
pub fn activation(kind: Activation, z: f64) -> [f64; 3] {
    let s = 1.0 / (1.0 + (-z).exp());
    let t = s * (1.0 - s);
    match kind {
        Activation::Swish => [z * s, s + z * t, t * (2.0 + z * (1.0 - 2.0 * s))],
        Activation::Relu if z > 0.0 => [z, 1.0, 0.0],
        Activation::Relu => [0.0; 3],
        Activation::LeakyRelu(_) if z > 0.0 => [z, 1.0, 0.0],
        Activation::LeakyRelu(c) => [f64::from(c as f32) * z, f64::from(c as f32), 0.0],
        Activation::Tanh => {
            let a = z.tanh();
            [a, 1.0 - a * a, -2.0 * a * (1.0 - a * a)]
        }
        Activation::Softplus => [z.max(0.0) + (-z.abs()).exp().ln_1p(), s, t],
        Activation::Sigmoid => [s, t, t * (1.0 - 2.0 * s)],
        Activation::Square => [z * z, 2.0 * z, 2.0],
    }
}

/// Parameters and buffers by name.
pub type Weights = HashMap<String, Vec<Hyper>>;

/// Terms of one row.
pub fn terms(plan: &NetPlan, w: &Weights, x: &[Hyper]) -> Vec<Hyper> {
    let mut values: Vec<Vec<Hyper>> = Vec::new();
    for node in &plan.nodes {
        let arg = |i: usize| &values[node.inputs[i]];
        let apply = |name: &str, x: &[Hyper]| -> Vec<Hyper> {
            let m = &w[name];
            m.chunks(x.len())
                .map(|row| row.iter().zip(x).fold(Hyper::default(), |s, (a, b)| s + *a * *b))
                .collect()
        };
        let value = match &node.op {
            // A row is a sample and its condition.
            Op::Input => x[..plan.input.iter().product()].to_vec(),
            Op::Condition => x[plan.input.iter().product()..].to_vec(),
            Op::Flatten => arg(0).clone(),
            Op::Linear { weight, bias } => {
                let mut y = apply(weight, arg(0));
                if let Some(b) = bias {
                    y.iter_mut().zip(&w[b]).for_each(|(y, b)| *y = *y + *b);
                }
                y
            }
            Op::Fourier { frequencies } => {
                let y = apply(frequencies, arg(0));
                let cos = y.iter().map(|y| y.map([y.v.cos(), -y.v.sin(), -y.v.cos()]));
                let sin = y.iter().map(|y| y.map([y.v.sin(), y.v.cos(), -y.v.sin()]));
                cos.chain(sin).collect()
            }
            Op::Activate(kind) => arg(0).iter().map(|z| z.map(activation(*kind, z.v))).collect(),
            Op::Scale(c) => arg(0).iter().map(|z| *z * Hyper::of(f64::from(*c as f32))).collect(),
            Op::Add => arg(0).iter().zip(arg(1)).map(|(a, b)| *a + *b).collect(),
            Op::Concat => (0..node.inputs.len()).flat_map(|i| arg(i).clone()).collect(),
            Op::SumAll => vec![arg(0).iter().fold(Hyper::default(), |s, z| s + *z)],
            other => panic!("not in the reference: {other:?}"),
        };
        values.push(value);
    }
    plan.terms.iter().map(|t| values[t.node][0]).collect()
}

/// Writes plans for tests.
pub struct Writer(pub NetPlan);

impl Writer {
    pub fn new(input: &[usize]) -> Writer {
        let node = Node { name: "x".into(), op: Op::Input, inputs: vec![], shape: input.to_vec() };
        Writer(NetPlan {
            input: input.to_vec(),
            condition: 0,
            nodes: vec![node],
            terms: vec![],
            products: Products::Full,
        })
    }

    pub fn node(&mut self, op: Op, inputs: &[usize], width: usize) -> usize {
        let name = format!("n{}", self.0.nodes.len());
        self.0.nodes.push(Node { name, op, inputs: inputs.to_vec(), shape: vec![width] });
        self.0.nodes.len() - 1
    }

    pub fn width(&self, node: usize) -> usize {
        self.0.nodes[node].shape.iter().product()
    }

    pub fn linear(&mut self, from: usize, width: usize, bias: bool) -> usize {
        let i = self.0.nodes.len();
        let op = Op::Linear { weight: format!("l{i}.weight"), bias: bias.then(|| format!("l{i}.bias")) };
        self.node(op, &[from], width)
    }

    pub fn act(&mut self, from: usize, kind: Activation) -> usize {
        self.node(Op::Activate(kind), &[from], self.width(from))
    }

    pub fn term(&mut self, node: usize) {
        self.0.terms.push(PlanTerm { name: format!("t{}", self.0.terms.len()), node });
    }

    /// `D-widths-1` with one activation.
    pub fn mlp(input: usize, widths: &[usize], kind: Activation) -> NetPlan {
        let mut w = Writer::new(&[input]);
        let mut at = 0;
        for width in widths {
            at = w.linear(at, *width, true);
            at = w.act(at, kind);
        }
        at = w.linear(at, 1, true);
        w.term(at);
        w.0
    }
}

#[test]
fn hyper_numbers_agree_with_differences() {
    let kinds = [
        Activation::Swish,
        Activation::LeakyRelu(0.1),
        Activation::Tanh,
        Activation::Softplus,
        Activation::Sigmoid,
        Activation::Square,
    ];
    let h = 1e-4;
    for kind in kinds {
        for z in [-3.0, -0.7, 0.4, 2.5] {
            let f = |z: f64| activation(kind, z);
            let [_, d, dd] = f(z);
            // Central differences: h² times a third derivative of order 1.
            assert!((d - (f(z + h)[0] - f(z - h)[0]) / (2.0 * h)).abs() < 1e-7, "{kind:?} {z}");
            assert!((dd - (f(z + h)[1] - f(z - h)[1]) / (2.0 * h)).abs() < 1e-7, "{kind:?} {z}");
        }
    }
    // E = (w·tanh(x))²: all three derivatives in closed form against differences of the value.
    let mut w = Writer::new(&[1]);
    let t = w.act(0, Activation::Tanh);
    let l = w.linear(t, 1, false);
    let s = w.act(l, Activation::Square);
    w.term(s);
    let value = |x: f64, p: f64| {
        let weights =
            HashMap::from([(format!("l{l}.weight"), vec![Hyper { v: p, b: 1.0, ..Hyper::default() }])]);
        terms(&w.0, &weights, &[Hyper { v: x, a: 1.0, ..Hyper::default() }])[0]
    };
    let e = value(0.3, 1.7);
    let at = |i: f64, j: f64| value(0.3 + i * h, 1.7 + j * h).v;
    assert!((e.a - (at(1., 0.) - at(-1., 0.)) / (2.0 * h)).abs() < 1e-7);
    assert!((e.b - (at(0., 1.) - at(0., -1.)) / (2.0 * h)).abs() < 1e-7);
    let mixed = (at(1., 1.) - at(1., -1.) - at(-1., 1.) + at(-1., -1.)) / (4.0 * h * h);
    assert!((e.c - mixed).abs() < 1e-6);
}
