//! All five calls of nested compositions against f64 central differences.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ebm_core::catalogue::components;
use ebm_core::{Autograd, Batch, BuildCx, Chains, EnergyConfig, EnergyFn, Error, Key};
use ebm_energies_compose as _;
use ebm_energies_net as _;
use ebm_nn::PlanNet;
use ebm_testkit::{check_component, check_energy};

fn build(text: &str, shape: &[usize]) -> Result<Arc<dyn EnergyFn>, Error> {
    let config: Box<dyn EnergyConfig> = toml::from_str(text).unwrap();
    BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(5)).energy(&*config)
}

fn batch(rows: usize, shape: &[usize]) -> Batch {
    let chains = Chains::range(0, rows);
    Batch::new(Key::root(8).normal(&chains, shape, DType::F64, &Device::Cpu).unwrap()).unwrap()
}

const MLP: &str = "{ kind = \"mlp\", hidden = [5] }";

#[test]
fn the_catalogue_and_the_settings_agree() {
    // The example of `conditioned` has a network of another crate.
    for c in
        components().into_iter().filter(|c| c.origin == "ebm-energies-compose" && c.kind != "conditioned")
    {
        check_component(c).unwrap();
    }
}

#[test]
fn and_or_not_at_a_temperature_nest() {
    let text = format!(
        r#"
        kind = "sum"
        [[parts]]
        name = "or"
        weight = 0.8
        energy = {{ kind = "soft-min", sharpness = 1.7, parts = [
            {{ name = "a", weight = 1.3, energy = {MLP} }},
            {{ name = "b", log_z = 0.7, energy = {{ kind = "temperature", temperature = 0.5, energy = {MLP} }} }},
        ] }}
        [[parts]]
        name = "not"
        energy = {{ kind = "negate", weight = 0.4, energy = {MLP} }}
        [[parts]]
        name = "fixed"
        energy = {{ kind = "frozen", energy = {MLP} }}
        "#
    );
    let e = build(&text, &[3]).unwrap();
    let names: Vec<&str> = e.params().names().collect();
    assert!(names.iter().any(|n| n.starts_with("or.a.")) && names.iter().any(|n| n.starts_with("or.b.at.")));
    assert!(!names.iter().any(|n| n.starts_with("fixed")), "{names:?}");
    check_energy(&*e, &batch(4, &[3])).unwrap();
}

#[test]
fn scales_views_and_crops_of_an_image() {
    let text = format!(
        r#"
        kind = "sum"
        [[parts]]
        name = "scales"
        energy = {{ kind = "multi-scale", parts = [
            {{ name = "small", energy = {MLP} }},
            {{ name = "mid", weight = 0.7, energy = {MLP} }},
            {{ name = "main", energy = {MLP} }},
        ] }}
        [[parts]]
        name = "crop"
        energy = {{ kind = "pull-back", view = {{ crop = [1, 0, 4, 3] }}, energy = {MLP} }}
        [[parts]]
        name = "small"
        energy = {{ kind = "pull-back", view = {{ resize = [3, 4] }}, energy = {MLP} }}
        "#
    );
    let e = build(&text, &[1, 7, 6]).unwrap();
    assert_eq!(
        e.spec().terms,
        ["scales.small.energy", "scales.mid.energy", "scales.main.energy", "crop.energy", "small.energy"]
    );
    check_energy(&*e, &batch(2, &[1, 7, 6])).unwrap();
}

#[test]
fn the_pyramid_is_the_published_pool() {
    // 3×3 average, stride 2, zero padding counted, of a constant image: corners 4/9, edges 6/9, inside 1.
    let map = ebm_core::Separable::pyramid(&[1, 5, 5], 1).unwrap();
    let ones = candle_core::Tensor::ones((1, 1, 5, 5), DType::F64, &Device::Cpu).unwrap();
    let y = ebm_core::Map::apply(&map, &ones).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (c, e) = (4.0 / 9.0, 6.0 / 9.0);
    for (got, want) in y.iter().zip([c, e, c, e, 1.0, e, c, e, c]) {
        assert!((got - want).abs() < 1e-12, "{y:?}");
    }
}

