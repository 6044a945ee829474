//! The CIFAR-10 residual net as a plan (single scale).

use ebm_core::plan::{Activation, NetPlan, Node, NodeId, Op, PlanTerm, Pool, Products, WeightRule};

/// Which net.
pub struct Options {
    /// Filters of the first level.
    pub filters: usize,
    /// Rows and columns of the image.
    pub side: usize,
    /// Self attention after the second level.
    pub attention: bool,
    /// Length of the label; 0 without label layers.
    pub condition: usize,
}

impl Options {
    /// 32×32, without attention and labels.
    pub fn cifar(filters: usize) -> Options {
        Options { filters, side: 32, attention: false, condition: 0 }
    }
}

fn add(nodes: &mut Vec<Node>, name: &str, op: Op, inputs: &[NodeId], shape: &[usize]) -> NodeId {
    nodes.push(Node { name: name.into(), op, inputs: inputs.to_vec(), shape: shape.to_vec() });
    nodes.len() - 1
}

fn conv(nodes: &mut Vec<Node>, name: &str, x: NodeId, out: usize, rule: WeightRule) -> NodeId {
    let s = nodes[x].shape.clone();
    let op = Op::Conv {
        weight: format!("{name}.weight"),
        bias: Some(format!("{name}.bias")),
        kernel: 3,
        stride: 1,
        padding: 1,
        rule,
    };
    add(nodes, name, op, &[x], &[out, s[1], s[2]])
}

fn swish(nodes: &mut Vec<Node>, name: &str, x: NodeId) -> NodeId {
    let s = nodes[x].shape.clone();
    add(nodes, &format!("{name}.swish"), Op::Activate(Activation::Swish), &[x], &s)
}

fn block(nodes: &mut Vec<Node>, o: &Options, name: &str, x: NodeId, down: Option<usize>) -> NodeId {
    let s = nodes[x].shape.clone();
    let mut h = x;
    for i in 1..=2 {
        h = conv(nodes, &format!("{name}.conv{i}"), h, s[0], WeightRule::Standardised);
        let op = Op::Norm {
            groups: if s[0] > 128 { 32 } else { s[0] },
            epsilon: 1e-5,
            weight: Some(format!("{name}.bn{i}.weight")),
            bias: Some(format!("{name}.bn{i}.bias")),
        };
        h = add(nodes, &format!("{name}.bn{i}"), op, &[h], &s);
        if o.condition > 0 {
            let map = format!("{name}.latent_map{i}");
            let op = Op::LabelAffine { weight: format!("{map}.weight"), bias: format!("{map}.bias") };
            h = add(nodes, &map, op, &[h], &s);
        }
        h = swish(nodes, &format!("{name}.{i}"), h);
    }
    let mut y = add(nodes, &format!("{name}.add"), Op::Add, &[h, x], &s);
    if let Some(out) = down {
        y = conv(nodes, &format!("{name}.conv_downsample"), y, out, WeightRule::Plain);
        let shape = [out, s[1].div_ceil(2), s[2].div_ceil(2)];
        y = add(nodes, &format!("{name}.pool"), Op::Pool(Pool::Average3), &[y], &shape);
        y = swish(nodes, name, y);
    }
    y
}

/// The network of `o`: stem, eight residual blocks in four resolutions, linear head.
pub fn resnet(o: &Options) -> NetPlan {
    let f = o.filters;
    let input = [3, o.side, o.side];
    let mut n = Vec::new();
    let x = add(&mut n, "x", Op::Input, &[], &input);
    let x = conv(&mut n, "conv1", x, f, WeightRule::Plain);
    let mut x = swish(&mut n, "conv1", x);
    for (name, down) in [
        ("res_1a", None),
        ("res_1b", Some(f)),
        ("res_2a", None),
        ("res_2b", Some(2 * f)),
        ("res_3a", None),
        ("res_3b", Some(4 * f)),
        ("res_4a", None),
        ("res_4b", Some(8 * f)),
    ] {
        x = block(&mut n, o, name, x, down);
        if name == "res_2b" && o.attention {
            let s = n[x].shape.clone();
            x = add(&mut n, "self_attn", Op::Attention { prefix: "self_attn".into() }, &[x], &s);
        }
    }
    let x = swish(&mut n, "last", x);
    let x = add(&mut n, "mean", Op::SpatialMean, &[x], &[8 * f]);
    let op = Op::Linear { weight: "energy_map.weight".into(), bias: Some("energy_map.bias".into()) };
    let e = add(&mut n, "energy_map", op, &[x], &[1]);
    NetPlan {
        input: input.to_vec(),
        condition: o.condition,
        nodes: n,
        terms: vec![PlanTerm { name: "energy".into(), node: e }],
        products: Products::Full,
    }
}
