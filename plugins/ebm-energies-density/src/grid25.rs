//! `grid25`: 25 separate modes on a grid.

use std::f64::consts::TAU;
use std::sync::Arc;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{BuildCx, Diff, EnergyConfig, EnergyFn, Forward, Result, Role, Settings, View, plugin};

use crate::closed::plane;
use crate::{Closed, Drawer, KnownDensity};

/// `E(x) = −log Σ_c exp(−|x − c|²/(2s²))` over `c` in {−2, …, 2}²; `E = −log p − log(25·2πs²)`.
///
/// Computed as the sum of the same energy of five modes in each coordinate. With `s = 0.1` barriers
/// between neighbours are 12.5 nats less the log of 2.
#[derive(Clone, Debug, Settings)]
pub struct Grid25 {
    /// Standard deviation of each mode.
    #[setting(default = 0.1, above = 0.0)]
    pub sd: f64,
}

#[plugin(
    "grid25",
    summary = "25 separate modes on the grid {-2, ..., 2} x {-2, ..., 2}",
    source = "common 2-D test set",
    example = "sd = 0.1"
)]
impl EnergyConfig for Grid25 {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        plane(cx)?;
        let centres: Vec<f64> = (-2i8..=2).map(|m| -f64::from(m)).collect();
        cx.value("minus_centres", &Tensor::from_vec(centres, 5, &Device::Cpu)?, Role::Buffer)?;
        let apart = (-1.0 / (self.sd * self.sd)).exp();
        Closed::build(cx, Modes { sd: self.sd, apart }, "grid25")
    }
}

struct Modes {
    sd: f64,
    /// `exp(−1/sd²)`.
    apart: f64,
}

/// Added to a small number and taken away again it leaves the nearest whole one.
const TO_WHOLE: f64 = 1.5 * (1u64 << 52) as f64;

impl Forward for Modes {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?.linear(|t| t.unsqueeze(2))?;
        let logits = x.shift(p.get("minus_centres")?)?.square()?.scale(-0.5 / (self.sd * self.sd))?;
        logits.log_sum_exp_last()?.flatten()?.sum_last()?.scale(-1.0)
    }

    fn python(&self) -> Option<String> {
        let variance = self.sd * self.sd;
        Some(format!(
            "logits = -0.5 / {variance:?} * (x.flatten(1).unsqueeze(2) + self.minus_centres).square()\n\
             return -torch.logsumexp(logits, 2).sum(1)"
        ))
    }
}

impl KnownDensity for Modes {
    fn log_z(&self, _: &View) -> Result<f64> {
        Ok((25.0 * TAU * self.sd * self.sd).ln())
    }

    fn drawer(&self, _: &View) -> Result<Drawer<'_>> {
        Ok(Box::new(|s, out| {
            for o in out {
                *o = (5.0 * s.uniform()).floor() - 2.0 + self.sd * s.normal();
            }
        }))
    }

    fn mean(&self, _: &View) -> Option<Vec<f64>> {
        Some(vec![0.0; 2])
    }

    fn variance(&self, _: &View) -> Option<Vec<f64>> {
        Some(vec![2.0 + self.sd * self.sd; 2])
    }

    fn row(&self, x: &[f64], grad: &mut [f64]) -> Option<f64> {
        let half = 0.5 / (self.sd * self.sd);
        let (mut energy, mut all) = (0.0, 1.0);
        for (x, g) in x.iter().zip(grad) {
            // Coordinates are independent: five modes each. The nearest one keeps the sum from vanishing.
            let nearest = (x.clamp(-2.0, 2.0) + TO_WHOLE) - TO_WHOLE;
            let off = x - nearest;
            // Of mode k on one side, exp(−(off ∓ k)²h + off²h) = exp((±2 off − 1)h)ᵏ·exp(−2h)^(k(k−1)/2); the product of both sides for k = 1 is exp(−2h).
            let near = ((2.0 * off.abs() - 1.0) * half).exp();
            let far = if near > 0.0 { self.apart / near } else { 0.0 };
            let (above, below) = if off > 0.0 { (near, far) } else { (far, near) };
            let (mut sum, mut pull) = (1.0, off);
            for (side, first, modes) in [(1.0, above, 2.0 - nearest), (-1.0, below, 2.0 + nearest)] {
                // All four and none by a branch: which mode is the nearest changes from row to row.
                let mut p = if modes >= 1.0 { first } else { 0.0 };
                let mut ratio = p * self.apart;
                for k in [1.0, 2.0, 3.0, 4.0] {
                    let there = if k <= modes { p } else { 0.0 };
                    sum += there;
                    pull += there * (off - side * k);
                    p *= ratio;
                    ratio *= self.apart;
                }
            }
            *g = 2.0 * half * pull / sum;
            energy += off * off * half;
            all *= sum;
        }
        energy -= f64::ln(all);
        Some(energy)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_data::toy2d::Toy2d;

    use super::*;
    use crate::check_tests::{build, lattice, log_densities, refusal};

    #[test]
    fn the_density_is_that_of_the_data_set() {
        let points = lattice(2.7, 30);
        let got = log_densities(&build(&Grid25::default(), &[2]), &points);
        for (x, l) in points.iter().zip(got) {
            // Rounding of squares of size 1000.
            assert!((l - Toy2d::Grid25.log_density(*x)).abs() < 1e-11, "{x:?}");
        }
    }

    /// Five exponentials a coordinate against one, from modes so narrow that neighbours vanish to such that overlap, inside and far outside.
    #[test]
    fn rows_are_the_sum_over_all_modes() {
        for sd in [0.02, 0.1, 0.4, 2.0] {
            let modes = Modes { sd, apart: (-1.0 / (sd * sd)).exp() };
            for i in -70..=70 {
                let x = [f64::from(i) * 0.1, 0.37 - f64::from(i) * 0.05];
                let (mut energy, mut want) = (0.0, [0.0; 2]);
                for (x, want) in x.iter().zip(&mut want) {
                    let of = |m: f64| -(x - m).powi(2) / (2.0 * sd * sd);
                    let all = [-2.0, -1.0, 0.0, 1.0, 2.0];
                    let most = all.iter().map(|m| of(*m)).fold(f64::NEG_INFINITY, f64::max);
                    let weights = all.map(|m| (of(m) - most).exp());
                    let sum = weights.iter().sum::<f64>();
                    energy -= most + sum.ln();
                    *want = weights.iter().zip(all).map(|(w, m)| w / sum * (x - m) / (sd * sd)).sum();
                }
                let mut grad = [0.0; 2];
                let got = modes.row(&x, &mut grad).unwrap();
                // Rounding of exponents of some thousands, of gradients of as many.
                assert!((got - energy).abs() < 1e-11 * (1.0 + energy.abs()), "{sd} {x:?}: {got} {energy}");
                for (g, w) in grad.iter().zip(want) {
                    assert!((g - w).abs() < 1e-10 * (1.0 + w.abs()), "{sd} {x:?}: {g} {w}");
                }
            }
        }
        let mut grad = [0.0; 2];
        let modes = Modes { sd: 0.1, apart: (-100f64).exp() };
        assert!(modes.row(&[f64::NAN, 0.0], &mut grad).unwrap().is_nan());
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert!(refusal(&Grid25 { sd: 0.0 }, &[2]).contains("energy.sd"));
        assert!(refusal(&Grid25::default(), &[1, 8, 8]).contains("(2,)"));
    }
}
