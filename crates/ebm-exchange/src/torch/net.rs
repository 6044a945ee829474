//! A layer plan as a class with its layers as modules and its forward pass as lines.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;
use ebm_core::plan::{Activation, NetPlan, Node, Op, Pool, Products, WeightRule};
use ebm_core::{Error, ParamSet, Result};

use super::names::{indented, number, unique, word};

/// Layers on their way into a class.
pub(super) struct Layers<'a> {
    plan: &'a NetPlan,
    params: &'a ParamSet,
    blocks: &'a mut BTreeSet<&'static str>,
    init: String,
    /// Attributes by what they are made from, so that a layer that stands twice is one module.
    made: BTreeMap<String, String>,
    used: BTreeSet<String>,
    tensors: BTreeMap<String, Tensor>,
    /// The attribute that owns each parameter, for those that several layers share.
    owners: BTreeMap<String, String>,
}

impl<'a> Layers<'a> {
    /// The class `name` of `plan`, and the tensors of its state.
    pub fn written(
        name: &str,
        plan: &'a NetPlan,
        params: &'a ParamSet,
        blocks: &'a mut BTreeSet<&'static str>,
    ) -> Result<(String, BTreeMap<String, Tensor>)> {
        if plan.products != Products::Full {
            let hint = "PyTorch rounds other numbers: take a run of another `run.dtype`";
            let found = format!("`{name}`, whose convolutions round products to bfloat16,");
            return Err(Error::capability("the PyTorch module", "full products", found, hint));
        }
        let (init, tensors) = (String::new(), BTreeMap::new());
        let (made, used, owners) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let mut layers = Layers { plan, params, blocks, init, made, used, tensors, owners };
        let forward = layers.forward()?;
        let input = plan.input.iter().map(ToString::to_string).collect::<Vec<_>>().join("×");
        let under = if plan.condition > 0 {
            format!(" under a condition of {}", plan.condition)
        } else {
            String::new()
        };
        let body = format!(
            "\"\"\"Energies of samples of {input}{under}.\"\"\"\n\ndef __init__(self):\n    super().__init__()\n{}\ndef forward(self, x, condition=None):\n{}",
            indented(&layers.init, 4),
            indented(&forward, 4)
        );
        Ok((format!("class {name}(nn.Module):\n{}", indented(&body, 4)), layers.tensors))
    }

