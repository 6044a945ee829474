//! `contrastive` is a sum of terms; here its loss stands in one piece, as the paper's program has it, and both give the
//! same bits: gradients through merged passes, and values.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, Blind, BuildCx, Chains, Demands, DrawRequest, Drawn, EnergyConfig, EnergyFn, EntropyEstimator,
    Key, ObjectiveConfig, Result, SamplerConfig, StepInput, TermName, host,
};
use ebm_entropies::NearestNeighbour;
use ebm_train::fulfil;
use {ebm_energies_net as _, ebm_objectives as _, ebm_samplers as _};

/// Weight of contrast and squares; weight, trail and rows of the KL term; weight of the entropy.
#[derive(Clone, Copy)]
struct Loss {
    weight: f64,
    energy_l2: f64,
    kl: Option<(f64, usize, usize)>,
    entropy: Option<f64>,
}

impl Loss {
    fn text(self) -> String {
        let mut text =
            format!("kind = \"contrastive\"\nweight = {:?}\nenergy_l2 = {:?}", self.weight, self.energy_l2);
        if let Some((weight, trail, rows)) = self.kl {
            text += &format!("\nkl = {{ weight = {weight:?}, trail = {trail}, rows = {rows} }}");
        }
        if let Some(weight) = self.entropy {
            text += &format!(
                "\nentropy = {{ weight = {weight:?}, bank = 6, estimator = {{ kind = \"nearest-neighbour\" }} }}"
            );
        }
        text
    }

    fn trail(self) -> usize {
        match (self.kl, self.entropy) {
            (Some((_, 0, _)), _) => usize::MAX,
            (Some((_, trail, _)), _) => trail,
            (None, entropy) => usize::from(entropy.is_some()),
        }
    }

    fn demands(self, e: &dyn EnergyFn, data: &Batch, drawn: &Drawn, bank: &Tensor) -> Demands {
        let mut demands = Demands::default();
        let entries = |t: &Tensor| t.elem_count() as f64;
        let mean = move |t: &Tensor| -> Result<f64> { Ok(host::scalar(&t.sum_all()?)? / entries(t)) };
        for (rows, at, sign) in [("data", data, 1.0), ("samples", &drawn.last.at, -1.0)] {
            let (cd, l2) = (sign * self.weight, self.energy_l2);
            if cd != 0.0 {
                let weight = move |t: &Tensor| Ok(t.ones_like()?.affine(cd * (1.0 / entries(t)), 0.0)?);
                demands.energy("cd", rows, at, weight, move |t| Ok(cd * mean(t)?));
            }
            if l2 != 0.0 {
                let weight = move |t: &Tensor| Ok(t.affine(2.0 * l2 * (1.0 / entries(t)), 0.0)?);
                demands.energy("reg", rows, at, weight, move |t| Ok(l2 * mean(&t.sqr()?)?));
            }
        }
        let all = drawn.last.at.len();
        let rows = self.kl.map_or(all, |(_, _, rows)| if rows == 0 { all } else { rows.min(all) });
        let end = drawn.last.at.narrow(0, rows).unwrap();
        if let Some((weight, _, _)) = self.kl {
            let slope = e.slope(&end).unwrap();
            let scale = weight / rows as f64;
            demands
                .values
                .insert("kl".into(), scale * host::scalar(&slope.energy.sum_all().unwrap()).unwrap());
            let u = slope.grad.affine(scale, 0.0).unwrap();
            for d in drawn.trail.pull_back(e, &u).unwrap() {
                demands.slope("kl", d.at, d.v, 0.0);
            }
        }
        if let Some(weight) = self.entropy {
            let h = NearestNeighbour::default().estimate(&end.x, bank, Key::root(0)).unwrap();
            demands.values.insert("ent".into(), -weight * mean(&h.value).unwrap());
            let u = h.grad.affine(-weight, 0.0).unwrap();
            for d in drawn.trail.pull_back(e, &u).unwrap() {
                demands.slope("ent", d.at, d.v, 0.0);
            }
        }
        demands
    }
}

fn context() -> BuildCx {
    BuildCx::new(&[5], DType::F32, &Device::Cpu, Key::root(3))
}

fn rows(name: &str, n: usize) -> Tensor {
    Key::root(9).at(name).uniform(&Chains::range(0, n), &[5], DType::F32, &Device::Cpu).unwrap()
}

/// Bits of all gradients, and of all values.
fn bits(e: &dyn EnergyFn, demands: Demands) -> (BTreeMap<String, Vec<u32>>, BTreeMap<TermName, u64>) {
    let done = fulfil(e, &demands.list).unwrap();
    let of = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits);
    let mut values = demands.values;
    done.values.into_iter().for_each(|(label, v)| *values.entry(label).or_insert(0.0) += v);
    (
        done.grads.iter().map(|(name, g)| (name.clone(), of(g).collect())).collect(),
        values.into_iter().map(|(label, v)| (label, v.to_bits())).collect(),
    )
}

#[test]
fn the_sum_has_the_bits_of_the_whole() {
    let energy: Box<dyn EnergyConfig> = toml::from_str("kind = \"mlp\"\nhidden = [9, 6]").unwrap();
    let e = energy.build(&mut context()).unwrap();
    let chain: Box<dyn SamplerConfig> = toml::from_str(
        "kind = \"chain\"\nsteps = 4\ntransition = { kind = \"langevin\", step_size = 0.3, noise = 0.05, clamp = [0.0, 1.0] }",
    )
    .unwrap();
    let chain = chain.build(&mut context()).unwrap();
    let (data, bank) = (Batch::new(rows("data", 7)).unwrap(), rows("bank", 6));
    let kls = [None, Some((1.0, 1, 0)), Some((0.9, 0, 3)), Some((1.0, 2, 99))];
    for (weight, energy_l2) in [(1.0, 0.0), (1.3, 0.7), (0.0, 1.0)] {
        for (kl, entropy) in kls.into_iter().flat_map(|kl| [(kl, None), (kl, Some(0.3))]) {
            let loss = Loss { weight, energy_l2, kl, entropy };
            let config: Box<dyn ObjectiveConfig> = toml::from_str(&loss.text()).unwrap();
            let objective = config.build(&mut context()).unwrap();
            assert_eq!(objective.needs().trail, loss.trail(), "{}", loss.text());
            let (mut probe, mut memory) = (Blind, BTreeMap::new());
            let mut request = DrawRequest::new(&mut probe, &mut memory).with_trail(loss.trail(), None);
            let from = Batch::new(rows("start", 7)).unwrap();
            let drawn = chain.draw(e.as_ref(), from, Key::root(21), &mut request).unwrap();
            let input = StepInput::new(&data, Some(&drawn), Some(&bank), 0);
            let sum = bits(e.as_ref(), objective.demands(e.as_ref(), &input, Key::root(0)).unwrap());
            let whole = bits(e.as_ref(), loss.demands(e.as_ref(), &data, &drawn, &bank));
            assert!(sum == whole, "{}", loss.text());
        }
    }
}
