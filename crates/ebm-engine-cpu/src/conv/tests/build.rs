//! Builds plans of layers on images for tests, with shape inference.

use ebm_core::plan::{Activation, NetPlan, Node, NodeId, Op, PlanTerm, Pool, Products, WeightRule};

/// A plan under construction, with shape inference.
pub(super) struct Build {
    pub plan: NetPlan,
}

impl Build {
    pub fn new(input: &[usize], condition: usize) -> Build {
        let node = Node { name: "x".into(), op: Op::Input, inputs: vec![], shape: input.to_vec() };
        Build {
            plan: NetPlan {
                input: input.to_vec(),
                condition,
                nodes: vec![node],
                terms: vec![],
                products: Products::Full,
            },
        }
    }
    pub fn shape(&self, id: NodeId) -> Vec<usize> {
        self.plan.nodes[id].shape.clone()
    }
    pub fn add(&mut self, op: Op, inputs: &[NodeId], shape: &[usize]) -> NodeId {
        let name = format!("n{}", self.plan.nodes.len());
        self.plan.nodes.push(Node { name, op, inputs: inputs.to_vec(), shape: shape.to_vec() });
        self.plan.nodes.len() - 1
    }
    pub fn name(&self, part: &str) -> String {
        format!("n{}.{part}", self.plan.nodes.len())
    }
    #[allow(clippy::too_many_arguments)]
    pub fn conv(
        &mut self,
        x: NodeId,
        out: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        rule: u8,
        bias: bool,
    ) -> NodeId {
        let s = self.shape(x);
        let side = |n: usize| (n + 2 * padding - kernel) / stride + 1;
        let rule = match rule {
            0 => WeightRule::Plain,
            1 => WeightRule::Standardised,
            _ => WeightRule::Spectral { u: self.name("u"), v: self.name("v") },
        };
        let op = Op::Conv {
            weight: self.name("weight"),
            bias: bias.then(|| self.name("bias")),
            kernel,
            stride,
            padding,
            rule,
        };
        self.add(op, &[x], &[out, side(s[1]), side(s[2])])
    }
    /// The sample laid out as a map of one row.
    pub fn places(&mut self, points: bool) -> NodeId {
        let s = self.plan.input.clone();
        let (last, rest) = (s[s.len() - 1], s[..s.len() - 1].iter().product());
        let shape = if points { [last, 1, rest] } else { [rest, 1, last] };
        self.add(Op::Places { points }, &[0], &shape)
    }
    pub fn series(&mut self, x: NodeId, out: usize, [kernel, stride, padding]: [usize; 3]) -> NodeId {
        let length = (self.shape(x)[2] + 2 * padding - kernel) / stride + 1;
        let (weight, bias) = (self.name("weight"), Some(self.name("bias")));
        self.add(Op::Series { weight, bias, kernel, stride, padding }, &[x], &[out, 1, length])
    }
    /// The vector `x` followed by the condition.
    pub fn conditioned(&mut self, x: NodeId) -> NodeId {
        let (n, k) = (self.shape(x)[0], self.plan.condition);
        let condition = self.add(Op::Condition, &[], &[k]);
        self.add(Op::Concat, &[x, condition], &[n + k])
    }
    pub fn flat(&mut self, x: NodeId) -> NodeId {
        let n = self.shape(x).iter().product();
        self.add(Op::Flatten, &[x], &[n])
    }
    pub fn conv3(&mut self, x: NodeId, out: usize, rule: u8) -> NodeId {
        self.conv(x, out, 3, 1, 1, rule, true)
    }
    pub fn norm(&mut self, x: NodeId, groups: usize) -> NodeId {
        let s = self.shape(x);
        let op = Op::Norm {
            groups,
            epsilon: 1e-5,
            weight: Some(self.name("weight")),
            bias: Some(self.name("bias")),
        };
        self.add(op, &[x], &s)
    }
    pub fn label(&mut self, x: NodeId) -> NodeId {
        let s = self.shape(x);
        let op = Op::LabelAffine { weight: self.name("weight"), bias: self.name("bias") };
        self.add(op, &[x], &s)
    }
    pub fn act(&mut self, x: NodeId, a: Activation) -> NodeId {
        let s = self.shape(x);
        self.add(Op::Activate(a), &[x], &s)
    }
    pub fn plus(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let s = self.shape(a);
        self.add(Op::Add, &[a, b], &s)
    }
    pub fn pool(&mut self, x: NodeId, p: Pool) -> NodeId {
        let s = self.shape(x);
        let side = |n: usize| match &p {
            Pool::Average { size } => n / size,
            _ => n.div_ceil(2),
        };
        let shape = [s[0], side(s[1]), side(s[2])];
        self.add(Op::Pool(p), &[x], &shape)
    }
    pub fn linear(&mut self, x: NodeId, out: usize) -> NodeId {
        let op = Op::Linear { weight: self.name("weight"), bias: Some(self.name("bias")) };
        self.add(op, &[x], &[out])
    }
    pub fn mean(&mut self, x: NodeId) -> NodeId {
        let c = self.shape(x)[0];
        self.add(Op::SpatialMean, &[x], &[c])
    }
    pub fn term(&mut self, x: NodeId) {
        let name = format!("t{}", self.plan.terms.len());
        self.plan.terms.push(PlanTerm { name, node: x });
    }
    pub fn attention(&mut self, x: NodeId) -> NodeId {
        let s = self.shape(x);
        let prefix = self.name("attn");
        self.add(Op::Attention { prefix }, &[x], &s)
    }
    /// The published residual block.
    pub fn block(&mut self, x: NodeId, groups: usize, label: bool, down: Option<usize>, rule: u8) -> NodeId {
        let f = self.shape(x)[0];
        let mut h = x;
        for _ in 0..2 {
            h = self.conv3(h, f, rule);
            h = self.norm(h, groups);
            if label {
                h = self.label(h);
            }
            h = self.act(h, Activation::Swish);
        }
        let mut o = self.plus(h, x);
        if let Some(out) = down {
            o = self.conv3(o, out, 0);
            o = self.pool(o, Pool::Average3);
            o = self.act(o, Activation::Swish);
        }
        o
    }
}
