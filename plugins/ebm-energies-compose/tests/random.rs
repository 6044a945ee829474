//! Random nested compositions in settings: all five calls against central differences in f64, and the gradient through whole chains.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ebm_core::{
    Batch, Blind, BuildCx, Chains, DrawRequest, Drawn, EnergyConfig, EnergyFn, Key, Sampler, SamplerConfig,
};
use ebm_testkit::{cases, check_energy, theta_gap};
use proptest::prelude::*;
use {ebm_energies_compose as _, ebm_energies_net as _, ebm_samplers as _};

fn build(text: &str, shape: &[usize], condition: usize) -> Arc<dyn EnergyFn> {
    let config: Box<dyn EnergyConfig> = toml::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let mut cx = BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(5)).with_condition(condition);
    cx.energy(&*config).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn batch(rows: usize, shape: &[usize], condition: usize) -> Batch {
    let draw = |name: &str, shape: &[usize]| {
        Key::root(8).at(name).uniform(&Chains::range(0, rows), shape, DType::F64, &Device::Cpu).unwrap()
    };
    Batch::new(draw("x", shape)).unwrap().with_cond((condition > 0).then(|| draw("y", &[condition])))
}

/// An energy on images of 4 × 4, of at most three compositions inside one another.
fn energies() -> BoxedStrategy<String> {
    let function = prop_oneof![Just("swish"), Just("tanh"), Just("softplus")];
    let leaf = (2usize..6, function)
        .prop_map(|(width, f)| format!("{{ kind = \"mlp\", hidden = [{width}], activation = \"{f}\" }}"));
    leaf.prop_recursive(3, 8, 3, |inner| {
        let parts = |log_z: bool| {
            let part = (0.2f64..1.5, -1.0f64..1.0, inner.clone());
            prop::collection::vec(part, 1..4).prop_map(move |all| {
                let one = |(i, (w, z, e)): (usize, &(f64, f64, String))| {
                    let z = if log_z { format!("log_z = {z}, ") } else { String::new() };
                    format!("{{ name = \"p{i}\", weight = {w}, {z}energy = {e} }}")
                };
                all.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
            })
        };
        prop_oneof![
            parts(false).prop_map(|p| format!("{{ kind = \"sum\", parts = [{p}] }}")),
            (0.3f64..3.0, parts(true))
                .prop_map(|(s, p)| format!("{{ kind = \"soft-min\", sharpness = {s}, parts = [{p}] }}")),
            (0.4f64..2.0, inner.clone())
                .prop_map(|(t, e)| format!("{{ kind = \"temperature\", temperature = {t}, energy = {e} }}")),
            (0.2f64..1.0, inner.clone())
                .prop_map(|(w, e)| format!("{{ kind = \"negate\", weight = {w}, energy = {e} }}")),
            inner.prop_map(|e| format!("{{ kind = \"frozen\", energy = {e} }}")),
        ]
    })
    .boxed()
}

/// The settings of one energy, without the braces of a part.
fn alone(text: &str) -> String {
    let inside = text.trim_start_matches('{').trim_end_matches('}');
    // Parts are nested tables on one line, which only a table of its own may hold.
    format!("kind = \"sum\"\nparts = [{{ name = \"all\", energy = {{{inside}}} }}]")
}

fn draw(s: &dyn Sampler, e: &dyn EnergyFn, at: &Batch, trail: usize) -> Drawn {
    let (mut blind, mut memory) = (Blind, BTreeMap::new());
    let mut request = DrawRequest::new(&mut blind, &mut memory).with_trail(trail, None);
    s.draw(e, at.clone(), Key::root(21), &mut request).unwrap()
}

/// The gradient of the mean energy of the ends, under frozen parameters, through all steps of a chain against differences.
fn through_a_chain(text: &str, transition: &str, shape: &[usize], condition: usize) {
    let config: Box<dyn SamplerConfig> =
        toml::from_str(&format!("kind = \"chain\"\nsteps = 3\ntransition = {transition}")).unwrap();
    let s = config.build(&mut BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(0))).unwrap();
    let (e, frozen) = (build(text, shape, condition), build(text, shape, condition));
    let at = batch(3, shape, condition);
    let drawn = draw(&*s, &*e, &at, usize::MAX);
    let u = frozen.slope(&drawn.last.at).unwrap().grad;
    let mut got: BTreeMap<String, Tensor> = BTreeMap::new();
    for d in drawn.trail.pull_back(&*e, &u).unwrap() {
        let mut sum = e.grad_theta_slope(&d.at, &d.v).unwrap();
        sum.accumulate(&got, 1.0).unwrap();
        got = sum.grads;
    }
    let end = || Ok(frozen.energy(&draw(&*s, &*e, &at, 0).last.at)?.sum_all()?.to_scalar::<f64>()?);
    let gap = theta_gap(&*e, &got, 1e-6, 1e-6, end).unwrap();
    assert!(gap.relative() <= 1e-6, "{text}: off by {gap:?}");
}

const MOVE: &str = "{ kind = \"langevin\", step_size = 0.3, noise = 0.1, clamp = [0.0, 1.0] }";
const MALA: &str = "{ kind = \"mala\", step_size = 0.3 }";

#[test]
fn chains_on_images_and_conditions_pull_back_their_gradient() {
    let conv = "kind = \"conv-net\"\nlayers = [{ filters = 4, stride = 2 }]\nhidden = [5]";
    let scales = "kind = \"multi-scale\"\nparts = [{ name = \"s\", energy = { kind = \"mlp\", hidden = [4] } }, \
         { name = \"m\", weight = 0.7, energy = { kind = \"mlp\", hidden = [4] } }]";
    for step in [MOVE, MALA] {
        through_a_chain(conv, step, &[1, 6, 6], 0);
        through_a_chain(&format!("{conv}\nconditional = true"), step, &[1, 6, 6], 3);
        through_a_chain(scales, step, &[1, 6, 6], 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(16)))]
    #[test]
    fn random_compositions_have_exact_derivatives(text in energies()) {
        let e = build(&alone(&text), &[1, 4, 4], 0);
        if let Err(e) = check_energy(&*e, &batch(2, &[1, 4, 4], 0)) {
            prop_assert!(false, "{text}: {e}");
        }
    }

    #[test]
    fn random_compositions_pull_back_the_gradient_of_chains(text in energies(), mala in any::<bool>()) {
        through_a_chain(&alone(&text), if mala { MALA } else { MOVE }, &[3], 0);
    }
}
