//! Scores with known figures, for tests of whether intervals hold them as often as they say.

use crate::detection::Detection;
use crate::numeric::bootstrap::Interval;
use crate::numeric::splitmix::SplitMix;

/// Scores of two normal sets: inside N(shift, inside²), outside N(0, outside²).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Law {
    pub shift: f64,
    pub inside: f64,
    pub outside: f64,
}

/// AUROC 0.9 and 0.98 of equal widths, then with the outside, then the inside set three times as wide.
pub(crate) const LAWS: [Law; 6] = [
    Law { shift: 1.812_387_604_9, inside: 1.0, outside: 1.0 },
    Law { shift: 2.904_447_862_3, inside: 1.0, outside: 1.0 },
    Law { shift: 4.052_622_091_7, inside: 1.0, outside: 3.0 },
    Law { shift: 6.494_543_042_1, inside: 1.0, outside: 3.0 },
    Law { shift: 4.052_622_091_7, inside: 3.0, outside: 1.0 },
    Law { shift: 6.494_543_042_1, inside: 3.0, outside: 1.0 },
];

impl Law {
    pub fn draw(&self, n: usize, m: usize, r: &mut SplitMix) -> (Vec<f64>, Vec<f64>) {
        let inside = (0..n).map(|_| self.shift + self.inside * r.normal()).collect();
        (inside, (0..m).map(|_| self.outside * r.normal()).collect())
    }

    /// The figures of infinitely many scores, with the share `n/(n + m)` of insiders; by quadrature over the threshold.
    pub fn truth(&self, n: usize, m: usize) -> Detection {
        let prior = n as f64 / (n + m) as f64;
        let steps = 20_000;
        let upper = |z: f64| 0.5 * erfc(z / std::f64::consts::SQRT_2);
        let (mut auroc, mut aupr_in, mut aupr_out) = (0.0, 0.0, 0.0);
        for i in 0..steps {
            let u = (i as f64 + 0.5) / steps as f64;
            let z = crate::normal_quantile(u);
            // The threshold that keeps the share 1 - u of insiders, and the one that leaves out the share u of outsiders' top.
            let (t, s) = (self.shift + self.inside * z, -self.outside * z);
            let passes = upper(t / self.outside);
            auroc += 1.0 - passes;
            aupr_in += prior * (1.0 - u) / (prior * (1.0 - u) + (1.0 - prior) * passes);
            let (own, wrong) = (1.0 - u, 1.0 - upper((s - self.shift) / self.inside));
            aupr_out += (1.0 - prior) * own / ((1.0 - prior) * own + prior * wrong);
        }
        let mean = |sum: f64| sum / steps as f64;
        let t = self.shift + self.inside * crate::normal_quantile(0.05);
        let fpr95 = upper(t / self.outside);
        Detection { auroc: mean(auroc), aupr_in: mean(aupr_in), aupr_out: mean(aupr_out), fpr95 }
    }
}

/// erfc by Press et al. 2007, relative error 1.2e-7.
fn erfc(x: f64) -> f64 {
    let z = x.abs();
    let t = 1.0 / (1.0 + 0.5 * z);
    const C: [f64; 10] = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ];
    let tail = t * (-z * z + C.iter().fold(0.0, |sum, c| sum * t + c)).exp();
    if x >= 0.0 { tail } else { 2.0 - tail }
}

/// Share of `rounds` in which each interval holds the truth.
pub(crate) fn coverage(
    law: Law,
    (n, m): (usize, usize),
    rounds: usize,
    intervals: impl Fn(&[f64], &[f64]) -> Vec<Interval>,
    of: impl Fn(&Detection) -> Vec<f64>,
) -> Vec<f64> {
    let truth = of(&law.truth(n, m));
    let mut r = SplitMix::new((n * 1000 + m) as u64);
    let mut held = vec![0usize; truth.len()];
    for _ in 0..rounds {
        let (inside, outside) = law.draw(n, m, &mut r);
        for ((h, i), t) in held.iter_mut().zip(intervals(&inside, &outside)).zip(&truth) {
            *h += usize::from((i.low..=i.high).contains(t));
        }
    }
    held.iter().map(|h| *h as f64 / rounds as f64).collect()
}
