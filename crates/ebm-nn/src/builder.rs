//! Builds a plan and declares its parameters at the same time.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use ebm_core::plan::{Activation, NetPlan, Node, NodeId, Op, PlanTerm, Pool, WeightRule};
use ebm_core::{Autograd, BuildCx, Condition, EnergyFn, EnergySpec, Error, Init, Result, Role};

use crate::plan_net::PlanNet;
use crate::shape::{attention_channels, result_shape};

/// Settings of a convolution; `Conv::new(filters, kernel)` has stride 1, padding `kernel / 2`, a bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv {
    filters: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    bias: bool,
    weight: Weight,
}

/// How a convolution's effective weight is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// As it is.
    Plain,
    /// [Standardised](crate::layers::standardised).
    Standardised,
    /// [Spectral](crate::layers::spectral) with buffers `weight_u`, `weight_v` beside `weight_orig`.
    Spectral,
}

impl Conv {
    /// `filters` results with a square `kernel`.
    pub fn new(filters: usize, kernel: usize) -> Self {
        Conv { filters, kernel, stride: 1, padding: kernel / 2, bias: true, weight: Weight::Plain }
    }

    /// The same with this stride.
    #[must_use]
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// The same with this zero padding on each side.
    #[must_use]
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    /// The same without bias.
    #[must_use]
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// The same with its effective weight made in this way.
    #[must_use]
    pub fn weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }
}

/// Writes a plan node by node; each call appends one after the current node, which it becomes.
///
/// Parameters get PyTorch's default initial values: weights and biases of convolutions and linear
/// layers uniform in ±1/√fan_in, norms 1 and 0, attention's γ 0.
///
/// ```
/// use ebm_core::candle::{DType, Device};
/// use ebm_core::plan::Activation::Swish;
/// use ebm_core::{BuildCx, Key};
/// use ebm_nn::{Conv, NetBuilder};
///
/// let mut cx = BuildCx::new(&[1, 8, 8], DType::F32, &Device::Cpu, Key::root(0));
/// let mut net = NetBuilder::new(&mut cx);
/// net.conv("conv1", Conv::new(8, 3).stride(2))?.activate(Swish)?;
/// let skip = net.here();
/// net.conv("conv2", Conv::new(8, 3))?.activate(Swish)?.add(skip)?;
/// net.flatten()?.linear("head", 1)?.term("energy");
/// let energy = net.finish()?;
/// assert_eq!(energy.params().count(), (8 * 9 + 8) + (8 * 72 + 8) + (128 + 1));
/// # Ok::<(), ebm_core::Error>(())
/// ```
pub struct NetBuilder<'a> {
    cx: &'a mut BuildCx,
    plan: NetPlan,
    here: NodeId,
    required: bool,
}

impl<'a> NetBuilder<'a> {
    /// A builder that stands at the input: one sample of `cx`.
    pub fn new(cx: &'a mut BuildCx) -> Self {
        let input = cx.sample_shape().to_vec();
        let node = Node { name: "input".into(), op: Op::Input, inputs: Vec::new(), shape: input.clone() };
        let products = cx.products();
        let plan = NetPlan { input, condition: 0, nodes: vec![node], terms: Vec::new(), products };
        NetBuilder { cx, plan, here: 0, required: false }
    }

    /// The current node.
    pub fn here(&self) -> NodeId {
        self.here
    }

    /// Goes to `node`, one of those that [`NetBuilder::here`] returned.
    pub fn at(&mut self, node: NodeId) -> &mut Self {
        self.here = node;
        self
    }

    /// Shape of the current node's value for one sample.
    pub fn shape(&self) -> &[usize] {
        &self.plan.nodes[self.here].shape
    }

    /// The plan so far.
    pub fn plan(&self) -> &NetPlan {
        &self.plan
    }

    /// Channels of the current image, or length of the current vector.
    fn width(&self) -> usize {
        self.shape().first().copied().unwrap_or(0)
    }

    fn push(&mut self, name: Option<&str>, op: Op, inputs: Vec<NodeId>, width: usize) -> Result<&mut Self> {
        let id = self.plan.nodes.len();
        let name = name.map_or_else(|| format!("{}-{id}", word(&op)), ToString::to_string);
        let path = format!("{}.{name}", self.cx.path());
        if self.plan.nodes.iter().any(|n| n.name == name) {
            return Err(Error::config(
                path,
                "two layers of a network have this name; give them different ones",
            ));
        }
        let operands: Vec<&[usize]> = inputs.iter().map(|&i| self.plan.nodes[i].shape.as_slice()).collect();
        let mut shape =
            result_shape(&op, &operands, &self.plan.input).map_err(|message| Error::config(path, message))?;
        if shape.first() == Some(&0) {
            shape[0] = width;
        }
        self.plan.nodes.push(Node { name, op, inputs, shape });
        self.here = id;
        Ok(self)
    }

