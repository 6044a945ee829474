//! Sums: weights and schedules, names, parameters of the terms, and the preset as a sum.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::common::*;
use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, ChainStart, Demands, EnergyFn, Key, Needs, Objective, ParamSet, Result, Role, Schedule, Shape,
    StepInput, What,
};
use ebm_objectives::{Contrast, EnergyL2, Sum, Term};

fn terms(terms: &str) -> String {
    format!("kind = \"sum\"\nterms = [{terms}]")
}

const NEAREST: &str = "estimator = { kind = \"nearest-neighbour\" }";

#[test]
fn the_preset_is_the_sum_of_its_terms_to_the_bit() {
    let e = energy();
    let preset = format!(
        "kind = \"contrastive\"\nweight = 1.3\nenergy_l2 = 0.7\nkl = {{ weight = 0.9, trail = 2, rows = 3 }}\n\
         label = {{ temperature = 0.6 }}\nentropy = {{ weight = 0.4, {NEAREST} }}"
    );
    let sum = terms(&format!(
        "{{ objective = {{ kind = \"contrast\", weight = 1.3 }} }}, {{ objective = {{ kind = \"energy-l2\", weight = 0.7 }} }}, \
         {{ objective = {{ kind = \"label\", temperature = 0.6 }} }}, \
         {{ objective = {{ kind = \"kl\", weight = 0.9, trail = 2, rows = 3 }} }}, \
         {{ objective = {{ kind = \"entropy\", weight = 0.4, trail = 2, rows = 3, {NEAREST} }} }}"
    ));
    assert_eq!(objective(&preset).needs(), objective(&sum).needs());
    assert_same(&gradient(&e, &preset), &gradient(&e, &sum), 0.0);
    let labels = objective(&sum).terms();
    assert_eq!(labels, ["cd", "reg", "label", "kl", "ent"]);
    assert_eq!(gradient(&e, &sum).1.into_keys().collect::<Vec<_>>(), ["cd", "ent", "kl", "label", "reg"]);
}

#[test]
fn the_preset_joins_the_needs_of_its_terms() {
    let needs = |text: &str| objective(&format!("kind = \"contrastive\"\n{text}")).needs();
    assert_eq!(needs(""), Needs::none().with_samples());
    let bank = Needs::none().with_trail(1, None).with_bank(100, 1000);
    assert_eq!(needs(&format!("entropy = {{ {NEAREST} }}")), bank);
    let all = Needs::none().with_trail(usize::MAX, Some(7)).with_bank(100, 1000).with_labels();
    assert_eq!(
        needs(&format!("kl = {{ trail = 0, rows = 7 }}\nlabel = {{}}\nentropy = {{ {NEAREST} }}")),
        all
    );
}

#[test]
fn weights_scale_gradients_and_values() {
    let e = energy();
    let one = gradient(&e, "kind = \"contrastive\"\nenergy_l2 = 0.7\nkl = {}");
    let half = gradient(
        &e,
        &terms("{ weight = 0.5, objective = { kind = \"contrastive\", energy_l2 = 0.7, kl = {} } }"),
    );
    let want = one.0.iter().map(|(k, g)| (k.clone(), (g * 0.5).unwrap())).collect();
    let values = one.1.iter().map(|(k, v)| (k.clone(), 0.5 * v)).collect();
    // Halves are exact in binary.
    assert_same(&half, &(want, values), 0.0);
}

/// What can be weighed row by row is: such a step takes one pass of the energy for its weights and their gradient.
#[test]
fn weights_of_rows_alone_are_said_to_be() {
    let (e, data) = (energy(), data(true));
    let drawn = draw(&e, 0);
    let input = StepInput::new(&data, Some(&drawn), None, 0);
    let by_row = |text: &str| -> Vec<bool> {
        let demands = objective(text).demands(&e, &input, Key::root(0)).unwrap().scaled(0.5).unwrap();
        let weights = demands.list.iter().filter_map(|d| match &d.what {
            What::Energy { weight, .. } => Some(weight.is_by_row()),
            _ => None,
        });
        weights.collect()
    };
    assert_eq!(by_row("kind = \"contrastive\"\nenergy_l2 = 0.7\nkl = {}"), [true; 4]);
    assert_eq!(by_row("kind = \"noise-contrast\"\nnoise = { kind = \"gaussian\", sd = 1.0 }"), [true; 2]);
    assert_eq!(by_row("kind = \"recovery-likelihood\""), [true; 2]);
    // The labels of a datum are rows that look at each other.
    assert_eq!(by_row("kind = \"label\""), [false]);
}

