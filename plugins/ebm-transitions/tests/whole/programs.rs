//! Trails of whole programs, fixed ones and random ones: what is pulled back is the gradient of the end in the parameters, by central
//! differences in f64, with the same random numbers.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, Blind, BuildCx, Chains, DrawRequest, Drawn, EnergyFn, Key, Sampler, SamplerConfig, Sensitivity,
    Transition, TransitionConfig,
};
use ebm_testkit::{Gap, check_transition, relative_gap, theta_gap, toy};
use proptest::prelude::*;
use {ebm_samplers as _, ebm_transitions as _};

const WIDTH: usize = 3;

fn context() -> BuildCx {
    BuildCx::new(&[WIDTH], DType::F64, &Device::Cpu, Key::root(0)).with_range(Some((0.0, 1.0)))
}

fn sampler(text: &str) -> Box<dyn Sampler> {
    let config: Box<dyn SamplerConfig> = toml::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    config.build(&mut context()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn transition(text: &str) -> Box<dyn Transition> {
    let config: Box<dyn TransitionConfig> = toml::from_str(text).unwrap();
    config.build(&mut context()).unwrap()
}

/// Samples of which a third of the coordinates stands at 0, and a third at 1.
fn start() -> Batch {
    let x = Key::root(9).uniform(&Chains::range(0, 6), &[WIDTH], DType::F64, &Device::Cpu).unwrap();
    Batch::new(x.affine(3.0, -1.0).unwrap().clamp(0.0, 1.0).unwrap()).unwrap()
}

fn draw(s: &dyn Sampler, e: &dyn EnergyFn, trail: usize, seed: u64) -> Drawn {
    let (mut blind, mut memory) = (Blind, BTreeMap::new());
    let mut request = DrawRequest::new(&mut blind, &mut memory).with_trail(trail, None);
    s.draw(e, start(), Key::root(seed), &mut request).unwrap()
}

/// Deviation of the gradient of ⟨u, x_K⟩ through all links from differences.
fn gap(s: &dyn Sampler, seed: u64) -> Gap {
    let e = toy::mlp(WIDTH, 4, 1, seed).unwrap();
    let u = Key::root(19).normal(&Chains::range(0, 6), &[WIDTH], DType::F64, &Device::Cpu).unwrap();
    let mut got: BTreeMap<String, Tensor> = BTreeMap::new();
    for d in draw(s, &e, usize::MAX, seed).trail.pull_back(&e, &u).unwrap() {
        let mut sum = e.grad_theta_slope(&d.at, &d.v).unwrap();
        sum.accumulate(&got, 1.0).unwrap();
        got = sum.grads;
    }
    let end = || Ok((draw(s, &e, 0, seed).last.at.x * &u)?.sum_all()?.to_scalar::<f64>()?);
    theta_gap(&e, &got, 1e-6, 1e-6, end).unwrap()
}

fn agrees(text: &str, seed: u64) {
    let s = sampler(text);
    if !s.sensitivity(usize::MAX).is_exact() {
        return;
    }
    let gap = gap(&*s, seed);
    assert!(gap.relative() <= 1e-6, "{text}, seed {seed}: off by {gap:?}");
    // Where parameters do not enter there is no gradient but rounding of differences. Where they do, by chance no chain may have drawn
    // the step.
    let enters = s.sensitivity(usize::MAX) == Sensitivity::Exact;
    assert!(enters || gap.size < 1e-8, "{text}, seed {seed}: {gap:?}");
}

const MOVE: &str = "{ kind = \"langevin\", step_size = 0.3, noise = 0.1, clamp = [0.0, 1.0] }";
const NOISE: &str = "{ kind = \"gaussian-noise\", scale = 0.1 }";
const HELD: &str = "{ kind = \"gaussian-noise\", scale = 0.1, clamp = [0.0, 1.0] }";

fn chain(steps: usize, t: &str) -> String {
    format!("kind = \"chain\"\nsteps = {steps}\ntransition = {t}")
}

fn then(parts: &[&str]) -> String {
    format!("{{ kind = \"then\", transitions = [{}] }}", parts.join(", "))
}

#[test]
fn programs_of_every_kind_pull_back_the_gradient_of_their_end() {
    let sometimes =
        |t: &str| format!("{{ kind = \"with-probability\", probability = 0.5, transition = {t} }}");
    let mix = |a: &str, b: &str| format!("{{ kind = \"mix\", transitions = [{a}, {b}] }}");
    let langevin = |more: &str| format!("{{ kind = \"langevin\", step_size = 0.3, noise = 0.1, {more} }}");
    let mala = "{ kind = \"mala\", step_size = 0.4 }";
    let anneal = |more: &str| format!("{{ kind = \"anneal\", transition = {MOVE}, {more} }}");
    let tested = |t: &str| format!("{{ kind = \"metropolis\", proposal = {t} }}");
    let late = "{ kind = \"langevin\", step_size = 0.3, noise = 0.5, noise_first = false }";
    let rounds =
        |more: &str| format!("kind = \"rounds\"\nrounds = 2\nsteps = 2\ntransition = {MOVE}\n{more}");
    let all = [
        chain(5, MOVE),
        chain(5, &langevin("clamp = [0.0, 1.0], noise_first = false")),
        chain(5, &langevin("move_limit = 0.1")),
        chain(5, &anneal("step_size = [1.0, 0.2], noise = [1.0, 0.0]")),
        chain(5, &anneal("step_size = [1.0, 0.2], noise = [1.0, 0.1], shape = \"geometric\"")),
        chain(5, &anneal("step_size = [1.0, 0.0]")),
        chain(3, &format!("{{ kind = \"repeat\", times = 3, transition = {MOVE} }}")),
        chain(3, &then(&[MOVE, HELD])),
        chain(3, &then(&[MOVE, "{ kind = \"uniform-restart\", probability = 0.3 }"])),
        chain(3, &then(&[MOVE, &sometimes(NOISE)])),
        chain(3, &then(&[MOVE, &sometimes(HELD)])),
        chain(3, &then(&[MOVE, &mix(NOISE, HELD)])),
        chain(3, &then(&[MOVE, &mix(NOISE, "{ kind = \"uniform-restart\", probability = 0.4 }")])),
        chain(3, &then(&[&sometimes(&then(&[MOVE, &sometimes(NOISE)])), MOVE])),
        chain(3, &mix(MOVE, mala)),
        chain(3, &sometimes(MOVE)),
        chain(3, &sometimes(&then(&[MOVE, mala]))),
        chain(5, mala),
        chain(5, "{ kind = \"mala\", step_size = 0.3, temperature = 0.4, range = [0.0, 1.0] }"),
        chain(5, "{ kind = \"ula\", step_size = 0.1 }"),
        chain(4, &then(&[MOVE, &tested("{ kind = \"gaussian-noise\", scale = 0.7 }")])),
        chain(4, &tested(late)),
        chain(3, NOISE),
        chain(3, &then(&[MOVE, "{ kind = \"uniform-restart\", probability = 1.0 }"])),
        format!("kind = \"tempering\"\ntemperatures = [4.0, 2.0, 1.0]\n[program]\n{}", chain(2, MOVE)),
        rounds(&format!("between = [{HELD}]\nrefine = 2")),
        rounds(&format!("finish = {HELD}")),
        // Blocks without a gradient, behind a step that has one.
        format!("kind = \"rounds\"\nrounds = 3\nsteps = 2\ntransition = {HELD}\nbetween = [{MOVE}]"),
        format!(
            "kind = \"rounds\"\nrounds = 3\nsteps = 1\ntransition = {}\nbetween = [{MOVE}]",
            sometimes(HELD)
        ),
        rounds(&format!("between = [{MOVE}, {NOISE}]\nfinish = {}", sometimes(mala))),
    ];
    for text in all {
        for seed in [21, 22] {
            agrees(&text, seed);
        }
    }
}

/// The rules of a transition, its step sizes held where they adapt.
#[test]
fn kernels_that_adapt_or_choose_keep_the_laws_of_a_transition() {
    let adapting = "kind = \"mala\"\nstep_size = 0.3\ntarget_acceptance = 0.6\nadapt_rate = 0.5";
    let choosing = format!(
        "kind = \"then\"\ntransitions = [{MOVE}, {{ kind = \"with-probability\", probability = 0.5, transition = {NOISE} }}]"
    );
    let e = toy::mlp(WIDTH, 5, 2, 4).unwrap();
    let x = Key::root(8).normal(&Chains::range(0, 6), &[WIDTH], DType::F64, &Device::Cpu).unwrap();
    for (text, independent) in
        [(adapting, false), (&format!("{adapting}\nper_chain = true"), true), (&choosing, true)]
    {
        check_transition(&*transition(text), &e, &Batch::new(x.clone()).unwrap(), independent).unwrap();
    }
}

/// Behind a last noise, however it comes, a trail of one link has one gradient.
#[test]
fn a_trail_of_one_link_reaches_the_last_step_with_a_gradient() {
    let e = toy::mlp(WIDTH, 4, 1, 4).unwrap();
    let rounds = format!("kind = \"rounds\"\nrounds = 1\nsteps = 2\ntransition = {MOVE}\nfinish = ");
    let chosen = format!("{{ kind = \"mix\", transitions = [{NOISE}, {HELD}] }}");
    let to_zero = format!("{{ kind = \"anneal\", step_size = [1.0, 0.0], transition = {MOVE} }}");
    for text in [format!("{rounds}{NOISE}"), format!("{rounds}{chosen}"), chain(3, &to_zero)] {
        let s = sampler(&text);
        let trail = draw(&*s, &e, 1, 3).trail;
        assert_eq!((s.sensitivity(1), trail.len()), (Sensitivity::Exact, 1), "{text}");
        assert_eq!(trail.pull_back(&e, &start().x).unwrap().len(), 1, "{text}");
    }
}

/// A transition as settings, of at most `depth` of them inside one another, around `leaf`.
fn nested(leaf: BoxedStrategy<String>, depth: u32) -> BoxedStrategy<String> {
    leaf.prop_recursive(depth, 8, 3, |inner| {
        let some = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            some.clone().prop_map(|t| format!("{{ kind = \"then\", transitions = [{}] }}", t.join(", "))),
            some.prop_map(|t| format!("{{ kind = \"mix\", transitions = [{}] }}", t.join(", "))),
            (0.0f64..1.0, inner.clone()).prop_map(|(p, t)| format!(
                "{{ kind = \"with-probability\", probability = {p}, transition = {t} }}"
            )),
            inner.prop_map(|t| format!("{{ kind = \"repeat\", times = 2, transition = {t} }}")),
        ]
    })
    .boxed()
}

/// Steps that say how they depend on the parameters, and steps that do not depend on them.
fn told() -> BoxedStrategy<String> {
    let clamp = prop_oneof![Just(String::new()), Just(", clamp = [0.0, 1.0]".to_string())];
    let size = 0.05f64..0.5;
    prop_oneof![
        3 => (size.clone(), clamp.clone(), any::<bool>()).prop_map(|(s, c, first)| format!(
            "{{ kind = \"langevin\", step_size = {s}, noise = 0.1, noise_first = {first}{c} }}"
        )),
        1 => size.clone().prop_map(|s| format!("{{ kind = \"mala\", step_size = {s} }}")),
        1 => (size.clone(), 0.0f64..3.0).prop_map(|(s, f)| format!(
            "{{ kind = \"underdamped\", step_size = {s}, friction = {f} }}"
        )),
        1 => (size.clone(), clamp).prop_map(|(s, c)| format!("{{ kind = \"gaussian-noise\", scale = {s}{c} }}")),
        1 => prop_oneof![0.0f64..1.0, Just(1.0)]
            .prop_map(|p| format!("{{ kind = \"uniform-restart\", probability = {p} }}")),
        1 => size.clone().prop_map(|s| format!(
            "{{ kind = \"metropolis\", proposal = {{ kind = \"langevin\", step_size = {s}, noise = 0.4, noise_first = false }} }}"
        )),
        1 => (0.0f64..1.0, 0.0f64..1.0).prop_map(|(a, b)| format!(
            "{{ kind = \"anneal\", step_size = [{a}, {b}], transition = {MOVE} }}"
        )),
    ]
    .boxed()
}

/// The same, and steps that adapt, that see other chains, or that cannot tell.
fn any_step() -> BoxedStrategy<String> {
    let size = 0.05f64..0.5;
    prop_oneof![
        4 => told(),
        1 => (size.clone(), any::<bool>()).prop_map(|(s, own)| format!(
            "{{ kind = \"mala\", step_size = {s}, target_acceptance = 0.6, adapt_rate = 0.5, per_chain = {own} }}"
        )),
        1 => size.clone().prop_map(|s| format!("{{ kind = \"hmc\", step_size = {s}, leapfrogs = 2 }}")),
        1 => size.prop_map(|s| format!("{{ kind = \"svgd\", step_size = {s} }}")),
        1 => (0.1f64..1.0, 0.0f64..2.0).prop_map(|(a, b)| format!(
            "{{ kind = \"anneal\", step_size = [{a}, {b}], transition = {{ kind = \"underdamped\", step_size = 0.2 }} }}"
        )),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ebm_testkit::cases(24)))]
    #[test]
    fn random_programs_pull_back_the_gradient_of_their_end(
        t in nested(told(), 3), between in nested(told(), 1), finish in prop::option::of(nested(told(), 1)),
        rounds in 1usize..3, steps in 1usize..3, seed in 0u64..1000, hot in any::<bool>(),
    ) {
        let finish = finish.map_or(String::new(), |t| format!("\nfinish = {t}"));
        let hot = if hot { "kind = \"tempering\"\ntemperatures = [3.0, 1.0]\n[program]\n" } else { "" };
        let program = format!(
            "kind = \"rounds\"\nrounds = {rounds}\nsteps = {steps}\ntransition = {t}\nbetween = [{between}]{finish}"
        );
        agrees(&format!("{hot}{program}"), seed);
    }

    #[test]
    fn random_kernels_keep_the_laws_of_a_transition(t in nested(any_step(), 3), seed in 0u64..1000) {
        // What adapts inside of one step (`repeat`, `then`) is held fixed by its link, and differences go through it; alone it is
        // tried above.
        prop_assume!(!(t.contains("target_acceptance") && (t.contains("repeat") || t.contains("then"))));
        // One of the chains may draw a step that needs two.
        prop_assume!(!(t.contains("svgd") && (t.contains("mix") || t.contains("with-probability"))));
        let kernel = transition(&format!("kind = \"then\"\ntransitions = [{t}]"));
        let e = toy::mlp(WIDTH, 4, 1, seed).unwrap();
        let x = Key::root(seed).normal(&Chains::range(0, 6), &[WIDTH], DType::F64, &Device::Cpu).unwrap();
        // A common step size looks at the acceptance of all rows.
        let independent = !kernel.couples_chains() && !t.contains("per_chain = false");
        if let Err(e) = check_transition(&*kernel, &e, &Batch::new(x).unwrap(), independent) {
            prop_assert!(false, "{t}: {e}");
        }
    }
}