#[test]
fn a_soft_minimum_lies_below_its_parts_and_meets_them_when_sharp() {
    let parts = format!("parts = [{{ name = \"a\", energy = {MLP} }}, {{ name = \"b\", energy = {MLP} }}]");
    let at = batch(6, &[3]);
    let value = |text: String| build(&text, &[3]).unwrap().energy(&at).unwrap().to_vec1::<f64>().unwrap();
    let soft = value(format!("kind = \"soft-min\"\n{parts}"));
    let sharp = value(format!("kind = \"soft-min\"\nsharpness = 1e4\n{parts}"));
    let both = build(&format!("kind = \"sum\"\n{parts}"), &[3])
        .unwrap()
        .terms(&at)
        .unwrap()
        .to_vec2::<f64>()
        .unwrap();
    for i in 0..6 {
        let low = both[i][0].min(both[i][1]);
        assert!(soft[i] < low);
        // log 2 / β bounds the gap of two parts.
        assert!((sharp[i] - low).abs() < 1e-4);
    }
}

#[test]
fn parts_that_do_not_fit_are_refused_in_words() {
    let same = format!(
        "kind = \"sum\"\nparts = [{{ name = \"a\", energy = {MLP} }}, {{ name = \"a\", energy = {MLP} }}]"
    );
    let text = build(&same, &[3]).err().unwrap().to_string();
    assert!(text.contains("a.") && text.contains("different names"), "{text}");
    let text = build("kind = \"sum\"\nparts = []", &[3]).err().unwrap().to_string();
    assert!(text.contains("no parts"), "{text}");
    let crop = format!("kind = \"pull-back\"\nview = {{ crop = [3, 0, 4, 3] }}\nenergy = {MLP}");
    let text = build(&crop, &[1, 6, 6]).err().unwrap().to_string();
    assert!(text.contains("crop") && text.contains("6×6"), "{text}");
    let pyramid = format!(
        "kind = \"multi-scale\"\nparts = [{{ name = \"a\", energy = {MLP} }}, {{ name = \"b\", energy = {MLP} }}]"
    );
    let text = build(&pyramid, &[3]).err().unwrap().to_string();
    assert!(text.contains("(C, H, W)"), "{text}");
}

#[test]
fn the_plan_of_a_composition_computes_the_composition() {
    let net = "{ kind = \"conv-net\", layers = [{ filters = 4, stride = 2 }], hidden = [5] }";
    let text = format!(
        r#"
        kind = "multi-scale"
        [[parts]]
        name = "small"
        weight = 0.7
        energy = {{ kind = "sum", parts = [
            {{ name = "a", energy = {net} }},
            {{ name = "b", weight = -0.3, energy = {{ kind = "temperature", temperature = 2.0, energy = {net} }} }},
        ] }}
        [[parts]]
        name = "large"
        energy = {net}
        "#
    );
    let shape = [2, 9, 10];
    let e = build(&text, &shape).unwrap();
    let plan = e.plan().expect("all parts have plans").clone();
    let names: Vec<&str> = plan.terms.iter().map(|t| t.name.as_str()).collect();
    assert!(names.iter().zip(&e.spec().terms).all(|(a, b)| a == b), "{names:?} {:?}", e.spec().terms);
    let spec = e.spec().clone();
    let alone = Autograd::new("plan", PlanNet::new(plan).unwrap(), spec, e.params().clone());
    let at = batch(3, &shape);
    let off = |a: Tensor, b: Tensor| {
        let d = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
        d.max(0).unwrap().to_scalar::<f64>().unwrap()
    };
    // The same sums in another order, on numbers of order 1.
    assert!(off(e.terms(&at).unwrap(), alone.terms(&at).unwrap()) < 1e-12);
    assert!(off(e.slope(&at).unwrap().grad, alone.slope(&at).unwrap().grad) < 1e-12);
    // A part without a plan leaves the whole without one.
    let mixed = format!(
        r#"
        kind = "sum"
        parts = [{{ name = "a", energy = {net} }}, {{ name = "b", energy = {{ kind = "frozen", energy = {net} }} }}]
        "#
    );
    assert!(build(&mixed, &shape).unwrap().plan().is_none());
}

#[test]
fn a_part_without_a_name_is_refused_where_it_stands() {
    for (kind, name) in [("sum", ""), ("soft-min", "a\\nb"), ("multi-scale", "")] {
        let part = |name: &str| format!("{{ name = \"{name}\", energy = {MLP} }}");
        let text = format!("kind = \"{kind}\"\nparts = [{}, {}]", part("a"), part(name));
        let said = build(&text, &[1, 8, 8]).err().unwrap().to_string();
        assert!(said.contains("parts[1].name: is "), "{kind}: {said}");
    }
}
