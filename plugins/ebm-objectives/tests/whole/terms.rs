//! Each term is the gradient of its loss, by central differences in double precision; portions add up.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::common::*;
use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Autograd, Batch, ChainState, Drawn, EnergyFn, EntropyEstimator, Key, Link, Portion, StepInput, Trail,
    What,
};

#[test]
fn contrast_and_regulariser_are_the_gradient_of_the_published_loss() {
    let contrast = |e: &Autograd<Net>, base: &Autograd<Net>| {
        let x = draw(base, 0).last.at.x; // samples are constants here
        1.3 * (mean_terms(e, &rows("data", 4), 1) - mean_terms(e, &x, 1))
    };
    let squares = |e: &Autograd<Net>, base: &Autograd<Net>| {
        let x = draw(base, 0).last.at.x;
        0.7 * (mean_terms(e, &rows("data", 4), 2) + mean_terms(e, &x, 2))
    };
    agrees("kind = \"contrast\"\nweight = 1.3", contrast);
    agrees("kind = \"energy-l2\"\nweight = 0.7", squares);
    agrees("kind = \"contrastive\"\nenergy_l2 = 0.7\nweight = 1.3", |e, base| {
        contrast(e, base) + squares(e, base)
    });
}

#[test]
fn kl_through_the_last_step_is_equation_one() {
    agrees("kind = \"kl\"\nweight = 1.5\ntrail = 1", |e, base| {
        1.5 * mean_terms(base, &last_step(e, base), 1)
    });
}

#[test]
fn kl_rows_take_the_first_samples() {
    agrees("kind = \"kl\"\nrows = 2", |e, base| {
        mean_terms(base, &last_step(e, base).narrow(0, 0, 2).unwrap(), 1)
    });
}

#[test]
fn kl_through_all_steps_is_the_gradient_of_the_whole_chain() {
    agrees("kind = \"kl\"\ntrail = 0", |e, base| mean_terms(base, &draw(e, 0).last.at.x, 1));
}

fn spread(x: &Tensor) -> f64 {
    let h = ebm_entropies::NearestNeighbour::default();
    mean(&h.estimate(x, &rows("bank", 6), Key::root(0)).unwrap().value)
}

#[test]
fn the_entropy_term_is_the_gradient_of_minus_the_mean_log_distance() {
    let text = "kind = \"entropy\"\nweight = 0.3\nestimator = { kind = \"nearest-neighbour\" }\n";
    agrees(text, |e, base| -0.3 * spread(&last_step(e, base)));
    agrees(&format!("{text}trail = 0\nrows = 3"), |e, _| {
        -0.3 * spread(&draw(e, 0).last.at.x.narrow(0, 0, 3).unwrap())
    });
}

#[test]
fn a_longer_trail_for_another_term_changes_nothing() {
    let entropy = "{ kind = \"entropy\", rows = 2, estimator = { kind = \"nearest-neighbour\" } }";
    let text = format!(
        "kind = \"sum\"\nterms = [{{ objective = {{ kind = \"kl\", trail = 0 }} }}, {{ objective = {entropy} }}]"
    );
    agrees(&text, |e, base| {
        mean_terms(base, &draw(e, 0).last.at.x, 1)
            - 0.3 * spread(&last_step(e, base).narrow(0, 0, 2).unwrap())
    });
}

#[test]
fn a_bank_that_came_for_another_term_is_left_alone() {
    let e = energy();
    let text = "kind = \"entropy\"\nbank = 4\nbank_above = 50\nestimator = { kind = \"nearest-neighbour\" }";
    let (objective, data, drawn) = (objective(text), data(false), draw(&e, 1));
    let demands = |bank: &Tensor, held: usize| {
        let input = StepInput::new(&data, Some(&drawn), Some(bank), 0).with_held(held);
        gradient_of(&e, objective.demands(&e, &input, Key::root(0)).unwrap())
    };
    let early = demands(&rows("bank", 6), 50);
    assert!(early.0.is_empty() && early.1["ent"] == 0.0, "the buffer holds no more than bank_above");
    let four = demands(&rows("bank", 6).narrow(0, 0, 4).unwrap(), 51);
    assert_same(&demands(&rows("bank", 6), 51), &four, 0.0);
}

