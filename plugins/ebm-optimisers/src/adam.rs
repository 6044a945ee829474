//! Adam with bias correction (Kingma, Ba 2015, algorithm 1).

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::operators::{AdamStep, operators};
use ebm_core::{
    BuildCx, Optimiser, OptimiserConfig, OptimiserState, ParamSet, Result, Settings, Update, Updated, plugin,
};

use crate::common::{self, Common, moment};
use crate::slices;

/// Settings of `adam`.
///
/// With m and v the decaying means of g and g², t the number of updates:
/// θ ← θ − rate·(m/(1 − β₁ᵗ)) / (√v/√(1 − β₂ᵗ) + ε), ε outside the root. With `weight_decay` w the
/// step also takes rate·w·θ away (decoupled: Loshchilov, Hutter 2019).
#[derive(Clone, Debug, Settings)]
pub struct Adam {
    /// Rate, clipping, average, schedule.
    #[setting(flatten)]
    common: Common,
    /// Decay of the mean gradient and of the mean squared gradient.
    #[setting(default = [0.0, 0.9], at_least = 0.0, below = 1.0)]
    betas: [f64; 2],
    /// Added to the root of the mean squared gradient.
    #[setting(default = 1e-8, above = 0.0)]
    epsilon: f64,
    /// Decoupled weight decay, a rate of 1/update at learning rate 1.
    #[setting(default = 0.0, at_least = 0.0)]
    weight_decay: f64,
}

#[plugin(
    "adam",
    summary = "Adam with bias correction; the defaults are those of energy-based models",
    source = "Kingma, Ba 2015 (arXiv 1412.6980), algorithm 1; Loshchilov, Hutter 2019 for weight decay",
    example = "rate = 2e-4\nbetas = [0.0, 0.9]\nclip_norm = 0.5\naverage = 0.99"
)]
impl OptimiserConfig for Adam {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Optimiser>> {
        Ok(Box::new(self.clone()))
    }
}

/// The numbers of one update.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    pub(crate) b1: f64,
    b2: f64,
    /// √(1 − β₂ᵗ)
    root: f64,
    /// rate/(1 − β₁ᵗ)
    step: f64,
    epsilon: f64,
    /// 1 − rate·weight decay
    pub(crate) keep: f64,
}

impl Factors {
    /// Those of update `t` (from 1).
    pub(crate) fn new([b1, b2]: [f64; 2], epsilon: f64, weight_decay: f64, rate: f64, t: i32) -> Factors {
        Factors {
            b1,
            b2,
            root: (1.0 - b2.powi(t)).sqrt(),
            step: rate / (1.0 - b1.powi(t)),
            epsilon,
            keep: 1.0 - rate * weight_decay,
        }
    }
}

/// New value of the parameter `name`; its moments go to `next`.
pub(crate) fn tensor(
    name: &str,
    p: &Tensor,
    g: &Tensor,
    state: &OptimiserState,
    next: &mut OptimiserState,
    f: Factors,
) -> Result<Tensor> {
    Ok(clipped(name, (p, g, 1.0), None, state, next, f)?.0)
}

/// As [`tensor`], of the gradient times a factor; with an average and the share of it that stays the new average too,
/// where one loop makes both.
fn clipped(
    name: &str,
    (p, g, clip): (&Tensor, &Tensor, f64),
    average: Option<(&Tensor, f64)>,
    state: &OptimiserState,
    next: &mut OptimiserState,
    f: Factors,
) -> Result<(Tensor, Option<Tensor>)> {
    let (first, second) = (format!("exp_avg.{name}"), format!("exp_avg_sq.{name}"));
    let m = (f.b1 > 0.0).then(|| moment(state, &first, p)).transpose()?;
    let v = moment(state, &second, p)?;
    if let Some(o) = operators(p.device()) {
        let step = AdamStep {
            clip,
            b1: f.b1,
            b2: f.b2,
            root: f.root,
            step: f.step,
            epsilon: f.epsilon,
            keep: f.keep,
            decay: average.map_or(0.0, |(_, keep)| keep),
        };
        if let Some(new) = o.adam(&step, p, g, m.as_ref(), &v, average.map(|(e, _)| e))? {
            next.tensors.extend(new.m.map(|m| (first, m)));
            next.tensors.insert(second, new.v);
            return Ok((new.p, new.average));
        }
    }
    let fast = match average {
        Some((e, keep)) => whole([p, g, &v, e], m.as_ref(), f, clip, keep)?,
        None => None,
    };
    let (p, m, v, e) = match fast {
        Some((p, m, v, e)) => (p, m, v, Some(e)),
        None => {
            let scaled = if clip < 1.0 { Some(g.affine(clip, 0.0)?) } else { None };
            let (p, m, v) = update(p, scaled.as_ref().unwrap_or(g), m.as_ref(), &v, f)?;
            (p, m, v, None)
        }
    };
    next.tensors.extend(m.map(|m| (first, m)));
    next.tensors.insert(second, v);
    Ok((p, e))
}

