//! What a distance would be for perfect samples at the same number of rows, from real rows alone.

use crate::error::{Result, at_least};
use crate::numeric::splitmix::SplitMix;
use crate::samples::Features;

/// How a distance of two sets of one distribution falls with their rows, in x = 1/n + 1/m.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fall {
    /// As a x + b x²: the Fréchet distance, whose bias goes as 1/n (Chong and Forsyth 2020).
    Inverse,
    /// As √x: Wasserstein distances on lines.
    Root,
    /// Not at all: unbiased distances, such as MMD².
    Not,
}

/// Random splits that are averaged, and the columns from which one has to do: eigenvalues are dear.
const SPLITS: u64 = 2;
const DEAR: usize = 512;

/// `distance` as `n` perfect samples would have it from all rows of `real`.
///
/// Two random halves of `real` are compared, and where the distance falls with the rows the figure is carried from half as
/// many rows to n and all: of halves alone a Fréchet distance is twice as large, so that a sampler that is twice as far
/// off as perfect would look perfect. For [`Fall::Inverse`] quarters are compared too, and tell the second term; with
/// fewer rows than columns the carried figure is good to about a tenth, else to some per cent (besides its noise).
///
/// # Errors
/// If `real` has fewer than 16 rows, `n` is 0, or `distance` errs.
pub fn perfect(
    real: &Features,
    n: usize,
    fall: Fall,
    seed: u64,
    distance: impl Fn(&Features, &Features) -> Result<f64>,
) -> Result<f64> {
    at_least("real rows", real.n(), 16)?;
    at_least("samples", n, 1)?;
    let splits = if real.d() >= DEAR { 1 } else { SPLITS };
    let mean = |parts: usize| -> Result<(f64, f64)> {
        let (mut sum, mut count, mut x) = (0.0, 0.0, 0.0);
        for split in 0..splits {
            let order = SplitMix::new(seed.wrapping_add(split)).permutation(real.n());
            let part = |k: usize| -> Result<Features> {
                let rows = &order[k * real.n() / parts..(k + 1) * real.n() / parts];
                let data = rows.iter().flat_map(|&i| real.row(i).iter().copied());
                Features::new(data.collect(), rows.len(), real.d())
            };
            for k in (0..parts).step_by(2) {
                let (a, b) = (part(k)?, part(k + 1)?);
                sum += distance(&a, &b)?;
                x += 1.0 / a.n() as f64 + 1.0 / b.n() as f64;
                count += 1.0;
            }
        }
        Ok((sum / count, x / count))
    };
    let (halves, x) = mean(2)?;
    let at = 1.0 / n as f64 + 1.0 / real.n() as f64;
    Ok(match fall {
        Fall::Not => halves,
        Fall::Root => halves * (at / x).sqrt(),
        Fall::Inverse => {
            let (quarters, y) = mean(4)?;
            // Through both: a x + b x² = halves, a y + b y² = quarters.
            let second = (quarters / y - halves / x) / (y - x);
            let first = halves / x - second * x;
            // A second term beyond these bounds is noise of few rows.
            let proportional = halves * at / x;
            let carried = first * at + second * at * at;
            let (low, high) = (0.9 * proportional, halves.max(proportional));
            carried.clamp(low.min(high), high)
        }
    })
}

#[cfg(all(test, feature = "linear-algebra"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{frechet, sliced_wasserstein};

    /// Means over rounds of the reference and of what it stands for.
    fn compared(
        (n, m): (usize, usize),
        fall: Fall,
        rounds: u64,
        draw: impl Fn(&mut SplitMix, usize) -> Features,
        distance: impl Fn(&Features, &Features) -> Result<f64>,
    ) -> f64 {
        let mut r = SplitMix::new(3);
        let (mut found, mut wanted) = (0.0, 0.0);
        for seed in 0..rounds {
            let (samples, real) = (draw(&mut r, n), draw(&mut r, m));
            found += perfect(&real, n, fall, 2 * seed, &distance).unwrap();
            wanted += distance(&samples, &real).unwrap();
        }
        found / wanted
    }

    fn normal(r: &mut SplitMix, n: usize) -> Features {
        Features::new((0..n * 32).map(|_| r.normal()).collect(), n, 32).unwrap()
    }

    fn bytes(r: &mut SplitMix, n: usize) -> Features {
        Features::new((0..n * 32).map(|_| r.below(256) as f64).collect(), n, 32).unwrap()
    }

    #[test]
    fn halves_are_carried_to_what_perfect_samples_get() {
        for (counts, draw) in [
            ((180, 180), normal as fn(&mut SplitMix, usize) -> Features),
            ((180, 180), bytes),
            ((400, 150), normal),
            ((60, 240), normal),
        ] {
            let ratio = compared(counts, Fall::Inverse, 4, draw, |a, b| frechet(a, b, 0.0));
            // Fréchet distances of these sizes scatter by 3 %, their means of four by half of that.
            assert!((ratio - 1.0).abs() < 0.1, "{counts:?}: {ratio}");
        }
        let sliced = |a: &Features, b: &Features| sliced_wasserstein(a, b, 32, 1.0, 0);
        let ratio = compared((200, 200), Fall::Root, 6, normal, sliced);
        assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
    }

    #[test]
    fn more_columns_than_rows_are_carried_roughly() {
        let wide = |r: &mut SplitMix, n: usize| {
            Features::new((0..n * 100).map(|_| r.normal().max(0.0)).collect(), n, 100).unwrap()
        };
        let ratio = compared((60, 60), Fall::Inverse, 3, wide, |a, b| frechet(a, b, 0.0));
        assert!((ratio - 1.0).abs() < 0.25, "{ratio}");
    }

    #[test]
    fn counts_are_checked() {
        let mut r = SplitMix::new(1);
        let plain = |a: &Features, _: &Features| Ok(a.n() as f64);
        assert!(perfect(&normal(&mut r, 15), 9, Fall::Not, 0, plain).is_err());
        assert!(perfect(&normal(&mut r, 16), 0, Fall::Not, 0, plain).is_err());
        assert_eq!(perfect(&normal(&mut r, 20), 5, Fall::Not, 0, plain).unwrap(), 10.0);
    }
}
