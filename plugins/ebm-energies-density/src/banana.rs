//! `banana`: a Gaussian bent along a parabola.

use std::f64::consts::TAU;
use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Diff, EnergyConfig, EnergyFn, Forward, Result, Settings, View, plugin};

use crate::closed::at_least_two;
use crate::{Closed, Drawer, KnownDensity};

/// Haario's banana (1999): `x_0 ~ N(0, s²)`, `x_1 = N(0, 1) + b(x_0² − s²)`, further values standard normal;
/// `E(x) = x_0²/(2s²) + ½(x_1 − b(x_0² − s²))² + ½ Σ_{i≥2} x_i² = −log p − log s − (D/2) log 2π`.
///
/// Means are 0, variances `s²`, `1 + 2b²s⁴` (19 by default), 1. The usual target has 2 values.
#[derive(Clone, Debug, Settings)]
pub struct Banana {
    /// Standard deviation of the first value.
    #[setting(default = 10.0, above = 0.0)]
    pub sd: f64,
    /// Curvature of the parabola.
    #[setting(default = 0.03)]
    pub bend: f64,
}

#[plugin(
    "banana",
    summary = "a Gaussian bent along a parabola",
    source = "Haario, Saksman and Tamminen 1999",
    example = "sd = 10.0\nbend = 0.03"
)]
impl EnergyConfig for Banana {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        at_least_two(cx)?;
        let net = Bent { sd: self.sd, bend: self.bend, values: cx.sample_len() };
        Closed::build(cx, net, "banana")
    }
}

struct Bent {
    sd: f64,
    bend: f64,
    values: usize,
}

impl Forward for Bent {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let (b, s2) = (self.bend, self.sd * self.sd);
        let x = x.flatten()?;
        let first = x.linear(|t| t.narrow(1, 0, 1))?;
        let parabola = first.pointwise(|t| t.sqr()?.affine(b, -b * s2), |t| t.affine(2.0 * b, 0.0))?;
        let off = x.linear(|t| t.narrow(1, 1, 1))?.minus(&parabola)?;
        let mut e = first.square()?.scale(0.5 / s2)?.plus(&off.square()?.scale(0.5)?)?;
        if self.values > 2 {
            let rest = x.linear(|t| t.narrow(1, 2, self.values - 2))?;
            e = e.plus(&rest.square()?.sum_last()?.scale(0.5)?)?;
        }
        Ok(e)
    }

    // ANCHOR: python
    fn python(&self) -> Option<String> {
        let (b, s2) = (self.bend, self.sd * self.sd);
        Some(format!(
            "x = x.flatten(1)\n\
             off = x[:, 1] - {b:?} * (x[:, 0].square() - {s2:?})\n\
             return 0.5 * (x[:, 0].square() / {s2:?} + off.square() + x[:, 2:].square().sum(1))"
        ))
    }
    // ANCHOR_END: python
}

impl KnownDensity for Bent {
    fn log_z(&self, _: &View) -> Result<f64> {
        Ok(self.sd.ln() + 0.5 * self.values as f64 * TAU.ln())
    }

    fn drawer(&self, _: &View) -> Result<Drawer<'_>> {
        Ok(Box::new(|s, out| {
            out.iter_mut().for_each(|o| *o = s.normal());
            if let [first, second, ..] = out {
                *first *= self.sd;
                *second += self.bend * (*first * *first - self.sd * self.sd);
            }
        }))
    }

    fn mean(&self, _: &View) -> Option<Vec<f64>> {
        Some(vec![0.0; self.values])
    }

    fn variance(&self, _: &View) -> Option<Vec<f64>> {
        let mut all = vec![1.0; self.values];
        all[0] = self.sd * self.sd;
        all[1] += 2.0 * self.bend * self.bend * self.sd.powi(4);
        Some(all)
    }

    fn row(&self, x: &[f64], grad: &mut [f64]) -> Option<f64> {
        let ([a, b, rest @ ..], [da, db, others @ ..]) = (x, grad) else { return None };
        let s2 = self.sd * self.sd;
        let off = b - self.bend * (a * a - s2);
        (*da, *db) = (a / s2 - 2.0 * self.bend * a * off, off);
        others.copy_from_slice(rest);
        Some(0.5 * a * a / s2 + 0.5 * off * off + 0.5 * rest.iter().map(|v| v * v).sum::<f64>())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::check_tests::{build, log_density, refusal};

    #[test]
    fn the_density_is_the_product_by_hand() {
        let e = build(&Banana::default(), &[3]);
        // At x_0 = 20 the parabola is at 0.03·300 = 9.
        let want = -2.0 - 0.5 * 4.0 - 0.5 * 0.25 - 10f64.ln() - 1.5 * TAU.ln();
        // Rounding of a dozen operations on numbers below 10.
        assert!((log_density(&e, &[20.0, 11.0, -0.5]) - want).abs() < 1e-13);
    }

    #[test]
    fn the_default_has_its_known_variance() {
        let v = build(&Banana::default(), &[2]).density().unwrap().variance().unwrap();
        assert!((v[0] - 100.0).abs() < 1e-12 && (v[1] - 19.0).abs() < 1e-12, "{v:?}");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert!(refusal(&Banana { sd: 0.0, ..Banana::default() }, &[2]).contains("energy.sd"));
        assert!(refusal(&Banana { bend: f64::NAN, ..Banana::default() }, &[2]).contains("energy.bend"));
        assert!(refusal(&Banana::default(), &[1]).contains("two values"));
    }
}
