//! How far two densities of the plane are from each other, by quadrature.

use serde::Serialize;

use crate::error::{Result, same};
use crate::plane::grid::PlaneGrid;

/// Distances of the densities exp(−E)/Z of two energies on one square; by the midpoint rule, nats but for the total variation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PlaneDistance {
    /// log Z of both over the square.
    pub log_z: (f64, f64),
    /// ½ ∫ |p − q|, in [0, 1].
    pub total_variation: f64,
    /// ∫ p log(p/q); infinite where q has no density and p has.
    pub kl: f64,
    /// ∫ q log(q/p).
    pub reverse_kl: f64,
    /// ½ KL(p, m) + ½ KL(q, m), m = (p + q)/2, in [0, log 2].
    pub jensen_shannon: f64,
}

/// Distances of the densities of the energies `p` and `q` (`cells²` each, as of [`PlaneGrid::energies`]). Errs if they are not of this grid.
pub fn plane_distance(grid: &PlaneGrid, p: &[f64], q: &[f64]) -> Result<PlaneDistance> {
    let cells = grid.cells() * grid.cells();
    same("energies of the first density", p.len(), cells, "the cells")?;
    same("energies of the second density", q.len(), cells, "the cells")?;
    let log_z = (grid.log_z(p, 1.0), grid.log_z(q, 1.0));
    let area = 2.0 * grid.cell().ln();
    // Log-mass of a cell; differences of these are log-ratios of the densities.
    let mass = |e: f64, z: f64| area - e - z;
    let part = |log: f64, other: f64| if log == f64::NEG_INFINITY { 0.0 } else { log.exp() * (log - other) };
    let (mut tv, mut kl, mut reverse, mut js) = (0.0, 0.0, 0.0, 0.0);
    for (p, q) in p.iter().zip(q) {
        let (a, b) = (mass(*p, log_z.0), mass(*q, log_z.1));
        let middle = (0.5 * (a.exp() + b.exp())).ln();
        tv += 0.5 * (a.exp() - b.exp()).abs();
        kl += part(a, b);
        reverse += part(b, a);
        // Cells whose masses both round to 0 add nothing.
        if middle > f64::NEG_INFINITY {
            js += 0.5 * (part(a, middle) + part(b, middle));
        }
    }
    Ok(PlaneDistance { log_z, total_variation: tv, kl, reverse_kl: reverse, jensen_shannon: js })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn gaussian(mean: f64, sd: f64) -> Vec<f64> {
        let grid = PlaneGrid::new(8.0, 320).unwrap();
        let energy = |p: &[f32]| -> std::result::Result<Vec<f32>, String> {
            let square = |p: &[f32]| (f64::from(p[0]) - mean).powi(2) + f64::from(p[1]).powi(2);
            Ok(p.chunks_exact(2).map(|p| (square(p) / (2.0 * sd * sd)) as f32).collect())
        };
        grid.energies(energy).unwrap()
    }

    #[test]
    fn gaussians_have_their_closed_forms() {
        let grid = PlaneGrid::new(8.0, 320).unwrap();
        let (p, q) = (gaussian(0.0, 1.0), gaussian(0.8, 1.0));
        let d = plane_distance(&grid, &p, &q).unwrap();
        // KL of shifted unit normals is δ²/2; total variation 2Φ(δ/2) − 1 = erf(δ/(2√2)). Energies are f32 (1e-7 each),
        // the midpoint rule of smooth densities is far better.
        assert!((d.kl - 0.32).abs() < 1e-5 && (d.reverse_kl - 0.32).abs() < 1e-5, "{d:?}");
        assert!((d.total_variation - 0.310_843_483_2).abs() < 1e-4, "{d:?}");
        let wide = plane_distance(&grid, &p, &gaussian(0.0, 1.5)).unwrap();
        // KL(N(0, 1), N(0, s²)) in two dimensions: 2 ln s − 1 + 1/s².
        assert!((wide.kl - (2.0 * 1.5f64.ln() - 1.0 + 1.0 / 2.25)).abs() < 1e-5, "{wide:?}");
        assert!((wide.log_z.1 - (2.0 * std::f64::consts::PI * 2.25).ln()).abs() < 1e-5, "{wide:?}");
        assert!(wide.jensen_shannon < wide.kl && wide.jensen_shannon > 0.0);
    }

    #[test]
    fn equal_densities_are_at_0_and_disjoint_ones_at_the_bounds() {
        let grid = PlaneGrid::new(1.0, 2).unwrap();
        let p = [0.0, f64::INFINITY, 1.0, 2.0];
        let same = plane_distance(&grid, &p, &p.map(|e| e + 3.0)).unwrap();
        assert!(
            same.total_variation.abs() < 1e-15 && same.kl.abs() < 1e-15 && same.jensen_shannon.abs() < 1e-15
        );
        let inf = f64::INFINITY;
        let apart = plane_distance(&grid, &[0.0, inf, inf, inf], &[inf, 0.0, inf, inf]).unwrap();
        assert!((apart.total_variation - 1.0).abs() < 1e-15 && apart.kl == inf);
        assert!((apart.jensen_shannon - 2f64.ln()).abs() < 1e-15);
        assert!(plane_distance(&grid, &p, &p[..3]).is_err());
    }
}
