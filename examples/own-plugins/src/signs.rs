//! `signs`: descent by the sign of each entry of the gradient (Bernstein et al. 2018).

use std::collections::BTreeMap;

use ebm_core::operators::{Entry, Formula, map_entries};
use ebm_core::{
    BuildCx, Optimiser, OptimiserConfig, OptimiserState, Result, Settings, Update, Updated, plugin,
};

/// θ ← θ − rate · g/√(g² + ε²): the sign of g, smooth where g is smaller than ε.
#[derive(Clone, Debug, Settings)]
pub struct Signs {
    /// Length of a step in each parameter.
    #[setting(above = 0.0)]
    pub rate: f64,
    /// Gradients much smaller than this count less.
    #[setting(default = 1e-8, above = 0.0)]
    pub smooth: f64,
}

struct Step([f64; 2]);

impl Formula<2, 2, 1> for Step {
    fn numbers(&self) -> [f64; 2] {
        self.0
    }
    fn entry<E: Entry>([rate, smooth]: [E; 2], [p, g]: [E; 2]) -> [E; 1] {
        [p - rate * g / (g * g + smooth * smooth).sqrt()]
    }
}

impl Optimiser for Signs {
    fn rate(&self, _: u64, _: u64) -> f64 {
        self.rate
    }

    fn update(&self, u: &Update<'_>) -> Result<Updated> {
        let mut new = BTreeMap::new();
        for (name, g) in u.clipped()?.iter() {
            let Some(p) = u.params.get(name) else { continue };
            let [p] = map_entries(&Step([u.rate, self.smooth]), [p, g])?;
            new.insert(name.clone(), p);
        }
        u.done(new, OptimiserState { step: u.state.step + 1, ..u.state.clone() })
    }

    fn name(&self) -> String {
        "signs".into()
    }
}

#[plugin("signs", source = "Bernstein, Wang, Azizzadenesheli, Anandkumar 2018", example = "rate = 1e-3")]
impl OptimiserConfig for Signs {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Optimiser>> {
        Ok(Box::new(self.clone()))
    }
}
