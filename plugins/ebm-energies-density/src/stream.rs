//! Random numbers of one chain in sequence, for draws that need an unknown number of them.

use std::f64::consts::TAU;

use ebm_core::Key;

/// The numbers of one chain under one key, in f64: a pure function of both, whatever other chains do.
#[derive(Clone, Debug)]
pub struct Stream {
    key: Key,
    chain: u64,
    next: u64,
    spare_word: Option<u64>,
    spare_normal: Option<f64>,
}

impl Stream {
    /// The numbers of `chain` under `key`.
    pub fn new(key: Key, chain: u64) -> Self {
        Stream { key, chain, next: 0, spare_word: None, spare_normal: None }
    }

    fn word(&mut self) -> u64 {
        if let Some(word) = self.spare_word.take() {
            return word;
        }
        let [a, b, c, d] = self.key.block(self.chain, self.next).map(u64::from);
        self.next += 1;
        self.spare_word = Some(c | d << 32);
        a | b << 32
    }

    /// A uniform number in (0, 1), both ends excluded, of 52 bits.
    pub fn uniform(&mut self) -> f64 {
        // The middles of 2⁵² cells are exact in f64, and their logarithms are finite on both sides.
        ((self.word() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// A standard normal number (Box–Muller).
    pub fn normal(&mut self) -> f64 {
        if let Some(normal) = self.spare_normal.take() {
            return normal;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (TAU * self.uniform()).sin_cos();
        self.spare_normal = Some(radius * sin);
        radius * cos
    }

    /// A number of the standard logistic distribution, variance π²/3.
    pub fn logistic(&mut self) -> f64 {
        let u = self.uniform();
        u.ln() - (-u).ln_1p()
    }

    /// An index drawn by weight, from the running sums of weights that sum to 1; 0 if there are none.
    pub fn index(&mut self, running: &[f64]) -> usize {
        let u = self.uniform();
        running.partition_point(|sum| *sum <= u).min(running.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: usize = 100_000;

    /// Mean and variance of `N` numbers.
    fn moments(mut draw: impl FnMut(&mut Stream) -> f64) -> (f64, f64) {
        let mut s = Stream::new(Key::root(3), 17);
        let x: Vec<f64> = (0..N).map(|_| draw(&mut s)).collect();
        let mean = x.iter().sum::<f64>() / N as f64;
        (mean, x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / N as f64)
    }

    #[test]
    fn moments_are_those_of_the_named_laws() {
        let pi2 = std::f64::consts::PI.powi(2);
        // Mean, variance and fourth central moment; 4.5 standard errors under a fixed key.
        for ((mean, variance), (m, v, fourth)) in [
            (moments(Stream::uniform), (0.5, 1.0 / 12.0, 1.0 / 80.0)),
            (moments(Stream::normal), (0.0, 1.0, 3.0)),
            (moments(Stream::logistic), (0.0, pi2 / 3.0, 7.0 * pi2 * pi2 / 15.0)),
        ] {
            assert!((mean - m).abs() < 4.5 * (v / N as f64).sqrt(), "{mean} for {m}");
            assert!((variance - v).abs() < 4.5 * ((fourth - v * v) / N as f64).sqrt(), "{variance} for {v}");
        }
    }

    #[test]
    fn an_index_comes_as_often_as_its_weight_says() {
        let (mut s, mut count) = (Stream::new(Key::root(4), 0), [0usize; 3]);
        (0..N).for_each(|_| count[s.index(&[0.2, 0.2, 1.0])] += 1);
        assert_eq!(count[1], 0, "weight 0");
        // 4.5 standard errors of a binomial count: 4.5·√(N·0.16).
        assert!((count[0] as f64 - 0.2 * N as f64).abs() < 570.0, "{count:?}");
    }

    #[test]
    fn chains_and_keys_have_streams_of_their_own() {
        let first = |key: u64, chain| Stream::new(Key::root(key), chain).uniform();
        assert_eq!(first(1, 2), first(1, 2));
        assert!(first(1, 2) != first(1, 3) && first(1, 2) != first(2, 2));
    }
}
