//! `heavy-ball`: gradient descent with momentum.

use std::collections::BTreeMap;

use ebm_core::{
    BuildCx, Optimiser, OptimiserConfig, OptimiserState, Result, Settings, Update, Updated, plugin,
};

/// Gradient descent with momentum: m ← βm + g, θ ← θ − ηm.
#[derive(Clone, Debug, Settings)]
pub struct HeavyBall {
    /// Learning rate η.
    #[setting(above = 0.0)]
    pub rate: f64,
    /// Share β of the momentum that stays.
    #[setting(default = 0.9, at_least = 0.0, below = 1.0)]
    pub momentum: f64,
}

impl Optimiser for HeavyBall {
    fn update(&self, u: &Update<'_>) -> Result<Updated> {
        // Nothing is written here, and nothing is kept but in the state: a checkpoint holds all of it.
        let (mut new, mut tensors) = (BTreeMap::new(), u.state.tensors.clone());
        for (name, g) in u.clipped()?.iter() {
            let Some(theta) = u.params.get(name) else { continue };
            let key = format!("momentum.{name}");
            let m = match tensors.get(&key) {
                Some(m) => (m.affine(self.momentum, 0.0)? + g)?,
                None => g.clone(),
            };
            new.insert(name.clone(), (theta - m.affine(u.rate, 0.0)?)?);
            tensors.insert(key, m);
        }
        u.done(new, OptimiserState { step: u.state.step + 1, tensors })
    }
    fn rate(&self, _: u64, _: u64) -> f64 {
        self.rate
    }
    fn name(&self) -> String {
        "heavy-ball".into()
    }
}

#[plugin("heavy-ball", source = "Polyak 1964", example = "rate = 1e-3")]
impl OptimiserConfig for HeavyBall {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Optimiser>> {
        Ok(Box::new(self.clone()))
    }
}
