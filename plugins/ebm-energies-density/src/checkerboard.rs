//! `checkerboard`: eight squares with soft edges.

use std::f64::consts::PI;
use std::sync::Arc;

use ebm_core::candle::{Device, Tensor};
use ebm_core::host;
use ebm_core::{BuildCx, Diff, EnergyConfig, EnergyFn, Forward, Result, Role, Settings, View, plugin};

use crate::closed::plane;
use crate::{Closed, Drawer, KnownDensity};

/// The uniform density on the eight unit squares `[i, i+1) × [j, j+1)` of [−2, 2]² with `i + j` even,
/// blurred in each coordinate by logistic noise of scale `w`; `E = −log p − log 8`.
///
/// The blurred unit interval is `σ((x−i)/w) − σ((x−i−1)/w) = σ((x−i)/w) σ((i+1−x)/w) (1 − e^(−1/w))`: a
/// product of sigmoids whose integral is exactly 1, so density and draws are exact for the soft board. It
/// tends to the hard board (`checker` of `ebm-data`, which has no gradient) as `w` falls.
#[derive(Clone, Debug, Settings)]
pub struct Checkerboard {
    /// Scale `w` of an edge: the density rises from 27 % to 73 % of its height over `2w`.
    #[setting(default = 0.05, above = 0.0)]
    pub edge: f64,
}

#[plugin(
    "checkerboard",
    summary = "eight unit squares of a chessboard with soft edges",
    source = "common 2-D test set; soft edges: this project",
    example = "edge = 0.05"
)]
impl EnergyConfig for Checkerboard {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        plane(cx)?;
        let edge = self.edge;
        let lines: Vec<f64> = (-2i8..=2).map(|m| -f64::from(m) / edge).collect();
        cx.value("minus_lines", &Tensor::from_vec(lines, 5, &Device::Cpu)?, Role::Buffer)?;
        // Row i of the first matrix picks, for square (i, j), the interval of one coordinate.
        let squares = || (0..16usize).map(|s| (s / 4, s % 4)).filter(|(i, j)| (i + j) % 2 == 0);
        for (name, pick) in [("first", 0), ("second", 1)] {
            let mut m = vec![0f64; 4 * 8];
            for (s, (i, j)) in squares().enumerate() {
                m[[i, j][pick] * 8 + s] = 1.0;
            }
            cx.value(name, &Tensor::from_vec(m, (4, 8), &Device::Cpu)?, Role::Buffer)?;
        }
        Closed::build(cx, Board { edge }, "checkerboard")
    }
}

struct Board {
    edge: f64,
}

impl Board {
    /// Logs `(B, 4)` of the four blurred intervals of coordinate `axis` of `x` `(B, 2)`, less the common factor.
    fn intervals<V: Diff>(&self, p: &View, x: &V, axis: usize) -> Result<V> {
        let t = x.linear(|t| t.narrow(1, axis, 1))?.scale(1.0 / self.edge)?.shift(p.get("minus_lines")?)?;
        let soft = t.softplus()?;
        // log σ(t) = t − softplus(t) at the left line, log σ(−t) = −softplus(t) at the right one.
        let left = t.minus(&soft)?.linear(|t| t.narrow(1, 0, 4))?;
        left.minus(&soft.linear(|t| t.narrow(1, 1, 4))?)
    }
}

impl Forward for Board {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?;
        let first = self.intervals(p, &x, 0)?.matmul(p.get("first")?)?;
        let second = self.intervals(p, &x, 1)?.matmul(p.get("second")?)?;
        // Both coordinates bring the factor 1 − e^(−1/w).
        let both = 2.0 * (-(-1.0 / self.edge).exp_m1()).ln();
        let both = host::given(&[both], x.value().dtype(), x.value().device())?.reshape(())?;
        first.plus(&second)?.log_sum_exp_last()?.shift(&both)?.scale(-1.0)
    }

    fn python(&self) -> Option<String> {
        let (edge, both) = (self.edge, 2.0 * (-(-1.0 / self.edge).exp_m1()).ln());
        Some(format!(
            "def intervals(x):\n    \
                 t = x / {edge:?} + self.minus_lines\n    \
                 return F.logsigmoid(t)[:, :4] - F.softplus(t)[:, 1:]\n\
             x = x.flatten(1)\n\
             squares = intervals(x[:, :1]) @ self.first + intervals(x[:, 1:]) @ self.second\n\
             return -torch.logsumexp(squares, 1) - {both:?}"
        ))
    }
}

impl KnownDensity for Board {
    fn log_z(&self, _: &View) -> Result<f64> {
        Ok(8f64.ln())
    }

    fn drawer(&self, _: &View) -> Result<Drawer<'_>> {
        Ok(Box::new(|s, out| {
            let (i, half) = ((4.0 * s.uniform()).floor(), (2.0 * s.uniform()).floor());
            let corner = [i, 2.0 * half + i % 2.0];
            for (o, c) in out.iter_mut().zip(corner) {
                *o = c - 2.0 + s.uniform() + self.edge * s.logistic();
            }
        }))
    }

    fn mean(&self, _: &View) -> Option<Vec<f64>> {
        Some(vec![0.0; 2])
    }

    fn variance(&self, _: &View) -> Option<Vec<f64>> {
        // Each coordinate alone is uniform on [−2, 2] before the blur.
        Some(vec![4.0 / 3.0 + (PI * self.edge).powi(2) / 3.0; 2])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::DType;
    use ebm_data::toy2d::Toy2d;

    use super::*;
    use crate::check_tests::{batch, build, build_as, lattice, log_densities, refusal};

    #[test]
    fn inside_and_outside_of_squares_it_is_the_hard_board() {
        let points = lattice(2.5, 10);
        let got = log_densities(&build(&Checkerboard { edge: 0.01 }, &[2]), &points);
        for (x, l) in points.iter().zip(got) {
            // Points are 0.25 away from lines: e⁻²⁵ of an edge is left.
            let hard = Toy2d::Checker.log_density(*x);
            let good = if hard.is_finite() { (l - hard).abs() < 1e-9 } else { l < -20.0 };
            assert!(good, "{x:?}: {l} against {hard}");
        }
    }

    #[test]
    fn slopes_are_finite_on_a_line_and_far_away_in_f32() {
        let e = build_as(&Checkerboard::default(), &[2], DType::F32);
        let at = batch(&[[1.0, 0.5], [0.0, 0.0], [60.0, -60.0]], DType::F32);
        let s = e.slope(&at).unwrap();
        let g = s.grad.to_vec2::<f32>().unwrap();
        // On the line x = 1 beside the square [0, 1) × [0, 1): σ′/σ = ½ at the line, over w. The squares to
        // the upper and lower right leak e⁻¹⁰ of their height in, with slopes up to 1/w.
        assert!((g[0][0] - 10.0).abs() < 4.0 * 20.0 * f32::exp(-10.0), "{g:?}");
        // The density has a saddle where four squares meet.
        assert!(g[1].iter().all(|v| v.abs() < 1e-3), "{g:?}");
        assert!((g[2][0] - 20.0).abs() < 1e-3 && (g[2][1] + 20.0).abs() < 1e-3, "{g:?}");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert!(refusal(&Checkerboard { edge: 0.0 }, &[2]).contains("energy.edge"));
    }
}
