//! What the chapter "Densities of the plane" of the book says, on Gaussians, where all of it has a formula.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm::Source;
use ebm::core::Family;
use ebm::core::candle::{DType, Device, Tensor};
use ebm::core::{
    Batch, Blind, BuildCx, Chains, DrawRequest, Drawn, EnergyConfig, EnergyFn, Key, Objective,
    ObjectiveConfig, Sampler, StepInput, Transition,
};
use ebm::measure::match_temperature;
use ebm_plugins as _;
use ebm_samplers::{Chain, Langevin, Mala};

/// `λx²/2` with λ in the parameter `inverse_sd`, its root.
fn gaussian(lambda: f64) -> Arc<dyn EnergyFn> {
    let text = format!("[energy]\nkind = \"gaussian\"\nsd = {:e}\ntrainable = true\n", lambda.powf(-0.5));
    let config: Box<dyn EnergyConfig> =
        Source::text("test", text).read_part("energy", Family::Energy).unwrap();
    config.build(&mut BuildCx::new(&[1], DType::F64, &Device::Cpu, Key::root(0))).unwrap()
}

/// Numbers of mean square exactly `variance`.
fn normals(n: usize, variance: f64, key: Key) -> Batch {
    let x = key.normal(&Chains::range(0, n), &[1], DType::F64, &Device::Cpu).unwrap();
    let now = x.sqr().unwrap().mean_all().unwrap().to_scalar::<f64>().unwrap();
    Batch::new(x.affine((variance / now).sqrt(), 0.0).unwrap()).unwrap()
}

fn draw(t: Box<dyn Transition>, steps: usize, e: &dyn EnergyFn, at: Batch, key: Key) -> Drawn {
    let (mut probe, mut memory) = (Blind, BTreeMap::new());
    let mut request = DrawRequest::new(&mut probe, &mut memory).with_trail(1, None);
    Chain::new(t, steps).draw(e, at, key, &mut request).unwrap()
}

fn mean_square(x: &Tensor) -> f64 {
    x.sqr().unwrap().mean_all().unwrap().to_scalar::<f64>().unwrap()
}

/// Stationary variance of an unadjusted chain of step h.
fn unadjusted(lambda: f64, h: f64) -> f64 {
    1.0 / (lambda * (1.0 - 0.5 * h * lambda))
}

/// Maximum likelihood with persistent chains on data of variance `s`: λ rises while chains are wider than data.
/// Returns λ after 250 updates, or at the first beyond `limit`.
fn learned(s: f64, limit: f64, kernel: impl Fn() -> Box<dyn Transition>) -> f64 {
    let mut log = (1.0 / (4.0 * s)).ln();
    let mut at = normals(2000, s, Key::root(1));
    for t in 0..250u64 {
        let lambda = f64::exp(log);
        if lambda > limit {
            return lambda;
        }
        at = draw(kernel(), 2, gaussian(lambda).as_ref(), at, Key::root(2).at(t)).last.at;
        log += 0.2 * (mean_square(&at.x) / s - 1.0).clamp(-1.0, 1.0);
    }
    f64::exp(log)
}

/// Chains of step h are never narrower than √(2h): on narrower data nothing stops the energy from steepening, until
/// chains oscillate (λ > 2/h). An accept test removes the cause, not just the effect.
#[test]
fn unadjusted_chains_have_no_fixed_point_on_narrow_data() {
    let (s, h) = (0.01, 0.01);
    let least = (1..200).map(|k| unadjusted(f64::from(k) / 100.0 / h, h)).fold(f64::INFINITY, f64::min);
    assert!((least / (2.0 * h) - 1.0).abs() < 1e-12 && least > s);
    let ula = || Box::new(Langevin::unadjusted(h, 1.0)) as Box<dyn Transition>;
    assert!(learned(s, 2.0 / h, ula) > 2.0 / h);
    let mala = || Box::new(Mala::new(h)) as Box<dyn Transition>;
    let found = learned(s, 2.0 / h, mala);
    // 2000 chains: a mean square is known to 3 %, and 250 updates of gain 0.2 average over about ten of them.
    assert!((found * s - 1.0).abs() < 0.1, "{found}");
    // A step below half the data's variance has one: the root of λ(1 − hλ/2) = 1/s, sharper than the data.
    let h = 0.00245;
    let ula = || Box::new(Langevin::unadjusted(h, 1.0)) as Box<dyn Transition>;
    let want = (1.0 - (1.0 - 2.0 * h / s).sqrt()) / h;
    let found = learned(s, 2.0 / h, ula);
    assert!((found / want - 1.0).abs() < 0.1, "{found} {want}");
}

