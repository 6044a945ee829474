//! `double-well`: two wells in every coordinate.

use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Diff, EnergyConfig, EnergyFn, Forward, Result, Settings, View, plugin};

use crate::{Closed, Drawer, KnownDensity, Stream};

/// `E(x) = b Σ_i ((x_i/a)² − 1)²`: minima at ±a in each of `D` coordinates, `2^D` modes, barriers of `b` nats.
/// `E = −log p − D log Z₁`, `Z₁` the integral of one coordinate, by quadrature to rounding.
#[derive(Clone, Debug, Settings)]
pub struct DoubleWell {
    /// Barrier of one coordinate, nats.
    #[setting(default = 4.0, at_least = 0.001, at_most = 10_000, unit = "nats")]
    pub barrier: f64,
    /// Place `a` of the minima.
    #[setting(default = 1.0, above = 0.0)]
    pub minimum: f64,
}

/// Range of barriers for which quadrature and draws are known to be good.

#[plugin(
    "double-well",
    summary = "two wells in every coordinate",
    source = "textbook",
    example = "barrier = 4.0\nminimum = 1.0"
)]
impl EnergyConfig for DoubleWell {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let (z, square) = integrals(self.barrier);
        let wells =
            Wells { barrier: self.barrier, minimum: self.minimum, z, square, values: cx.sample_len() };
        Closed::build(cx, wells, "double-well")
    }
}

struct Wells {
    barrier: f64,
    minimum: f64,
    /// Integral of one coordinate in units of the minimum.
    z: f64,
    /// Mean square of one coordinate in units of the minimum.
    square: f64,
    values: usize,
}

/// `∫ p` and `∫ y² p / ∫ p` of `p = exp(−b(y² − 1)²)`.
///
/// The trapezoidal rule on an analytic function that falls to nothing errs like exp(−2π²s²/h²), with `s` its
/// finest width: at the highest barrier `s` is 0.0035, `h` 0.0003.
fn integrals(barrier: f64) -> (f64, f64) {
    const CELLS: i32 = 4000;
    // p is e⁻⁷⁴⁵, the smallest number, at the end.
    let end = (1.0 + (745.0 / barrier).sqrt()).sqrt();
    let h = end / f64::from(CELLS);
    let (mut sum, mut second) = (0.0, 0.0);
    for i in -CELLS..=CELLS {
        let y2 = (f64::from(i) * h).powi(2);
        let p = (-barrier * (y2 - 1.0).powi(2)).exp();
        sum += p;
        second += y2 * p;
    }
    (sum * h, second / sum)
}

impl Wells {
    /// One coordinate by rejection. For y ≥ 0, (y² − 1)² = (y − 1)²(y + 1)² ≥ (y − 1)², so the normal
    /// density around 1 with variance 1/2b lies above; half of the proposals are taken at high barriers.
    fn coordinate(&self, s: &mut Stream) -> f64 {
        let sign = if s.uniform() < 0.5 { -1.0 } else { 1.0 };
        loop {
            let off = s.normal() / (2.0 * self.barrier).sqrt();
            let y = 1.0 + off;
            if y >= 0.0 && s.uniform().ln() < -self.barrier * off * off * ((y + 1.0).powi(2) - 1.0) {
                return sign * y * self.minimum;
            }
        }
    }
}

impl Forward for Wells {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let y = x.flatten()?.scale(1.0 / self.minimum)?;
        let well = y.pointwise(|t| t.sqr()?.affine(1.0, -1.0)?.sqr(), |t| t.sqr()?.affine(4.0, -4.0)? * t)?;
        well.sum_last()?.scale(self.barrier)
    }

    fn python(&self) -> Option<String> {
        let (barrier, minimum) = (self.barrier, self.minimum);
        Some(format!("return {barrier:?} * ((x.flatten(1) / {minimum:?}).square() - 1).square().sum(1)"))
    }
}

impl KnownDensity for Wells {
    fn log_z(&self, _: &View) -> Result<f64> {
        Ok(self.values as f64 * (self.z * self.minimum).ln())
    }

    fn drawer(&self, _: &View) -> Result<Drawer<'_>> {
        Ok(Box::new(|s, out| out.iter_mut().for_each(|o| *o = self.coordinate(s))))
    }

    fn mean(&self, _: &View) -> Option<Vec<f64>> {
        Some(vec![0.0; self.values])
    }

    fn variance(&self, _: &View) -> Option<Vec<f64>> {
        Some(vec![self.square * self.minimum * self.minimum; self.values])
    }

    fn row(&self, x: &[f64], grad: &mut [f64]) -> Option<f64> {
        let mut sum = 0.0;
        for (x, g) in x.iter().zip(grad) {
            let y = x / self.minimum;
            let off = y * y - 1.0;
            sum += off * off;
            *g = 4.0 * self.barrier * off * y / self.minimum;
        }
        Some(self.barrier * sum)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::check_tests::{build, energy, refusal};

    #[test]
    fn integrals_have_their_closed_form() {
        // ∫ exp(−b(y²−1)²) = (π/2) e^(−b/2) (I₋¼(b/2) + I¼(b/2)); series of 60 digits.
        for (b, z) in WANTED {
            let (got, _) = integrals(b);
            // Eight thousand terms are added.
            assert!((got / z - 1.0).abs() < 1e-12, "{b}: {got} against {z}");
        }
    }

    const WANTED: [(f64, f64); 4] = [
        (0.001, 10.406_860_860_038_836),
        (1.0, 1.973_732_150_089_824),
        (4.0, 0.947_837_832_981_346_8),
        (10_000.0, 0.017_724_870_880_508_856),
    ];

    #[test]
    fn barriers_are_as_high_as_stated() {
        let e = build(&DoubleWell { barrier: 3.0, minimum: 2.0 }, &[2]);
        assert_eq!(energy(&e, &[2.0, -2.0]), 0.0);
        assert_eq!(energy(&e, &[0.0, 2.0]), 3.0);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert!(refusal(&DoubleWell { barrier: 0.0, minimum: 1.0 }, &[2]).contains("energy.barrier"));
        assert!(refusal(&DoubleWell { barrier: 1.0, minimum: -1.0 }, &[2]).contains("energy.minimum"));
    }
}