/// New parameter and moments; `m` is absent when β₁ = 0, where it would equal the gradient.
pub(crate) fn update(
    p: &Tensor,
    g: &Tensor,
    m: Option<&Tensor>,
    v: &Tensor,
    f: Factors,
) -> Result<(Tensor, Option<Tensor>, Tensor)> {
    let single = |x: f64| x as f32;
    let (b1, b2, root, step, eps, keep) =
        (single(f.b1), single(f.b2), single(f.root), single(f.step), single(f.epsilon), single(f.keep));
    let (c1, c2) = (single(1.0 - f.b1), single(1.0 - f.b2));
    let done = match m {
        Some(m) => slices::map(
            [p, g, m, v],
            |[p, g, m, v]| {
                let (m, v) = (b1 * m + c1 * g, b2 * v + c2 * (g * g));
                [keep * p - step * m / (v.sqrt() / root + eps), m, v]
            },
            |[p, g, m, v]| {
                let (m, v) = (f.b1 * m + (1.0 - f.b1) * g, f.b2 * v + (1.0 - f.b2) * (g * g));
                [f.keep * p - f.step * m / (v.sqrt() / f.root + f.epsilon), m, v]
            },
        )?
        .map(|[p, m, v]| (p, Some(m), v)),
        None => slices::map(
            [p, g, v],
            |[p, g, v]| {
                let v = b2 * v + c2 * (g * g);
                [keep * p - step * g / (v.sqrt() / root + eps), v]
            },
            |[p, g, v]| {
                let v = f.b2 * v + (1.0 - f.b2) * (g * g);
                [f.keep * p - f.step * g / (v.sqrt() / f.root + f.epsilon), v]
            },
        )?
        .map(|[p, v]| (p, None, v)),
    };
    if let Some(done) = done {
        return Ok(done);
    }
    let m = m
        .map(|m| -> Result<Tensor> { Ok((m.affine(f.b1, 0.0)? + g.affine(1.0 - f.b1, 0.0)?)?) })
        .transpose()?;
    let v = (v.affine(f.b2, 0.0)? + g.sqr()?.affine(1.0 - f.b2, 0.0)?)?;
    let down = v.sqrt()?.affine(1.0 / f.root, f.epsilon)?;
    let p = (p.affine(f.keep, 0.0)? - (m.as_ref().unwrap_or(g).affine(f.step, 0.0)? / down)?)?;
    Ok((p, m, v))
}

/// [`update`] of the gradient times `clip`, and the moving average `e ← keep·e + (1 − keep)·θ`, in one loop over
/// the entries, where they lie in one piece on the processor. The bits are those of the parts one by one.
#[allow(clippy::type_complexity)]
fn whole(
    [p, g, v, e]: [&Tensor; 4],
    m: Option<&Tensor>,
    f: Factors,
    clip: f64,
    keep: f64,
) -> Result<Option<(Tensor, Option<Tensor>, Tensor, Tensor)>> {
    macro_rules! entry {
        ($t:ty) => {{
            let to = |x: f64| x as $t;
            let (b1, b2, c1, c2) = (to(f.b1), to(f.b2), to(1.0 - f.b1), to(1.0 - f.b2));
            let (root, step, eps, decay) = (to(f.root), to(f.step), to(f.epsilon), to(f.keep));
            let (clip, keep, rest) = (to(clip), to(keep), to(1.0 - keep));
            move |[p, g, m, v, e]: [$t; 5]| {
                let g = g * clip;
                let (m, v) = (b1 * m + c1 * g, b2 * v + c2 * (g * g));
                let p = decay * p - step * m / (v.sqrt() / root + eps);
                [p, m, v, e * keep + p * rest]
            }
        }};
    }
    let (single, double) = (entry!(f32), entry!(f64));
    Ok(match m {
        Some(m) => slices::map([p, g, m, v, e], single, double)?.map(|[p, m, v, e]| (p, Some(m), v, e)),
        // β₁ = 0: the first moment is the gradient, 0·m + 1·g, and is not kept.
        None => slices::map(
            [p, g, v, e],
            |[p, g, v, e]| {
                let [p, _, v, e] = single([p, g, 0.0, v, e]);
                [p, v, e]
            },
            |[p, g, v, e]| {
                let [p, _, v, e] = double([p, g, 0.0, v, e]);
                [p, v, e]
            },
        )?
        .map(|[p, v, e]| (p, None, v, e)),
    })
}