#[test]
fn two_of_a_kind_go_under_two_names() {
    let kl = "objective = { kind = \"kl\", rows = 2 }";
    let two = objective(&terms(&format!("{{ {kl} }}, {{ name = \"late\", {kl} }}")));
    assert_eq!(two.terms(), ["kl", "late"]);
    let (_, values) = gradient(&energy(), &terms(&format!("{{ {kl} }}, {{ name = \"late\", {kl} }}")));
    assert_eq!(values["kl"], values["late"]);
    let inner = terms("{ name = \"paper\", objective = { kind = \"contrastive\", energy_l2 = 1.0 } }");
    assert_eq!(objective(&inner).terms(), ["paper.cd", "paper.reg"]);
}

#[test]
fn a_name_that_is_taken_is_refused_at_its_place() {
    let refused = |t: &str| built(&terms(t)).err().unwrap().to_string();
    let kl = "objective = { kind = \"kl\" }";
    let text = refused(&format!("{{ {kl} }}, {{ {kl} }}"));
    assert!(text.contains("objective.terms[1].name: two terms") && text.contains("`kl`"), "{text}");
    let text = refused(&format!("{{ {kl} }}, {{ name = \"kl\", objective = {{ kind = \"contrast\" }} }}"));
    assert!(text.contains("objective.terms[1].name"), "{text}");
    let text = refused("");
    assert!(text.contains("objective.terms: is empty"), "{text}");
}

#[test]
fn a_term_that_is_off_costs_nothing_and_reports_zero() {
    let rising = Schedule { shape: Shape::Linear, end: 0.5, warmup: 2 };
    let sum = Sum::new(vec![
        Term::of(NoiseContrast::new(0.4)),
        Term::of(Contrast { weight: 1.0 }).scheduled(rising).between(5, Some(9)),
    ])
    .unwrap();
    assert!(sum.needs().samples);
    let samples: Vec<bool> = (4..10).map(|step| sum.needs_at(step, 20).samples).collect();
    assert_eq!(samples, [false, true, true, true, true, false]);
    let (e, data) = (energy(), data(false));
    let input = StepInput::new(&data, None, None, 4).with_length(20);
    let demands = sum.demands(&e, &input, Key::root(0)).unwrap();
    assert_eq!(demands.values["cd"], 0.0);
    assert!(demands.list.iter().all(|d| d.label != "cd"));
    let drawn = draw(&e, 0);
    let at = |step| {
        let input = StepInput::new(&data, Some(&drawn), None, step).with_length(20);
        gradient_of(&e, sum.demands(&e, &input, Key::root(0)).unwrap()).1["cd"]
    };
    // Half of its warm-up, and a quarter and three quarters of the way from 1 to a half.
    let found: Vec<f64> = (5..9).map(|step| at(step) / at(5)).collect();
    let want = [1.0, 1.75, 1.5, 1.25];
    assert!(found.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-14), "{found:?}");
}

/// Noise contrast against one normal batch with a learned log Z: loss mean softplus(E + log Z) over data and
/// softplus(−E − log Z) over noise, noise densities left out.
struct NoiseContrast(ParamSet);

impl NoiseContrast {
    fn new(log_z: f64) -> Self {
        let log_z = Tensor::new(&[log_z], &Device::Cpu).unwrap();
        NoiseContrast(ParamSet::new([("log_z".to_string(), log_z, Role::Trainable)]).unwrap())
    }
}

