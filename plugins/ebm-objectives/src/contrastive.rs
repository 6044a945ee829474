//! `contrastive`: contrastive divergence with the paper's regulariser, KL and entropy terms (spec 1), and the label term.

use std::sync::Arc;

use candle_core::Tensor;
use ebm_core::{
    Batch, BuildCx, Demands, Drawn, EnergyFn, EntropyConfig, EntropyEstimator, Error, Family, Key, Needs,
    Objective, ObjectiveConfig, Param, Portion, Result, StepInput, register,
};
use serde::{Deserialize, Serialize};

use crate::label::{LabelTerm, PARAM as LABEL};
use crate::numbers::{one, sum};

/// Settings of `contrastive`. Plain CD is all of them at their defaults; whether chains persist is
/// decided by `chains.from`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrastive {
    /// Coefficient of `mean E(data) − mean E(samples)`.
    #[serde(default = "one")]
    pub weight: f64,
    /// Coefficient of `mean E(data)² + mean E(samples)²`.
    #[serde(default)]
    pub energy_l2: f64,
    /// The KL term; absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<KlTerm>,
    /// The entropy term; absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<EntropyTerm>,
    /// The label term; absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<LabelTerm>,
}

/// The KL term: `weight · mean E(x(θ); θ frozen)` over the first `rows` samples.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KlTerm {
    /// Coefficient; 1 in the paper.
    #[serde(default = "one")]
    pub weight: f64,
    /// Through how many of the last sampler steps; 1 is the published program, 0 means all.
    #[serde(default = "last_step")]
    pub trail: usize,
    /// Number of samples that take part; 0 means all.
    #[serde(default)]
    pub rows: usize,
}

/// The entropy term: `−weight · entropy(x(θ))` against samples from the replay buffer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntropyTerm {
    /// Coefficient; 0.3 in the published program.
    #[serde(default = "published_weight")]
    pub weight: f64,
    /// Number of reference samples.
    #[serde(default = "hundred")]
    pub bank: usize,
    /// The term is off until the buffer holds more than this.
    #[serde(default = "thousand")]
    pub bank_above: usize,
    /// The estimator.
    pub estimator: Box<dyn EntropyConfig>,
}

fn last_step() -> usize {
    1
}
fn published_weight() -> f64 {
    0.3
}
fn hundred() -> usize {
    100
}
fn thousand() -> usize {
    1000
}

impl Default for Contrastive {
    fn default() -> Self {
        Contrastive { weight: 1.0, energy_l2: 0.0, kl: None, entropy: None, label: None }
    }
}

/// The live objective.
struct Live {
    weight: f64,
    energy_l2: f64,
    kl: Option<KlTerm>,
    entropy: Option<(f64, usize, usize, Arc<dyn EntropyEstimator>)>,
    label: Option<LabelTerm>,
}

#[typetag::serde(name = "contrastive")]
impl ObjectiveConfig for Contrastive {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Objective>> {
        let entropy = match &self.entropy {
            None => None,
            Some(t) => {
                let estimator: Arc<dyn EntropyEstimator> = t.estimator.build(cx)?.into();
                if t.bank < estimator.smallest_bank() {
                    return Err(Error::config(
                        "objective.entropy.bank",
                        format!(
                            "is {}, but `{}` needs at least {}",
                            t.bank,
                            estimator.name(),
                            estimator.smallest_bank()
                        ),
                    ));
                }
                Some((t.weight, t.bank, t.bank_above, estimator))
            }
        };
        Ok(Box::new(Live {
            weight: self.weight,
            energy_l2: self.energy_l2,
            kl: self.kl.clone(),
            entropy,
            label: self.label.clone(),
        }))
    }
}

impl Live {
    /// Trail length and rows: both the KL and the entropy term act through the sampler.
    fn trail(&self) -> (usize, Option<usize>) {
        match (&self.kl, &self.entropy) {
            (Some(kl), _) => {
                let length = if kl.trail == 0 { usize::MAX } else { kl.trail };
                (length, (kl.rows > 0).then_some(kl.rows))
            }
            (None, Some(_)) => (1, None),
            (None, None) => (0, None),
        }
    }

