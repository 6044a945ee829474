//! Inception-style score: confident and varied classes, from any classifier's probabilities.

use crate::classes::classification::check_probabilities;
use crate::error::{Result, at_least};
use crate::samples::Features;

/// exp(mean KL(p(y|x) || p(y))) of probabilities `(n, classes)`: mean and standard deviation over `splits`
/// consecutive parts (Salimans et al. 2016). Between 1 and the number of classes.
///
/// Only the Inception network's own probabilities make it the "Inception score"; name any other classifier. A model
/// that repeats one sharp image per class is perfect here. torchmetrics and torch-fidelity shuffle the rows first, and
/// torchmetrics divides the variance by `splits - 1`. Errs unless `1 <= splits <= n` and every row holds
/// non-negative numbers that sum to 1 within 1e-3.
pub fn class_score(probabilities: &Features, splits: usize) -> Result<(f64, f64)> {
    at_least("splits", splits, 1)?;
    at_least("rows of probabilities", probabilities.n(), splits)?;
    check_probabilities(probabilities)?;
    let n = probabilities.n();
    let scores: Vec<f64> =
        (0..splits).map(|s| part_score(probabilities, s * n / splits, (s + 1) * n / splits)).collect();
    let mean = scores.iter().sum::<f64>() / splits as f64;
    let variance = scores.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / splits as f64;
    Ok((mean, variance.sqrt()))
}

fn part_score(p: &Features, from: usize, to: usize) -> f64 {
    let n = (to - from) as f64;
    let mut marginal = vec![0.0; p.d()];
    for i in from..to {
        marginal.iter_mut().zip(p.row(i)).for_each(|(m, v)| *m += v / n);
    }
    let divergence: f64 = (from..to)
        .flat_map(|i| p.row(i).iter().zip(&marginal))
        .filter(|(v, _)| **v > 0.0)
        .map(|(v, m)| v * (v / m).ln())
        .sum();
    (divergence / n).exp()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, uniforms};

    #[test]
    fn agrees_with_numpy() {
        // python tests/goldens.py class_score
        let mut p: Vec<f64> = uniforms(95, 25 * 6).iter().map(|&u| f64::from(u * u)).collect();
        for row in p.chunks_exact_mut(6) {
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= sum);
        }
        let (mean, sd) = class_score(&Features::new(p, 25, 6).unwrap(), 4).unwrap();
        assert_close(mean, GOLD[0], 1e-12);
        assert_close(sd, GOLD[1], 1e-12);
    }
    const GOLD: [f64; 2] = [1.4371589712261383, 0.1401078962515494];

    #[test]
    fn extremes_are_one_and_the_number_of_classes() {
        let one_hot: Vec<f64> = (0..25).map(|i| f64::from(u8::from(i / 5 == i % 5))).collect();
        let sharp = Features::new(one_hot, 5, 5).unwrap();
        assert_close(class_score(&sharp, 1).unwrap().0, 5.0, 1e-14);
        let same = Features::new(vec![0.25; 12], 3, 4).unwrap();
        assert_eq!(class_score(&same, 3).unwrap(), (1.0, 0.0));
        assert!(class_score(&same, 4).is_err() && class_score(&same, 0).is_err());
        let logits = Features::new(vec![3.0, -2.0], 1, 2).unwrap();
        assert!(class_score(&logits, 1).unwrap_err().to_string().contains("softmax"));
    }
}
