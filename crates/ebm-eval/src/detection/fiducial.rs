//! Draws of the distribution that a sample may have come from: a bootstrap that also sees beyond and between the sample.

use crate::numeric::splitmix::SplitMix;

/// A sorted sample whose distribution function is drawn anew.
///
/// At the sample's own values the true distribution function has the law of sorted uniform numbers, whatever it is (Wilks
/// 1941); so one draw of these, with straight lines between neighbours, is a draw of the unknown distribution (Banks 1988,
/// the smoothed Bayesian bootstrap; Hill's A(n)). Beyond the ends the lines go on as exponential tails, as wide as the outer
/// quarter of the sample says, uncertain by as much. A resample of the plain bootstrap never leaves the sample, which makes
/// its intervals short where figures hang on the ends, as the false-positive rate at 95 % does.
#[derive(Debug, Clone)]
pub(crate) struct Fiducial {
    values: Vec<f64>,
    /// Distribution function at the values.
    levels: Vec<f64>,
    /// Values in either tail, and their mean distances from the next inner one, as measured.
    tail: usize,
    measured: (f64, f64),
    /// The scales of this draw.
    scales: (f64, f64),
}

impl Fiducial {
    /// Of at least three finite values.
    pub fn new(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let tail = n.div_ceil(4).max(2).min(n - 1);
        let mean = |v: &[f64]| v.iter().sum::<f64>() / tail as f64;
        let measured =
            (values[tail] - mean(&values[..tail]), mean(&values[n - tail..]) - values[n - tail - 1]);
        Fiducial { levels: vec![0.0; n], values, tail, measured, scales: measured }
    }

    pub fn draw(&mut self, r: &mut SplitMix) {
        let mut sum = 0.0;
        for level in &mut self.levels {
            sum += exponential(r);
            *level = sum;
        }
        sum += exponential(r);
        self.levels.iter_mut().for_each(|l| *l /= sum);
        let tail = self.tail as f64;
        self.scales.0 = self.measured.0 * tail / gamma(self.tail, r);
        self.scales.1 = self.measured.1 * tail / gamma(self.tail, r);
    }

    /// The value below which the share `u` in (0, 1) lies.
    pub fn quantile(&self, u: f64) -> f64 {
        let (x, v, last) = (&self.values, &self.levels, self.values.len() - 1);
        match v.partition_point(|l| *l < u) {
            0 => x[0] + self.scales.0 * (u / v[0]).ln(),
            i if i > last => x[last] - self.scales.1 * ((1.0 - u) / (1.0 - v[last])).ln(),
            i => x[i - 1] + (x[i] - x[i - 1]) * (u - v[i - 1]) / (v[i] - v[i - 1]),
        }
    }

    /// The share strictly below `t`; equal values are a step that counts as a whole.
    pub fn below(&self, t: f64) -> f64 {
        self.at(t, self.values.partition_point(|x| *x < t), 0.0)
    }

    /// The share at or below `t`.
    pub fn up_to(&self, t: f64) -> f64 {
        self.at(t, self.values.partition_point(|x| *x <= t), 1.0)
    }

    /// The share at `t`, `i` values being below it; `end` if `t` stands on an end of the sample that has no tail: 0 leaves
    /// the step there out, 1 takes it in.
    fn at(&self, t: f64, i: usize, end: f64) -> f64 {
        let (x, v, last) = (&self.values, &self.levels, self.values.len() - 1);
        let step = |edge: f64, beyond: f64| if t == edge { end } else { beyond };
        match i {
            0 if self.scales.0 > 0.0 => v[0] * ((t - x[0]) / self.scales.0).exp(),
            0 => step(x[0], 0.0),
            i if i > last && self.scales.1 > 0.0 => {
                1.0 - (1.0 - v[last]) * ((x[last] - t) / self.scales.1).exp()
            }
            i if i > last => step(x[last], 1.0),
            // On a value itself the line ends; below it, equal ones end at `i - 1`.
            i => v[i - 1] + (v[i] - v[i - 1]) * (t - x[i - 1]) / (x[i] - x[i - 1]),
        }
    }
}

fn exponential(r: &mut SplitMix) -> f64 {
    -(1.0 - r.uniform()).ln()
}

/// A gamma number of whole shape: a sum of exponentials, or from 30 on by Wilson and Hilferty 1931.
fn gamma(shape: usize, r: &mut SplitMix) -> f64 {
    if shape < 30 {
        return (0..shape).map(|_| exponential(r)).sum();
    }
    let k = shape as f64;
    k * (1.0 - 1.0 / (9.0 * k) + r.normal() / (3.0 * k.sqrt())).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_shares_are_inverse_to_each_other() {
        let mut r = SplitMix::new(1);
        let sample: Vec<f64> = (0..40).map(|_| r.normal()).collect();
        let mut f = Fiducial::new(&sample);
        for _ in 0..20 {
            f.draw(&mut r);
            for i in 1..200 {
                let u = f64::from(i) / 200.0;
                assert!((f.below(f.quantile(u)) - u).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn equal_values_are_one_step() {
        let mut r = SplitMix::new(2);
        let mut f = Fiducial::new(&[1.0; 9]);
        f.draw(&mut r);
        assert_eq!((f.quantile(0.01), f.quantile(0.99), f.below(1.0), f.below(1.1)), (1.0, 1.0, 0.0, 1.0));
    }

    #[test]
    fn the_share_below_a_quantile_is_uncertain_as_it_should_be() {
        // Over samples and draws alike, F(median of the draw) has the law of a middle sorted uniform of n: variance 1/(4(n + 2)).
        let mut r = SplitMix::new(3);
        let (mut sum, rounds) = (0.0, 2000);
        for _ in 0..rounds {
            let sample: Vec<f64> = (0..21).map(|_| r.uniform()).collect();
            let mut f = Fiducial::new(&sample);
            f.draw(&mut r);
            sum += (f.quantile(0.5) - 0.5f64).powi(2);
        }
        // Twice the variance: of the sample, and of the draw around it.
        let wanted = 2.0 / (4.0 * 23.0);
        assert!(
            (sum / f64::from(rounds) / wanted - 1.0).abs() < 0.15,
            "{} {wanted}",
            sum / f64::from(rounds)
        );
    }
}
