//! What is left of 1 in the tails of the logistic function and of the hyperbolic tangent, and logarithms beside 1.
//!
//! `1 − y` of a `y` near 1 is what rounding left of it. Here it is computed from the argument, without a difference. In f64 twelve
//! digits are left of it up to the ends below, and up to there the differences stay, so that runs in f64 go on to the same bytes.

use candle_core::cpu_backend::unary_map;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

use super::sigmoid::sigmoid;
use crate::tie::{Back, tie1};

/// Argument of the logistic function up to which f64 takes `1 − y`.
const SIGMOID: f64 = 8.0;
/// Size of the argument of the tangent up to which f64 takes `1 − y²`.
const TANH: f64 = 4.0;
/// Number from which on f64 takes `ln(1 + e)`.
const BESIDE: f64 = 1.0 / 1024.0;

/// A function of entries in f32 and f64 on the processor, without a gradient.
struct Entries {
    name: &'static str,
    single: fn(f32) -> f32,
    double: fn(f64) -> f64,
}

impl Entries {
    /// The function of `x`; `None` elsewhere.
    fn of(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let here = x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64);
        here.then(|| x.apply_op1_no_bwd(self)).transpose()
    }
}

impl CustomOp1 for Entries {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = match x {
            CpuStorage::F32(x) => CpuStorage::F32(unary_map(x, layout, self.single)),
            CpuStorage::F64(x) => CpuStorage::F64(unary_map(x, layout, self.double)),
            _ => candle_core::bail!("{}: only of f32 and f64", self.name),
        };
        Ok((y, layout.shape().clone()))
    }
}

/// `1 − y` for `y = sigmoid(x)`, without a gradient.
pub(super) fn rest_value(x: &Tensor) -> Result<Tensor> {
    const REST: Entries = Entries {
        name: "rest",
        single: |x| (x.exp() + 1.0).recip(),
        double: |x| if x < SIGMOID { 1.0 - ((-x).exp() + 1.0).recip() } else { (x.exp() + 1.0).recip() },
    };
    match REST.of(x)? {
        Some(rest) => Ok(rest),
        None => (x.exp()? + 1.0)?.recip(),
    }
}

/// `1 − y` for `y = sigmoid(x)`; gradients go through `y`.
pub(super) fn rest(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    tie1("rest", y, rest_value(&x.detach())?, || Box::new(|g: &Tensor| g.neg()) as Back)
}

/// The derivative `y(1 − y)` of `y = sigmoid(x)`. Its own, `y(1 − y)(1 − 2y)`, has `1 − 2y = −tanh(x/2)`, which keeps its digits near 0.
pub(super) fn sigmoid_slope(x: &Tensor) -> Result<Tensor> {
    let plain = x.detach();
    let value = (sigmoid(&plain)? * rest_value(&plain)?)?;
    let slope = value.copy()?;
    let back = move |g: &Tensor| (g * &slope)? * plain.affine(0.5, 0.0)?.tanh()?.neg()?;
    tie1("sigmoid_slope", x, value, || Box::new(back) as Back)
}

/// `1 − tanh²(x)`, without a gradient.
fn bell_value(x: &Tensor) -> Result<Tensor> {
    const BELL: Entries = Entries {
        name: "bell",
        single: |x| {
            let e = (-2.0 * x.abs()).exp();
            4.0 * e / ((1.0 + e) * (1.0 + e))
        },
        double: |x| {
            if x.abs() < TANH {
                1.0 - x.tanh() * x.tanh()
            } else {
                let e = (-2.0 * x.abs()).exp();
                4.0 * e / ((1.0 + e) * (1.0 + e))
            }
        },
    };
    if let Some(bell) = BELL.of(x)? {
        return Ok(bell);
    }
    let e = x.abs()?.affine(-2.0, 0.0)?.exp()?;
    e.affine(4.0, 0.0)? / e.affine(1.0, 1.0)?.sqr()?
}

/// The hyperbolic tangent.
pub(super) fn tanh(x: &Tensor) -> Result<Tensor> {
    let plain = x.detach();
    tie1("tanh", x, plain.tanh()?, || Box::new(move |g: &Tensor| g * bell_value(&plain)?) as Back)
}

/// `1 − y²` for `y = tanh(x)`; gradients go through `y`.
pub(super) fn bell(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let plain = y.detach();
    tie1("bell", y, bell_value(&x.detach())?, || {
        Box::new(move |g: &Tensor| (&plain * g)?.affine(-2.0, 0.0)) as Back
    })
}

