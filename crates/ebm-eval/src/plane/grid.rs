//! A square of the plane cut into cells: quadrature of an energy on R² and exact draws from it.

use std::fmt::Display;

use crate::error::{EvalError, Result, same};
use crate::numeric::log_mean::log_sum_exp;
use crate::samples::Features;

/// Points handed to the energy at once.
const BATCH: usize = 32_768;

/// The square `[-half, half]²` in `cells` x `cells` equal cells; cell `i * cells + j` is centred at (x_i, y_j).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlaneGrid {
    half: f64,
    cells: usize,
}

impl PlaneGrid {
    /// Errs unless `half` is positive and finite and `cells` is at least 1.
    pub fn new(half: f64, cells: usize) -> Result<Self> {
        if !(half > 0.0 && half.is_finite()) {
            return Err(EvalError::Setting {
                what: "half side of the grid",
                found: half,
                wanted: "a positive number",
            });
        }
        if cells == 0 {
            return Err(EvalError::Setting { what: "cells of the grid", found: 0.0, wanted: "at least 1" });
        }
        Ok(Self { half, cells })
    }

    /// Half the side of the square.
    pub fn half(&self) -> f64 {
        self.half
    }

    /// Cells a side.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Side of a cell.
    pub fn cell(&self) -> f64 {
        2.0 * self.half / self.cells as f64
    }

    /// Centre of cell `i` along one axis.
    pub fn centre(&self, i: usize) -> f64 {
        -self.half + (i as f64 + 0.5) * self.cell()
    }

    /// Energies at all cell centres `(cells²)`, in nats, asking `energy` for batches of points `(m, 2)` row by row.
    ///
    /// +inf (density 0) is allowed; NaN and -inf are not. Errs on those, if `energy` errs, or if it returns another
    /// number of energies than points.
    pub fn energies<E: Display>(
        &self,
        mut energy: impl FnMut(&[f32]) -> std::result::Result<Vec<f32>, E>,
    ) -> Result<Vec<f64>> {
        let total = self.cells * self.cells;
        let mut out = Vec::with_capacity(total);
        let mut points = Vec::with_capacity(2 * BATCH.min(total));
        while out.len() < total {
            let from = out.len();
            points.clear();
            for k in from..total.min(from + BATCH) {
                points.push(self.centre(k / self.cells) as f32);
                points.push(self.centre(k % self.cells) as f32);
            }
            out.extend(energies_at(&points, &mut energy)?);
        }
        Ok(out)
    }

    /// log Z = log ∫ exp(-β E) over the square, by the midpoint rule.
    pub fn log_z(&self, energies: &[f64], beta: f64) -> f64 {
        let scaled: Vec<f64> = energies.iter().map(|e| -beta * e).collect();
        log_sum_exp(&scaled) + 2.0 * self.cell().ln()
    }

    /// Mean log-density of exp(-β E)/Z over points with the energies `at`, in nats a point.
    pub fn log_likelihood(&self, energies: &[f64], at: &[f64], beta: f64) -> f64 {
        -beta * at.iter().sum::<f64>() / at.len() as f64 - self.log_z(energies, beta)
    }

    /// Share of the mass outside `[-inner, inner]²`: what a model puts where there is no data. Meant for a grid
    /// twice as wide as the data's box (an energy on R² need not even be integrable).
    pub fn leak(&self, energies: &[f64], inner: f64) -> f64 {
        let inside = |k: usize| self.centre(k).abs() < inner;
        let kept: Vec<f64> = energies
            .iter()
            .enumerate()
            .filter(|(k, _)| inside(k / self.cells) && inside(k % self.cells))
            .map(|(_, e)| -e)
            .collect();
        let all: Vec<f64> = energies.iter().map(|e| -e).collect();
        1.0 - (log_sum_exp(&kept) - log_sum_exp(&all)).min(0.0).exp()
    }

    /// `n` exact draws `(n, 2)` from the normalised grid density, cell by probability, uniform within the cell.
    ///
    /// `uniforms` holds 3n numbers in `[0, 1)`: n that choose the cells by inversion, then n pairs for the places
    /// within them. Errs if the length is no multiple of 3, if `energies` are not of this grid, or if no cell
    /// has mass.
    pub fn draws(&self, energies: &[f64], uniforms: &[f64]) -> Result<Features> {
        same("energies of the grid", energies.len(), self.cells * self.cells, "the cells")?;
        let n = uniforms.len() / 3;
        same("uniforms for draws", uniforms.len(), 3 * n, "three a draw")?;
        if let Some(index) = energies.iter().position(|e| e.is_nan() || *e == f64::NEG_INFINITY) {
            return Err(EvalError::NotFinite { what: "energies of the grid", index, value: energies[index] });
        }
        let lowest = energies.iter().copied().fold(f64::INFINITY, f64::min);
        if lowest == f64::INFINITY {
            let wanted = "a cell of finite energy";
            return Err(EvalError::Setting { what: "lowest energy of the grid", found: lowest, wanted });
        }
        let mut mass = Vec::with_capacity(energies.len());
        let mut total = 0.0;
        for e in energies {
            total += (lowest - e).exp();
            mass.push(total);
        }
        let (choice, places) = uniforms.split_at(n);
        let mut out = Vec::with_capacity(2 * n);
        for (u, place) in choice.iter().zip(places.chunks_exact(2)) {
            // A u just below 1 may round past the last massive cell; it belongs to that cell.
            let k = mass.partition_point(|m| m / total <= *u).min(energies.len() - 1);
            out.push(self.centre(k / self.cells) + (place[0] - 0.5) * self.cell());
            out.push(self.centre(k % self.cells) + (place[1] - 0.5) * self.cell());
        }
        Features::new(out, n, 2)
    }
}

