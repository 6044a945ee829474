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
        Closed::build(cx, Modes { sd: self.sd }, "grid25")
    }
}

struct Modes {
    sd: f64,
}

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
        // What two modes apart costs beyond twice what one costs.
        let apart = (-2.0 * half).exp();
        let mut energy = 0.0;
        for (x, g) in x.iter().zip(grad) {
            // Coordinates are independent: five modes each. The nearest one keeps the sum from vanishing.
            let nearest = x.round().clamp(-2.0, 2.0);
            let off = x - nearest;
            let (mut sum, mut pull) = (1.0, off);
            // Of mode k on one side, exp(−(off ∓ k)²h + off²h) = exp((±2 off − 1)h)ᵏ·exp(−2h)^(k(k−1)/2).
            for (side, modes) in [(1.0, 2.0 - nearest), (-1.0, 2.0 + nearest)] {
                if modes > 0.0 {
                    let first = ((2.0 * side * off - 1.0) * half).exp();
                    let (mut k, mut p, mut ratio) = (1.0, first, first * apart);
                    while k <= modes {
                        sum += p;
                        pull += p * (off - side * k);
                        p *= ratio;
                        ratio *= apart;
                        k += 1.0;
                    }
                }
            }
            *g = 2.0 * half * pull / sum;
            energy += off * off * half - f64::ln(sum);
        }
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

    #[test]
    fn nonsense_is_refused_by_name() {
        assert!(refusal(&Grid25 { sd: 0.0 }, &[2]).contains("energy.sd"));
        assert!(refusal(&Grid25::default(), &[1, 8, 8]).contains("(2,)"));
    }
}
