//! Objectives of discrete data: gradients of their losses, closed forms, and both ways to the same.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Autograd, Batch, BuildCx, Chains, Diff, Domain, EnergyConfig, EnergyFn, EnergySpec, Forward, Key,
    Objective, ParamSet, Role, StepInput, View,
};
use ebm_energies_discrete as _;
use ebm_objectives::{PseudoLikelihood, RatioMatching};
use ebm_testkit::{check_objective, fulfil_plainly};

/// `E(x) = tanh(Σ w_i x_i)` with a bend that no slope knows the differences of.
struct Bent;

impl Forward for Bent {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> ebm_core::Result<V> {
        x.flatten()?.times(p.get("w")?)?.sum_last()?.scale(1.5)?.tanh()
    }
}

fn bent(shape: &[usize], domain: Domain) -> Arc<dyn EnergyFn> {
    let n = shape.iter().product();
    let w = Key::root(5).normal(&Chains::range(0, 1), &[n], DType::F64, &Device::Cpu).unwrap();
    let w = ("w".to_string(), w.squeeze(0).unwrap(), Role::Trainable);
    let spec = EnergySpec::new(shape, &["e"]).on(domain);
    Arc::new(Autograd::new("bent", Bent, spec, ParamSet::new([w]).unwrap()))
}

fn pairs(shape: &[usize], text: &str) -> Arc<dyn EnergyFn> {
    let config: Box<dyn EnergyConfig> = toml::from_str(text).unwrap();
    config.build(&mut BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(1))).unwrap()
}

fn data(e: &dyn EnergyFn, n: usize) -> Batch {
    let (chains, spec) = (Chains::range(0, n), e.spec());
    let x = spec.domain.uniform(&chains, &spec.sample_shape, DType::F64, &Device::Cpu, Key::root(2));
    Batch::new(x.unwrap().unwrap()).unwrap().with_chains(chains)
}

fn energies() -> Vec<Arc<dyn EnergyFn>> {
    vec![
        bent(&[4], Domain::Spins),
        bent(&[2, 2], Domain::Binary),
        bent(&[2, 3], Domain::Categorical(3)),
        pairs(&[5], "kind = 'ising'\ncoupling = 0.4\nfield = 0.3"),
        pairs(&[3, 3], "kind = 'potts'\ncoupling = 0.6"),
    ]
}

#[test]
fn each_is_the_gradient_of_its_loss_and_portions_add_up() {
    for e in energies() {
        let data = data(e.as_ref(), 5);
        for sites in [None, Some(2)] {
            let all: [Box<dyn Objective>; 2] =
                [Box::new(PseudoLikelihood { sites }), Box::new(RatioMatching { sites })];
            for o in all {
                check_objective(o.as_ref(), e.as_ref(), &StepInput::new(&data, None, None, 0)).unwrap();
            }
        }
    }
}

/// Of pairs: by slopes, and by the energies of all changes where all sites are asked for by number.
#[test]
fn slopes_of_pairs_give_what_energies_of_all_changes_give() {
    for e in energies().into_iter().skip(3) {
        let data = data(e.as_ref(), 6);
        let of = |sites| {
            let o = PseudoLikelihood { sites };
            let demands = o.demands(e.as_ref(), &StepInput::new(&data, None, None, 0), Key::root(3)).unwrap();
            fulfil_plainly(e.as_ref(), demands).unwrap()
        };
        let ((slow, slow_value), (quick, quick_value)) = (of(Some(9)), of(None));
        let (a, b): (f64, f64) = (slow_value.values().sum(), quick_value.values().sum());
        // Rounding of some dozens of terms.
        assert!((a - b).abs() < 1e-12 * a.abs(), "{a} {b}");
        for (name, g) in &slow {
            let gap =
                (g - &quick[name]).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(gap < 1e-13, "{name}: {gap}");
        }
    }
}

#[test]
fn flat_energies_have_the_values_of_coins() {
    for (e, sites, states) in
        [(pairs(&[5], "kind = 'ising'"), 5.0, 2.0f64), (pairs(&[3, 4], "kind = 'potts'"), 3.0, 4.0)]
    {
        let data = data(e.as_ref(), 6);
        let value = |o: &dyn Objective| -> f64 {
            let demands = o.demands(e.as_ref(), &StepInput::new(&data, None, None, 0), Key::root(3)).unwrap();
            fulfil_plainly(e.as_ref(), demands).unwrap().1.values().sum()
        };
        for some in [None, Some(2)] {
            let got = value(&PseudoLikelihood { sites: some });
            assert!((got - sites * states.ln()).abs() < 1e-12, "{got}");
            let got = value(&RatioMatching { sites: some });
            assert!((got - sites * (states - 1.0) / 4.0).abs() < 1e-12, "{got}");
        }
    }
}

#[test]
fn real_samples_are_refused() {
    let e = bent(&[3], Domain::Real);
    let data = Batch::new(Tensor::zeros((2, 3), DType::F64, &Device::Cpu).unwrap()).unwrap();
    let input = StepInput::new(&data, None, None, 0);
    let text =
        RatioMatching { sites: None }.demands(e.as_ref(), &input, Key::root(0)).err().unwrap().to_string();
    assert!(text.contains("ratio-matching") && text.contains("real numbers"), "{text}");
}
