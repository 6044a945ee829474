//! A small net in double precision, chains of it that are clamped here and there, and gradients of objectives on them.

#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Autograd, Batch, Blind, BuildCx, Chains, Condition, Demands, Diff, DrawRequest, Drawn, EnergyFn,
    EnergySpec, Forward, Key, Objective, ObjectiveConfig, ParamSet, Result, Role, Sampler, SamplerConfig,
    StepInput, TermName, View,
};
use ebm_testkit::derivative;
use {ebm_energies_density as _, ebm_entropies as _, ebm_objectives as _, ebm_samplers as _};

/// Two terms of a small network, so that the means over terms are exercised; three labels, or none.
pub struct Net;
impl Forward for Net {
    fn terms<V: Diff>(&self, p: &View, x: &V, cond: Option<&Tensor>) -> Result<V> {
        let mut h = x.linear_layer(p.get("a")?, Some(p.get("b")?))?;
        if let Some(cond) = cond {
            h = h.shift(&cond.matmul(p.get("d")?)?)?;
        }
        h.swish()?.linear_layer(p.get("c")?, None)
    }
}

fn normal(key: Key, shape: &[usize]) -> Tensor {
    key.normal(&Chains::range(0, shape[0]), &shape[1..], DType::F64, &Device::Cpu).unwrap()
}

pub fn energy() -> Autograd<Net> {
    let draw = |name: &str, shape: &[usize], scale: f64| {
        let t = normal(Key::root(4).at(name), shape).affine(scale, 0.0).unwrap();
        (name.to_string(), t, Role::Trainable)
    };
    let params = ParamSet::new([
        draw("a", &[7, 3], 0.8),
        draw("b", &[7], 0.5),
        draw("c", &[2, 7], 0.9),
        draw("d", &[3, 7], 0.9),
    ]);
    let mut spec = EnergySpec::new(&[3], &["one", "two"]);
    spec.condition = Condition::Optional(3);
    Autograd::new("net", Net, spec, params.unwrap())
}

pub fn rows(name: &str, n: usize) -> Tensor {
    Key::root(9).at(name).uniform(&Chains::range(0, n), &[3], DType::F64, &Device::Cpu).unwrap()
}

pub fn context() -> BuildCx {
    BuildCx::new(&[3], DType::F64, &Device::Cpu, Key::root(0)).with_path("objective")
}

fn sampler() -> Box<dyn Sampler> {
    let config: Box<dyn SamplerConfig> = toml::from_str(
        "kind = \"chain\"\nsteps = 3\ntransition = { kind = \"langevin\", step_size = 0.35, noise = 0.05, clamp = [0.0, 1.0] }",
    )
    .unwrap();
    config.build(&mut context()).unwrap()
}

/// Five chains of three steps, with a trail of the last `trail`.
pub fn draw(e: &dyn EnergyFn, trail: usize) -> Drawn {
    let (mut probe, mut memory) = (Blind, BTreeMap::new());
    let mut request = DrawRequest::new(&mut probe, &mut memory).with_trail(trail, None);
    let from = Batch::new(rows("start", 5)).unwrap();
    sampler().draw(e, from, Key::root(21), &mut request).unwrap()
}

/// Four rows, under soft labels that add up to one if `labels`.
pub fn data(labels: bool) -> Batch {
    let soft = [[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]];
    let cond = labels.then(|| Tensor::new(&soft, &Device::Cpu).unwrap());
    Batch::new(rows("data", 4)).unwrap().with_cond(cond)
}

pub fn built(text: &str) -> Result<Box<dyn Objective>> {
    let config: Box<dyn ObjectiveConfig> = toml::from_str(text).unwrap();
    config.build(&mut context())
}

pub fn objective(text: &str) -> Box<dyn Objective> {
    built(text).unwrap()
}

pub type Grads = BTreeMap<String, Tensor>;
pub type Values = BTreeMap<TermName, f64>;

