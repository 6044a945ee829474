//! Random sums of terms: the gradient of the loss by central differences in f64, whatever the terms, how far they reach and how
//! they are nested.
#![allow(clippy::unwrap_used)]

use crate::common::*;
use ebm_core::{Autograd, EntropyEstimator, Key};
use ebm_testkit::cases;
use proptest::prelude::*;

/// A term, and what it adds to the loss.
#[derive(Clone, Debug)]
enum Term {
    Contrast(f64),
    Squares(f64),
    /// Weight, through all steps or the last, rows.
    Kl(f64, bool, usize),
    Entropy(f64, bool, usize),
    /// Weights inside a sum.
    Sum(Vec<(f64, Term)>),
}

fn terms() -> impl Strategy<Value = Term> {
    let weight = 0.1f64..2.0;
    let leaf = prop_oneof![
        weight.clone().prop_map(Term::Contrast),
        weight.clone().prop_map(Term::Squares),
        (weight.clone(), any::<bool>(), 0usize..5).prop_map(|(w, all, rows)| Term::Kl(w, all, rows)),
        (weight.clone(), any::<bool>(), 2usize..5).prop_map(|(w, all, rows)| Term::Entropy(w, all, rows)),
    ];
    leaf.prop_recursive(2, 6, 3, move |inner| {
        prop::collection::vec((weight.clone(), inner), 1..4).prop_map(Term::Sum)
    })
}

impl Term {
    fn settings(&self) -> String {
        let trail = |all: &bool| if *all { 0 } else { 1 };
        match self {
            Term::Contrast(w) => format!("kind = \"contrast\", weight = {w}"),
            Term::Squares(w) => format!("kind = \"energy-l2\", weight = {w}"),
            Term::Kl(w, all, rows) => {
                format!("kind = \"kl\", weight = {w}, trail = {}, rows = {rows}", trail(all))
            }
            Term::Entropy(w, all, rows) => format!(
                "kind = \"entropy\", weight = {w}, trail = {}, rows = {rows}, estimator = {{ kind = \"nearest-neighbour\" }}",
                trail(all)
            ),
            Term::Sum(parts) => {
                let part = |(i, (w, t)): (usize, &(f64, Term))| {
                    format!("{{ name = \"t{i}\", weight = {w}, objective = {{ {} }} }}", t.settings())
                };
                let parts: Vec<String> = parts.iter().enumerate().map(part).collect();
                format!("kind = \"sum\", terms = [{}]", parts.join(", "))
            }
        }
    }

    fn loss(&self, e: &Autograd<Net>, base: &Autograd<Net>) -> f64 {
        // The samples as they depend on the parameters of `e`.
        let ends = |all: bool, rows: usize| {
            let x = if all { draw(e, 0).last.at.x } else { last_step(e, base) };
            if rows == 0 { x } else { x.narrow(0, 0, rows).unwrap() }
        };
        match self {
            Term::Contrast(w) => {
                let x = draw(base, 0).last.at.x;
                w * (mean_terms(e, &rows("data", 4), 1) - mean_terms(e, &x, 1))
            }
            Term::Squares(w) => {
                let x = draw(base, 0).last.at.x;
                w * (mean_terms(e, &rows("data", 4), 2) + mean_terms(e, &x, 2))
            }
            Term::Kl(w, all, rows) => w * mean_terms(base, &ends(*all, *rows), 1),
            Term::Entropy(w, all, n) => {
                let h = ebm_entropies::NearestNeighbour::default();
                let estimate = h.estimate(&ends(*all, *n), &rows("bank", 6), Key::root(0)).unwrap();
                -w * mean(&estimate.value)
            }
            Term::Sum(parts) => parts.iter().map(|(w, t)| w * t.loss(e, base)).sum(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(16)))]
    #[test]
    fn random_sums_of_terms_are_the_gradient_of_their_loss(parts in prop::collection::vec((0.1f64..2.0, terms()), 1..4)) {
        let all = Term::Sum(parts);
        // Settings of the outermost on lines of their own.
        let text = all.settings().replacen(", terms", "\nterms", 1);
        agrees(&text, |e, base| all.loss(e, base));
    }
}
