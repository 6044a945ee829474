//! What each operation of a description does to tensors.

use std::collections::BTreeMap;

use candle_core::{D, DType, Tensor};

use crate::description::{Join, Op, Padding};
use crate::error::{FeatureError, Result};
use crate::patches::Patches;

/// Weights by name, f32.
pub(crate) type Weights = BTreeMap<String, Tensor>;

/// Runs operations and keeps the values at the taps that are wanted.
pub(crate) struct Runner<'a> {
    /// Name of the network, for messages.
    pub network: &'a str,
    pub weights: &'a Weights,
    /// Convolutions as products of patches, which have a fast derivative on the processor.
    pub patches: bool,
    pub wanted: &'a [&'a str],
    pub taps: BTreeMap<String, Tensor>,
}

impl Runner<'_> {
    /// All of `ops` in order; `place` names the list in messages.
    pub fn run(&mut self, ops: &[Op], x: Tensor, place: &str) -> Result<Tensor> {
        let mut x = x;
        for (i, op) in ops.iter().enumerate() {
            let from = x.dims().to_vec();
            x = self.step(op, x, place, i).map_err(|e| {
                e.at(|| format!("network {}: {place}[{i}] {}, of a value {from:?}", self.network, word(op)))
            })?;
        }
        Ok(x)
    }

    fn step(&mut self, op: &Op, x: Tensor, place: &str, i: usize) -> Result<Tensor> {
        Ok(match op {
            Op::Conv { at, bias, stride, padding, groups } => {
                let weight = self.weight(at, "weight")?;
                let y = self.conv(&x, weight, *stride, *padding, *groups)?;
                match bias {
                    true => {
                        let b = self.weight(at, "bias")?;
                        y.broadcast_add(&b.reshape((1, b.elem_count(), 1, 1))?)?
                    }
                    false => y,
                }
            }
            Op::BatchNorm { at, eps } => {
                let column = |name: &str| -> Result<Tensor> {
                    let v = self.weight(at, name)?;
                    let mut shape = vec![1; x.rank()];
                    if shape.len() > 1 {
                        shape[1] = v.elem_count();
                    }
                    Ok(v.reshape(shape)?)
                };
                let gain = (column("weight")? / (column("running_var")? + *eps)?.sqrt()?)?;
                let shift = (column("bias")? - (column("running_mean")? * &gain)?)?;
                x.broadcast_mul(&gain)?.broadcast_add(&shift)?
            }
            Op::Linear { at, bias } => {
                let y = x.matmul(&self.weight(at, "weight")?.t()?)?;
                if *bias { y.broadcast_add(self.weight(at, "bias")?)? } else { y }
            }
            Op::Relu {} => x.relu()?,
            Op::Relu6 {} => x.clamp(0f32, 6f32)?,
            Op::Swish {} => x.silu()?,
            Op::MaxPool { size, stride, padding } => {
                let stride = stride.unwrap_or(*size);
                let x = padded(&x, *padding, (*size, *size), stride, f32::NEG_INFINITY)?;
                fits(&x, (*size, *size))?;
                x.max_pool2d_with_stride(*size, stride)?
            }
            Op::AvgPool { size, stride, padding, count_include_pad } => {
                let (stride, window) = (stride.unwrap_or(*size), (*size, *size));
                let sum = padded(&x, *padding, window, stride, 0.0)?;
                fits(&sum, window)?;
                let mean = sum.avg_pool2d_with_stride(*size, stride)?;
                if *count_include_pad || sum.dims() == x.dims() {
                    mean
                } else {
                    let (_, _, h, w) = x.dims4()?;
                    let ones = Tensor::ones((1, 1, h, w), DType::F32, x.device())?;
                    let inside = padded(&ones, *padding, window, stride, 0.0)?;
                    mean.broadcast_div(&inside.avg_pool2d_with_stride(*size, stride)?)?
                }
            }
            Op::GlobalPool {} => {
                x.dims4()?;
                x.flatten_from(2)?.mean(D::Minus1)?
            }
            Op::Flatten {} => x.flatten_from(1)?,
            Op::Tap { name } => {
                if self.wanted.contains(&name.as_str()) {
                    self.taps.insert(name.clone(), x.clone());
                }
                x
            }
            Op::Branches { join, of } => {
                let mut ends = Vec::with_capacity(of.len());
                for (b, ops) in of.iter().enumerate() {
                    ends.push(self.run(ops, x.clone(), &format!("{place}[{i}].of[{b}]"))?);
                }
                match join {
                    Join::Channels => Tensor::cat(&ends, 1)?,
                    Join::Sum => {
                        let mut ends = ends.into_iter();
                        let first = ends.next().unwrap_or(x);
                        ends.try_fold(first, |sum, end| sum + end)?
                    }
                }
            }
        })
    }

    fn weight(&self, at: &str, name: &str) -> Result<&Tensor> {
        let key = format!("{at}.{name}");
        self.weights.get(&key).ok_or_else(|| {
            let near: Vec<&str> =
                self.weights.keys().filter(|k| k.starts_with(at)).take(4).map(String::as_str).collect();
            let there = match near.is_empty() {
                true => self.weights.keys().take(4).cloned().collect::<Vec<_>>().join(", "),
                false => near.join(", "),
            };
            let message = format!("is not there; found {} tensors, such as {there}", self.weights.len());
            FeatureError::Weight { network: self.network.into(), key, message }
        })
    }

    fn conv(
        &self,
        x: &Tensor,
        weight: &Tensor,
        stride: usize,
        padding: Padding,
        groups: usize,
    ) -> Result<Tensor> {
        let (_, _, kh, kw) = weight.dims4()?;
        if self.patches
            && groups == 1
            && kh == kw
            && let Padding::Fixed(p, q) = padding
            && p == q
        {
            return by_patches(x, weight, Patches { size: kh, stride, padding: p });
        }
        let x = padded(x, padding, (kh, kw), stride, 0.0)?;
        fits(&x, (kh, kw))?;
        Ok(x.conv2d(weight, 0, stride, 1, groups)?)
    }
}