/// Gradient of the loss of `text` as the demands give it, and the values by label.
pub fn gradient(e: &Autograd<Net>, text: &str) -> (Grads, Values) {
    let objective = objective(text);
    let needs = objective.needs();
    let (data, drawn, bank) = (data(needs.labels), draw(e, needs.trail), rows("bank", 6));
    let input = StepInput::new(&data, Some(&drawn), Some(&bank), 0);
    gradient_of(e, objective.demands(e, &input, Key::root(0)).unwrap())
}

/// As [`gradient`], of demands.
pub fn gradient_of(e: &Autograd<Net>, demands: Demands) -> (Grads, Values) {
    ebm_testkit::fulfil_plainly(e, demands).unwrap()
}

pub fn sum(t: &Tensor) -> f64 {
    t.sum_all().unwrap().to_scalar::<f64>().unwrap()
}

pub fn mean(t: &Tensor) -> f64 {
    sum(t) / t.elem_count() as f64
}

/// Mean over rows and terms of `E^power`.
pub fn mean_terms(e: &dyn EnergyFn, x: &Tensor, power: i32) -> f64 {
    let t = e.terms(&Batch::new(x.clone()).unwrap()).unwrap();
    mean(&if power == 2 { t.sqr().unwrap() } else { t })
}

/// Checks the gradient of the objective `text` against differences of `loss` along each of three random directions; `loss` has the shifted energy and the one that is held fixed.
pub fn agrees(text: &str, loss: impl Fn(&Autograd<Net>, &Autograd<Net>) -> f64) {
    let base = energy();
    let (grads, _) = gradient(&base, text);
    let e = energy();
    for direction in 0..3u64 {
        let (mut slope, mut size) = (0.0, 0.0);
        let mut line = Vec::new();
        for name in ["a", "b", "c", "d"] {
            let t = base.params().get(name).unwrap();
            let d = normal(Key::root(77).at(direction).at(name), t.dims());
            if let Some(g) = grads.get(name) {
                let parts = (g * &d).unwrap();
                (slope, size) = (slope + sum(&parts), size + sum(&parts.abs().unwrap()));
            }
            line.push((name, t.clone(), d));
        }
        let difference = derivative(1e-4, |h| {
            for (name, t, d) in &line {
                e.params().set(name, &(t + d.affine(h, 0.0)?)?)?;
            }
            Ok(loss(&e, &base))
        })
        .unwrap();
        // Rounding of what adds up to the slope, and what the difference says of itself.
        let allowed = 1e-9 * size + difference.rounding + difference.truncation.min(1e-6 * size);
        assert!((slope - difference.value).abs() <= allowed, "{text}: {slope} against {difference:?}");
    }
}

/// The last step alone depends on θ: the chain before it runs under the base parameters.
pub fn last_step(e: &Autograd<Net>, base: &Autograd<Net>) -> Tensor {
    let drawn = draw(base, 1);
    let demand = drawn.trail.pull_back(base, &rows("start", 5)).unwrap().remove(0);
    let y = (&demand.at.x - e.slope(&demand.at).unwrap().grad.affine(0.35, 0.0).unwrap()).unwrap();
    y.clamp(0.0, 1.0).unwrap()
}

/// Values of `small` and of `large` agree to `tolerance`, name by name.
pub fn assert_same(small: &(Grads, Values), large: &(Grads, Values), tolerance: f64) {
    assert_eq!(small.1.keys().collect::<Vec<_>>(), large.1.keys().collect::<Vec<_>>());
    for (label, value) in &small.1 {
        assert!((value - large.1[label]).abs() <= tolerance, "{label}: {value} against {}", large.1[label]);
    }
    assert_eq!(small.0.keys().collect::<Vec<_>>(), large.0.keys().collect::<Vec<_>>());
    for (name, g) in &small.0 {
        let off = (g - &large.0[name]).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        assert!(off.to_scalar::<f64>().unwrap() <= tolerance, "{name}: {off}");
    }
}
