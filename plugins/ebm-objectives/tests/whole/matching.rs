//! Objectives of slopes at noise levels and along ways from noise, and of recovery: their gradients, closed forms and traps.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Autograd, Batch, Chains, Condition, Diff, EnergyFn, EnergySpec, Forward, Key, Objective, ParamSet, Role,
    StepInput, View, per_row,
};
use ebm_objectives::{
    DenoisingScoreMatching, EnergyMatching, EquilibriumMatching, NoiseLevels, Pairing, RecoveryLikelihood,
    Start,
};
use ebm_testkit::{check_energy, check_objective, fulfil_plainly};

use crate::common::{draw, energy, objective, rows, sum};

fn normal(n: usize, d: usize, seed: u64) -> Tensor {
    Key::root(seed).normal(&Chains::range(0, n), &[d], DType::F64, &Device::Cpu).unwrap()
}

/// `½ k |x|²/(1 + σ²)` with the noise level σ as condition, 0 without one.
struct Bowl;

impl Forward for Bowl {
    fn terms<V: Diff>(&self, p: &View, x: &V, cond: Option<&Tensor>) -> ebm_core::Result<V> {
        let mut square = x.square()?;
        if let Some(level) = cond {
            let precision = level.sqr()?.affine(1.0, 1.0)?.recip()?.squeeze(1)?;
            square = square.times(&per_row(&precision, x.value())?)?;
        }
        square.sum_last()?.scale(0.5)?.linear_layer(p.get("k")?, None)
    }
}

fn bowl(k: f64) -> Autograd<Bowl> {
    let k = ("k".to_string(), Tensor::new(&[[k]], &Device::Cpu).unwrap(), Role::Trainable);
    let mut spec = EnergySpec::new(&[2], &["e"]);
    spec.condition = Condition::Optional(1);
    Autograd::new("bowl", Bowl, spec, ParamSet::new([k]).unwrap())
}

/// d(loss)/dk of a bowl of stiffness `k` on `n` standard normal data.
fn pull(objective: &dyn Objective, k: f64, n: usize, key: u64) -> f64 {
    let (e, data) = (bowl(k), Batch::new(normal(n, 2, 8)).unwrap());
    let demands = objective.demands(&e, &StepInput::new(&data, None, None, 0), Key::root(key)).unwrap();
    sum(&fulfil_plainly(&e, demands).unwrap().0["k"])
}

fn levels() -> NoiseLevels {
    NoiseLevels::log_normal(-0.5, 1.0, (0.05, 5.0), 0.7)
}

#[test]
fn each_is_the_gradient_of_its_loss_and_portions_add_up() {
    let (plain, data) = (energy(), Batch::new(rows("data", 5)).unwrap());
    let flow = |pairing| EnergyMatching { deviation: 0.7, temperature: 0.3, pairing, among: 3 };
    let all: [Box<dyn Objective>; 3] = [
        Box::new(flow(Pairing::Optimal)),
        Box::new(flow(Pairing::Independent)),
        Box::new(EquilibriumMatching { deviation: 0.7, gain: 2.0, flat: 0.4 }),
    ];
    for objective in all {
        check_objective(objective.as_ref(), &plain, &StepInput::new(&data, None, None, 0)).unwrap();
    }
    let (conditional, data) = (bowl(0.8), Batch::new(normal(5, 2, 1)).unwrap());
    for objective in [DenoisingScoreMatching::over(levels()), DenoisingScoreMatching::over(levels()).plain()]
    {
        check_objective(&objective, &conditional, &StepInput::new(&data, None, None, 0)).unwrap();
    }
    // Chains are constants of the loss.
    let (data, drawn) = (Batch::new(rows("data", 5)).unwrap(), draw(&plain, 0));
    for start in [Start::Datum, Start::Noisy] {
        let recovery = RecoveryLikelihood { levels: vec![0.0, 0.4], start };
        check_objective(&recovery, &plain, &StepInput::new(&data, Some(&drawn), None, 0)).unwrap();
    }
}

/// The loss is least where its derivative changes sign: `k` by the formula of each, in units in which the data are standard normal.
#[test]
fn the_stiffness_of_a_bowl_is_the_one_of_the_closed_form() {
    let many = DenoisingScoreMatching::over(levels());
    // −E⟨x_t, c (x₁ − x₀)⟩ / E|x_t|² with noise of variance 4: 1.5 (4 − 1)/(4 + 1), and with c = 1 − t 3 (4/3 − 1/6)/(4 + 1).
    let flow = EnergyMatching { deviation: 2.0, temperature: 1.0, pairing: Pairing::Independent, among: 1 };
    let still = EquilibriumMatching { deviation: 2.0, gain: 1.0, flat: 0.0 };
    let cold = EnergyMatching { temperature: 0.5, ..flow.clone() };
    let cases: [(&dyn Objective, f64); 4] = [(&many, 1.0), (&flow, 0.9), (&cold, 1.8), (&still, 0.7)];
    for (objective, k) in cases {
        let at = |factor: f64| pull(objective, factor * k, 40_000, 4);
        let (below, at, above) = (at(0.8), at(1.0), at(1.2));
        assert!(below < 0.0 && above > 0.0, "{}: {below} {at} {above}", objective.name());
        // Standard errors of 40,000 ways are a hundredth of it.
        assert!(at.abs() < 0.1 * below.abs().min(above.abs()), "{}: {below} {at} {above}", objective.name());
    }
}