    /// A convolution with parameters `{name}.weight` (`{name}.weight_orig` if spectral) and `{name}.bias`.
    ///
    /// # Errors
    /// If the current value is no image, the kernel does not fit, or the name is taken.
    pub fn conv(&mut self, name: &str, conv: Conv) -> Result<&mut Self> {
        if conv.filters == 0 {
            return Err(Error::config(
                format!("{}.{name}", self.cx.path()),
                "has 0 filters, wanted 1 or more",
            ));
        }
        let inner = self.width();
        let fan = inner * conv.kernel * conv.kernel;
        let spectral = conv.weight == Weight::Spectral;
        let weight = format!("{name}.weight{}", if spectral { "_orig" } else { "" });
        let bias = conv.bias.then(|| format!("{name}.bias"));
        let (u, v) = (format!("{name}.weight_u"), format!("{name}.weight_v"));
        let rule = match conv.weight {
            Weight::Plain => WeightRule::Plain,
            Weight::Standardised => WeightRule::Standardised,
            Weight::Spectral => WeightRule::Spectral { u: u.clone(), v: v.clone() },
        };
        let op = Op::Conv {
            weight: weight.clone(),
            bias: bias.clone(),
            kernel: conv.kernel,
            stride: conv.stride,
            padding: conv.padding,
            rule,
        };
        self.push(Some(name), op, vec![self.here], conv.filters)?;
        self.cx.param(&weight, (conv.filters, inner, conv.kernel, conv.kernel), Init::FanIn(fan))?;
        if let Some(bias) = bias {
            self.cx.param(&bias, conv.filters, Init::FanIn(fan))?;
        }
        if spectral {
            self.cx.buffer(&u, conv.filters, Init::UnitVector)?;
            self.cx.buffer(&v, fan, Init::UnitVector)?;
        }
        Ok(self)
    }

    /// The sample as a map of one row, `[C, 1, T]`: the last axis are the places, or with `points` the channels ([`Op::Places`]).
    ///
    /// # Errors
    /// If the sample has no axes.
    pub fn places(&mut self, points: bool) -> Result<&mut Self> {
        self.push(None, Op::Places { points }, vec![0], 0)
    }

    /// A convolution along the row of `[C, 1, T]` with parameters `{name}.weight`, `(filters, C, kernel)`, and `{name}.bias`.
    ///
    /// # Errors
    /// If the current value is no map of one row, the kernel does not fit, or the name is taken.
    pub fn series(&mut self, name: &str, conv: Conv) -> Result<&mut Self> {
        if conv.filters == 0 || conv.weight != Weight::Plain {
            let message = "wanted 1 or more filters and weights used as they are";
            return Err(Error::config(format!("{}.{name}", self.cx.path()), message));
        }
        let inner = self.width();
        let (weight, bias) = (format!("{name}.weight"), conv.bias.then(|| format!("{name}.bias")));
        let Conv { filters, kernel, stride, padding, .. } = conv;
        let op = Op::Series { weight: weight.clone(), bias: bias.clone(), kernel, stride, padding };
        self.push(Some(name), op, vec![self.here], filters)?;
        let fan = Init::FanIn(inner * kernel);
        self.cx.param(&weight, (filters, inner, kernel), fan)?;
        if let Some(bias) = bias {
            self.cx.param(&bias, filters, fan)?;
        }
        Ok(self)
    }

    /// A linear layer with parameters `{name}.weight` and `{name}.bias`.
    ///
    /// # Errors
    /// If the current value is no vector or the name is taken.
    pub fn linear(&mut self, name: &str, width: usize) -> Result<&mut Self> {
        self.linear_scaled(name, width, 1.0)
    }

    /// A linear layer whose initial weights and biases are `factor` times PyTorch's default.
    ///
    /// # Errors
    /// As [`NetBuilder::linear`].
    pub fn linear_scaled(&mut self, name: &str, width: usize, factor: f64) -> Result<&mut Self> {
        if width == 0 {
            return Err(Error::config(format!("{}.{name}", self.cx.path()), "has width 0, wanted 1 or more"));
        }
        let inner = self.width();
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let op = Op::Linear { weight: weight.clone(), bias: Some(bias.clone()) };
        self.push(Some(name), op, vec![self.here], width)?;
        let init = Init::Uniform(factor / (inner.max(1) as f64).sqrt());
        self.cx.param(&weight, (width, inner), init)?;
        self.cx.param(&bias, width, init)?;
        Ok(self)
    }