/// `ln(1 + e)` of `e` in `[0, 1]`.
pub(super) fn log_beside_one(e: &Tensor) -> Result<Tensor> {
    const LOG: Entries = Entries {
        name: "log_beside_one",
        single: f32::ln_1p,
        double: |e| if e > BESIDE { (e + 1.0).ln() } else { e.ln_1p() },
    };
    let plain = e.detach();
    let y = match LOG.of(&plain)? {
        Some(y) => y,
        None => series(&plain)?,
    };
    tie1("log_beside_one", e, y, || Box::new(move |g: &Tensor| g / plain.affine(1.0, 1.0)?) as Back)
}

/// `2·artanh(e/(2 + e))` as an odd series, for devices without the function: relative error 1e-7 on `[0, 1]`.
fn series(e: &Tensor) -> Result<Tensor> {
    let s = (e / e.affine(1.0, 2.0)?)?;
    let q = s.sqr()?;
    let mut p = q.affine(2.0 / 15.0, 2.0 / 13.0)?;
    for odd in [11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        p = (p * &q)?.affine(1.0, 2.0 / odd)?;
    }
    p * s
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{Device, Var};

    use super::*;
    use crate::{Diff, Dual};

    type Function = fn(&Dual) -> crate::Result<Dual>;

    /// Value, slope and bend of a function at `z`, from a dual number and its reverse.
    fn orders(f: impl Fn(&Dual) -> crate::Result<Dual>, z: f64, dtype: DType) -> [f64; 3] {
        let z = Var::from_tensor(&Tensor::new(&[z], &Device::Cpu).unwrap().to_dtype(dtype).unwrap()).unwrap();
        let y = f(&Dual::new(z.as_tensor().clone(), z.ones_like().unwrap())).unwrap();
        let bend = y.tangent().sum_all().unwrap().backward().unwrap().remove(&z).unwrap();
        [y.value(), y.tangent(), &bend].map(|t| t.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()[0])
    }

    /// In the tails nothing but products and quotients is left, so that a few roundings bound each order.
    #[test]
    fn the_tails_keep_their_digits_in_every_order() {
        for z in [-30.0f64, -15.0, -9.0, -5.5, -1e-3, 1e-3, 5.5, 9.0, 15.0, 30.0] {
            let e = (-z.abs()).exp();
            let (large, small) = (1.0 / (1.0 + e), e / (1.0 + e));
            let (s, q) = if z > 0.0 { (large, small) } else { (small, large) };
            let t = (-2.0 * z.abs()).exp();
            let bell = 4.0 * t / (1.0 + t).powi(2);
            let th = z.signum() * (1.0 - t) / (1.0 + t);
            let all: [(&str, [f64; 3], Function); 4] = [
                ("sigmoid", [s, s * q, s * q * (q - s)], |x| x.sigmoid()),
                ("swish", [z * s, s * (1.0 + z * q), s * q * (2.0 + z * (q - s))], |x| x.swish()),
                ("softplus", [z.max(0.0) + e.ln_1p(), s, s * q], |x| x.softplus()),
                ("tanh", [th, bell, -2.0 * th * bell], |x| x.tanh()),
            ];
            for (name, want, f) in all {
                for (dtype, bound) in [(DType::F32, 3e-6), (DType::F64, 1e-11)] {
                    for (order, (got, want)) in orders(f, z, dtype).into_iter().zip(want).enumerate() {
                        let off = (got / want - 1.0).abs();
                        assert!(off < bound, "{name} of order {order} at {z} in {dtype:?}: {got}, {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn nan_stays_nan_in_every_order() {
        for f in [|x: &Dual| x.sigmoid(), |x: &Dual| x.swish(), |x: &Dual| x.softplus(), |x: &Dual| x.tanh()]
        {
            assert!(orders(f, f64::NAN, DType::F32).iter().all(|v| v.is_nan()));
        }
    }

    #[test]
    fn the_series_of_devices_is_the_function() {
        let e: Vec<f32> = (0..=200).map(|i| (-0.1 * i as f32).exp()).collect();
        let t = Tensor::from_slice(&e, e.len(), &Device::Cpu).unwrap();
        for (y, e) in series(&t).unwrap().to_vec1::<f32>().unwrap().into_iter().zip(e) {
            assert!((f64::from(y) / f64::from(e).ln_1p() - 1.0).abs() < 5e-7, "{e}: {y}");
        }
    }
}