fn by_patches(x: &Tensor, weight: &Tensor, patches: Patches) -> Result<Tensor> {
    let (b, _, h, w) = x.dims4()?;
    let (out, per, k, _) = weight.dims4()?;
    let (rows, columns) = (patches.places(h), patches.places(w));
    let flat = x.contiguous()?.apply_op1(patches)?.matmul(&weight.reshape((out, per * k * k))?.t()?)?;
    Ok(flat.reshape((b, rows * columns, out))?.transpose(1, 2)?.reshape((b, out, rows, columns))?)
}

/// Images with `value` around them.
fn padded(x: &Tensor, padding: Padding, window: (usize, usize), stride: usize, value: f32) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let mut x = x.clone();
    for (axis, len, window) in [(0, h, window.0), (1, w, window.1)] {
        let (before, after) = padding.along(axis, len, window, stride);
        for (n, first) in [(before, true), (after, false)] {
            if n > 0 {
                let mut dims = x.dims().to_vec();
                dims[2 + axis] = n;
                let border = Tensor::full(value, dims, x.device())?;
                x = match first {
                    true => Tensor::cat(&[&border, &x], 2 + axis)?,
                    false => Tensor::cat(&[&x, &border], 2 + axis)?,
                };
            }
        }
    }
    Ok(x)
}

/// candle would take a negative number of places for a great one.
fn fits(x: &Tensor, window: (usize, usize)) -> Result<()> {
    let (_, _, h, w) = x.dims4()?;
    match h >= window.0 && w >= window.1 {
        true => Ok(()),
        false => Err(candle_core::Error::Msg(format!(
            "a window of {} x {} is larger than {h} x {w} pixels",
            window.0, window.1
        ))
        .into()),
    }
}