#[test]
fn the_label_term_is_the_gradient_of_the_cross_entropy() {
    let text = "kind = \"label\"\nweight = 1.7\ntemperature = 0.6";
    let loss = |e: &Autograd<Net>, _: &Autograd<Net>| {
        let data = data(true);
        let wanted = data.cond.unwrap().to_vec2::<f64>().unwrap();
        // Energies under label k alone, one pass for each.
        let under = |k: usize| {
            let one = Tensor::eye(3, DType::F64, &Device::Cpu).unwrap().narrow(0, k, 1).unwrap();
            let cond = one.broadcast_as((4, 3)).unwrap().contiguous().unwrap();
            let at = Batch::new(data.x.clone()).unwrap().with_cond(Some(cond));
            e.energy(&at).unwrap().to_vec1::<f64>().unwrap()
        };
        let energies = [under(0), under(1), under(2)];
        let of = |b: usize| {
            let z: f64 = energies.iter().map(|e| (-e[b] / 0.6).exp()).sum();
            (0..3).map(|k| wanted[b][k] * (energies[k][b] / 0.6 + z.ln())).sum::<f64>()
        };
        1.7 * (0..4).map(of).sum::<f64>() / 4.0
    };
    agrees(text, loss);
    let (e, (_, values)) = (energy(), gradient(&energy(), text));
    // Rounding of a dozen numbers of order one.
    assert!((values["label"] - loss(&e, &e)).abs() < 1e-13, "{values:?}");
}

#[test]
fn the_label_term_tells_how_often_its_label_is_the_likeliest_and_how_sure_it_is() {
    let (e, data) = (energy(), data(true));
    let input = StepInput::new(&data, None, None, 0);
    let demands = objective("kind = \"label\"\ntemperature = 0.6").demands(&e, &input, Key::root(0)).unwrap();
    let mut found = BTreeMap::new();
    for d in demands.list {
        if let What::Measure { name, at, value, .. } = d.what {
            found.insert(name, value(&e.terms(&at).unwrap()).unwrap());
        }
    }
    // The likeliest of the soft labels of the four rows; energies under each label alone.
    let (own, mut right, mut sure) = ([0, 1, 0, 2], 0.0, 0.0);
    let under = |k: usize| {
        let one_hot = Tensor::eye(3, DType::F64, &Device::Cpu).unwrap().narrow(0, k, 1).unwrap();
        let at = data.clone().with_cond(Some(one_hot.broadcast_as((4, 3)).unwrap().contiguous().unwrap()));
        e.energy(&at).unwrap().to_vec1::<f64>().unwrap()
    };
    let all = [under(0), under(1), under(2)];
    for (i, own) in own.into_iter().enumerate() {
        let weights = [0, 1, 2].map(|k| (-all[k][i] / 0.6).exp());
        let top = weights.into_iter().fold(0.0, f64::max);
        right += f64::from(u8::from(weights[own] == top)) / 4.0;
        sure += top / weights.iter().sum::<f64>() / 4.0;
    }
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["accuracy", "confidence"]);
    assert!(
        (found["accuracy"] - right).abs() < 1e-12 && (found["confidence"] - sure).abs() < 1e-12,
        "{found:?}"
    );
}

#[test]
fn a_label_term_without_labels_says_so() {
    let e = energy();
    let (bare, drawn) = (data(false), draw(&e, 0));
    let input = StepInput::new(&bare, Some(&drawn), None, 0);
    let text = objective("kind = \"label\"").demands(&e, &input, Key::root(0)).err().unwrap().to_string();
    assert!(text.contains("labelled data"), "{text}");
}

