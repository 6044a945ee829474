//! Log-densities of moons, grid, checker and rings: sums and integrals of Gaussians.

use std::f64::consts::{PI, TAU};
use std::sync::LazyLock;

use super::{BLUR, RING_BLUR};

/// Nodes and weights of the 8-point Gauss–Legendre rule on [−1, 1]; both are symmetric.
const GAUSS: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
];

/// Panels of a half circle: 0.05 apiece, half the blur, so the rule is exact to rounding near the data.
const PANELS: u32 = 64;

/// `(cos t, sin t, weight)` of the nodes on (0, π); the weights sum to 1.
static ARC: LazyLock<Vec<(f64, f64, f64)>> = LazyLock::new(|| {
    let width = PI / f64::from(PANELS);
    let mut nodes = Vec::new();
    for panel in 0..PANELS {
        let middle = (f64::from(panel) + 0.5) * width;
        for (node, weight) in GAUSS {
            for t in [middle - 0.5 * width * node, middle + 0.5 * width * node] {
                nodes.push((t.cos(), t.sin(), 0.5 * weight / f64::from(PANELS)));
            }
        }
    }
    nodes
});

/// log of ∫₀^π exp(−|x − c(t)|²/(2s²)) dt / (2π² s²), averaged over both arcs c.
pub(super) fn moons([x, y]: [f64; 2]) -> f64 {
    let (x, y) = (x + 0.5, y + 0.25);
    // The lower arc (1 − cos t, 0.5 − sin t) is the upper one after this point reflection.
    let points = [[x, y], [1.0 - x, 0.5 - y]];
    let squares = || {
        points.iter().flat_map(|&[px, py]| {
            ARC.iter().map(move |&(cos, sin, w)| ((px - cos).powi(2) + (py - sin).powi(2), w))
        })
    };
    let nearest = squares().map(|(d2, _)| d2).fold(f64::INFINITY, f64::min);
    if nearest.is_infinite() {
        return f64::NEG_INFINITY;
    }
    let s2 = BLUR * BLUR;
    // Terms below e⁻⁴⁰ of the largest change nothing, and most are: this saves their exponentials.
    let near = squares().filter(|(d2, _)| d2 - nearest < 80.0 * s2);
    let sum: f64 = near.map(|(d2, w)| 0.5 * w * ((nearest - d2) / (2.0 * s2)).exp()).sum();
    sum.ln() - nearest / (2.0 * s2) - (TAU * s2).ln()
}

/// Both coordinates are independent: five equal Gaussians each.
pub(super) fn grid25(x: [f64; 2]) -> f64 {
    let axis = |v: f64| {
        let mut sum = LogSum::default();
        (-2i8..=2).for_each(|m| sum.add(-(v - f64::from(m)).powi(2) / (2.0 * BLUR * BLUR), 0.2));
        sum.log() - 0.5 * (TAU * BLUR * BLUR).ln()
    };
    axis(x[0]) + axis(x[1])
}

/// 1/8 on the squares whose corner coordinates have an even sum.
pub(super) fn checker([x, y]: [f64; 2]) -> f64 {
    let inside = x.abs() <= 2.0 && y.abs() <= 2.0;
    let even = (x.floor() + y.floor()).rem_euclid(2.0) == 0.0;
    if inside && even { -8f64.ln() } else { f64::NEG_INFINITY }
}

/// A circle of radius m blurred by s: exp(−(r² + m²)/(2s²)) I₀(rm/s²) / (2πs²).
pub(super) fn rings([x, y]: [f64; 2]) -> f64 {
    let s2 = RING_BLUR * RING_BLUR;
    let r = x.hypot(y);
    let mut sum = LogSum::default();
    for m in [0.5, 1.0, 1.5, 2.0] {
        sum.add(-(r - m).powi(2) / (2.0 * s2) + log_bessel_i0_scaled(r * m / s2), 0.25);
    }
    sum.log() - (TAU * s2).ln()
}

/// log(e^(−z) I₀(z)) for z ≥ 0, to rounding.
fn log_bessel_i0_scaled(z: f64) -> f64 {
    let mut sum = 1.0;
    let mut term = 1.0;
    if z < 30.0 {
        // Σ (z²/4)^k / k!²: only positive terms, nothing cancels (Abramowitz and Stegun 9.6.12).
        for k in 1..100u32 {
            term *= (0.5 * z / f64::from(k)).powi(2);
            sum += term;
        }
        return f64::ln(sum) - z;
    }
    // Σ ((2k−1)!!)² / (k! (8z)^k) / √(2πz): terms shrink until k ≈ 2z, far below rounding for z ≥ 30 (9.7.1).
    for k in 1..25u32 {
        term *= f64::from(2 * k - 1).powi(2) / (f64::from(k) * 8.0 * z);
        sum += term;
    }
    f64::ln(sum) - 0.5 * (TAU * z).ln()
}

/// log Σ w·exp(l) without overflow, one term at a time.
struct LogSum {
    largest: f64,
    sum: f64,
}

impl Default for LogSum {
    fn default() -> Self {
        Self { largest: f64::NEG_INFINITY, sum: 0.0 }
    }
}

impl LogSum {
    fn add(&mut self, log: f64, weight: f64) {
        if log > self.largest {
            self.sum = self.sum * (self.largest - log).exp() + weight;
            self.largest = log;
        } else if log > f64::NEG_INFINITY {
            self.sum += weight * (log - self.largest).exp();
        }
    }

    fn log(&self) -> f64 {
        if self.sum > 0.0 { self.largest + self.sum.ln() } else { f64::NEG_INFINITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bessel_function_has_its_tabulated_values() {
        // scipy.special.ive(0, z) at z = 0, 1, 10, 29.999, 30.001, 1000.
        let table = [
            (0.0, 1.0),
            (1.0, 0.465_759_607_593_640_4),
            (10.0, 0.127_833_337_163_428_6),
            (29.999, 0.073_147_176_129_132_1),
            (30.001, 0.073_144_716_897_363_2),
            (1000.0, 0.012_617_240_455_891_256),
        ];
        for (z, value) in table {
            // A few roundings of the logarithm's argument.
            assert!((log_bessel_i0_scaled(z).exp() / value - 1.0).abs() < 1e-13, "{z}");
        }
    }

    #[test]
    fn a_sum_of_exponentials_survives_large_and_vanishing_terms() {
        let mut sum = LogSum::default();
        assert_eq!(sum.log(), f64::NEG_INFINITY);
        sum.add(f64::NEG_INFINITY, 1.0);
        sum.add(-1000.0, 2.0);
        sum.add(1000.0, 3.0);
        assert!((sum.log() - 1000.0 - 3f64.ln()).abs() < 1e-12);
    }
}
