//! Counter-based random numbers: every number is a function of (seed, purpose, chain, element).
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011). Nothing is drawn in sequence,
//! so a result depends on neither the batch layout, nor the number of threads, nor the device.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::devices::operators::{Law, operators};
use crate::widened;

/// A named point in the tree of random streams.
///
/// ```
/// use ebm_core::Key;
/// let key = Key::root(7).at("langevin").at(3u64);
/// assert_eq!(key, Key::root(7).at("langevin").at(3u64));
/// assert_ne!(key, Key::root(7).at("langevin").at(4u64));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key(u64);

/// A step in the path of a [`Key`]: a purpose or a number.
pub trait Label {
    /// A 64-bit digest of the label.
    fn digest(&self) -> u64;
}

impl Label for &str {
    fn digest(&self) -> u64 {
        // FNV-1a, then mixed; strings and numbers live in different halves by the final bit flip.
        let hash = self
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        mix(hash ^ 0x5bf0_3635_dcf8_9a7d)
    }
}

impl Label for u64 {
    fn digest(&self) -> u64 {
        mix(*self)
    }
}

impl Label for usize {
    fn digest(&self) -> u64 {
        mix(*self as u64)
    }
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014).
const fn mix(i: u64) -> u64 {
    let z = i.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Global indices of the chains (or samples) in the rows of a batch: they, not the row numbers,
/// select the random stream, so a batch may be split, reordered or spread over ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chains(Arc<[u64]>);

impl Chains {
    /// The chains `first .. first + count`.
    pub fn range(first: u64, count: usize) -> Self {
        Chains((first..first + count as u64).collect())
    }

    /// Chains with these indices.
    pub fn from_ids(ids: Vec<u64>) -> Self {
        Chains(ids.into())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The indices.
    pub fn ids(&self) -> &[u64] {
        &self.0
    }

    /// Rows `start .. start + count`, clipped to what there is.
    #[must_use]
    pub fn narrow(&self, start: usize, count: usize) -> Self {
        let end = (start + count).min(self.0.len());
        Chains(self.0[start.min(end)..end].into())
    }
}

impl Key {
    /// The root of all streams of a run.
    pub fn root(seed: u64) -> Self {
        Key(mix(seed ^ 0x6562_6d00_0000_0001))
    }

    /// The stream under `label`.
    #[must_use]
    pub fn at(self, label: impl Label) -> Self {
        Key(mix(self.0 ^ label.digest().rotate_left(17)))
    }

    /// The Philox key words, for engines that generate the same numbers in a kernel.
    pub fn words(self) -> [u32; 2] {
        [self.0 as u32, (self.0 >> 32) as u32]
    }

    /// Four random words of `chain` at counter `block`.
    pub fn block(self, chain: u64, block: u64) -> [u32; 4] {
        philox4x32([block as u32, (block >> 32) as u32, chain as u32, (chain >> 32) as u32], self.words())
    }

    /// One 64-bit word for `index`.
    pub fn word(self, index: u64) -> u64 {
        let b = self.block(index, 0);
        u64::from(b[0]) | u64::from(b[1]) << 32
    }

    /// A uniform number in [0, 1) with 53 bits for `index`.
    pub fn uniform_at(self, index: u64) -> f64 {
        (self.word(index) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A uniform integer in `0..n` for `index`; 0 if `n` is 0. Bias below n/2⁶⁴.
    pub fn below(self, index: u64, n: usize) -> usize {
        ((u128::from(self.word(index)) * n as u128) >> 64) as usize
    }

    /// A permutation of `0..n` (Fisher–Yates).
    pub fn permutation(self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64, i + 1));
        }
        order
    }

    /// Fills `out` with uniform numbers in [0, 1) of 24 bits: elements 0.. of `chain`.
    pub fn fill_uniform(self, chain: u64, out: &mut [f32]) {
        for (b, group) in out.chunks_mut(4).enumerate() {
            let words = self.block(chain, b as u64);
            for (o, w) in group.iter_mut().zip(words) {
                *o = unit(w);
            }
        }
    }

    /// Fills `out` with standard normal numbers: elements 0.. of `chain` (Box–Muller, f32).
    pub fn fill_normal(self, chain: u64, out: &mut [f32]) {
        normals(self.words(), chain, out);
    }

    /// Standard normal numbers, one row a chain: shape `(B, ...)` with `B = chains.len()`.
    ///
    /// # Errors
    /// If the tensor cannot be made on `device`.
    pub fn normal(self, chains: &Chains, sample: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        self.rows(Law::Normal, chains, sample, dtype, device)
    }

    /// Uniform numbers in [0, 1), one row a chain: shape `(B, ...)` with `B = chains.len()`.
    ///
    /// # Errors
    /// If the tensor cannot be made on `device`.
    pub fn uniform(self, chains: &Chains, sample: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        self.rows(Law::Uniform, chains, sample, dtype, device)
    }

    /// Standard normal numbers, one row of `len > 0` a chain: the bits of [`Key::fill_normal`] for each.
    pub fn fill_normal_rows(self, chains: &[u64], len: usize, data: &mut [f32]) {
        widened! {
            fn fill(key: [u32; 2], chains: &[u64], width: usize, out: &mut [f32]) = normal_rows, normal_rows
        }
        fill(self.words(), chains, len, data);
    }

    fn rows(
        self,
        law: Law,
        chains: &Chains,
        sample: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let len: usize = sample.iter().product();
        let mut shape = vec![chains.len()];
        shape.extend_from_slice(sample);
        let random = operators(device).and_then(|o| o.random.clone());
        let there = random.map(|o| o.random(law, self, chains, len, device)).transpose()?.flatten();
        let x = match there {
            Some(x) => x.reshape(shape)?,
            None => {
                let mut data = vec![0f32; len * chains.len()];
                if len > 0 {
                    self.fill(law, chains.ids(), len, &mut data);
                }
                Tensor::from_vec(data, shape, device)?
            }
        };
        Ok(x.to_dtype(dtype)?)
    }

    fn fill(self, law: Law, chains: &[u64], len: usize, data: &mut [f32]) {
        match law {
            Law::Normal => self.fill_normal_rows(chains, len, data),
            Law::Uniform => {
                data.chunks_mut(len).zip(chains).for_each(|(row, id)| self.fill_uniform(*id, row));
            }
        }
    }
}

/// A word as a uniform number in [0, 1), 24 bits.
#[inline(always)]
fn unit(w: u32) -> f32 {
    (w >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Philox4x32-10: ten rounds on counter `c` under key `k`.
pub fn philox4x32(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = u64::from(c[0]) * 0xD251_1F53;
        let p1 = u64::from(c[2]) * 0xCD9E_8D57;
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// Counters a vector pass works on at a time.
const LANES: usize = 16;

/// The generator behind [`Key::fill_normal`], inlined so that an engine may compile it again for
/// a wider instruction set. It uses only additions, multiplications, square roots and bit
/// operations in a fixed order, never fused, so all compilations give the same bits.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // lane loops over several arrays at once: the form that vectorises
pub fn normals(key: [u32; 2], chain: u64, out: &mut [f32]) {
    let (lo, hi) = (chain as u32, (chain >> 32) as u32);
    let mut block = 0u64;
    for group in out.chunks_mut(4 * LANES) {
        let mut c = [[0u32; LANES]; 4];
        for l in 0..LANES {
            let b = block + l as u64;
            c[0][l] = b as u32;
            c[1][l] = (b >> 32) as u32;
            c[2][l] = lo;
            c[3][l] = hi;
        }
        let n = normal_lanes(key, c);
        if group.len() == 4 * LANES {
            for l in 0..LANES {
                for j in 0..4 {
                    group[4 * l + j] = n[j][l];
                }
            }
        } else {
            for (i, o) in group.iter_mut().enumerate() {
                *o = n[i % 4][i / 4];
            }
        }
        block += LANES as u64;
    }
}

/// Standard normals of `chains` under `key`, one row of `width > 0` each: the bits of [`normals`] for each.
/// Compiled into its caller, as [`normals`] is.
#[inline(always)]
pub fn normal_rows(key: [u32; 2], chains: &[u64], width: usize, out: &mut [f32]) {
    if width > LANES {
        for (row, chain) in out.chunks_exact_mut(width).zip(chains) {
            normals(key, *chain, row);
        }
        return;
    }
    // Short rows: lanes go over chains, so that none is idle.
    let quads = width.div_ceil(4);
    for q in 0..quads {
        let (from, len) = (4 * q, (width - 4 * q).min(4));
        for (group, rows) in chains.chunks(LANES).zip(out.chunks_mut(LANES * width)) {
            let mut c = [[0u32; LANES]; 4];
            for (l, chain) in group.iter().enumerate() {
                c[0][l] = q as u32;
                c[2][l] = *chain as u32;
                c[3][l] = (*chain >> 32) as u32;
            }
            let n = normal_lanes(key, c);
            for (l, row) in rows.chunks_exact_mut(width).enumerate() {
                for (j, o) in row[from..from + len].iter_mut().enumerate() {
                    *o = n[j][l];
                }
            }
        }
    }
}

/// Sixteen blocks of four normals at once: lane `l` of the result holds the block with counter
/// words `c[0][l]..c[3][l]` (block low, block high, chain low, chain high).
#[inline(always)]
#[allow(clippy::needless_range_loop)] // as above
fn normal_lanes(key: [u32; 2], mut c: [[u32; LANES]; 4]) -> [[f32; LANES]; 4] {
    let mut k = key;
    for _ in 0..10 {
        for l in 0..LANES {
            let p0 = u64::from(c[0][l]) * 0xD251_1F53;
            let p1 = u64::from(c[2][l]) * 0xCD9E_8D57;
            let (n0, n2) = ((p1 >> 32) as u32 ^ c[1][l] ^ k[0], (p0 >> 32) as u32 ^ c[3][l] ^ k[1]);
            c[1][l] = p1 as u32;
            c[3][l] = p0 as u32;
            c[0][l] = n0;
            c[2][l] = n2;
        }
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    let mut n = [[0f32; LANES]; 4];
    for pair in 0..2 {
        for l in 0..LANES {
            let r = radius(c[2 * pair][l]);
            let (sin, cos) = turn(c[2 * pair + 1][l]);
            n[2 * pair][l] = r * cos;
            n[2 * pair + 1][l] = r * sin;
        }
    }
    n
}

/// `sqrt(−2 ln u)` for `u = (w/2⁸ + 1)/2²⁴` in (0, 1].
#[inline(always)]
fn radius(w: u32) -> f32 {
    let u = ((w >> 8) + 1) as f32 * (1.0 / 16_777_216.0);
    // ln by exponent and mantissa; polynomial of Cephes' logf on [sqrt(1/2), sqrt(2)).
    let bits = u.to_bits();
    let shifted = bits.wrapping_add(0x3f80_0000 - 0x3f35_04f3);
    let e = (shifted >> 23) as i32 - 127;
    let m = f32::from_bits((shifted & 0x007f_ffff) + 0x3f35_04f3) - 1.0;
    let z = m * m;
    let mut p = 7.037_683_6e-2;
    p = p * m - 1.151_461e-1;
    p = p * m + 1.167_699_9e-1;
    p = p * m - 1.242_014_1e-1;
    p = p * m + 1.424_932_3e-1;
    p = p * m - 1.666_805_8e-1;
    p = p * m + 2.000_071_5e-1;
    p = p * m - 2.499_999_4e-1;
    p = p * m + 3.333_333e-1;
    let e = e as f32;
    let ln = m + (p * m * z - 0.5 * z) + e * std::f32::consts::LN_2;
    (-2.0 * ln).max(0.0).sqrt()
}

/// Sine and cosine of `2π·w/2³²` by quadrant and two polynomials of Cephes' sinf and cosf.
#[inline(always)]
fn turn(w: u32) -> (f32, f32) {
    // Quadrant centred on a multiple of a quarter turn; the rest in ±1/8 turn.
    let q = w.wrapping_add(0x2000_0000) >> 30;
    let rest = w.wrapping_sub(q << 30) as i32;
    let a = (rest >> 8) as f32 * (std::f32::consts::TAU / 16_777_216.0);
    let z = a * a;
    let s = a + a * z * ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 1.666_665_5e-1);
    let c = 1.0 - 0.5 * z + z * z * ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2);
    let (sin, cos) = if q & 1 == 0 { (s, c) } else { (c, s) };
    let sin = f32::from_bits(sin.to_bits() ^ ((q >> 1) << 31));
    let cos = f32::from_bits(cos.to_bits() ^ (((q >> 1) ^ (q & 1)) << 31));
    (sin, cos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with Random123 (kat_vectors, philox4x32, 10 rounds).
    #[test]
    fn philox_gives_the_published_vectors() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn rows_of_normals_have_the_bits_of_each_chain_alone() {
        let (key, chains) = (Key::root(4).at("rows"), Chains::range(1 << 40, 37));
        for width in [1, 2, 4, 6, 15, 16, 17, 70] {
            let mut rows = vec![0f32; 37 * width];
            key.fill_normal_rows(chains.ids(), width, &mut rows);
            for (row, id) in rows.chunks(width).zip(chains.ids()) {
                let mut alone = vec![0f32; width];
                key.fill_normal(*id, &mut alone);
                assert_eq!(row, alone, "width {width}, chain {id}");
            }
        }
    }

    #[test]
    fn vector_normals_equal_box_muller_on_the_blocks() {
        let key = Key::root(3).at("noise");
        let mut out = vec![0f32; 203];
        key.fill_normal(9, &mut out);
        for (i, v) in out.iter().enumerate() {
            let w = key.block(9, (i / 4) as u64);
            let (a, b) = (w[i % 4 / 2 * 2], w[i % 4 / 2 * 2 + 1]);
            let u = f64::from((a >> 8) + 1) / 16_777_216.0;
            let t = std::f64::consts::TAU * f64::from(b) / 4_294_967_296.0;
            let r = (-2.0 * u.ln()).sqrt();
            let want = if i % 2 == 0 { r * t.cos() } else { r * t.sin() };
            // f32 rounding of a product whose radius is at most 5.8, plus the 24-bit angle.
            assert!((f64::from(*v) - want).abs() < 4e-6, "element {i}: {v} against {want}");
        }
    }

    /// Packed numbers, `chain << 32 | step`, are seeds and indices like others: every bit makes another stream.
    #[test]
    fn seeds_and_indices_count_with_all_of_their_bits() {
        let first = |key: Key, chain: u64| {
            let mut out = [0f32; 4];
            key.fill_uniform(chain, &mut out);
            out.map(f32::to_bits)
        };
        for bit in 0..64 {
            let other = 7 ^ 1u64 << bit;
            assert_ne!(first(Key::root(7), 3), first(Key::root(other), 3), "bit {bit} of the seed");
            assert_ne!(
                first(Key::root(3).at(7u64), 3),
                first(Key::root(3).at(other), 3),
                "bit {bit} of a step"
            );
            assert_ne!(first(Key::root(3), 7), first(Key::root(3), other), "bit {bit} of the chain");
        }
    }

    #[test]
    fn a_prefix_does_not_depend_on_the_length() {
        let key = Key::root(1);
        let (mut a, mut b) = (vec![0f32; 64], vec![0f32; 17]);
        key.fill_normal(2, &mut a);
        key.fill_normal(2, &mut b);
        assert_eq!(a[..17], b[..]);
    }

    #[test]
    fn normals_have_the_moments_of_the_normal_law() {
        let n = 400_000;
        let mut x = vec![0f32; n];
        Key::root(11).fill_normal(0, &mut x);
        let m = |p: i32| x.iter().map(|v| f64::from(*v).powi(p)).sum::<f64>() / n as f64;
        // Five standard errors of each raw moment.
        let se = |var: f64| 5.0 * (var / n as f64).sqrt();
        assert!(m(1).abs() < se(1.0));
        assert!((m(2) - 1.0).abs() < se(2.0));
        assert!(m(3).abs() < se(15.0));
        assert!((m(4) - 3.0).abs() < se(96.0));
    }

    #[test]
    fn permutation_holds_every_index_once() {
        let mut p = Key::root(5).permutation(100);
        p.sort_unstable();
        assert_eq!(p, (0..100).collect::<Vec<_>>());
    }
}
