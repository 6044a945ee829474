//! Exact nearest neighbours through a blocked matrix product.

use std::sync::Mutex;

use super::kernels::{Kernels, Mode, Product};
use super::net::stride_of;
use super::pack::Buffer;
use crate::pool::{Pool, Split};
use crate::simd::Isa;

/// Rows of `x` a task takes.
const ROWS: usize = 48;

/// Bank entries packed at a time: a tile of scores and a panel of the bank stay in cache.
const BANK: usize = 256;

/// For each row of `x` `(B, D)` the first nearest row of `bank` `(M, D)` and its Euclidean distance.
///
/// `|x|² − 2⟨x, b⟩ + |b|²` in f32 only sifts: every bank row that rounding might have hidden is
/// measured again as `Σ(x − b)²` in f64, so the index is exact, ties included. Rows with a NaN get
/// index 0. `out` is cleared first; nothing is written if the bank is empty.
pub fn nearest(x: &[f32], bank: &[f32], width: usize, out: &mut Vec<(usize, f32)>) {
    out.clear();
    let (batch, entries) =
        (x.len().checked_div(width).unwrap_or(0), bank.len().checked_div(width).unwrap_or(0));
    if batch == 0 || entries == 0 {
        return;
    }
    let k = Kernels::new(Isa::detect());
    let packed = pack_bank(k, bank, width);
    let norms: Vec<f32> = bank.chunks_exact(width).map(|b| k.square_sum(b) as f32).collect();
    let most = norms.iter().fold(0f32, |a, b| a.max(*b));
    // Each of the D products and the sums of the norms are rounded; the bound is generous by a factor of two.
    let slack = |norm: f32| (width as f32 + 16.0) * f32::EPSILON * (norm + most);

    let pool = Pool::global();
    let tasks = batch.div_ceil(ROWS);
    let stride = stride_of(ROWS);
    let (blocks, kb) = (entries.div_ceil(16), width.div_ceil(16));
    let mut works: Vec<Buffer> = (0..pool.threads()).map(|_| Buffer::zeros((kb + blocks) * stride)).collect();
    let mut distance = vec![0f32; batch];
    let index = Mutex::new(vec![0usize; batch]);
    pool.run_split(&mut works, tasks, [Split::every(&mut distance, ROWS)], |arena, i, [distance]| {
        let part = &x[i * ROWS * width..][..distance.len() * width];
        k.rows_in(part, width, stride, arena, 0);
        for (p, chunk) in packed.chunks(width * BANK).enumerate() {
            let c = (kb + p * BANK / 16) * stride;
            let blocks = chunk.len() / width / 16;
            let product =
                Product { rows: distance.len(), stride, a: 0, k: width, c, blocks, mode: Mode::Write };
            k.product(product, arena, chunk, None);
        }
        let mut first = [0usize; ROWS];
        for (r, (row, d)) in part.chunks_exact(width).zip(distance.iter_mut()).enumerate() {
            let norm = k.square_sum(row) as f32;
            let score = |j: usize| norms[j] - 2.0 * arena[kb * stride + j / 16 * stride + r * 16 + j % 16];
            let best = (0..entries).map(score).fold(f32::INFINITY, f32::min);
            let limit = best + 2.0 * slack(norm);
            let mut exact = f64::INFINITY;
            for j in 0..entries {
                let s = score(j);
                // A NaN score (infinities in the bank) is measured too.
                if s <= limit || s.is_nan() {
                    let d = square_distance(row, &bank[j * width..][..width]);
                    if d < exact {
                        (exact, first[r]) = (d, j);
                    }
                }
            }
            *d = exact.sqrt() as f32;
        }
        let mut all = index.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all[i * ROWS..][..distance.len()].copy_from_slice(&first[..distance.len()]);
    });
    let index = index.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    out.extend(index.into_iter().zip(distance));
}

/// The bank as the right side of a product, in chunks of [`BANK`] columns.
fn pack_bank(k: Kernels, bank: &[f32], width: usize) -> Buffer {
    let entries = bank.len() / width;
    let mut packed = Buffer::zeros(entries.div_ceil(16) * 16 * width);
    for (j, row) in bank.chunks_exact(width).enumerate() {
        let (chunk, column) = (j / BANK, j % BANK);
        let columns = (entries - chunk * BANK).min(BANK).div_ceil(16) * 16;
        let place = super::pack::place(k, width, columns / 16, column);
        for (i, v) in row.iter().enumerate() {
            packed[chunk * BANK * width + place.0 + i * place.1] = *v;
        }
    }
    packed
}

fn square_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0f64; 8];
    let (ha, hb) = (a.chunks(8), b.chunks(8));
    for (a, b) in ha.zip(hb) {
        for ((l, a), b) in lanes.iter_mut().zip(a).zip(b) {
            let d = f64::from(*a) - f64::from(*b);
            *l += d * d;
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Key;

    use super::*;

    fn naive(x: &[f32], bank: &[f32], d: usize) -> Vec<(usize, f32)> {
        x.chunks(d)
            .map(|x| {
                let mut best = (0, f64::INFINITY);
                for (j, b) in bank.chunks(d).enumerate() {
                    let s: f64 = x.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
                    if s < best.1 {
                        best = (j, s);
                    }
                }
                (best.0, best.1.sqrt() as f32)
            })
            .collect()
    }

    #[test]
    fn agrees_with_the_definition_for_many_shapes() {
        for (b, m, d) in [(1, 1, 1), (3, 17, 2), (49, 300, 5), (100, 33, 16), (7, 513, 40), (2, 5, 100)] {
            let (mut x, mut bank) = (vec![0f32; b * d], vec![0f32; m * d]);
            Key::root(1).fill_normal(b as u64, &mut x);
            Key::root(2).fill_normal(m as u64, &mut bank);
            // Far from the origin, where the product form alone would choose wrongly.
            x.iter_mut().chain(&mut bank).for_each(|v| *v = *v * 1e-3 + 1.0);
            let mut out = Vec::new();
            nearest(&x, &bank, d, &mut out);
            for ((i, r), (j, s)) in out.iter().zip(naive(&x, &bank, d)) {
                assert_eq!(*i, j, "{b} {m} {d}");
                // Both are f64 sums rounded once; the order of the sum differs.
                assert!((r - s).abs() <= 1e-6 * s, "{r} {s}");
            }
        }
    }

    #[test]
    fn a_tie_goes_to_the_first_and_an_equal_row_has_distance_zero() {
        let mut bank = vec![0.3f32; 20 * 3];
        bank[..6].fill(9.0);
        let mut out = Vec::new();
        nearest(&[0.3, 0.3, 0.3], &bank, 3, &mut out);
        assert_eq!(out, [(2, 0.0)]);
        nearest(&[0.3, 0.3, 0.3], &[], 3, &mut out);
        assert!(out.is_empty());
    }
}