    fn forward(&mut self) -> Result<String> {
        let plan = self.plan;
        let end = plan.nodes.len();
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); end];
        for (id, node) in plan.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&i| readers[i].push(id));
        }
        plan.terms.iter().for_each(|t| readers[t.node].push(end));
        let (mut text, mut names, mut used) = (String::new(), Vec::<String>::new(), BTreeSet::new());
        for (id, node) in plan.nodes.iter().enumerate() {
            if matches!(node.op, Op::Input) {
                names.push("x".into());
                continue;
            }
            // What the next line alone reads needs no name of its own.
            let name = match readers[id][..] {
                [only] if only == id + 1 => "h".to_string(),
                _ => unique(word(&node.name), &mut used),
            };
            let inputs: Vec<&str> = node.inputs.iter().map(|&i| names[i].as_str()).collect();
            let value = self.value(node, &inputs).map_err(|e| e.within(&node.name))?;
            text += &format!("{name} = {value}\n");
            names.push(name);
        }
        let terms: Vec<&str> = plan.terms.iter().map(|t| names[t.node].as_str()).collect();
        text += &match terms[..] {
            [one] => format!("return {one}.squeeze(1)\n"),
            _ => format!("return ({}).squeeze(1)\n", terms.join(" + ")),
        };
        Ok(text)
    }

    /// The expression of a node.
    fn value(&mut self, node: &Node, inputs: &[&str]) -> Result<String> {
        let from = |k: usize| inputs.get(k).copied().unwrap_or("x");
        let x = from(0);
        let first =
            node.inputs.first().and_then(|&i| self.plan.nodes.get(i)).map_or(&[][..], |n| &n.shape[..]);
        let (inputs_of, outputs) =
            (first.first().copied().unwrap_or(0), node.shape.first().copied().unwrap_or(0));
        Ok(match &node.op {
            Op::Conv { weight, bias, kernel, stride, padding, rule } => {
                let options = convolution([inputs_of, outputs, *kernel], *stride, *padding, bias);
                let mut named = vec![("weight", Some(weight)), ("bias", bias.as_ref())];
                let class = match rule {
                    WeightRule::Plain => "nn.Conv2d",
                    WeightRule::Standardised => self.block("StandardisedConv2d"),
                    WeightRule::Spectral { u, v } => {
                        named.extend([("u", Some(u)), ("v", Some(v))]);
                        self.block("SpectralConv2d")
                    }
                };
                let module = self.module(base(weight), &format!("{class}({options})"), &named)?;
                format!("self.{module}({x})")
            }
            Op::Places { points: true } => {
                format!("{x}.reshape(len({x}), 1, -1, {outputs}).permute(0, 3, 1, 2)")
            }
            Op::Places { points: false } => format!("{x}.reshape(len({x}), {outputs}, 1, -1)"),
            Op::Series { weight, bias, kernel, stride, padding } => {
                let options = convolution([inputs_of, outputs, *kernel], *stride, *padding, bias);
                let named = [("weight", Some(weight)), ("bias", bias.as_ref())];
                let module = self.module(base(weight), &format!("nn.Conv1d({options})"), &named)?;
                format!("self.{module}({x}.squeeze(2)).unsqueeze(2)")
            }
            Op::Linear { weight, bias } => {
                let make = format!("nn.Linear({inputs_of}, {outputs}{})", without(bias));
                let named = [("weight", Some(weight)), ("bias", bias.as_ref())];
                format!("self.{}({x})", self.module(base(weight), &make, &named)?)
            }
            Op::Fourier { frequencies } => {
                let class = self.block("FourierFeatures");
                let make = format!("{class}({inputs_of}, {})", outputs / 2);
                let named = [("frequencies", Some(frequencies))];
                format!("self.{}({x})", self.module(base(frequencies), &make, &named)?)
            }
            Op::Pool(Pool::Average3) => format!("F.avg_pool2d({x}, 3, stride=2, padding=1)"),
            Op::Pool(Pool::Average { size }) => format!("F.avg_pool2d({x}, {size})"),
            Op::Pool(Pool::Blur) => {
                let class = self.block("BlurPool");
                format!("self.{}({x})", self.module("blur", &format!("{class}()"), &[])?)
            }
            Op::Norm { groups, epsilon, weight, bias } => {
                let make = format!("nn.GroupNorm({groups}, {outputs}, eps={}", number(*epsilon));
                let (base, make) = match (weight, bias) {
                    (Some(weight), Some(_)) => (base(weight), make + ")"),
                    (None, None) => (node.name.as_str(), make + ", affine=False)"),
                    _ => {
                        let hint = "PyTorch's norm has both or none";
                        return Err(Error::capability(
                            "the PyTorch module",
                            "a gain and a shift",
                            format!("norm `{}`", node.name),
                            hint,
                        ));
                    }
                };
                let named = [("weight", weight.as_ref()), ("bias", bias.as_ref())];
                format!("self.{}({x})", self.module(base, &make, &named)?)
            }
            Op::LabelAffine { weight, bias } => {
                let class = self.block("LabelAffine");
                let make = format!("{class}({}, {})", self.plan.condition, 2 * outputs);
                let named = [("weight", Some(weight)), ("bias", Some(bias))];
                format!("self.{}({x}, condition)", self.module(base(weight), &make, &named)?)
            }
            Op::Attention { prefix } => {
                let class = self.block("SelfAttention");
                let names: Vec<String> = ATTENTION.iter().map(|n| format!("{prefix}.{n}")).collect();
                let queries = self.tensor(&names[0])?.dims().first().copied().unwrap_or(0);
                let named: Vec<_> = ATTENTION.iter().copied().zip(names.iter().map(Some)).collect();
                let make = format!("{class}({outputs}, {queries})");
                format!("self.{}({x})", self.module(prefix, &make, &named)?)
            }
            Op::Activate(f) => activation(*f, x),
            Op::Add => format!("{x} + {}", from(1)),
            Op::Scale(factor) => format!("{} * {x}", number(*factor)),
            Op::SpatialMean => format!("{x}.mean((2, 3))"),
            Op::SpatialSum => format!("{x}.sum((2, 3))"),
            Op::Flatten => format!("{x}.flatten(1)"),
            Op::Concat => format!("torch.cat([{}], 1)", inputs.join(", ")),
            Op::Condition => {
                format!("x.new_zeros(len(x), {outputs}) if condition is None else condition.to(x.dtype)")
            }
            Op::SumAll => format!("{x}.sum(1, keepdim=True)"),
            other => {
                let hint = "leave it out of what is taken to PyTorch";
                return Err(Error::capability(
                    "the PyTorch module",
                    "a known operation",
                    format!("{other:?}"),
                    hint,
                ));
            }
        })
    }

    fn block(&mut self, name: &'static str) -> &'static str {
        self.blocks.insert(name);
        name
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        let missing = || Error::config(name, "is missing in the parameters of this network");
        self.params.get(name).ok_or_else(missing)
    }

    /// The attribute of the module that `make` makes, with these parameters; the same one for the same parameters.
    fn module(&mut self, base: &str, make: &str, named: &[(&str, Option<&String>)]) -> Result<String> {
        let key = format!("{make} {named:?}");
        if let Some(known) = self.made.get(&key) {
            return Ok(known.clone());
        }
        let attribute = unique(word(base), &mut self.used);
        self.init += &format!("self.{attribute} = {make}\n");
        for (own, name) in named {
            let Some(name) = name else { continue };
            let tensor = self.tensor(name)?.clone();
            let place = format!("{attribute}.{own}");
            match self.owners.get(*name) {
                Some(owner) => self.init += &format!("self.{place} = self.{owner}  # one and the same\n"),
                None => _ = self.owners.insert((*name).clone(), place.clone()),
            }
            self.tensors.insert(place, tensor);
        }
        self.made.insert(key, attribute.clone());
        Ok(attribute)
    }
}

