//! Classifier two-sample test: two sets are alike if no classifier tells them apart on rows it has not seen.

use serde::Serialize;

use crate::classes::classification::wilson;
use crate::error::{EvalError, Result, at_least};
use crate::numeric::bootstrap::Interval;
use crate::numeric::dense::for_squares;
use crate::numeric::fisher::fisher_upper;
use crate::numeric::logistic::Logistic;
use crate::numeric::splitmix::SplitMix;
use crate::samples::{Features, same_width};

/// The classifier that looks for a difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestClassifier {
    /// Majority of the `neighbours` nearest training rows, the square root of their number without it (Lopez-Paz and
    /// Oquab 2017): sees any difference, slowly in many dimensions.
    Nearest {
        /// Number of neighbours; a tie counts as the second set.
        neighbours: Option<usize>,
    },
    /// Logistic regression with the `penalty` λ of λ|w|²/2 beside the summed loss: sees differences of means, and what the
    /// features make linear.
    Logistic {
        /// The penalty, positive; scikit-learn's `C` is its inverse, and 1 its default.
        penalty: f64,
    },
}

/// What a classifier made of two sets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassifierTest {
    /// Accuracy on the test rows, half of them of either set, with its 95 % Wilson interval; 1/2 for equal distributions.
    pub accuracy: Interval,
    /// Probability of as many hits or more if both sets have one distribution: exact, given the classifier.
    pub p_value: f64,
    /// Rows the classifier was trained on, both sets together.
    pub trained: usize,
    /// Rows it was tested on.
    pub tested: usize,
}

/// Classifier two-sample test (Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests"): as many rows of
/// either set, chosen and halved at random from `seed`; features are standardised by the training half.
///
/// Under equal distributions the labels of the test rows are exchangeable, so their number among those taken for the
/// first set is hypergeometric: the p-value is Fisher's one-sided test, exact where the paper's is normal in the limit.
///
/// # Errors
/// If the widths differ, a set has fewer than 8 rows, or a setting is out of range.
pub fn classifier_test(
    a: &Features,
    b: &Features,
    classifier: TestClassifier,
    seed: u64,
) -> Result<ClassifierTest> {
    same_width(a, b)?;
    at_least("rows of the first features", a.n(), 8)?;
    at_least("rows of the second features", b.n(), 8)?;
    let each = a.n().min(b.n());
    let half = each / 2;
    let mut stream = SplitMix::new(seed);
    let (order_a, order_b) = (stream.permutation(a.n()), stream.permutation(b.n()));
    let rows = |from: usize, to: usize| -> Result<Features> {
        let of = |f: &Features, order: &[usize]| -> Vec<f64> {
            order[from..to].iter().flat_map(|&i| f.row(i).iter().copied()).collect()
        };
        Features::new([of(a, &order_a), of(b, &order_b)].concat(), 2 * (to - from), a.d())
    };
    let (train, test) = (rows(0, half)?, rows(half, each)?);
    let (train, test) = standardised(&train, &test)?;
    let first: Vec<bool> = (0..train.n()).map(|i| i < half).collect();
    let taken = match classifier {
        TestClassifier::Nearest { neighbours } => {
            let k = neighbours.unwrap_or_else(|| train.n().isqrt());
            if k == 0 || k > train.n() {
                let wanted = "at least 1 and at most the training rows";
                return Err(EvalError::Setting { what: "neighbours", found: k as f64, wanted });
            }
            by_neighbours(&train, &first, &test, k)
        }
        TestClassifier::Logistic { penalty } => {
            let fitted = Logistic::fit(&train, &first, penalty)?;
            (0..test.n()).map(|i| fitted.logit(test.row(i)) > 0.0).collect()
        }
    };
    let own = (each - half) as u64;
    let count = |rows: &[bool]| rows.iter().filter(|t| **t).count() as u64;
    let (right, wrong) = (count(&taken[..own as usize]), count(&taken[own as usize..]));
    let hits = (right + own - wrong) as usize;
    let (low, high) = wilson(hits, test.n(), 0.95)?;
    let value = hits as f64 / test.n() as f64;
    let se = (value * (1.0 - value) / test.n() as f64).sqrt();
    Ok(ClassifierTest {
        accuracy: Interval { value, low, high, se },
        p_value: fisher_upper((right, own), (wrong, own)),
        trained: train.n(),
        tested: test.n(),
    })
}

