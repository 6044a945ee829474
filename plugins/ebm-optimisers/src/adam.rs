//! Adam with bias correction (Kingma, Ba 2015, algorithm 1).

use ebm_core::{
    BuildCx, Optimiser, OptimiserConfig, OptimiserState, Result, Settings, Update, Updated, plugin,
};

use crate::common::{self, Common};
use crate::moments::{self, Factors};

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

impl Adam {
    /// At learning rate `rate`, with β of 0 and 0.9 as energy-based models want them; no clipping, no average, no decay.
    pub fn new(rate: f64) -> Self {
        Adam { common: Common::at(rate), betas: [0.0, 0.9], epsilon: 1e-8, weight_decay: 0.0 }
    }

    /// The same with these decays of the mean gradient and of the mean squared gradient.
    #[must_use]
    pub fn with_betas(mut self, first: f64, second: f64) -> Self {
        self.betas = [first, second];
        self
    }

    /// The same with a moving average of the parameters that decays so.
    #[must_use]
    pub fn averaging(mut self, decay: f64) -> Self {
        self.common.average = Some(decay);
        self
    }
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

impl Optimiser for Adam {
    fn update(&self, u: &Update<'_>) -> Result<Updated> {
        let mut next = OptimiserState { step: u.state.step + 1, tensors: u.state.tensors.clone() };
        let t = i32::try_from(next.step).unwrap_or(i32::MAX);
        let f = Factors::new(self.betas, self.epsilon, self.weight_decay, u.rate, t);
        let f = f.clipped(u.factor);
        let mut all = Vec::with_capacity(u.grads.len());
        for (name, g) in u.grads {
            let p = common::param(u.params, name, g)?;
            let e = u.average.and_then(|(old, keep)| Some((old.get(name)?, keep)));
            all.push(moments::Given { name, p, g, average: e });
        }
        let (params, average) = moments::tensors(&all, u.state, &mut next, f)?;
        let average = u.averaged(&params, average)?;
        Ok(Updated { params, state: next, average })
    }

    common::settings!();

    fn name(&self) -> String {
        "adam".into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use ebm_core::ParamSet;
    use ebm_core::candle::{DType, Device, Tensor};
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

    /// Adam with clip, step and average one by one.
    fn in_parts(adam: &Adam, u: &Update<'_>) -> Updated {
        let grads = u.clipped().unwrap();
        let alone = adam.update(&Update::new(u.params, &grads, u.state, u.rate)).unwrap();
        u.done(alone.params, alone.state).unwrap()
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
                let (a, b) = (adam.update(&u).unwrap(), in_parts(&adam, &u));
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
        #![proptest_config(ProptestConfig::with_cases(ebm_testkit::cases(32)))]
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
                let new = a.update(&Update::new(&params, &given, &state, 0.01)).unwrap();
                params.restore(&new.params).unwrap();
                state = new.state;
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
        let start = OptimiserState::default();
        let done = adam(r#"{"rate":1.0}"#).update(&Update::new(&params, &grads, &start, 0.1)).unwrap();
        let new = done.params["w"].to_vec1::<f64>().unwrap();
        // g/(|g| + 1e-8): relative error 1e-5 at the smallest gradient.
        assert!((new[0] - 0.9).abs() < 2e-6 && (new[1] - 1.1).abs() < 1e-9 && new[2] == 1.0, "{new:?}");
        assert!(!done.state.tensors.contains_key("exp_avg.w"), "no mean gradient is kept when β₁ = 0");
    }

    #[test]
    fn parameters_without_gradient_are_left_alone() {
        let params = one_param(&[1.0], DType::F64);
        let (none, start) = (BTreeMap::new(), OptimiserState::default());
        let done = adam(r#"{"rate":1.0}"#).update(&Update::new(&params, &none, &start, 0.1)).unwrap();
        assert!(done.params.is_empty());
    }
}
