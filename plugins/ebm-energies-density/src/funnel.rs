//! `funnel`: a density whose width changes by orders of magnitude.

use std::f64::consts::TAU;
use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Diff, EnergyConfig, EnergyFn, Forward, Result, Settings, View, plugin};

use crate::closed::at_least_two;
use crate::{Closed, Drawer, KnownDensity};

/// Neal's funnel (2003, section 8): `v = x_0 ~ N(0, s²)`, the other `D − 1` values `~ N(0, exp v)`;
/// `E(x) = v²/(2s²) + ½ exp(−v) Σ x_i² + ½(D − 1)v = −log p − log s − (D/2) log 2π`.
///
/// The usual target has 10 values. The variance of `x_i` is `exp(s²/2)`, 90 by default, but rare draws
/// carry most of it: judge samplers by `v`.
#[derive(Clone, Debug, Settings)]
pub struct Funnel {
    /// Standard deviation of the first value.
    #[setting(default = 3.0, above = 0.0)]
    pub sd: f64,
}

#[plugin(
    "funnel",
    summary = "Neal's funnel: the first value sets the log-variance of all others",
    source = "Neal 2003, section 8",
    example = "sd = 3.0"
)]
impl EnergyConfig for Funnel {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        at_least_two(cx)?;
        let net = Neck { sd: self.sd, rest: cx.sample_len() - 1 };
        Closed::build(cx, net, "funnel")
    }
}

struct Neck {
    sd: f64,
    rest: usize,
}

impl Forward for Neck {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?;
        let v = x.linear(|t| t.narrow(1, 0, 1))?;
        let square = x.linear(|t| t.narrow(1, 1, self.rest))?.square()?.sum_last()?;
        let neck = v.square()?.scale(0.5 / (self.sd * self.sd))?;
        let width = square.mul(&v.scale(-1.0)?.exp()?)?.scale(0.5)?;
        neck.plus(&width)?.plus(&v.scale(0.5 * self.rest as f64)?)
    }

    fn python(&self) -> Option<String> {
        let (variance, rest) = (self.sd * self.sd, self.rest);
        Some(format!(
            "x = x.flatten(1)\n\
             v, square = x[:, 0], x[:, 1:].square().sum(1)\n\
             return 0.5 * (v.square() / {variance:?} + square * (-v).exp() + {rest} * v)"
        ))
    }
}

impl KnownDensity for Neck {
    fn log_z(&self, _: &View) -> Result<f64> {
        Ok(self.sd.ln() + 0.5 * (self.rest + 1) as f64 * TAU.ln())
    }

    fn drawer(&self, _: &View) -> Result<Drawer<'_>> {
        Ok(Box::new(|s, out| {
            if let [v, rest @ ..] = out {
                *v = self.sd * s.normal();
                let width = (0.5 * *v).exp();
                rest.iter_mut().for_each(|o| *o = width * s.normal());
            }
        }))
    }

    fn mean(&self, _: &View) -> Option<Vec<f64>> {
        Some(vec![0.0; self.rest + 1])
    }

    fn variance(&self, _: &View) -> Option<Vec<f64>> {
        let mut all = vec![(0.5 * self.sd * self.sd).exp(); self.rest + 1];
        all[0] = self.sd * self.sd;
        Some(all)
    }

    fn row(&self, x: &[f64], grad: &mut [f64]) -> Option<f64> {
        let ([v, rest @ ..], [dv, others @ ..]) = (x, grad) else { return None };
        let (s2, inverse, half) = (self.sd * self.sd, (-v).exp(), 0.5 * self.rest as f64);
        let square = rest.iter().map(|x| x * x).sum::<f64>();
        *dv = v / s2 - 0.5 * square * inverse + half;
        others.iter_mut().zip(rest).for_each(|(g, x)| *g = x * inverse);
        Some(0.5 * v * v / s2 + 0.5 * square * inverse + half * v)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::check_tests::{build, log_density, refusal};

    #[test]
    fn the_density_is_the_product_by_hand() {
        let e = build(&Funnel::default(), &[3]);
        let normal = |z: f64, variance: f64| -0.5 * z * z / variance - 0.5 * (TAU * variance).ln();
        for [v, a, b] in [[0.0, 1.0, -2.0], [2.0, 3.0, 0.5], [-4.0, 0.1, 0.0f64]] {
            let want = normal(v, 9.0) + normal(a, v.exp()) + normal(b, v.exp());
            // Rounding of a dozen operations on numbers below 10.
            assert!((log_density(&e, &[v, a, b]) - want).abs() < 1e-13);
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert!(refusal(&Funnel { sd: f64::INFINITY }, &[3]).contains("energy.sd"));
        assert!(refusal(&Funnel::default(), &[1]).contains("two values"));
    }
}