    /// Fixed random Fourier features `[cos(Bx), sin(Bx)]`, `B` normal with deviation `2π·scale`
    /// (buffer `{name}.frequencies`, `(features, D)`; Tancik et al. 2020); result `[2·features]`.
    ///
    /// # Errors
    /// If the current value is no vector or the name is taken.
    pub fn fourier(&mut self, name: &str, features: usize, scale: f64) -> Result<&mut Self> {
        if features == 0 {
            return Err(Error::config(
                format!("{}.{name}", self.cx.path()),
                "has 0 features, wanted 1 or more",
            ));
        }
        let inner = self.width();
        let frequencies = format!("{name}.frequencies");
        self.push(
            Some(name),
            Op::Fourier { frequencies: frequencies.clone() },
            vec![self.here],
            2 * features,
        )?;
        self.cx.buffer(&frequencies, (features, inner), Init::Normal(std::f64::consts::TAU * scale))?;
        Ok(self)
    }

    /// The cosines of 1 to `harmonics` times each value, then their sines (fixed features of [`Op::Fourier`], buffer
    /// `{name}.frequencies`, `(harmonics·D, D)`): values are angles in radians, of which whole turns are not seen.
    ///
    /// # Errors
    /// If the current value is no vector, `harmonics` is 0, or the name is taken.
    pub fn periodic(&mut self, name: &str, harmonics: usize) -> Result<&mut Self> {
        let inner = self.width();
        let mut multiples = vec![0f64; harmonics * inner * inner];
        for row in 0..harmonics * inner {
            multiples[row * inner + row % inner] = (row / inner + 1) as f64;
        }
        if harmonics == 0 {
            let message = "has 0 harmonics, wanted 1 or more";
            return Err(Error::config(format!("{}.{name}", self.cx.path()), message));
        }
        let frequencies = format!("{name}.frequencies");
        let op = Op::Fourier { frequencies: frequencies.clone() };
        self.push(Some(name), op, vec![self.here], 2 * harmonics * inner)?;
        let rows = Tensor::from_vec(multiples, (harmonics * inner, inner), &Device::Cpu)?;
        self.cx.value(&frequencies, &rows, Role::Buffer)?;
        Ok(self)
    }