/// Both tables with the training rows' means taken off and divided by their deviations (n − 1); constant columns only
/// shifted.
fn standardised(train: &Features, test: &Features) -> Result<(Features, Features)> {
    let (n, d) = (train.n() as f64, train.d());
    let column = |j: usize| train.data().iter().skip(j).step_by(d);
    let scales: Vec<(f64, f64)> = (0..d)
        .map(|j| {
            let mean = column(j).sum::<f64>() / n;
            let sd = (column(j).map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            (mean, if sd > 0.0 { sd } else { 1.0 })
        })
        .collect();
    let scaled = |f: &Features| {
        let data = f.data().iter().enumerate().map(|(i, v)| (v - scales[i % d].0) / scales[i % d].1);
        Features::new(data.collect(), f.n(), d)
    };
    Ok((scaled(train)?, scaled(test)?))
}

/// Whether more than half of the `k` nearest training rows are of the first set.
fn by_neighbours(train: &Features, first: &[bool], test: &Features, k: usize) -> Vec<bool> {
    let mut taken = Vec::with_capacity(test.n());
    let mut order: Vec<usize> = Vec::with_capacity(train.n());
    for_squares(test, train, |_, squares| {
        order.clear();
        order.extend(0..squares.len());
        order.select_nth_unstable_by(k - 1, |&i, &j| squares[i].total_cmp(&squares[j]).then(i.cmp(&j)));
        taken.push(2 * order[..k].iter().filter(|i| first[**i]).count() > k);
    });
    taken
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, clouds};

    const BOTH: [TestClassifier; 2] =
        [TestClassifier::Nearest { neighbours: None }, TestClassifier::Logistic { penalty: 1.0 }];

    fn normal(r: &mut SplitMix, n: usize, d: usize, mean: f64, sd: f64) -> Features {
        Features::new((0..n * d).map(|_| mean + sd * r.normal()).collect(), n, d).unwrap()
    }

    #[test]
    fn agrees_with_scikit_learn_and_scipy() {
        // python scripts/make-eval-goldens.py classifier_test
        let (a, b) = clouds();
        let a = Features::new(a.data().iter().map(|v| v + 0.5).collect(), a.n(), a.d()).unwrap();
        for (classifier, gold) in BOTH.into_iter().zip(GOLD) {
            let t = classifier_test(&a, &b, classifier, 5).unwrap();
            assert_close(t.accuracy.value, gold[0], 1e-14);
            assert_close(t.p_value, gold[1], 1e-11);
            assert_eq!((t.trained, t.tested), (40, 40));
        }
    }
    const GOLD: [[f64; 2]; 2] = [[0.65, 0.021798021798021795], [0.725, 0.00519335109943032]];

    #[test]
    fn alike_sets_are_rejected_no_more_often_than_promised() {
        let mut r = SplitMix::new(6);
        for classifier in BOTH {
            let rejected = (0..300).filter(|&i| {
                let (a, b) = (normal(&mut r, 60, 3, 0.0, 1.0), normal(&mut r, 45, 3, 0.0, 1.0));
                classifier_test(&a, &b, classifier, i).unwrap().p_value <= 0.1
            });
            // At most 10 % of 300: 30 and four standard deviations of 5.2; exact tests of whole numbers stay below.
            let rejected = rejected.count();
            assert!(rejected <= 51, "{classifier:?} {rejected}");
        }
    }

    #[test]
    fn each_classifier_sees_what_it_can() {
        let mut r = SplitMix::new(7);
        let (a, shifted) = (normal(&mut r, 200, 2, 0.0, 1.0), normal(&mut r, 200, 2, 0.7, 1.0));
        let wide = normal(&mut r, 200, 2, 0.0, 3.0);
        let [near, linear] = BOTH;
        for c in BOTH {
            assert!(classifier_test(&a, &shifted, c, 1).unwrap().p_value < 0.01, "{c:?}");
        }
        assert!(classifier_test(&a, &wide, near, 1).unwrap().p_value < 0.01);
        assert!(classifier_test(&a, &wide, linear, 1).unwrap().p_value > 0.01, "no line tells widths apart");
    }

    #[test]
    fn settings_and_counts_are_checked() {
        let mut r = SplitMix::new(8);
        let (a, few) = (normal(&mut r, 20, 2, 0.0, 1.0), normal(&mut r, 7, 2, 0.0, 1.0));
        assert!(classifier_test(&a, &few, BOTH[0], 0).is_err());
        for k in [0, 21] {
            assert!(classifier_test(&a, &a, TestClassifier::Nearest { neighbours: Some(k) }, 0).is_err());
        }
        assert!(classifier_test(&a, &a, TestClassifier::Logistic { penalty: 0.0 }, 0).is_err());
    }
}
