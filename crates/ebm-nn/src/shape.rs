//! Shapes, parameters and multiply-adds of single operations of a plan.

use ebm_core::Role;
use ebm_core::plan::{NetPlan, Node, Op, Pool, WeightRule};

/// A tensor that a plan reads: name, shape and role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTensor {
    /// Name in the parameter set.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Trainable or buffer.
    pub role: Role,
}

/// Shape of the result of `op` for one sample, from the shapes of its operands; otherwise what was
/// found and what was wanted.
pub(crate) fn result_shape(op: &Op, inputs: &[&[usize]], input: &[usize]) -> Result<Vec<usize>, String> {
    let want = match op {
        Op::Input | Op::Condition => 0,
        Op::Add => 2,
        Op::Concat => inputs.len().max(1),
        _ => 1,
    };
    if inputs.len() != want {
        return Err(format!("found {} operands, wanted {want}", inputs.len()));
    }
    let first = inputs.first().copied().unwrap_or(input);
    match op {
        Op::Input => Ok(input.to_vec()),
        Op::Conv { kernel, stride, padding, .. } => {
            let [_, h, w] = image(first)?;
            if *kernel == 0 || *stride == 0 || *padding >= *kernel {
                return Err(format!(
                    "found kernel {kernel}, stride {stride}, padding {padding}; wanted kernel and stride ≥ 1 \
                     and padding below the kernel"
                ));
            }
            if h + 2 * padding < *kernel || w + 2 * padding < *kernel {
                return Err(format!(
                    "found a map of {h}×{w}, too small for kernel {kernel} with padding {padding}; use fewer \
                     strided layers or a larger image"
                ));
            }
            let side = |n: usize| (n + 2 * padding - kernel) / stride + 1;
            Ok(vec![0, side(h), side(w)])
        }
        Op::Places { points } => {
            let (last, rest) = match first {
                [rest @ .., last] => (*last, rest.iter().product()),
                [] => return Err("found a sample without axes, wanted one or more".into()),
            };
            Ok(if *points { vec![last, 1, rest] } else { vec![rest, 1, last] })
        }
        Op::Series { kernel, stride, padding, .. } => {
            let [_, h, w] = image(first)?;
            if *kernel == 0 || *stride == 0 || h != 1 || w + 2 * padding < *kernel {
                return Err(format!(
                    "found kernel {kernel}, stride {stride}, padding {padding} and a map of {h}×{w}; wanted a map of one \
                     row, at least as long with its padding as the kernel, and kernel and stride ≥ 1"
                ));
            }
            Ok(vec![0, 1, (w + 2 * padding - kernel) / stride + 1])
        }
        Op::Linear { .. } | Op::Fourier { .. } => {
            vector(first)?;
            Ok(vec![0])
        }
        Op::Pool(rule) => {
            let [c, h, w] = image(first)?;
            let least = match rule {
                Pool::Average3 => 1,
                Pool::Blur => 2,
                Pool::Average { size } => (*size).max(1),
            };
            if h < least || w < least || matches!(rule, Pool::Average { size: 0 }) {
                return Err(format!("found a map of {h}×{w}, {rule:?} needs at least {least}×{least}"));
            }
            Ok(vec![c, rule.length(h), rule.length(w)])
        }
        Op::Norm { groups, .. } => {
            let [c, h, w] = image(first)?;
            if *groups == 0 || c % groups != 0 {
                return Err(format!("found {c} channels, which {groups} groups do not divide"));
            }
            if c / groups * h * w < 2 {
                return Err(format!(
                    "found {c}×{h}×{w} in {groups} groups: one value a group has no deviation; use fewer \
                     down-sampling layers or a larger image"
                ));
            }
            Ok(first.to_vec())
        }
        Op::LabelAffine { .. } => image(first).map(|_| first.to_vec()),
        Op::Attention { .. } => {
            image(first)?;
            Ok(first.to_vec())
        }
        Op::Activate(_) | Op::Scale(_) => Ok(first.to_vec()),
        Op::Add => {
            if inputs[0] == inputs[1] {
                Ok(first.to_vec())
            } else {
                Err(format!("found shapes {:?} and {:?}, wanted equal ones", inputs[0], inputs[1]))
            }
        }
        Op::SpatialMean | Op::SpatialSum => image(first).map(|[c, _, _]| vec![c]),
        Op::Flatten => Ok(vec![first.iter().product()]),
        Op::Concat => {
            let mut sum = 0;
            for i in inputs {
                sum += vector(i)?;
            }
            Ok(vec![sum])
        }
        Op::Condition => Ok(vec![0]),
        Op::SumAll => vector(first).map(|_| vec![1]),
        other => Err(format!("operation {other:?} is not known to the graph interpreter")),
    }
}