/// What an attention block owns.
const ATTENTION: [&str; 7] = [
    "query_conv.weight",
    "query_conv.bias",
    "key_conv.weight",
    "key_conv.bias",
    "value_conv.weight",
    "value_conv.bias",
    "gamma",
];

/// `conv1` of `conv1.weight` and of `conv1.weight_orig`.
fn base(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(base, _)| base)
}

/// Arguments of a convolution `[in, out, kernel]`, of which PyTorch's own values are left out.
fn convolution(sizes: [usize; 3], stride: usize, padding: usize, bias: &Option<String>) -> String {
    let mut options = sizes.map(|n| n.to_string()).join(", ");
    for (name, value, usual) in [("stride", stride, 1), ("padding", padding, 0)] {
        if value != usual {
            options += &format!(", {name}={value}");
        }
    }
    options + without(bias)
}

fn without(bias: &Option<String>) -> &'static str {
    if bias.is_some() { "" } else { ", bias=False" }
}

fn activation(f: Activation, x: &str) -> String {
    match f {
        Activation::Swish => format!("F.silu({x})"),
        Activation::Relu => format!("F.relu({x})"),
        Activation::LeakyRelu(slope) => format!("F.leaky_relu({x}, {})", number(slope)),
        Activation::Tanh => format!("{x}.tanh()"),
        Activation::Softplus => format!("F.softplus({x})"),
        Activation::Sigmoid => format!("{x}.sigmoid()"),
        Activation::Square => format!("{x}.square()"),
    }
}
