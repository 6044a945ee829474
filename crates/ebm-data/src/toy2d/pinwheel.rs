//! Log-density of the pinwheel: a change of variables summed over all preimages of a point.
//!
//! An arm point f = r(cos ψ, sin ψ) lands at angle φ if g(ψ) = ψ + a·exp(r cos ψ) = φ modulo 2π/5 (the
//! five arms are equally likely and differ by that turn). The map has Jacobian |1 − a·exp(f₀)·f₁|, which
//! is g′(ψ), times the square of the final scale. g is cut at the zeros of g′ into monotone pieces, on
//! each of which every root is bracketed, so none is missed.

use std::f64::consts::{PI, TAU};

use super::{ARM, PINWHEEL_SCALE, TWIST};

/// Beyond this radius (before the final scale) the number of preimages, about e^r, is past counting.
const FARTHEST: f64 = 8.0;

pub(super) fn log_density([x, y]: [f64; 2]) -> f64 {
    let (x, y) = (x / PINWHEEL_SCALE, y / PINWHEEL_SCALE);
    let r = x.hypot(y);
    if r > FARTHEST {
        return f64::NEG_INFINITY;
    }
    let phi = y.atan2(x);
    let mut terms = Vec::new();
    let mut visit = |from: f64, to: f64| {
        for_each_root(r, phi, from, to, |psi| {
            let (f0, f1) = (r * psi.cos(), r * psi.sin());
            let log = -0.5 * ((f0 - ARM.0) / ARM.1).powi(2) - 0.5 * (f1 / ARM.2).powi(2);
            // At a fold the density is infinite in truth; a point hits one with probability 0.
            terms.push(log - slope(r, psi).abs().max(f64::MIN_POSITIVE).ln());
        });
    };
    match folds(r) {
        Some((a, b)) => {
            visit(-PI, a);
            visit(a, b);
            visit(b, PI);
        }
        None => visit(-PI, PI),
    }
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    let sum: f64 = terms.iter().map(|t| (t - largest).exp()).sum();
    largest + sum.ln() - (5.0 * TAU * ARM.1 * ARM.2 * PINWHEEL_SCALE.powi(2)).ln()
}

fn angle(r: f64, psi: f64) -> f64 {
    psi + TWIST * (r * psi.cos()).exp()
}

/// g′(ψ)
fn slope(r: f64, psi: f64) -> f64 {
    1.0 - TWIST * r * psi.sin() * (r * psi.cos()).exp()
}

/// The two zeros of g′, if it has any: they lie in (0, π) on both sides of the minimum of g′, where
/// r cos²ψ + cos ψ − r = 0.
fn folds(r: f64) -> Option<(f64, f64)> {
    let steepest = ((2.0 * r) / (1.0 + (1.0 + 4.0 * r * r).sqrt())).acos();
    if slope(r, steepest) >= 0.0 {
        return None;
    }
    Some((
        root(0.0, steepest, |psi| slope(r, psi), |_| 0.0),
        root(steepest, PI, |psi| slope(r, psi), |_| 0.0),
    ))
}

/// All ψ in [from, to) with g(ψ) = φ modulo 2π/5, on a piece where g is monotone.
fn for_each_root(r: f64, phi: f64, from: f64, to: f64, mut found: impl FnMut(f64)) {
    let turn = TAU / 5.0;
    let (a, b) = (angle(r, from), angle(r, to));
    // Targets in [min, max): pieces share their ends, and a root there must count once.
    let mut j = ((a.min(b) - phi) / turn).ceil();
    while phi + j * turn < a.max(b) {
        let target = phi + j * turn;
        found(root(from, to, |psi| angle(r, psi) - target, |psi| slope(r, psi)));
        j += 1.0;
    }
}

/// The root of `f` between `a` and `b`, where it changes sign: Newton's step while it stays inside the
/// bracket and at least halves the step before, else the bracket's middle.
fn root(mut a: f64, mut b: f64, f: impl Fn(f64) -> f64, slope: impl Fn(f64) -> f64) -> f64 {
    let rising = f(b) > f(a);
    let mut x = 0.5 * (a + b);
    let mut moved = b - a;
    // Bisection alone needs 52 steps; Newton from a good place about 5.
    for _ in 0..100 {
        let v = f(x);
        let step = v / slope(x);
        if v == 0.0 || step.abs() < 1e-15 || moved < 1e-15 {
            break;
        }
        if (v < 0.0) == rising {
            a = x
        } else {
            b = x
        }
        let newton = x - step;
        let good = newton > a && newton < b && 2.0 * step.abs() <= moved;
        let next = if good { newton } else { 0.5 * (a + b) };
        moved = (next - x).abs();
        x = next;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_root_solves_the_equation_and_none_is_missed() {
        for (i, r) in [0.0, 0.3, 1.0, 1.7, 2.5, 4.0].into_iter().enumerate() {
            let phi = 0.7 * i as f64 - 1.9;
            let mut roots = Vec::new();
            let pieces = folds(r).map_or(vec![-PI, PI], |(a, b)| vec![-PI, a, b, PI]);
            for p in pieces.windows(2) {
                for_each_root(r, phi, p[0], p[1], |psi| roots.push(psi));
            }
            for psi in &roots {
                let off = ((angle(r, *psi) - phi) / (TAU / 5.0) + 0.5).rem_euclid(1.0) - 0.5;
                // g is as steep as 0.25·r·e^r, about 55 at r = 4, and ψ is known to 1e-15.
                assert!(off.abs() < 1e-12, "r {r}: {psi}");
            }
            // Counted by sign changes of sin(5(g − φ)/2) on a fine grid.
            let grid = 200_000;
            let at = |k: usize| (2.5 * (angle(r, -PI + TAU * k as f64 / grid as f64) - phi)).sin();
            let changes = (0..grid).filter(|&k| (at(k) < 0.0) != (at(k + 1) < 0.0)).count();
            assert_eq!(roots.len(), changes, "r {r}");
        }
    }

    #[test]
    fn five_arms_are_alike() {
        let (sin, cos) = (TAU / 5.0).sin_cos();
        let [mut x, mut y] = [1.3, -0.4];
        let first = log_density([x, y]);
        for _ in 0..4 {
            [x, y] = [x * cos - y * sin, x * sin + y * cos];
            assert!((log_density([x, y]) - first).abs() < 1e-11);
        }
    }
}
