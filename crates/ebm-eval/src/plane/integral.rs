//! An integral over the plane: its value, where it was taken, and how far it can be trusted.

use serde::Serialize;

use crate::error::{Result, same};
use crate::numeric::log_mean::log_sum_exp;
use crate::samples::Features;

/// The integral of a density over the plane, and what it was taken over.
#[derive(Debug, Clone, Serialize)]
pub struct PlaneIntegral {
    /// log ∫ exp(log density), in nats.
    pub log_z: f64,
    /// Centre of the rectangle.
    pub centre: [f64; 2],
    /// Half its sides.
    pub half: [f64; 2],
    /// Cells it was cut into.
    pub cells: usize,
    /// Sides of the smallest.
    pub smallest: [f64; 2],
    /// Points that were evaluated.
    pub points: usize,
    /// Places that were looked at besides, for peaks that the cells do not see.
    pub places: usize,
    /// Share of the mass outside of it, extrapolated from how the mass falls from square to square; below the tolerance.
    pub outside: f64,
    /// Estimated error of the cells, as a share of the mass; below the tolerance.
    pub error: f64,
    /// The nodes.
    #[serde(skip)]
    pub nodes: Vec<PlaneNode>,
}

/// A point of the quadrature.
#[derive(Debug, Clone, Copy)]
pub struct PlaneNode {
    /// The point.
    pub at: [f64; 2],
    /// Corner of the part of the plane that it stands for.
    pub corner: [f64; 2],
    /// Its sides.
    pub sides: [f64; 2],
    /// The log density at the point.
    pub log_density: f64,
}

impl PlaneNode {
    /// Log of the area that it stands for.
    pub fn log_weight(&self) -> f64 {
        (self.sides[0] * self.sides[1]).ln()
    }
}

impl PlaneIntegral {
    /// log ∫ exp(β log density) over the same nodes: for β near 1, since the square and the cells were found for 1.
    pub fn log_z_at(&self, beta: f64) -> f64 {
        log_sum_exp(&self.nodes.iter().map(|n| beta * n.log_density + n.log_weight()).collect::<Vec<f64>>())
    }

    /// `n` draws `(n, 2)` from the normalised density: nodes by their mass, uniform in the part that each stands for.
    ///
    /// `uniforms` holds 3n numbers in `[0, 1)`: n that choose the nodes by inversion, then n pairs for the places. Errs if
    /// their number is no multiple of 3.
    pub fn draws(&self, uniforms: &[f64]) -> Result<Features> {
        let n = uniforms.len() / 3;
        same("uniforms for draws", uniforms.len(), 3 * n, "three a draw")?;
        let mut total = 0.0;
        let mass: Vec<f64> = self
            .nodes
            .iter()
            .map(|node| {
                total += (node.log_density + node.log_weight() - self.log_z).exp();
                total
            })
            .collect();
        let (choice, places) = uniforms.split_at(n);
        let mut out = Vec::with_capacity(2 * n);
        for (u, place) in choice.iter().zip(places.chunks_exact(2)) {
            let k = mass.partition_point(|m| m / total <= *u).min(self.nodes.len() - 1);
            let node = &self.nodes[k];
            out.extend([0, 1].map(|a| node.corner[a] + place[a] * node.sides[a]));
        }
        Features::new(out, n, 2)
    }
}