    /// Group norm with `groups` groups, ε = 1e−5 and parameters `{name}.weight`, `{name}.bias`;
    /// `groups` equal to the channels is instance norm.
    ///
    /// # Errors
    /// If `groups` does not divide the channels or the name is taken.
    pub fn norm(&mut self, name: &str, groups: usize) -> Result<&mut Self> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let op = Op::Norm { groups, epsilon: 1e-5, weight: Some(weight.clone()), bias: Some(bias.clone()) };
        self.push(Some(name), op, vec![self.here], 0)?;
        let c = self.width();
        self.cx.param(&weight, c, Init::Constant(1.0))?;
        self.cx.param(&bias, c, Init::Constant(0.0))?;
        Ok(self)
    }

    fn takes(&mut self, name: &str, condition: usize) -> Result<()> {
        if condition == 0 || (self.plan.condition != 0 && self.plan.condition != condition) {
            return Err(Error::config(
                format!("{}.{name}", self.cx.path()),
                format!(
                    "found a label of length {condition}, wanted one length ≥ 1 for the whole network (so far {})",
                    self.plan.condition
                ),
            ));
        }
        self.plan.condition = condition;
        Ok(())
    }

    /// The condition vector of length `condition`: zeros where a batch has none. Stands beside a vector by [`NetBuilder::concat`].
    ///
    /// # Errors
    /// If `condition` is 0 or differs from an earlier layer's.
    pub fn condition(&mut self, name: &str, condition: usize) -> Result<&mut Self> {
        self.takes(name, condition)?;
        self.push(Some(name), Op::Condition, Vec::new(), condition)
    }

    /// Label gain and bias from a condition of length `condition`, parameters `{name}.weight`, `.bias`.
    ///
    /// # Errors
    /// If `condition` is 0 or differs from an earlier label layer's.
    pub fn label(&mut self, name: &str, condition: usize) -> Result<&mut Self> {
        self.takes(name, condition)?;
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let op = Op::LabelAffine { weight: weight.clone(), bias: bias.clone() };
        self.push(Some(name), op, vec![self.here], 0)?;
        let c = self.width();
        self.cx.param(&weight, (2 * c, condition), Init::FanIn(condition))?;
        self.cx.param(&bias, 2 * c, Init::FanIn(condition))?;
        Ok(self)
    }

    /// Self attention with parameters `{name}.query_conv.weight` and so on, γ from 0.
    ///
    /// # Errors
    /// If the current value is no image of 8 or more channels.
    pub fn attention(&mut self, name: &str) -> Result<&mut Self> {
        let c = self.width();
        let q = attention_channels(c);
        if q == 0 {
            return Err(Error::config(
                format!("{}.{name}", self.cx.path()),
                format!("found {c} channels, attention needs 8 or more; use more filters"),
            ));
        }
        self.push(Some(name), Op::Attention { prefix: name.to_string() }, vec![self.here], 0)?;
        for (part, width) in [("query_conv", q), ("key_conv", q), ("value_conv", c)] {
            self.cx.param(&format!("{name}.{part}.weight"), (width, c, 1, 1), Init::FanIn(c))?;
            self.cx.param(&format!("{name}.{part}.bias"), width, Init::FanIn(c))?;
        }
        self.cx.param(&format!("{name}.gamma"), 1, Init::Constant(0.0))?;
        Ok(self)
    }

    /// A pointwise function.
    ///
    /// # Errors
    /// If the plan cannot take it.
    pub fn activate(&mut self, rule: Activation) -> Result<&mut Self> {
        self.push(None, Op::Activate(rule), vec![self.here], 0)
    }

    /// Pooling.
    ///
    /// # Errors
    /// If the current value is no image or too small.
    pub fn pool(&mut self, rule: Pool) -> Result<&mut Self> {
        self.push(None, Op::Pool(rule), vec![self.here], 0)
    }

    /// The current value plus that of `other`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn add(&mut self, other: NodeId) -> Result<&mut Self> {
        self.push(None, Op::Add, vec![self.here, other], 0)
    }

    /// The current value times `factor`.
    ///
    /// # Errors
    /// If the plan cannot take it.
    pub fn scale(&mut self, factor: f64) -> Result<&mut Self> {
        self.push(None, Op::Scale(factor), vec![self.here], 0)
    }

    /// Mean over space: `[C, H, W]` to `[C]`.
    ///
    /// # Errors
    /// If the current value is no image.
    pub fn spatial_mean(&mut self) -> Result<&mut Self> {
        self.push(None, Op::SpatialMean, vec![self.here], 0)
    }

    /// Sum over space: `[C, H, W]` to `[C]`.
    ///
    /// # Errors
    /// If the current value is no image.
    pub fn spatial_sum(&mut self) -> Result<&mut Self> {
        self.push(None, Op::SpatialSum, vec![self.here], 0)
    }

    /// An image as a vector; nothing if it is a vector.
    ///
    /// # Errors
    /// If the plan cannot take it.
    pub fn flatten(&mut self) -> Result<&mut Self> {
        if self.shape().len() == 1 { Ok(self) } else { self.push(None, Op::Flatten, vec![self.here], 0) }
    }

    /// The current vector followed by those of `others`.
    ///
    /// # Errors
    /// If one is no vector.
    pub fn concat(&mut self, others: &[NodeId]) -> Result<&mut Self> {
        let inputs = std::iter::once(self.here).chain(others.iter().copied()).collect();
        self.push(None, Op::Concat, inputs, 0)
    }

    /// Sum of the entries of the current vector.
    ///
    /// # Errors
    /// If it is no vector.
    pub fn sum_all(&mut self) -> Result<&mut Self> {
        self.push(None, Op::SumAll, vec![self.here], 0)
    }

    /// Makes the current node, of shape `[1]`, the next term of the energy.
    pub fn term(&mut self, name: &str) -> &mut Self {
        self.plan.terms.push(PlanTerm { name: name.to_string(), node: self.here });
        self
    }

    /// Demands a condition with every batch; otherwise label layers are the identity and condition vectors are 0 without one.
    pub fn require_condition(&mut self) -> &mut Self {
        self.required = true;
        self
    }

    /// The energy of this network, with its plan for fused engines.
    ///
    /// # Errors
    /// If there is no term, or a term's node is not of shape `[1]`.
    pub fn finish(self) -> Result<Arc<dyn EnergyFn>> {
        let path = self.cx.path().to_string();
        let net = PlanNet::new(self.plan.clone()).map_err(|e| e.within(&path))?;
        let names: Vec<&str> = self.plan.terms.iter().map(|t| t.name.as_str()).collect();
        let mut spec = EnergySpec::new(&self.plan.input, &names).on(self.cx.domain());
        spec.condition = match (self.plan.condition, self.required) {
            (0, _) => Condition::None,
            (n, true) => Condition::Required(n),
            (n, false) => Condition::Optional(n),
        };
        let params = self.cx.take_params()?;
        crate::check::check_params(&self.plan, &params).map_err(|e| e.within(&path))?;
        Ok(Arc::new(Autograd::new(path, net, spec, params).with_plan(self.plan)))
    }
}

fn word(op: &Op) -> &'static str {
    match op {
        Op::Activate(_) => "activation",
        Op::Places { .. } => "places",
        Op::Pool(_) => "pool",
        Op::Add => "sum",
        Op::Scale(_) => "scale",
        Op::SpatialMean => "spatial-mean",
        Op::SpatialSum => "spatial-sum",
        Op::Flatten => "flatten",
        Op::Concat => "concat",
        Op::Condition => "condition",
        Op::SumAll => "sum-all",
        _ => "node",
    }
}
