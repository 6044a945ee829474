//! `discrete-langevin`: all sites may change at once, by the slope.

use ebm_core::{
    Adjust, BuildCx, ChainState, EnergyFn, Key, Law, Result, Sensitivity, Settings, Stepped, Transition,
    TransitionConfig, host, plugin,
};

use crate::accept::decide;
use crate::sites::{Sites, log_sum_exp, pick, rows, with_rows};

/// Every site goes to a state `y` with `q ∝ exp(−Δ(y)/2 − |y − x|²/2α)`, independently of the others given the slope, Δ the rise of the
/// energy as the slope tells it; then a Metropolis test unless it is not adjusted. `α` is the step size: small ones change few
/// sites.
#[derive(Clone, Debug, Settings)]
pub struct DiscreteLangevin {
    /// Step size α.
    #[setting(above = 0.0)]
    pub step_size: f64,
    /// Whether proposals are tested; without it chains are biased, as those of `ula` are.
    #[setting(default = true)]
    pub adjusted: bool,
}

impl DiscreteLangevin {
    /// Logarithms of the laws of all sites, normalised.
    fn laws(&self, sites: Sites, x: &[f64], grad: &[f64], out: &mut [f64]) {
        sites.rises(x, grad, out);
        let far = sites.distance_square() / (2.0 * self.step_size);
        for (site, out) in out.chunks_mut(sites.states).enumerate() {
            let own = sites.state(x, site);
            out.iter_mut().for_each(|rise| *rise = -0.5 * *rise - far);
            out[own] = 0.0;
            let total = log_sum_exp(out.iter().copied());
            out.iter_mut().for_each(|v| *v -= total);
        }
    }
}

impl Transition for DiscreteLangevin {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let sites = Sites::of(e, &self.name())?;
        let here = state.slope(e)?;
        let ((x, width), grad) = (rows(&state.at)?, host::numbers(&here.grad)?);
        let (n, k) = (sites.count(width), sites.states);
        let (mut law, mut coins) = (vec![0.0; n * k], vec![0f32; n]);
        let (mut moved, mut ratio) = (x.clone(), vec![0.0; state.at.len()]);
        for (row, id) in state.at.chains.ids().iter().enumerate() {
            let span = row * width..(row + 1) * width;
            self.laws(sites, &x[span.clone()], &grad[span.clone()], &mut law);
            key.at("state").fill_uniform(*id, &mut coins);
            for (site, coin) in coins.iter().enumerate() {
                let own = &law[site * k..][..k];
                let chosen = pick(own, f64::from(*coin));
                ratio[row] -= own[chosen];
                sites.set(&mut moved[span.clone()], site, chosen);
            }
        }
        let at = with_rows(&state.at, moved.clone())?;
        let there = e.slope(&at)?;
        if !self.adjusted {
            return decide(state, (&here, &at, &there), None, key.at("accept"));
        }
        let grad = host::numbers(&there.grad)?;
        for (row, ratio) in ratio.iter_mut().enumerate() {
            let span = row * width..(row + 1) * width;
            self.laws(sites, &moved[span.clone()], &grad[span.clone()], &mut law);
            let back = (0..n).map(|site| law[site * k + sites.state(&x[span.clone()], site)]);
            *ratio += back.sum::<f64>();
        }
        decide(state, (&here, &at, &there), Some(&ratio), key.at("accept"))
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        e.spec().domain.discrete_for(self.name())
    }

    fn law(&self) -> Law {
        if self.adjusted { Law::Reversible { temperature: 1.0 } } else { Law::Unsaid }
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        Some(Box::new(DiscreteLangevin { step_size: self.step_size * by.step_size, ..self.clone() }))
    }

    fn name(&self) -> String {
        format!("discrete-langevin (step size {})", self.step_size)
    }
}

#[plugin(
    "discrete-langevin",
    summary = "all sites may change at once, by the energy's slope, with an accept test",
    source = "Zhang, Liu, Liu 2022",
    example = "step_size = 0.2"
)]
impl TransitionConfig for DiscreteLangevin {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(self.clone()))
    }
}