impl Objective for NoiseContrast {
    fn needs(&self) -> Needs {
        Needs::none()
    }
    fn params(&self) -> ParamSet {
        self.0.clone()
    }
    fn demands(&self, _: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let at = input.data;
        let noise = key.at("noise").normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let both = Batch::new(Tensor::cat(&[&at.x, &noise], 0)?)?;
        let (n, of) = (at.len(), input.portion_of(at).of as f64);
        let ones = Tensor::ones(n, DType::F64, &Device::Cpu)?;
        let sign = Tensor::cat(&[&ones, &ones.affine(-1.0, 0.0)?], 0)?;
        let (log_z, side) = (self.0.get("log_z").unwrap().clone(), sign.clone());
        // exp(±(E + log Z)); the loss is log(1 + that).
        let odds =
            move |t: &Tensor| -> Result<Tensor> { Ok((t.sum(1)?.broadcast_add(&log_z)? * &side)?.exp()?) };
        let of_value = odds.clone();
        let pull = move |t: &Tensor| -> Result<Tensor> {
            let odds = odds(t)?;
            Ok(((&odds / (&odds + 1.0)?)? * &sign)?.affine(1.0 / of, 0.0)?)
        };
        let own = pull.clone();
        let mut d = Demands::default();
        d.energy(
            "nce",
            "pairs",
            &both,
            move |t| Ok(pull(t)?.unsqueeze(1)?.broadcast_as(t.dims())?.contiguous()?),
            move |t| Ok(sum(&(of_value(t)? + 1.0)?.log()?) / of),
        );
        d.own("nce", "log_z", "pairs", &both, move |t| Ok(own(t)?.sum_keepdim(0)?));
        Ok(d)
    }
    fn name(&self) -> String {
        "nce".into()
    }
}

#[test]
fn a_parameter_of_a_term_has_its_gradient_and_its_terms_name() {
    let (e, data) = (energy(), data(false));
    ebm_testkit::check_objective(&NoiseContrast::new(0.4), &e, &StepInput::new(&data, None, None, 0))
        .unwrap();

    let two = Sum::new(vec![
        Term::of(NoiseContrast::new(0.4)),
        Term::of(NoiseContrast::new(-0.3)).named("second").weighted(2.0),
    ])
    .unwrap();
    assert_eq!(two.params().names().collect::<Vec<_>>(), ["nce.log_z", "second.log_z"]);
    let input = StepInput::new(&data, None, None, 0);
    let (grads, values) = gradient_of(&e, two.demands(&e, &input, Key::root(0)).unwrap());
    assert!(grads.contains_key("objective.nce.log_z") && grads.contains_key("objective.second.log_z"));
    assert_ne!(values["nce"], values["second"], "each has noise of its own");
}

/// Chains that start at the data under the energy itself.
struct FromData;
impl Objective for FromData {
    fn needs(&self) -> Needs {
        Needs::none().with_own_chains()
    }
    fn chains(&self, e: &Arc<dyn EnergyFn>, data: &Batch, _: Key) -> Result<Option<ChainStart>> {
        Ok(Some(ChainStart { energy: e.clone(), from: data.clone() }))
    }
    fn demands(&self, _: &dyn EnergyFn, _: &StepInput<'_>, _: Key) -> Result<Demands> {
        Ok(Demands::default())
    }
    fn name(&self) -> String {
        "from-data".into()
    }
}

#[test]
fn only_one_term_names_the_chains() {
    let sum = Sum::new(vec![Term::of(EnergyL2 { weight: 1.0 }), Term::of(FromData)]).unwrap();
    let e: Arc<dyn EnergyFn> = Arc::new(energy());
    assert!(sum.needs().own_chains && sum.chains(&e, &data(false), Key::root(0)).unwrap().is_some());
    let two = Sum::new(vec![Term::of(FromData), Term::of(FromData).named("other")]);
    let text = two.err().unwrap().to_string();
    assert!(text.contains("terms[1]: names the energy of the chains, as terms[0] does"), "{text}");
}