impl Optimiser for Adam {
    fn update(&self, u: &Update<'_>) -> Result<Updated> {
        let mut next = OptimiserState { step: u.state.step + 1, tensors: u.state.tensors.clone() };
        let t = i32::try_from(next.step).unwrap_or(i32::MAX);
        let f = Factors::new(self.betas, self.epsilon, self.weight_decay, u.rate, t);
        let (mut params, mut average) = (BTreeMap::new(), BTreeMap::new());
        for (name, g) in u.grads {
            let p = common::param(u.params, name, g)?;
            let e = u.average.and_then(|(old, keep)| Some((old.get(name)?, keep)));
            let (p, e) = clipped(name, (p, g, u.factor), e, u.state, &mut next, f)?;
            average.extend(e.map(|e| (name.clone(), e)));
            params.insert(name.clone(), p);
        }
        let average = u.averaged(&params, average)?;
        Ok(Updated { params, state: next, average })
    }

    fn propose(
        &self,
        params: &ParamSet,
        grads: &BTreeMap<String, Tensor>,
        state: &OptimiserState,
        rate: f64,
    ) -> Result<(BTreeMap<String, Tensor>, OptimiserState)> {
        let alone = Update { params, grads, state, rate, factor: 1.0, average: None };
        let Updated { params, state, .. } = self.update(&alone)?;
        Ok((params, state))
    }

    common::settings!();