/// An operation in a word.
fn word(op: &Op) -> String {
    match op {
        Op::Conv { at, .. } => format!("conv `{at}`"),
        Op::BatchNorm { at, .. } => format!("batch-norm `{at}`"),
        Op::Linear { at, .. } => format!("linear `{at}`"),
        Op::Relu {} => "relu".into(),
        Op::Relu6 {} => "relu6".into(),
        Op::Swish {} => "swish".into(),
        Op::MaxPool { .. } => "max-pool".into(),
        Op::AvgPool { .. } => "avg-pool".into(),
        Op::GlobalPool {} => "global-pool".into(),
        Op::Flatten {} => "flatten".into(),
        Op::Tap { name } => format!("tap `{name}`"),
        Op::Branches { .. } => "branches".into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::Device;

    use super::*;

    fn run(op: &str, x: &Tensor, weights: Weights) -> Result<Tensor> {
        #[derive(serde::Deserialize)]
        struct Wrapped {
            op: Op,
        }
        let op = toml::from_str::<Wrapped>(&format!("op = {op}")).unwrap().op;
        let mut r =
            Runner { network: "t", weights: &weights, patches: false, wanted: &[], taps: BTreeMap::new() };
        r.run(&[op], x.clone(), "ops")
    }

    fn values(t: Result<Tensor>) -> Vec<f32> {
        t.unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn image() -> Tensor {
        // -4 .. 4: a border of zeros would beat the negative ones.
        Tensor::arange(-4f32, 5.0, &Device::Cpu).unwrap().reshape((1, 1, 3, 3)).unwrap()
    }

    #[test]
    fn pools_know_their_borders() {
        let x = image();
        let none = Weights::new;
        assert_eq!(
            values(run("{ op = 'max-pool', size = 3, stride = 2, padding = 1 }", &x, none())),
            [0.0, 1.0, 3.0, 4.0]
        );
        let minus = (x.clone() - 10.0).unwrap();
        assert_eq!(
            values(run("{ op = 'max-pool', size = 3, stride = 2, padding = 1 }", &minus, none())),
            [-10.0, -9.0, -7.0, -6.0]
        );
        // The corner holds -4, -3, -1, 0.
        let corner = |op: &str| values(run(op, &x, none()))[0];
        let f = "{ op = 'avg-pool', size = 3, stride = 1, padding = 1";
        assert!((corner(&format!("{f} }}")) + 8.0 / 9.0).abs() < 1e-6);
        assert!((corner(&format!("{f}, count_include_pad = false }}")) + 2.0).abs() < 1e-6);
        assert_eq!(values(run("{ op = 'global-pool' }", &x, none())), [0.0]);
    }

    #[test]
    fn simple_operations_are_their_formulas() {
        let x = image();
        assert_eq!(values(run("{ op = 'relu6' }", &(&x * 2.0).unwrap(), Weights::new()))[8], 6.0);
        let swish = values(run("{ op = 'swish' }", &x, Weights::new()))[5];
        assert!((swish - 1.0 / (1.0 + (-1f32).exp())).abs() < 1e-6);
        let weights: Weights = [("weight", 2f32), ("bias", 1.0), ("running_mean", 3.0), ("running_var", 3.0)]
            .map(|(n, v)| (format!("b.{n}"), Tensor::new(&[v], &Device::Cpu).unwrap()))
            .into();
        // (4 - 3) / 2 * 2 + 1
        assert!(
            (values(run("{ op = 'batch-norm', at = 'b', eps = 1.0 }", &x, weights))[8] - 2.0).abs() < 1e-6
        );
        let both = "{ op = 'branches', join = 'sum', of = [[], [{ op = 'relu' }]] }";
        assert_eq!(values(run(both, &x, Weights::new()))[..2], [-4.0, -3.0]);
        assert_eq!(values(run(both, &x, Weights::new()))[8], 8.0);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let x = image();
        let text = run("{ op = 'conv', at = 'a' }", &x, Weights::new()).unwrap_err().to_string();
        assert!(text.contains("weight `a.weight`: is not there"), "{text}");
        let text = run("{ op = 'max-pool', size = 4 }", &x, Weights::new()).unwrap_err().to_string();
        assert!(text.contains("ops[0] max-pool") && text.contains("4 x 4 is larger than 3 x 3"), "{text}");
        let weights: Weights =
            [("a.weight".into(), Tensor::ones((1, 2, 3, 3), DType::F32, &Device::Cpu).unwrap())].into();
        let text = run("{ op = 'conv', at = 'a', bias = false }", &x, weights).unwrap_err().to_string();
        assert!(text.contains("ops[0] conv `a`, of a value [1, 1, 3, 3]"), "{text}");
    }
}