/// Energies of points `(m, 2)`, widened and checked as in [`PlaneGrid::energies`].
pub(crate) fn energies_at<E: Display>(
    points: &[f32],
    energy: &mut impl FnMut(&[f32]) -> std::result::Result<Vec<f32>, E>,
) -> Result<Vec<f64>> {
    let found = energy(points).map_err(|e| EvalError::Energy(e.to_string()))?;
    same("energies returned", found.len(), points.len() / 2, "the points asked for")?;
    match found.iter().position(|e| e.is_nan() || *e == f32::NEG_INFINITY) {
        Some(index) => Err(EvalError::NotFinite { what: "energies", index, value: f64::from(found[index]) }),
        None => Ok(found.into_iter().map(f64::from).collect()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::assert_close;

    fn gaussian(p: &[f32]) -> std::result::Result<Vec<f32>, String> {
        Ok(p.chunks_exact(2).map(|p| 0.5 * (p[0] * p[0] + p[1] * p[1])).collect())
    }

    #[test]
    fn the_gaussian_has_its_normaliser_at_every_temperature() {
        let g = PlaneGrid::new(8.0, 200).unwrap(); // two batches
        let e = g.energies(gaussian).unwrap();
        // The midpoint rule is spectrally accurate for a Gaussian; 1e-7 is f32 energies.
        for beta in [0.5, 1.0, 2.0] {
            assert_close(g.log_z(&e, beta), (std::f64::consts::TAU / beta).ln(), 3e-7);
        }
        assert_close(g.log_likelihood(&e, &[1.0, 0.0], 1.0), -0.5 - std::f64::consts::TAU.ln(), 3e-7);
    }

    #[test]
    fn leak_is_the_tail_mass() {
        let g = PlaneGrid::new(8.0, 160).unwrap();
        let e = g.energies(gaussian).unwrap();
        let inside = 0.682_689_492_137_085_9f64.powi(2); // erf(1/√2)² for [-1, 1]²
        // Cell borders lie on ±1, so only the midpoint rule's end correction h²/24 φ'(1) is left.
        assert_close(g.leak(&e, 1.0), 1.0 - inside, 3e-4);
        assert_eq!(g.leak(&e, 9.0), 0.0);
    }

    #[test]
    fn draws_invert_the_mass() {
        let g = PlaneGrid::new(1.0, 2).unwrap();
        // Cells (x, y): (-,-) 1/4, (-,+) 0, (+,-) 1/4, (+,+) 1/2.
        let e = [4f64.ln(), f64::INFINITY, 4f64.ln(), 2f64.ln()];
        let u = [0.0, 0.249, 0.25, 0.5, 0.999_999, 0.5, 0.5, 0.0, 0.0, 0.5, 0.75, 0.5, 0.5, 0.25, 0.5];
        let d = g.draws(&e, &u).unwrap();
        let wanted = [-0.5, -0.5, -1.0, -1.0, 0.5, -0.25, 0.5, 0.5, 0.25, 0.5];
        d.data().iter().zip(wanted).for_each(|(f, w)| assert_close(*f, w, 1e-15));
        assert!(g.draws(&e, &u[..4]).is_err());
        assert!(g.draws(&e[..3], &u).is_err());
        assert!(g.draws(&[f64::INFINITY; 4], &u).is_err());
        assert!(g.draws(&[0.0, f64::NAN, 0.0, 0.0], &u).is_err());
    }

    #[test]
    fn bad_energies_are_named() {
        let g = PlaneGrid::new(1.0, 4).unwrap();
        assert!(g.energies(|_: &[f32]| Err::<Vec<f32>, _>("boom")).unwrap_err().to_string().contains("boom"));
        assert!(g.energies(|_: &[f32]| Ok::<_, String>(vec![0.0])).is_err());
        assert!(g.energies(|p: &[f32]| Ok::<_, String>(vec![f32::NAN; p.len() / 2])).is_err());
        assert!(
            PlaneGrid::new(0.0, 4).is_err()
                && PlaneGrid::new(f64::NAN, 4).is_err()
                && PlaneGrid::new(1.0, 0).is_err()
        );
    }
}