#[test]
fn terms_of_samples_without_samples_say_so() {
    let (e, data) = (energy(), data(false));
    for kind in ["contrast", "energy-l2", "kl", "contrastive"] {
        let objective = objective(&format!("kind = \"{kind}\""));
        let input = StepInput::new(&data, None, None, 0);
        let text = objective.demands(&e, &input, Key::root(0)).err().unwrap().to_string();
        assert!(text.contains("give the run a sampler"), "{text}");
    }
}

#[test]
fn an_estimator_that_needs_a_larger_bank_is_refused_at_its_place() {
    let estimator = "{ kind = \"kozachenko-leonenko\", k = 5 }";
    let alone = built(&format!("kind = \"entropy\"\nbank = 4\nestimator = {estimator}"));
    let text = alone.err().unwrap().to_string();
    assert!(text.contains("objective.bank: is 4") && text.contains("at least 5"), "{text}");
    let preset = built(&format!("kind = \"contrastive\"\nentropy = {{ bank = 4, estimator = {estimator} }}"));
    let text = preset.err().unwrap().to_string();
    assert!(text.contains("objective.entropy.bank: is 4"), "{text}");
}

#[test]
fn portions_of_a_batch_add_up_to_the_batch() {
    let e = energy();
    let text = "kind = \"contrastive\"\nenergy_l2 = 0.7\nkl = { rows = 3 }\nlabel = {}\n\
        entropy = { weight = 0.4, bank = 6, estimator = { kind = \"nearest-neighbour\" } }";
    let objective = objective(&format!(
        "kind = \"sum\"\nterms = [{{ name = \"half\", weight = 0.5, objective = {{ {} }} }}]",
        text.replace('\n', ", ")
    ));
    assert!(objective.portions());
    let labels = Tensor::eye(3, DType::F64, &Device::Cpu).unwrap();
    let labels = Tensor::cat(&[&labels, &labels.narrow(0, 0, 2).unwrap()], 0).unwrap();
    let data = Batch::new(rows("data", 5)).unwrap().with_cond(Some(labels));
    let (drawn, bank) = (draw(&e, 1), rows("bank", 6));
    let part = |first: usize, count: usize| {
        let own = data.narrow(first, count).unwrap();
        let at = drawn.last.at.narrow(first, count).unwrap();
        let trail = match drawn.trail.clone().into_links().pop() {
            Some(Link::Descent { at, scale, pass, active }) => {
                let cut = |t: Option<Tensor>| t.map(|t| t.narrow(0, first, count).unwrap());
                let at = at.narrow(first, count).unwrap();
                Trail::of(vec![Link::Descent { at, scale, pass: cut(pass), active: cut(active) }])
            }
            _ => panic!("one descent"),
        };
        let drawn = Drawn::new(ChainState::new(at), trail, BTreeMap::new());
        let input = StepInput::new(&own, Some(&drawn), Some(&bank), 0)
            .with_portion(Portion { first, of: data.len() });
        gradient_of(&e, objective.demands(&e, &input, Key::root(0)).unwrap())
    };
    let whole = part(0, 5);
    // Rows 3 and 4 have no share in the KL and entropy terms.
    let mut sum: (Grads, Values) = part(0, 2);
    for (grads, values) in [part(2, 1), part(3, 2)] {
        for (name, g) in grads {
            let added = (&sum.0[&name] + g).unwrap();
            sum.0.insert(name, added);
        }
        values.into_iter().for_each(|(label, v)| *sum.1.get_mut(&label).unwrap() += v);
    }
    assert_eq!(whole.1.len(), 5);
    // A handful of additions of numbers of order one in f64.
    assert_same(&sum, &whole, 1e-13);
}

#[test]
fn some_pixels_of_the_test_chain_are_clamped() {
    // Otherwise the tests above would not see a wrong mask.
    let x = draw(&energy(), 0).last.at.x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let held = x.iter().filter(|v| **v == 0.0 || **v == 1.0).count();
    assert!(held > 0 && held < x.len(), "{x:?}");
}
