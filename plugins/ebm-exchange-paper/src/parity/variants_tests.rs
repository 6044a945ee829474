//! Files of settings that no golden file has: written by this program in double precision, read by it in single.
//!
//! They cannot show that the published program agrees. They show that every combination is built from its settings
//! alone, and that the fused engine, single precision and the measures themselves hold for it.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Chains, Key};
use ebm_energies_compose as _; // brings `multi-scale`
use ebm_energies_paper::names::published_of;
use ebm_exchange::CompareMode;

use super::golden::Golden;
use super::iteration::{self, Iteration};
use super::subject::fresh;
use super::table;

/// Settings `net filter_dim im_size channels batch steps kl_rows step_lr`, then switches that are on.
fn settings(text: &str) -> HashMap<String, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let keys = ["net", "filter_dim", "im_size", "image_channels", "batch", "steps", "kl_rows", "step_lr"];
    let mut all: HashMap<String, String> =
        keys.iter().zip(&words).map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
    all.extend(words[keys.len()..].iter().map(|w| ((*w).to_string(), "True".to_string())));
    for (key, value) in [
        ("sigma", "0.001"),
        ("kl_coeff", "0.7"),
        ("ent_coeff", "0.2"),
        ("lr", "0.0002"),
        ("beta2", "0.9"),
        ("adam_eps", "1e-08"),
        ("clip", "0.5"),
        ("ema_mu", "0.99"),
    ] {
        all.insert(key.into(), value.into());
    }
    all
}

/// The file of these settings: random weights and inputs, and what double precision makes of them.
fn golden(text: &str, classes: usize, dtype: DType) -> Golden {
    let mut settings = settings(text);
    let number = |key: &str| settings[key].parse::<usize>().unwrap();
    let (batch, steps, side) = (number("batch"), number("steps"), number("im_size"));
    let shape = [number("image_channels"), side, side];
    let key = Key::root(7);
    let normal = |name: &str, n: usize, shape: &[usize]| {
        key.at(name).normal(&Chains::range(0, n), shape, DType::F32, &Device::Cpu).unwrap()
    };
    let unit = |t: Tensor| t.affine(0.2, 0.5).unwrap().clamp(0f32, 1f32).unwrap();
    let mut tensors = HashMap::from([
        ("x_pos".to_string(), unit(normal("x_pos", batch, &shape))),
        ("x_init".to_string(), unit(normal("x_init", batch, &shape))),
        ("compare".to_string(), unit(normal("compare", 5, &shape))),
        ("label".to_string(), normal("label", batch, &[classes])),
    ]);
    for k in 0..steps {
        tensors.insert(format!("noise.{k}"), normal(&format!("noise.{k}"), batch, &shape));
    }
    let bare = Golden::of(settings.clone(), tensors.clone(), DType::F64);
    let energy = fresh(&bare).unwrap();
    for name in energy.params().names() {
        let dims = energy.params().get(name).unwrap().dims().to_vec();
        // Attention starts switched off; here it is on.
        let value = if name.ends_with("gamma") {
            Tensor::full(0.7f32, dims, &Device::Cpu).unwrap()
        } else {
            energy.params().get(name).unwrap().to_dtype(DType::F32).unwrap()
        };
        tensors.insert(format!("w.{}", published_of(name)), value);
    }
    let bare = Golden::of(settings.clone(), tensors.clone(), DType::F64);
    let it = Iteration::new(&bare, None, &CompareMode::graph(DType::F64)).unwrap();
    let single = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
    let mut put = |name: &str, t: Tensor| {
        tensors.insert(name.to_string(), t);
    };
    let x = bare.input("x_init").unwrap();
    it.subject.pass(1).unwrap();
    let at = it.subject.batch(&x).unwrap();
    put("e_init", it.energy().terms(&at).unwrap());
    put("grad_x", single(&it.energy().slope(&at).unwrap().grad));
    let (mut x, mut last) = (x, None);
    for k in 0..steps {
        it.subject.pass(k + 1).unwrap();
        let step = it.step(k, &x).unwrap();
        put(&format!("x.{k}"), single(&step.end));
        x = step.end.clone();
        last = Some(step);
    }
    let last = last.unwrap();
    put("x_hat", single(&last.hat));
    let kl = it.kl_step(&last.hat).unwrap().end;
    put("x_kl", single(&kl));
    it.subject.pass(steps + 2).unwrap();
    put("e_pos", it.energy().terms(&it.subject.batch(&bare.input("x_pos").unwrap()).unwrap()).unwrap());
    it.subject.pass(steps + 3).unwrap();
    put("e_neg", it.energy().terms(&it.subject.batch(&last.end).unwrap()).unwrap());
    let l = it.losses(&last.end, &kl).unwrap();
    for (name, v) in
        [("cd", l.cd), ("reg", l.reg), ("kl", l.kl), ("ent", l.ent), ("total", l.cd + l.reg + l.kl + l.ent)]
    {
        put(&format!("loss.{name}"), Tensor::new(v, &Device::Cpu).unwrap());
    }
    let parts = it.parts(&last).unwrap();
    let total = [&parts.cdreg, &parts.kl, &parts.ent]
        .into_iter()
        .fold(super::compare::Tensors::new(), |all, p| super::compare::sum(&all, p, 1.0).unwrap());
    let norm = super::compare::norm(&total).unwrap();
    put("grad_norm", Tensor::new(norm, &Device::Cpu).unwrap());
    // Biases before a norm have no gradient; what is left of it is rounding.
    let zero: Vec<&String> = total
        .iter()
        .filter(|(_, t)| t.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap() < 1e-12 * norm)
        .map(|(n, _)| n)
        .collect();
    settings.insert("zero_gradient".into(), serde_json::to_string(&zero).unwrap());
    for (group, part) in [("cdreg", &parts.cdreg), ("kl", &parts.kl), ("ent", &parts.ent)] {
        part.iter().for_each(|(name, t)| put(&format!("g.{group}.{name}"), single(t)));
    }
    Golden::of(settings, tensors, dtype)
}

