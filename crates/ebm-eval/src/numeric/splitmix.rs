//! Counter and stream of splitmix64: the fixed signs of the features and the seeded draws of this crate.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Finaliser of `i` times the golden-ratio increment: output `i` of the splitmix64 stream with state 0
/// (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
pub fn splitmix64(i: u64) -> u64 {
    let mut z = i.wrapping_mul(GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A small seeded stream, the same on every machine. Not for cryptography.
#[derive(Debug, Clone)]
pub struct SplitMix {
    index: u64,
}

impl SplitMix {
    /// The stream of `seed`. Its start is hashed, so that neighbouring seeds are unrelated.
    pub fn new(seed: u64) -> Self {
        Self { index: splitmix64(seed.wrapping_add(1)) }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.index = self.index.wrapping_add(1);
        splitmix64(self.index)
    }

    /// Uniform in `[0, 1)`, on the grid of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (-53f64).exp2()
    }

    /// Uniform integer in `0..n` (0 if `n` is 0); the bias of at most `n` 2^-64 is far below any use here.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// A uniformly random order of `0..n` (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    /// Standard normal, by Box and Muller 1958 (one of the pair is used, which keeps the stream simple).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_outputs_are_the_published_ones() {
        // State 0 of the reference C program gives e220a8397b1dcdaf, 6e789e6aa1b965f4, ...
        assert_eq!(splitmix64(1), 0xe220_a839_7b1d_cdaf);
        assert_eq!(splitmix64(2), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn permutations_hold_every_index_and_all_orders_occur() {
        let mut r = SplitMix::new(9);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let p = r.permutation(3);
            let mut sorted = p.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
            seen.insert(p);
        }
        assert_eq!(seen.len(), 6);
        assert!(r.permutation(0).is_empty());
    }

    #[test]
    fn draws_have_their_moments() {
        let mut r = SplitMix::new(5);
        let n = 20_000;
        let (mut m, mut v, mut k) = (0.0, 0.0, [0usize; 3]);
        for _ in 0..n {
            let z = r.normal();
            m += z;
            v += z * z;
            k[r.below(3)] += 1;
        }
        let n = f64::from(n);
        // Five standard errors: 1/sqrt(n), sqrt(2/n), and sqrt(n 2/9) counts.
        assert!((m / n).abs() < 5.0 / n.sqrt());
        assert!((v / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!(k.iter().all(|&c| (c as f64 - n / 3.0).abs() < 5.0 * (n * 2.0 / 9.0).sqrt()));
    }
}