fn image(shape: &[usize]) -> Result<[usize; 3], String> {
    match *shape {
        [c, h, w] => Ok([c, h, w]),
        _ => Err(format!("found a value of shape {shape:?}, wanted an image [C, H, W]")),
    }
}

fn vector(shape: &[usize]) -> Result<usize, String> {
    match *shape {
        [d] => Ok(d),
        _ => Err(format!("found a value of shape {shape:?}, wanted a vector [D]; flatten it first")),
    }
}

/// Tensors that `node` reads.
pub(crate) fn tensors_of(plan: &NetPlan, node: &Node) -> Vec<PlanTensor> {
    let of = |i: usize| -> &[usize] {
        node.inputs.get(i).and_then(|&i| plan.nodes.get(i)).map_or(&[], |n| n.shape.as_slice())
    };
    let channels = |s: &[usize]| s.first().copied().unwrap_or(0);
    let mut all = Vec::new();
    let mut add = |name: &str, shape: Vec<usize>, role| {
        all.push(PlanTensor { name: name.to_string(), shape, role });
    };
    let (inn, out) = (channels(of(0)), channels(&node.shape));
    match &node.op {
        Op::Conv { weight, bias, kernel, rule, .. } => {
            add(weight, vec![out, inn, *kernel, *kernel], Role::Trainable);
            if let WeightRule::Spectral { u, v } = rule {
                add(u, vec![out], Role::Buffer);
                add(v, vec![inn * kernel * kernel], Role::Buffer);
            }
            if let Some(bias) = bias {
                add(bias, vec![out], Role::Trainable);
            }
        }
        Op::Series { weight, bias, kernel, .. } => {
            add(weight, vec![out, inn, *kernel], Role::Trainable);
            if let Some(bias) = bias {
                add(bias, vec![out], Role::Trainable);
            }
        }
        Op::Linear { weight, bias } => {
            add(weight, vec![out, inn], Role::Trainable);
            if let Some(bias) = bias {
                add(bias, vec![out], Role::Trainable);
            }
        }
        Op::Fourier { frequencies } => add(frequencies, vec![out / 2, inn], Role::Buffer),
        Op::Norm { weight, bias, .. } => {
            for name in [weight, bias].into_iter().flatten() {
                add(name, vec![out], Role::Trainable);
            }
        }
        Op::LabelAffine { weight, bias } => {
            add(weight, vec![2 * out, plan.condition], Role::Trainable);
            add(bias, vec![2 * out], Role::Trainable);
        }
        Op::Attention { prefix } => {
            let q = attention_channels(out);
            for (part, width) in [("query_conv", q), ("key_conv", q), ("value_conv", out)] {
                add(&format!("{prefix}.{part}.weight"), vec![width, out, 1, 1], Role::Trainable);
                add(&format!("{prefix}.{part}.bias"), vec![width], Role::Trainable);
            }
            add(&format!("{prefix}.gamma"), vec![1], Role::Trainable);
        }
        _ => {}
    }
    all
}

/// Channels of queries and keys for `c` channels of a map: an eighth.
pub(crate) fn attention_channels(c: usize) -> usize {
    c / 8
}

/// Multiply-adds of `node` for one sample: convolutions, linear layers and attention's products.
pub(crate) fn multiply_adds(plan: &NetPlan, node: &Node) -> u64 {
    let inner = node.inputs.first().and_then(|&i| plan.nodes.get(i)).map_or(&[][..], |n| &n.shape);
    let (size, out) = (|s: &[usize]| s.iter().product::<usize>() as u64, &node.shape);
    match &node.op {
        Op::Conv { kernel, .. } => size(out) * (inner.first().unwrap_or(&0) * kernel * kernel) as u64,
        Op::Series { kernel, .. } => size(out) * (inner.first().unwrap_or(&0) * kernel) as u64,
        Op::Linear { .. } => size(out) * size(inner),
        Op::Fourier { .. } => size(out) / 2 * size(inner),
        Op::Attention { .. } => {
            let c = out.first().copied().unwrap_or(0) as u64;
            let (q, p) = (attention_channels(c as usize) as u64, size(out) / c.max(1));
            p * c * (2 * q + c) + p * p * (q + c)
        }
        _ => 0,
    }
}
