//! Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983).

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::operators::{Entry, Formula, map_entries};
use ebm_core::{
    BuildCx, Optimiser, OptimiserConfig, OptimiserState, Result, Settings, Update, Updated, plugin,
};

use crate::common::{self, Common, moment};

/// Settings of `sgd`: u ← μ·u + g; θ ← θ − rate·u, or θ − rate·(g + μ·u) with `nesterov`.
#[derive(Clone, Debug, Settings)]
pub struct Sgd {
    /// Rate, clipping, average, schedule.
    #[setting(flatten)]
    common: Common,
    /// Share of the last step that is kept.
    #[setting(default = 0.0, at_least = 0.0, below = 1.0)]
    momentum: f64,
    /// Look ahead by the momentum.
    #[setting(default = false)]
    nesterov: bool,
}

impl Sgd {
    /// At learning rate `rate`; no momentum, no clipping, no average.
    pub fn new(rate: f64) -> Self {
        Sgd { common: Common::at(rate), momentum: 0.0, nesterov: false }
    }

    /// The same with this share of the last step kept.
    #[must_use]
    pub fn with_momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
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
    "sgd",
    summary = "gradient descent with momentum",
    source = "Polyak 1964; Nesterov 1983; form of Sutskever et al. 2013 with the rate outside the momentum",
    example = "rate = 0.01\nmomentum = 0.9"
)]
impl OptimiserConfig for Sgd {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Optimiser>> {
        Ok(Box::new(self.clone()))
    }
}

impl Sgd {
    /// New parameter and momentum.
    fn moved(&self, p: &Tensor, g: &Tensor, u: &Tensor, rate: f64) -> Result<(Tensor, Tensor)> {
        let numbers = [self.momentum, rate];
        let [p, u] = match self.nesterov {
            true => map_entries(&Ahead(numbers), [p, g, u])?,
            false => map_entries(&Along(numbers), [p, g, u])?,
        };
        Ok((p, u))
    }
}

/// A step along the momentum.
struct Along([f64; 2]);

impl Formula<2, 3, 2> for Along {
    fn numbers(&self) -> [f64; 2] {
        self.0
    }
    fn entry<E: Entry>([momentum, rate]: [E; 2], [p, g, u]: [E; 3]) -> [E; 2] {
        let u = momentum * u + g;
        [p - rate * u, u]
    }
}

/// A step along where the momentum leads.
struct Ahead([f64; 2]);

impl Formula<2, 3, 2> for Ahead {
    fn numbers(&self) -> [f64; 2] {
        self.0
    }
    fn entry<E: Entry>([momentum, rate]: [E; 2], [p, g, u]: [E; 3]) -> [E; 2] {
        let u = momentum * u + g;
        [p - rate * (g + momentum * u), u]
    }
}

impl Optimiser for Sgd {
    fn update(&self, u: &Update<'_>) -> Result<Updated> {
        let mut next = OptimiserState { step: u.state.step + 1, tensors: u.state.tensors.clone() };
        let mut new = BTreeMap::new();
        for (name, g) in u.clipped()?.iter() {
            let p = common::param(u.params, name, g)?;
            if self.momentum == 0.0 {
                new.insert(name.clone(), (p - g.affine(u.rate, 0.0)?)?);
                continue;
            }
            let key = format!("momentum.{name}");
            let (p, v) = self.moved(p, g, &moment(u.state, &key, p)?, u.rate)?;
            new.insert(name.clone(), p);
            next.tensors.insert(key, v);
        }
        u.done(new, next)
    }

    common::settings!();

    fn name(&self) -> String {
        "sgd".into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use proptest::prelude::*;

    use super::*;
    use crate::common::testing::{one_param, values};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ebm_testkit::cases(32)))]
        #[test]
        fn follows_the_formula(
            start in -2.0f64..2.0,
            grads in prop::collection::vec(-3.0f64..3.0, 1..6),
            momentum in prop_oneof![Just(0.0), 0.1f64..0.99],
            nesterov: bool,
        ) {
            let text = format!(r#"{{"rate":0.1,"momentum":{momentum},"nesterov":{nesterov}}}"#);
            let sgd: Sgd = serde_json::from_str(&text).unwrap();
            let params = one_param(&[start], DType::F64);
            let mut state = OptimiserState::default();
            let (mut theta, mut u) = (start, 0.0);
            for g in &grads {
                let given = BTreeMap::from([("w".to_string(), Tensor::new(&[*g], &Device::Cpu).unwrap())]);
                let new = sgd.update(&Update::new(&params, &given, &state, 0.1)).unwrap();
                params.restore(&new.params).unwrap();
                state = new.state;
                u = sgd.momentum * u + g;
                theta -= 0.1 * if nesterov && momentum > 0.0 { g + momentum * u } else { u };
            }
            // Five steps of at most 0.1·3·5, a few roundings in each.
            prop_assert!((values(&params)[0] - theta).abs() < 1e-14);
        }
    }

    #[test]
    fn loop_and_tensor_operations_agree() {
        let sgd: Sgd = serde_json::from_str(r#"{"rate":0.1,"momentum":0.9,"nesterov":true}"#).unwrap();
        let t = |s: f64| {
            let v: Vec<f64> = (0..12).map(|i| (f64::from(i) * s).sin()).collect();
            Tensor::new(v, &Device::Cpu).unwrap()
        };
        let turn = |t: &Tensor| t.reshape((3, 4)).unwrap().t().unwrap();
        let (p, g, u) = (t(0.3), t(0.7), t(0.2));
        let fast = sgd.moved(&p, &g, &u, 0.1).unwrap();
        let slow = sgd.moved(&turn(&p), &turn(&g), &turn(&u), 0.1).unwrap();
        let off = (turn(&fast.0) - slow.0).unwrap().abs().unwrap().max_all().unwrap();
        // Roundings in another order.
        assert!(off.to_scalar::<f64>().unwrap() < 1e-15);
    }
}