    fn contrast(&self, demands: &mut Demands, rows: &'static str, at: &Batch, sign: f64, portion: Portion) {
        let (cd, l2) = (sign * self.weight, self.energy_l2);
        // Means are over all entries of the whole batch, of which these rows may be a part.
        let entries = move |t: &Tensor| (t.elem_count() / t.dims()[0].max(1) * portion.of).max(1) as f64;
        let mean = move |t: &Tensor| -> Result<f64> { Ok(sum(t)? / entries(t)) };
        if cd != 0.0 {
            demands.energy(
                "cd",
                rows,
                at,
                move |t| Ok(t.ones_like()?.affine(cd * (1.0 / entries(t)), 0.0)?),
                move |t| Ok(cd * mean(t)?),
            );
        }
        if l2 != 0.0 {
            demands.energy(
                "reg",
                rows,
                at,
                move |t| Ok(t.affine(2.0 * l2 * (1.0 / entries(t)), 0.0)?),
                move |t| Ok(l2 * mean(&t.sqr()?)?),
            );
        }
    }

    fn through_the_sampler(
        &self,
        e: &dyn EnergyFn,
        input: &StepInput<'_>,
        drawn: &Drawn,
        key: Key,
        demands: &mut Demands,
    ) -> Result<()> {
        let portion = input.portion_of(&drawn.last.at);
        // Of the first rows of the whole batch some are here, perhaps none.
        let whole = self.trail().1.map_or(portion.of, |n| n.min(portion.of)).max(1);
        let rows = portion.leading(whole, drawn.last.at.len());
        if rows == 0 {
            let labels = [self.kl.as_ref().map(|_| "kl"), self.entropy.as_ref().map(|_| "ent")];
            demands.values.extend(labels.into_iter().flatten().map(|label| (label, 0.0)));
            return Ok(());
        }
        let end = drawn.last.at.narrow(0, rows)?;
        let terms = e.spec().terms.len().max(1);
        if let Some(kl) = &self.kl {
            // D = weight · mean over rows and terms of E_t(x); its slope in x, θ constant.
            let slope = e.slope(&end)?;
            let scale = kl.weight / (whole * terms) as f64;
            demands.values.insert("kl", scale * sum(&slope.energy)?);
            let u = slope.grad.affine(scale, 0.0)?;
            for d in drawn.trail.pull_back(e, &u)? {
                demands.slope("kl", d.at, d.v);
            }
        }
        if let (Some((weight, _, _, estimator)), Some(bank)) = (&self.entropy, input.bank) {
            let h = estimator.estimate(&end.x, bank, key.at("entropy"))?;
            // The estimate is a mean over the rows that are here.
            let weight = weight * rows as f64 / whole as f64;
            demands.values.insert("ent", -weight * mean(&h.value)?);
            for d in drawn.trail.pull_back(e, &h.grad.affine(-weight, 0.0)?)? {
                demands.slope("ent", d.at, d.v);
            }
        } else if self.entropy.is_some() {
            demands.values.insert("ent", 0.0);
        }
        Ok(())
    }
}

fn mean(t: &Tensor) -> Result<f64> {
    Ok(sum(t)? / t.elem_count().max(1) as f64)
}

impl Objective for Live {
    fn needs(&self) -> Needs {
        let (trail, trail_rows) = self.trail();
        let mut needs = Needs::default();
        needs.samples = true;
        needs.trail = trail;
        needs.trail_rows = trail_rows;
        needs.exact = trail > 0;
        needs.labels = self.label.is_some();
        if let Some((_, bank, above, _)) = &self.entropy {
            needs.bank = *bank;
            needs.bank_above = *above;
        }
        needs
    }

