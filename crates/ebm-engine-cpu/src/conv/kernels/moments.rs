//! The channel statistics that norms need: means and variances, and with a tangent its mean and what it has of the map.
//!
//! All sums are of differences from a pivot: the first pixel for the mean, and from then on the mean itself, rounded.

use super::View;
use crate::simd::Simd;

/// Fields of the statistics of one image and channel block, 16 floats each.
pub(crate) mod stat {
    /// The mean of the channel's map, rounded (0 without norm).
    pub(crate) const PIVOT: usize = 0;
    /// `1/√(var + ε)` (1 without norm); the channel's variance until the groups are combined.
    pub(crate) const RSTD: usize = 1;
    /// Factor of `y − pivot`.
    pub(crate) const SCALE: usize = 2;
    /// Constant.
    pub(crate) const SHIFT: usize = 3;
    /// Mean of the channel less the pivot.
    pub(crate) const OWN: usize = 4;
    /// Mean of the group less the pivot.
    pub(crate) const OFFSET: usize = 5;
    /// A number near the mean of the channel's tangent.
    pub(crate) const TURN: usize = 6;
    /// Constant of `u`; `Σ (y' − turn)` until the groups are combined.
    pub(crate) const BACK: usize = 7;
    /// Mean of the group's tangent less its pivot.
    pub(crate) const TURNED: usize = 8;
    /// `rstd·mean(x̂·y')`; `Σ (y − pivot)·(y' − turn)` until the groups are combined.
    pub(crate) const Q: usize = 9;
    /// Fields.
    pub(crate) const LEN: usize = 10;
}

/// Mean less `pivot` and variance of one image and channel.
#[inline(always)]
unsafe fn moments<S: Simd>(
    y: View,
    (c, i, o): (usize, usize, usize),
    h: usize,
    w: usize,
    pivot: S::V,
) -> [S::V; 2] {
    // SAFETY: as in stats.
    unsafe {
        let inv = S::splat(1.0 / (h * w) as f32);
        // Row by row: one sum over all of a large map would round each pixel to the digits of the whole.
        let (mut a, mut q) = (S::zero(), S::zero());
        for r in 0..h {
            let (mut a0, mut a1, mut q0, mut q1) = (S::zero(), S::zero(), S::zero(), S::zero());
            let p = y.at(c, i, r, 0).add(o);
            let mut x = 0;
            while x + 1 < w {
                let d0 = S::sub(S::load(p.add(x * 16)), pivot);
                let d1 = S::sub(S::load(p.add(x * 16 + 16)), pivot);
                a0 = S::add(a0, d0);
                a1 = S::add(a1, d1);
                q0 = S::fma(d0, d0, q0);
                q1 = S::fma(d1, d1, q1);
                x += 2;
            }
            if x < w {
                let d0 = S::sub(S::load(p.add(x * 16)), pivot);
                a0 = S::add(a0, d0);
                q0 = S::fma(d0, d0, q0);
            }
            a = S::add(a, S::add(a0, a1));
            q = S::add(q, S::add(q0, q1));
        }
        let off = S::mul(a, inv);
        [off, S::fnma(off, off, S::mul(q, inv))]
    }
}

/// Pivot, mean less the pivot, and variance over space of each channel, into `PIVOT`, `OWN` and `RSTD`.
#[inline(always)]
pub(super) unsafe fn stats<S: Simd>(y: View, cb: usize, n: usize, h: usize, w: usize, st: *mut f32) {
    for i in 0..n {
        for c in 0..cb {
            for o in (0..16).step_by(S::L) {
                // SAFETY: pixels inside the view, statistics for n·cb blocks.
                unsafe {
                    let s = st.add((i * cb + c) * stat::LEN * 16 + o);
                    // Twice: squares about a first pixel that is far from all others, or products with one that is some
                    // deviations from the mean, would lose digits.
                    let first = S::load(y.at(c, i, 0, 0).add(o));
                    let [off, _] = moments::<S>(y, (c, i, o), h, w, first);
                    let pivot = S::add(first, off);
                    let [off, var] = moments::<S>(y, (c, i, o), h, w, pivot);
                    S::store(s.add(stat::PIVOT * 16), pivot);
                    S::store(s.add(stat::OWN * 16), off);
                    S::store(s.add(stat::RSTD * 16), var);
                }
            }
        }
    }
}

/// A number near the mean of the tangent, `Σ (y' − turn)` and `Σ (y − pivot)·(y' − turn)` over space, into `TURN`, `BACK` and `Q`.
#[inline(always)]
pub(super) unsafe fn tangent_sums<S: Simd>(y: View, cb: usize, n: usize, h: usize, w: usize, st: *mut f32) {
    for i in 0..n {
        for c in 0..cb {
            for o in (0..16).step_by(S::L) {
                // SAFETY: as in stats; the tangent stands ts floats after the value.
                unsafe {
                    let s = st.add((i * cb + c) * stat::LEN * 16 + o);
                    let pivot = S::load(s.add(stat::PIVOT * 16));
                    let first = S::load(y.at(c, i, 0, 0).add(o + y.ts));
                    let mut off = S::zero();
                    for r in 0..h {
                        let p = y.at(c, i, r, 0).add(o);
                        let mut row = S::zero();
                        for x in 0..w {
                            row = S::add(row, S::sub(S::load(p.add(x * 16 + y.ts)), first));
                        }
                        off = S::add(off, row);
                    }
                    let turn = S::fma(off, S::splat(1.0 / (h * w) as f32), first);
                    let (mut a, mut b) = (S::zero(), S::zero());
                    for r in 0..h {
                        let p = y.at(c, i, r, 0).add(o);
                        let (mut row_a, mut row_b) = (S::zero(), S::zero());
                        for x in 0..w {
                            let t = S::sub(S::load(p.add(x * 16 + y.ts)), turn);
                            row_a = S::add(row_a, t);
                            row_b = S::fma(S::sub(S::load(p.add(x * 16)), pivot), t, row_b);
                        }
                        (a, b) = (S::add(a, row_a), S::add(b, row_b));
                    }
                    S::store(s.add(stat::TURN * 16), turn);
                    S::store(s.add(stat::BACK * 16), a);
                    S::store(s.add(stat::Q * 16), b);
                }
            }
        }
    }
}