/// The gradient of the contrastive objective in the root of λ, with the KL term or without.
fn gradient(lambda: f64, h: f64, s: f64, kl: bool) -> f64 {
    let n = 40_000;
    let term = if kl { ", \"kl\": {\"weight\": 1.0, \"trail\": 1}" } else { "" };
    let text = format!("{{\"kind\": \"contrastive\"{term}}}");
    let config: Box<dyn ObjectiveConfig> = serde_json::from_str(&text).unwrap();
    let mut cx = BuildCx::new(&[1], DType::F64, &Device::Cpu, Key::root(0));
    let objective: Box<dyn Objective> = config.build(&mut cx).unwrap();
    let e = gaussian(lambda);
    let at = normals(n, unadjusted(lambda, h), Key::root(3));
    let drawn = draw(Box::new(Langevin::unadjusted(h, 1.0)), 1, e.as_ref(), at, Key::root(4));
    let data = normals(n, s, Key::root(5));
    let input = StepInput::new(&data, Some(&drawn), None, 0);
    let demands = objective.demands(e.as_ref(), &input, Key::root(6)).unwrap();
    let grads = ebm::train::fulfil(e.as_ref(), &demands.list).unwrap().grads;
    grads["inverse_sd"].flatten_all().unwrap().to_vec1::<f64>().unwrap()[0]
}

/// With the KL term a chain at rest has the fixed point s/h = (1 + 2u − 2u²)/(u(1 − u/2)), u = hλ: it exists where that of
/// the plain gradient does not, and it is sharper than the data, so the energy's temperature is sλ, not 1.
#[test]
fn the_kl_term_stabilises_by_sharpening() {
    let s = 0.01;
    for (h, want) in [(0.0025, 200.0), (0.005, 200.0), (0.01, 121.525)] {
        // The smallest root by bisection: the right side falls from infinity at u = 0.
        let right = |u: f64| (1.0 + 2.0 * u - 2.0 * u * u) / (u * (1.0 - 0.5 * u));
        let (mut low, mut high) = (1e-6, 1.5);
        for _ in 0..60 {
            let u = 0.5 * (low + high);
            if right(u) > s / h { low = u } else { high = u }
        }
        let root = low / h;
        // u = 1/2, 1 and (1 + √7)/3; bisection ends at 1e-18, the last is written to three digits.
        assert!((root - want).abs() < 1e-3, "{root} {want}");
        for lambda in [0.7 * root, root, 1.2 * root] {
            let u = h * lambda;
            let v = unadjusted(lambda, h);
            let theory = 2.0 * lambda.sqrt() * (0.5 * (s - v) - u * (1.0 - u) * v);
            let found = gradient(lambda, h, s, true);
            // Five standard errors of means of products of normals over 40,000 chains, both terms.
            let se = 2.0 * lambda.sqrt() * v * (0.5 + u) * (2.0f64 / 40_000.0).sqrt();
            assert!((found - theory).abs() < 5.0 * se, "h {h}, λ {lambda}: {found} {theory} ± {se}");
        }
        // Descent raises λ below the root and lowers it above; the plain gradient raises it at every λ once h ≥ s/2.
        assert!(gradient(0.7 * root, h, s, true) < 0.0 && gradient(1.2 * root, h, s, true) > 0.0);
        if h > 0.5 * s {
            assert!([0.5, 1.0, 1.5].iter().all(|u| gradient(u / h, h, s, false) < 0.0));
        }
    }
}

/// An energy three times too steep is read as temperature 3 from training data alone.
#[test]
fn energy_matching_reads_the_temperature() {
    let (s, t) = (0.04, 3.0);
    let e = gaussian(t / s);
    let data = normals(1000, s, Key::root(7));
    let mala = Chain::new(Box::new(Mala::new(0.02)), 10);
    let found = match_temperature(&e, &mala, &data, 1000, 60, Key::root(8)).unwrap();
    // 60 rounds of 1000 chains of relative deviation √2: the weighted average of the rounds is known to about 1 %.
    assert!((found.temperature / t - 1.0).abs() < 0.05, "{found:?}");
    assert!((found.data - 0.5 * t).abs() < 1e-9);
}