/// The trap of small noise: without its opposite, noise drowns the slope of the energy.
#[test]
fn opposite_noise_takes_the_variance_out_of_small_levels() {
    let spread = |objective: &DenoisingScoreMatching| {
        let all: Vec<f64> = (0..24).map(|key| pull(objective, 1.0, 200, key)).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / all.len() as f64
    };
    let pairs = DenoisingScoreMatching::new(0.03);
    let (with, without) = (spread(&pairs), spread(&pairs.clone().plain()));
    // σ⟨x, n⟩ of variance σ² is left out: what stays is σ²(|x|² + |n|²).
    assert!(without > 50.0 * with, "{with:e} {without:e}");
}

#[test]
fn optimal_pairs_are_shorter_than_any() {
    let data = Batch::new(normal(64, 2, 8)).unwrap();
    let value = |pairing| {
        let flat = bowl(0.0);
        let objective = EnergyMatching { deviation: 1.0, temperature: 1.0, pairing, among: 64 };
        let demands = objective.demands(&flat, &StepInput::new(&data, None, None, 0), Key::root(3)).unwrap();
        fulfil_plainly(&flat, demands).unwrap().1["flow"]
    };
    // A flat energy leaves ½ mean |x₁ − x₀|²: 2 for independent pairs, and a fraction of it for clouds of one law.
    let (optimal, independent) = (value(Pairing::Optimal), value(Pairing::Independent));
    assert!((1.4..2.6).contains(&independent) && optimal < 0.25 * independent, "{optimal} {independent}");
}

#[test]
fn chains_of_recovery_start_at_the_data_or_their_copies_and_follow_an_energy_around_these() {
    let (e, data, key) = (Arc::new(energy()), Batch::new(rows("data", 5)).unwrap(), Key::root(2));
    let shared: Arc<dyn EnergyFn> = e.clone();
    let of = |start| {
        let recovery = RecoveryLikelihood { levels: vec![0.0, 0.4], start };
        recovery.chains(&shared, &data, key).unwrap().unwrap()
    };
    let (datum, noisy) = (of(Start::Datum), of(Start::Noisy));
    let off = |a: &Tensor, b: &Tensor| sum(&(a - b).unwrap().sqr().unwrap());
    assert_eq!(off(&datum.from.x, &data.x), 0.0);
    let moved = off(&noisy.from.x, &data.x) / 15.0;
    // 15 normal numbers of variance 0.16.
    assert!((0.05..0.4).contains(&moved), "{moved}");
    // A row is told by its chain: the laws, which change places of rows, hold for one.
    let one = Batch::new(rows("data", 1)).unwrap();
    let recovery = RecoveryLikelihood { levels: vec![0.0, 0.4], start: Start::Noisy };
    let alone = recovery.chains(&shared, &one, key).unwrap().unwrap();
    check_energy(alone.energy.as_ref(), &alone.from).unwrap();
    let last = noisy.from.narrow(4, 1).unwrap();
    let among = datum.energy.energy(&noisy.from).unwrap().to_vec1::<f64>().unwrap()[4];
    assert!((datum.energy.energy(&last).unwrap().to_vec1::<f64>().unwrap()[0] - among).abs() < 1e-12);
    // At the copy itself there is no pull.
    let gap = off(&datum.energy.slope(&noisy.from).unwrap().grad, &e.slope(&noisy.from).unwrap().grad);
    assert!(gap < 1e-20, "{gap}");
    let far = noisy.from.with_x((&noisy.from.x + 1.0).unwrap());
    let pull = (datum.energy.slope(&far).unwrap().grad - e.slope(&far).unwrap().grad).unwrap();
    let want = Tensor::full(1.0 / 0.16, (5, 3), &Device::Cpu).unwrap();
    assert!(off(&pull, &want) < 1e-16);
}

#[test]
fn rows_of_recovery_have_their_levels_in_turn_and_tell_them_to_the_energy() {
    let recovery = RecoveryLikelihood { levels: vec![0.1, 0.5, 2.0], start: Start::Datum };
    let (e, data): (Arc<dyn EnergyFn>, _) = (Arc::new(bowl(1.0)), Batch::new(normal(5, 2, 1)).unwrap());
    let start = recovery.chains(&e, &data, Key::root(2)).unwrap().unwrap();
    let told = start.from.cond.unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(told, [0.1, 0.5, 0.1, 0.5, 0.1]);
    let plain: Arc<dyn EnergyFn> = Arc::new(energy());
    let data = Batch::new(rows("data", 5)).unwrap();
    let text = recovery.chains(&plain, &data, Key::root(2)).err().unwrap().to_string();
    assert!(text.contains("noise-conditioned"), "{text}");
}

#[test]
fn what_does_not_fit_is_refused_at_its_place() {
    let refused = |text: &str| crate::common::built(text).err().unwrap().to_string();
    let text = refused("kind = \"denoising-score-matching\"");
    assert!(text.contains("objective.sigma") && text.contains("levels"), "{text}");
    let text = refused("kind = \"denoising-score-matching\"\nsigma = 0.1\nlevels = { spread = 1.0 }");
    assert!(text.contains("objective.sigma"), "{text}");
    let text = refused("kind = \"denoising-score-matching\"\nlevels = {}");
    assert!(text.contains("objective.levels.spread"), "{text}");
    let text = refused("kind = \"denoising-score-matching\"\nlevels = { spread = 1.0, range = [2.0, 1.0] }");
    assert!(text.contains("objective.levels.range"), "{text}");
    let text = refused("kind = \"recovery-likelihood\"\nlevels = [0.3, 0.1]");
    assert!(text.contains("objective.levels"), "{text}");
    // Levels need an energy that takes them.
    let many = objective("kind = \"denoising-score-matching\"\nlevels = { spread = 1.0 }");
    let data = Batch::new(rows("data", 4)).unwrap();
    let demands = many.demands(&energy(), &StepInput::new(&data, None, None, 0), Key::root(0));
    assert!(demands.err().unwrap().to_string().contains("noise-conditioned"));
}