    fn name(&self) -> String {
        "adam".into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use proptest::prelude::*;

    use super::*;
    use crate::common::testing::{one_param, values};

    fn adam(text: &str) -> Adam {
        serde_json::from_str(text).unwrap()
    }

    /// Algorithm 1 of the paper in its own order, on plain numbers (θ, m, v): bias-corrected moments first.
    fn reference((theta, m, v): (f64, f64, f64), g: f64, t: i32, [b1, b2]: [f64; 2]) -> (f64, f64, f64) {
        let (m, v) = (b1 * m + (1.0 - b1) * g, b2 * v + (1.0 - b2) * g * g);
        let (m_hat, v_hat) = (m / (1.0 - b1.powi(t)), v / (1.0 - b2.powi(t)));
        (theta - 0.01 * m_hat / (v_hat.sqrt() + 1e-8), m, v)
    }

    /// Adam without its own whole update.
    struct Plain(Adam);

    impl Optimiser for Plain {
        fn propose(
            &self,
            params: &ParamSet,
            grads: &BTreeMap<String, Tensor>,
            state: &OptimiserState,
            rate: f64,
        ) -> Result<(BTreeMap<String, Tensor>, OptimiserState)> {
            self.0.propose(params, grads, state, rate)
        }
        fn rate(&self, step: u64, of: u64) -> f64 {
            self.0.rate(step, of)
        }
        fn name(&self) -> String {
            self.0.name()
        }
    }

    #[test]
    fn one_pass_has_the_bits_of_clip_adam_and_average() {
        for (dtype, betas) in
            [DType::F32, DType::F64].into_iter().flat_map(|d| [(d, [0.0, 0.9]), (d, [0.7, 0.99])])
        {
            let t = |s: f64| {
                let v: Vec<f64> = (0..23).map(|i| (f64::from(i) * s).sin()).collect();
                Tensor::new(v, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
            };
            let named = |name: &str, t: Tensor| (name.to_string(), t, ebm_core::Role::Trainable);
            let params = ParamSet::new([named("w", t(0.3)), named("idle", t(0.5))]).unwrap();
            let adam = Adam { betas, weight_decay: 0.1, ..adam(r#"{"rate":1.0}"#) };
            let mut state = OptimiserState::default();
            let mut old = BTreeMap::from([("w".to_string(), t(0.2)), ("idle".to_string(), t(0.1))]);
            for (step, factor) in [1.0, 0.37, 0.9].into_iter().enumerate() {
                let grads = BTreeMap::from([("w".to_string(), t(0.7 + step as f64))]);
                let u = Update {
                    params: &params,
                    grads: &grads,
                    state: &state,
                    rate: 0.01,
                    factor,
                    average: Some((&old, 0.9)),
                };
                let (a, b) = (adam.update(&u).unwrap(), Plain(adam.clone()).update(&u).unwrap());
                let bits = |m: &BTreeMap<String, Tensor>| -> Vec<(String, Vec<f64>)> {
                    let flat = |t: &Tensor| t.to_dtype(DType::F64).unwrap().to_vec1().unwrap();
                    m.iter().map(|(k, t)| (k.clone(), flat(t))).collect()
                };
                assert_eq!(bits(&a.params), bits(&b.params));
                assert_eq!(bits(&a.state.tensors), bits(&b.state.tensors));
                let (ours, theirs) = (a.average.unwrap(), b.average.unwrap());
                assert_eq!(bits(&ours), bits(&theirs));
                params.set("w", &a.params["w"]).unwrap();
                (state, old) = (a.state, ours);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn follows_algorithm_1(
            start in prop::collection::vec(-2.0f64..2.0, 3),
            grads in prop::collection::vec(prop::collection::vec(-3.0f64..3.0, 3), 1..6),
            b1 in prop_oneof![Just(0.0), 0.1f64..0.99],
            b2 in 0.5f64..0.9999,
        ) {
            let a = Adam { betas: [b1, b2], ..adam(r#"{"rate":1.0}"#) };
            let params = one_param(&start, DType::F64);
            let mut state = OptimiserState::default();
            let mut want: Vec<(f64, f64, f64)> = start.iter().map(|p| (*p, 0.0, 0.0)).collect();
            for (i, g) in grads.iter().enumerate() {
                let given = BTreeMap::from([("w".to_string(), Tensor::new(g.as_slice(), &Device::Cpu).unwrap())]);
                let (new, next) = a.propose(&params, &given, &state, 0.01).unwrap();
                params.restore(&new).unwrap();
                state = next;
                for (w, g) in want.iter_mut().zip(g) {
                    *w = reference(*w, *g, i as i32 + 1, a.betas);
                }
            }
            for (found, want) in values(&params).iter().zip(&want) {
                // At most five updates of at most 0.1 each, a few roundings of 2⁻⁵³ in each.
                prop_assert!((found - want.0).abs() < 1e-14, "{found} {want:?}");
            }
        }
    }

    #[test]
    fn the_first_step_is_the_sign_of_the_gradient() {
        let params = one_param(&[1.0, 1.0, 1.0], DType::F64);
        let g = Tensor::new(&[1e-3f64, -5.0, 0.0], &Device::Cpu).unwrap();
        let grads = BTreeMap::from([("w".to_string(), g)]);
        let (new, next) =
            adam(r#"{"rate":1.0}"#).propose(&params, &grads, &OptimiserState::default(), 0.1).unwrap();
        let new = new["w"].to_vec1::<f64>().unwrap();
        // g/(|g| + 1e-8): relative error 1e-5 at the smallest gradient.
        assert!((new[0] - 0.9).abs() < 2e-6 && (new[1] - 1.1).abs() < 1e-9 && new[2] == 1.0, "{new:?}");
        assert!(!next.tensors.contains_key("exp_avg.w"), "no mean gradient is kept when β₁ = 0");
    }

    #[test]
    fn loop_and_tensor_operations_agree() {
        let n = 12;
        let t = |s: f64| {
            let v: Vec<f32> = (0..n).map(|i| (f64::from(i) * s).sin() as f32).collect();
            Tensor::new(v, &Device::Cpu).unwrap()
        };
        let f = Factors::new([0.5, 0.9], 1e-8, 0.1, 0.01, 3);
        let (p, g, m, v) = (t(0.3), t(0.7), t(0.2), t(0.9).sqr().unwrap());
        let fast = update(&p, &g, Some(&m), &v, f).unwrap();
        // A transposed gradient is not contiguous, which forces the other way.
        let turn = |t: &Tensor| t.reshape((3, 4)).unwrap().t().unwrap();
        let slow = update(&turn(&p), &turn(&g), Some(&turn(&m)), &turn(&v), f).unwrap();
        let off = |a: &Tensor, b: &Tensor| {
            (turn(a) - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
        };
        // Roundings of single precision in another order, on numbers of size one.
        assert!(off(&fast.0, &slow.0) < 3e-7 && off(&fast.2, &slow.2) < 3e-7);
        assert!(off(&fast.1.unwrap(), &slow.1.unwrap()) < 3e-7);
    }

    #[test]
    fn parameters_without_gradient_are_left_alone() {
        let params = one_param(&[1.0], DType::F64);
        let (new, _) = adam(r#"{"rate":1.0}"#)
            .propose(&params, &BTreeMap::new(), &OptimiserState::default(), 0.1)
            .unwrap();
        assert!(new.is_empty());
    }
}
