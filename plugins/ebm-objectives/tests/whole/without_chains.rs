//! Objectives that need no samples: gradients of their losses, closed forms, and where they are least.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Autograd, Batch, BuildCx, Chains, Density, Diff, EnergyFn, EnergySpec, Forward, Key, Objective,
    ObjectiveConfig, ParamSet, Role, StepInput, View,
};
use ebm_objectives::{
    ConditionalNoiseContrast, DenoisingScoreMatching, EnergyDiscrepancy, Moments, NoiseContrast,
    SlicedScoreMatching,
};
use ebm_testkit::{check_objective, fulfil_plainly};

use crate::common::{energy, rows};

fn normal(n: usize, d: usize, seed: u64) -> Tensor {
    Key::root(seed).normal(&Chains::range(0, n), &[d], DType::F64, &Device::Cpu).unwrap()
}

/// E = ½ k |x|² + b.
struct Bowl;

impl Forward for Bowl {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> ebm_core::Result<V> {
        let square = x.flatten()?.square()?.sum_last()?.scale(0.5)?;
        square.linear_layer(p.get("k")?, Some(p.get("b")?))
    }
}

fn bowl(k: f64, b: f64) -> Autograd<Bowl> {
    let one = |name: &str, t: Tensor| (name.to_string(), t, Role::Trainable);
    let k = one("k", Tensor::new(&[[k]], &Device::Cpu).unwrap());
    let b = one("b", Tensor::new(&[b], &Device::Cpu).unwrap());
    Autograd::new("bowl", Bowl, EnergySpec::new(&[2], &["e"]), ParamSet::new([k, b]).unwrap())
}

fn with_log_z() -> Box<dyn Objective> {
    let text =
        "kind = \"noise-contrast\"\nratio = 3\nlog_z = true\nnoise = { kind = \"gaussian\", sd = 0.8 }";
    let config: Box<dyn ObjectiveConfig> = toml::from_str(text).unwrap();
    config.build(&mut crate::common::context()).unwrap()
}

fn all() -> Vec<Box<dyn Objective>> {
    let noise: Arc<dyn Density> = Arc::new(Moments::of(&rows("moments", 50)).unwrap());
    vec![
        Box::new(DenoisingScoreMatching::new(0.3)),
        // A coarse difference, so that the rounding of energies does not drown the check.
        Box::new(SlicedScoreMatching { epsilon: 0.2 }),
        Box::new(NoiseContrast::against(noise).with_ratio(2)),
        with_log_z(),
        Box::new(ConditionalNoiseContrast { sigma: 0.4, copies: 3 }),
        Box::new(EnergyDiscrepancy { sigma: 0.4, particles: 3, stabiliser: 0.7 }),
    ]
}

#[test]
fn each_is_the_gradient_of_its_loss_and_portions_add_up() {
    let e = energy();
    let data = Batch::new(rows("data", 5)).unwrap();
    for objective in all() {
        check_objective(objective.as_ref(), &e, &StepInput::new(&data, None, None, 0)).unwrap();
    }
}

#[test]
fn labelled_data_keep_their_labels() {
    let e = energy();
    let labels = Tensor::eye(3, DType::F64, &Device::Cpu).unwrap();
    let data = Batch::new(rows("data", 3)).unwrap().with_cond(Some(labels));
    for objective in all() {
        check_objective(objective.as_ref(), &e, &StepInput::new(&data, None, None, 0)).unwrap();
    }
}

fn value(objective: &dyn Objective, e: &dyn EnergyFn, x: &Tensor) -> f64 {
    let data = Batch::new(x.clone()).unwrap();
    let demands = objective.demands(e, &StepInput::new(&data, None, None, 0), Key::root(3)).unwrap();
    fulfil_plainly(e, demands).unwrap().1.values().sum()
}