    fn portions(&self) -> bool {
        true
    }

    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let Some(drawn) = input.drawn else {
            return Err(Error::capability(
                "objective `contrastive`",
                "samples from the model",
                "the step",
                "give the run a sampler",
            ));
        };
        let mut demands = Demands::default();
        self.contrast(&mut demands, "data", input.data, 1.0, input.portion_of(input.data));
        let samples = &drawn.last.at;
        self.contrast(&mut demands, "samples", samples, -1.0, input.portion_of(samples));
        if let Some(label) = &self.label {
            label.demand(e, input.data, input.portion_of(input.data).of, &mut demands)?;
        }
        if self.trail().0 > 0 {
            self.through_the_sampler(e, input, drawn, key, &mut demands)?;
        }
        Ok(demands)
    }

    fn name(&self) -> String {
        "contrastive".into()
    }
}

register! {
    ObjectiveConfig, "contrastive" => Contrastive,
    summary: "contrastive divergence with squared-energy regulariser, KL term, entropy term and label term",
    source: "Du, Li, Tenenbaum, Mordatch 2021, equations 4 to 8; Hinton 2002; label term: Grathwohl et al. 2020",
    example: "energy_l2 = 1.0\nkl = { weight = 1.0, trail = 1, rows = 32 }\nentropy = { weight = 0.3, estimator = { kind = \"nearest-neighbour\" } }",
    params: [
        Param::float("weight", "coefficient of mean E(data) − mean E(samples)").default("1.0").at_least(0.0),
        Param::float("energy_l2", "coefficient of mean E(data)² + mean E(samples)²").default("0.0").at_least(0.0),
        Param::table("kl", const { &[
            Param::float("weight", "coefficient; 1 in the paper").default("1.0").at_least(0.0),
            Param::int("trail", "through how many of the last sampler steps; 1: the published program, 0: all").default("1").at_least(0.0),
            Param::int("rows", "number of samples that take part; 0: all").default("0").at_least(0.0),
        ] }, "the KL term: energy of the samples as a function of the parameters through the sampler").default("none"),
        Param::table("entropy", const { &[
            Param::float("weight", "coefficient; 0.3 in the published program").default("0.3").at_least(0.0),
            Param::int("bank", "number of reference samples from the replay buffer").default("100").at_least(1.0),
            Param::int("bank_above", "off until the buffer holds more than this").default("1000").at_least(0.0),
            Param::part("estimator", Family::Entropy, "the estimator"),
        ] }, "the entropy term: minus the entropy of the samples as a function of the parameters").default("none"),
        LABEL,
    ],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use candle_core::{DType, Device};
    use ebm_core::{
        Autograd, Blind, Diff, DrawRequest, EnergySpec, Forward, ParamSet, Role, Sampler, SamplerConfig,
        View, What,
    };

    use super::*;
    use ebm_entropies as _;
    use ebm_samplers as _;

    /// Two terms of a small network, so that the means over terms are exercised; three labels, or none.
    struct Net;
    impl Forward for Net {
        fn terms<V: Diff>(&self, p: &View, x: &V, cond: Option<&Tensor>) -> Result<V> {
            let mut h = x.linear_layer(p.get("a")?, Some(p.get("b")?))?;
            if let Some(cond) = cond {
                h = h.shift(&cond.matmul(p.get("d")?)?)?;
            }
            h.swish()?.linear_layer(p.get("c")?, None)
        }
    }

    fn energy() -> Autograd<Net> {
        let draw = |name: &str, shape: &[usize], scale: f64| {
            let rows = shape[0];
            let t = Key::root(4)
                .at(name)
                .normal(&ebm_core::Chains::range(0, rows), &shape[1..], DType::F64, &Device::Cpu)
                .unwrap();
            (name.to_string(), t.affine(scale, 0.0).unwrap(), Role::Trainable)
        };
        let params = ParamSet::new([
            draw("a", &[7, 3], 0.8),
            draw("b", &[7], 0.5),
            draw("c", &[2, 7], 0.9),
            draw("d", &[3, 7], 0.9),
        ]);
        let mut spec = EnergySpec::new(&[3], &["one", "two"]);
        spec.condition = ebm_core::Condition::Optional(3);
        Autograd::new("net", Net, spec, params.unwrap())
    }

    fn rows(name: &str, n: usize) -> Tensor {
        Key::root(9).at(name).uniform(&ebm_core::Chains::range(0, n), &[3], DType::F64, &Device::Cpu).unwrap()
    }

    fn sampler() -> Box<dyn Sampler> {
        let config: Box<dyn SamplerConfig> = toml::from_str(
            "kind = \"chain\"\nsteps = 3\ntransition = { kind = \"langevin\", step_size = 0.35, noise = 0.05, clamp = [0.0, 1.0] }",
        )
        .unwrap();
        let mut cx = BuildCx::new(&[3], DType::F64, &Device::Cpu, Key::root(0));
        config.build(&mut cx).unwrap()
    }

    fn draw(e: &dyn EnergyFn, trail: usize) -> Drawn {
        let (mut probe, mut memory) = (Blind, BTreeMap::new());
        let mut request = DrawRequest::new(&mut probe, &mut memory).with_trail(trail, None);
        let from = Batch::new(rows("start", 5)).unwrap();
        sampler().draw(e, from, Key::root(21), &mut request).unwrap()
    }

    /// Four rows; under soft labels, which add up to one, if `text` has a label term.
    fn data(text: &str) -> Batch {
        let soft = [[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]];
        let cond = text.contains("label").then(|| Tensor::new(&soft, &Device::Cpu).unwrap());
        Batch::new(rows("data", 4)).unwrap().with_cond(cond)
    }

    fn objective(text: &str) -> Box<dyn Objective> {
        let config: Box<dyn ObjectiveConfig> =
            toml::from_str(&format!("kind = \"contrastive\"\n{text}")).unwrap();
        let mut cx = BuildCx::new(&[3], DType::F64, &Device::Cpu, Key::root(0));
        config.build(&mut cx).unwrap()
    }

    /// Gradient of the loss as the demands give it, and the values by label.
    fn gradient(
        e: &Autograd<Net>,
        text: &str,
        trail: usize,
    ) -> (BTreeMap<String, Tensor>, BTreeMap<&'static str, f64>) {
        let (data, drawn) = (data(text), draw(e, trail));
        let bank = rows("bank", 6);
        let input = StepInput::new(&data, Some(&drawn), Some(&bank), 0);
        gradient_of(e, objective(text).demands(e, &input, Key::root(0)).unwrap())
    }

    /// As [`gradient`], of demands.
    fn gradient_of(
        e: &Autograd<Net>,
        demands: Demands,
    ) -> (BTreeMap<String, Tensor>, BTreeMap<&'static str, f64>) {
        let (mut sum, mut values) = (BTreeMap::<String, Tensor>::new(), demands.values);
        for d in demands.list {
            let got = match d.what {
                What::Energy { at, weight, value, .. } => {
                    let g = e.grad_theta(&at, &*weight).unwrap();
                    *values.entry(d.label).or_insert(0.0) += value(&g.terms).unwrap();
                    g.grads
                }
                What::Slope { at, v } => e.grad_theta_slope(&at, &v).unwrap().grads,
            };
            for (k, g) in got {
                let total = match sum.get(&k) {
                    Some(t) => (t + g).unwrap(),
                    None => g,
                };
                sum.insert(k, total);
            }
        }
        (sum, values)
    }

    /// Checks the gradient against central differences of `loss` along each of three random directions.
    fn agrees(text: &str, trail: usize, loss: impl Fn(&Autograd<Net>, &Autograd<Net>) -> f64) {
        let base = energy();
        let (grads, _) = gradient(&base, text, trail);
        for direction in 0..3u64 {
            let mut slope = 0.0;
            let mut shifted = [energy(), energy()];
            for name in ["a", "b", "c", "d"] {
                let t = base.params().get(name).unwrap();
                let key = Key::root(77).at(direction).at(name);
                let d = key
                    .normal(
                        &ebm_core::Chains::range(0, t.dims()[0]),
                        &t.dims()[1..],
                        DType::F64,
                        &Device::Cpu,
                    )
                    .unwrap();
                if let Some(g) = grads.get(name) {
                    slope += sum(&(g * &d).unwrap()).unwrap();
                }
                for (e, h) in shifted.iter_mut().zip([1e-5, -1e-5]) {
                    e.params().set(name, &(t + d.affine(h, 0.0).unwrap()).unwrap()).unwrap();
                }
            }
            let difference = (loss(&shifted[0], &base) - loss(&shifted[1], &base)) / 2e-5;
            // Truncation 1e-10 times a third derivative of order 10, rounding 1e-16/1e-5 times values of order 1.
            assert!(
                (slope - difference).abs() < 2e-8 * (1.0 + difference.abs()),
                "{text}: {slope} against {difference}"
            );
        }
    }

    #[test]
    fn portions_of_a_batch_add_up_to_the_batch() {
        let e = energy();
        let text = "energy_l2 = 0.7\nkl = { rows = 3 }\nlabel = {}\nentropy = { weight = 0.4, bank = 6, estimator = { kind = \"nearest-neighbour\" } }";
        let objective = objective(text);
        assert!(objective.portions());
        let labels = Tensor::eye(3, DType::F64, &Device::Cpu).unwrap();
        let labels = Tensor::cat(&[&labels, &labels.narrow(0, 0, 2).unwrap()], 0).unwrap();
        let data = Batch::new(rows("data", 5)).unwrap().with_cond(Some(labels));
        let (drawn, bank) = (draw(&e, 1), rows("bank", 6));
        let part = |first: usize, count: usize| {
            let own = data.narrow(first, count).unwrap();
            let at = drawn.last.at.narrow(first, count).unwrap();
            let trail = match drawn.trail.clone().into_links().pop() {
                Some(ebm_core::Link::Descent { at, scale, pass, active }) => {
                    let cut = |t: Option<Tensor>| t.map(|t| t.narrow(0, first, count).unwrap());
                    let at = at.narrow(first, count).unwrap();
                    ebm_core::Trail::of(vec![ebm_core::Link::Descent {
                        at,
                        scale,
                        pass: cut(pass),
                        active: cut(active),
                    }])
                }
                _ => panic!("one descent"),
            };
            let drawn = Drawn::new(ebm_core::ChainState::new(at), trail, BTreeMap::new());
            let input = StepInput::new(&own, Some(&drawn), Some(&bank), 0)
                .with_portion(Portion { first, of: data.len() });
            gradient_of(&e, objective.demands(&e, &input, Key::root(0)).unwrap())
        };
        let (whole, values) = part(0, 5);
        // Rows 3 and 4 have no share in the KL and entropy terms.
        let parts = [part(0, 2), part(2, 1), part(3, 2)];
        for (label, value) in &values {
            let sum: f64 = parts.iter().map(|p| p.1[label]).sum();
            // A handful of additions of numbers of order one in f64.
            assert!((sum - value).abs() < 1e-13, "{label}: {sum} against {value}");
        }
        for (name, g) in &whole {
            let sum = parts.iter().fold(g.zeros_like().unwrap(), |s, p| (s + &p.0[name]).unwrap());
            let off = (sum - g).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(off < 1e-13, "{name}: {off}");
        }
    }

    fn mean_terms(e: &dyn EnergyFn, x: &Tensor, power: i32) -> f64 {
        let t = e.terms(&Batch::new(x.clone()).unwrap()).unwrap();
        mean(&if power == 2 { t.sqr().unwrap() } else { t }).unwrap()
    }

    #[test]
    fn contrast_and_regulariser_are_the_gradient_of_the_published_loss() {
        agrees("energy_l2 = 0.7\nweight = 1.3", 0, |e, base| {
            let x = draw(base, 0).last.at.x; // samples are constants here
            let d = rows("data", 4);
            1.3 * (mean_terms(e, &d, 1) - mean_terms(e, &x, 1))
                + 0.7 * (mean_terms(e, &d, 2) + mean_terms(e, &x, 2))
        });
    }

    /// The last step alone depends on θ: the chain before it runs under the base parameters.
    fn last_step(e: &Autograd<Net>, base: &Autograd<Net>) -> Tensor {
        let drawn = draw(base, 1);
        let demand = drawn.trail.pull_back(base, &rows("start", 5)).unwrap().remove(0);
        let y = (&demand.at.x - e.slope(&demand.at).unwrap().grad.affine(0.35, 0.0).unwrap()).unwrap();
        y.clamp(0.0, 1.0).unwrap()
    }

    #[test]
    fn kl_through_the_last_step_is_equation_one() {
        agrees("weight = 0.0\nkl = { weight = 1.5, trail = 1 }", 1, |e, base| {
            1.5 * mean_terms(base, &last_step(e, base), 1)
        });
    }

    #[test]
    fn kl_rows_take_the_first_samples() {
        agrees("weight = 0.0\nkl = { rows = 2 }", 1, |e, base| {
            mean_terms(base, &last_step(e, base).narrow(0, 0, 2).unwrap(), 1)
        });
    }

    #[test]
    fn kl_through_all_steps_is_the_gradient_of_the_whole_chain() {
        agrees("weight = 0.0\nkl = { trail = 0 }", usize::MAX, |e, base| {
            mean_terms(base, &draw(e, 0).last.at.x, 1)
        });
    }

    #[test]
    fn the_entropy_term_is_the_gradient_of_minus_the_mean_log_distance() {
        let text = "weight = 0.0\nentropy = { weight = 0.3, estimator = { kind = \"nearest-neighbour\" } }";
        agrees(text, 1, |e, base| {
            let x = last_step(e, base);
            let h = ebm_entropies::NearestNeighbour::default();
            -0.3 * mean(&h.estimate(&x, &rows("bank", 6), Key::root(0)).unwrap().value).unwrap()
        });
    }

    #[test]
    fn the_label_term_is_the_gradient_of_the_cross_entropy() {
        let text = "weight = 0.0\nlabel = { weight = 1.7, temperature = 0.6 }";
        let loss = |e: &Autograd<Net>, _: &Autograd<Net>| {
            let data = data(text);
            let wanted = data.cond.unwrap().to_vec2::<f64>().unwrap();
            // Energies under label k alone, one pass for each.
            let under = |k: usize| {
                let one = Tensor::eye(3, DType::F64, &Device::Cpu).unwrap().narrow(0, k, 1).unwrap();
                let cond = one.broadcast_as((4, 3)).unwrap().contiguous().unwrap();
                e.energy(&Batch::new(data.x.clone()).unwrap().with_cond(Some(cond)))
                    .unwrap()
                    .to_vec1::<f64>()
                    .unwrap()
            };
            let energies = [under(0), under(1), under(2)];
            let of = |b: usize| {
                let z: f64 = energies.iter().map(|e| (-e[b] / 0.6).exp()).sum();
                (0..3).map(|k| wanted[b][k] * (energies[k][b] / 0.6 + z.ln())).sum::<f64>()
            };
            1.7 * (0..4).map(of).sum::<f64>() / 4.0
        };
        agrees(text, 0, loss);
        let (e, (_, values)) = (energy(), gradient(&energy(), text, 0));
        // Rounding of a dozen numbers of order one.
        assert!((values["label"] - loss(&e, &e)).abs() < 1e-13, "{values:?}");
    }

    #[test]
    fn a_label_term_without_labels_says_so() {
        let e = energy();
        let (bare, drawn) = (Batch::new(rows("data", 4)).unwrap(), draw(&e, 0));
        let input = StepInput::new(&bare, Some(&drawn), None, 0);
        let text = objective("label = {}").demands(&e, &input, Key::root(0)).err().unwrap().to_string();
        assert!(text.contains("labelled data"), "{text}");
    }

    #[test]
    fn some_pixels_of_the_test_chain_are_clamped() {
        // Otherwise the tests above would not see a wrong mask.
        let x = draw(&energy(), 0).last.at.x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let held = x.iter().filter(|v| **v == 0.0 || **v == 1.0).count();
        assert!(held > 0 && held < x.len(), "{x:?}");
    }

    #[test]
    fn values_are_reported_by_term() {
        let text =
            "energy_l2 = 1.0\nkl = { trail = 1 }\nentropy = { estimator = { kind = \"nearest-neighbour\" } }";
        let (_, values) = gradient(&energy(), text, 1);
        assert_eq!(values.keys().copied().collect::<Vec<_>>(), ["cd", "ent", "kl", "reg"]);
    }
}
