//! `gibbs-with-gradients`: one site changes, chosen by the slope, with an accept test.

use ebm_core::{
    BuildCx, ChainState, EnergyFn, Key, Law, Result, Sensitivity, Settings, Stepped, Transition,
    TransitionConfig, host, plugin,
};

use crate::accept::decide;
use crate::sites::{Sites, log_sum_exp, pick, rows, with_rows};

/// One site goes to another state, both chosen with `q ∝ exp(−Δ/2)`, Δ the rise of the energy as its slope tells it, and a
/// Metropolis test. For energies of second degree in spins Δ is exact. One slope a step: that at the proposal is kept.
#[derive(Clone, Debug, Settings)]
pub struct GibbsWithGradients {}

/// Logarithms of the proposal from `x`: half the fall of the energy; none to the states that sites are in.
fn proposal(sites: Sites, x: &[f64], grad: &[f64], out: &mut [f64]) {
    sites.rises(x, grad, out);
    for (site, out) in out.chunks_mut(sites.states).enumerate() {
        out.iter_mut().for_each(|rise| *rise *= -0.5);
        out[sites.state(x, site)] = f64::NEG_INFINITY;
    }
}

impl Transition for GibbsWithGradients {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let sites = Sites::of(e, &self.name())?;
        let here = state.slope(e)?;
        let ((x, width), grad) = (rows(&state.at)?, host::numbers(&here.grad)?);
        let k = sites.states;
        let mut law = vec![0.0; sites.count(width) * k];
        let (mut moved, mut moves) = (x.clone(), Vec::with_capacity(state.at.len()));
        for (row, id) in state.at.chains.ids().iter().enumerate() {
            let span = row * width..(row + 1) * width;
            proposal(sites, &x[span.clone()], &grad[span.clone()], &mut law);
            let chosen = pick(&law, key.at("site").uniform_at(*id));
            let (site, old) = (chosen / k, sites.state(&x[span.clone()], chosen / k));
            sites.set(&mut moved[span], site, chosen % k);
            moves.push((site * k + old, law[chosen] - log_sum_exp(law.iter().copied())));
        }
        let at = with_rows(&state.at, moved.clone())?;
        let there = e.slope(&at)?;
        let grad = host::numbers(&there.grad)?;
        let mut ratio = Vec::with_capacity(moves.len());
        for (row, (back, forward)) in moves.into_iter().enumerate() {
            let span = row * width..(row + 1) * width;
            proposal(sites, &moved[span.clone()], &grad[span], &mut law);
            ratio.push(law[back] - log_sum_exp(law.iter().copied()) - forward);
        }
        decide(state, (&here, &at, &there), Some(&ratio), key.at("accept"))
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        e.spec().domain.discrete_for(self.name())
    }

    fn law(&self) -> Law {
        Law::Reversible { temperature: 1.0 }
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }

    fn name(&self) -> String {
        "gibbs-with-gradients".into()
    }
}

#[plugin(
    "gibbs-with-gradients",
    summary = "one site changes, chosen by the energy's slope, with an accept test",
    source = "Grathwohl, Swersky, Hashemi, Duvenaud, Maddison 2021",
    example = ""
)]
impl TransitionConfig for GibbsWithGradients {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(self.clone()))
    }
}