fn check(text: &str, classes: usize) {
    let fused = CompareMode::graph(DType::F32).with_engine(Arc::new(ebm_engine_cpu::CpuEngine::new()));
    let double = golden(text, classes, DType::F64);
    for mode in [fused, CompareMode::graph(DType::F64)] {
        let judge = (mode.dtype != DType::F64).then_some(&double);
        let found = iteration::check(&golden(text, classes, mode.dtype), judge, &mode).unwrap();
        assert!(found.rows.len() > 25, "{text}: {}", found.rows.len());
        let bad: Vec<_> = found.rows.into_iter().filter(|r| !r.pass).collect();
        assert!(bad.is_empty(), "{text}, {:?}, {}\n{}", mode.dtype, found.engine, table(&bad));
    }
}

#[test]
fn small_colour_images_in_other_settings() {
    check("ResNetModel 5 17 3 2 1 0 20 norm self_attn cond multiscale", 10);
    check("ResNetModel 4 12 3 3 2 2 5 norm alias sigmoid square_energy anneal", 10);
    check("ResNetModel 4 16 1 2 2 0 1 spec_norm multiscale norm self_attn", 10);
    check("ResNetModel 4 16 3 2 2 1 1 spec_norm cond alias", 3);
}

#[test]
fn group_norm_of_more_than_128_filters() {
    // 2f = 160 in the second half: 32 groups of 5.
    check("ResNetModel 80 12 3 1 1 0 5 norm", 10);
}

#[test]
fn faces_and_imagenet_and_digits() {
    check("CelebAModel 4 48 3 1 1 0 50 norm self_attn cond multiscale", 2);
    check("CelebAModel 6 50 3 2 1 1 5 spec_norm alias square_energy multiscale", 2);
    check("ImagenetModel 4 48 3 1 2 0 20 cond self_attn sigmoid multiscale", 1000);
    check("MNISTModel 3 28 1 5 1 2 100 norm multiscale self_attn", 10);
}