#[test]
fn values_of_known_energies_are_the_closed_forms() {
    let x = normal(7, 2, 1);
    // A flat energy cannot tell data from noise.
    let flat = bowl(0.0, 0.4);
    let (ln, tau) = (f64::ln, std::f64::consts::TAU);
    let got = value(&ConditionalNoiseContrast { sigma: 0.5, copies: 3 }, &flat, &x);
    assert!((got - ln(2.0)).abs() < 1e-12, "{got}");
    let got = value(&EnergyDiscrepancy { sigma: 0.5, particles: 4, stabiliser: 1.0 }, &flat, &x);
    assert!((got - ln(1.25)).abs() < 1e-12, "{got}");
    let got = value(&DenoisingScoreMatching::new(0.5), &flat, &x);
    let n = Key::root(3).at("noise").normal(&Chains::range(0, 7), &[2], DType::F64, &Device::Cpu).unwrap();
    let want = 0.5 * n.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap() / 7.0;
    assert!((got - want).abs() < 1e-12, "{got} {want}");
    // The normalised energy of the noise itself: σ(0) at ratio 1.
    let own: Arc<dyn EnergyFn> = Arc::new(bowl(1.0, ln(tau)));
    let noise = Moments::of(&normal(2000, 2, 5)).unwrap();
    let got = value(&NoiseContrast::against(Arc::new(noise)), own.as_ref(), &x);
    // Moments of 2,000 draws are within a few hundredths of those of the law.
    assert!((got - 2.0 * ln(2.0)).abs() < 0.1, "{got}");
    // Differences of a parabola are exact: ½(k x·v)² − k|v|² with |v|² = 2.
    let got = value(&SlicedScoreMatching { epsilon: 0.3 }, &bowl(0.0, 1.0), &x);
    assert!(got.abs() < 1e-10, "{got}");
    let origin = Tensor::zeros((3, 2), DType::F64, &Device::Cpu).unwrap();
    let got = value(&SlicedScoreMatching { epsilon: 0.3 }, &bowl(1.5, 1.0), &origin);
    assert!((got + 3.0).abs() < 1e-10, "{got}");
}

/// d(loss)/dk of a bowl of stiffness `k` on standard normal data, per unit.
fn pull(objective: &dyn Objective, k: f64, b: f64) -> f64 {
    let (e, data) = (bowl(k, b), Batch::new(normal(20_000, 2, 8)).unwrap());
    let demands = objective.demands(&e, &StepInput::new(&data, None, None, 0), Key::root(4)).unwrap();
    let grads = fulfil_plainly(&e, demands).unwrap().0;
    grads["k"].flatten_all().unwrap().to_vec1::<f64>().unwrap()[0]
}

#[test]
fn the_law_of_the_data_is_where_each_is_least() {
    let text = "kind = \"noise-contrast\"\nnoise = { kind = \"gaussian\", sd = 1.5 }";
    let nce: Box<dyn ObjectiveConfig> = toml::from_str(text).unwrap();
    let nce = nce.build(&mut BuildCx::new(&[2], DType::F64, &Device::Cpu, Key::root(0))).unwrap();
    let log_z = std::f64::consts::TAU.ln();
    let sigma = 0.5f64;
    let cases: [(&dyn Objective, f64, f64); 5] = [
        // The law of the noisy data, of variance 1 + σ².
        (&DenoisingScoreMatching::new(sigma), 1.0 / (1.0 + sigma * sigma), 0.0),
        (&SlicedScoreMatching { epsilon: 0.1 }, 1.0, 0.0),
        (nce.as_ref(), 1.0, log_z),
        (&ConditionalNoiseContrast { sigma, copies: 2 }, 1.0, 0.0),
        (&EnergyDiscrepancy { sigma, particles: 64, stabiliser: 1.0 }, 1.0, 0.0),
    ];
    for (objective, k, b) in cases {
        let (below, at, above) =
            (pull(objective, 0.8 * k, b), pull(objective, k, b), pull(objective, 1.2 * k, b));
        // The gradient changes its sign at the truth: there it is a tenth of what it is a fifth away.
        let off = below.abs().min(above.abs());
        assert!(below < 0.0 && above > 0.0, "{}: {below} {at} {above}", objective.name());
        assert!(at.abs() < 0.15 * off, "{}: {below} {at} {above}", objective.name());
    }
}