/// Momenta are those of their transition, of their chain, and of their program.
#[test]
fn momenta_do_not_meet() {
    let fall = "{ kind = \"underdamped\", step_size = 0.3, friction = 0.5 }";
    let slow = "{ kind = \"underdamped\", step_size = 0.2, friction = 2.0 }";
    let list = |parts: &[&str]| parts.join(", ");
    for kernel in [
        format!("kind = \"then\"\ntransitions = [{}]", list(&[fall, slow])),
        format!("kind = \"mix\"\ntransitions = [{}]", list(&[fall, slow])),
        format!("kind = \"mix\"\ntransitions = [{}]", list(&[fall, MOVE])),
        format!("kind = \"with-probability\"\nprobability = 0.6\ntransition = {fall}"),
        format!("kind = \"then\"\ntransitions = [{}]", list(&["{ kind = \"uniform-restart\" }", fall])),
    ] {
        let e = toy::mlp(WIDTH, 5, 2, 4).unwrap();
        let x = Key::root(8).normal(&Chains::range(0, 6), &[WIDTH], DType::F64, &Device::Cpu).unwrap();
        check_transition(&*transition(&kernel), &e, &Batch::new(x).unwrap(), true)
            .unwrap_or_else(|why| panic!("{kernel}: {why}"));
    }
    for program in [
        format!("kind = \"rounds\"\nrounds = 2\nsteps = 2\ntransition = {fall}\nbetween = [{slow}]"),
        format!("kind = \"tempering\"\ntemperatures = [3.0, 1.0]\n[program]\n{}", chain(2, fall)),
    ] {
        agrees(&program, 21);
    }
}

/// A trail of some rows has the gradient of those rows.
#[test]
fn a_trail_of_some_rows_is_that_of_all_with_the_others_held() {
    let fall = "{ kind = \"underdamped\", step_size = 0.3 }";
    let mixed = format!("{{ kind = \"mix\", transitions = [{fall}, {MOVE}, {NOISE}] }}");
    let s =
        sampler(&format!("kind = \"rounds\"\nrounds = 2\nsteps = 3\ntransition = {mixed}\nfinish = {HELD}"));
    let e = toy::mlp(WIDTH, 4, 1, 4).unwrap();
    let u = start().x;
    let gradient = |rows: Option<usize>, u: &Tensor| {
        let (mut blind, mut memory) = (Blind, BTreeMap::new());
        let mut request = DrawRequest::new(&mut blind, &mut memory).with_trail(usize::MAX, rows);
        let drawn = s.draw(&e, start(), Key::root(2), &mut request).unwrap();
        let mut all: BTreeMap<String, Tensor> = BTreeMap::new();
        for d in drawn.trail.pull_back(&e, u).unwrap() {
            let mut sum = e.grad_theta_slope(&d.at, &d.v).unwrap();
            sum.accumulate(&all, 1.0).unwrap();
            all = sum.grads;
        }
        all
    };
    let held =
        Tensor::cat(&[&u.narrow(0, 0, 2).unwrap(), &u.narrow(0, 2, 4).unwrap().zeros_like().unwrap()], 0);
    let (some, all) = (gradient(Some(2), &u.narrow(0, 0, 2).unwrap()), gradient(None, &held.unwrap()));
    assert_eq!(some.keys().collect::<Vec<_>>(), all.keys().collect::<Vec<_>>());
    for (name, g) in &some {
        // Sums over two rows and over six, of which four are 0.
        assert!(relative_gap(g, &all[name]).unwrap() < 1e-12, "{name}");
    }
}
