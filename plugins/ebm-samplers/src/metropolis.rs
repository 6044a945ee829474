//! An accept test around a proposal that knows its ratio.

use ebm_core::{
    Adjust, BuildCx, ChainState, EnergyFn, Error, Key, Law, Link, Result, Sensitivity, Settings, Stepped,
    Transition, TransitionConfig, host, plugin,
};

use crate::kit::Decision;

/// Takes the step of `proposal` with probability `min(1, exp(−ΔE/T)·q(x|x′)/q(x′|x))`
/// (Metropolis et al. 1953; Hastings 1970), so that `exp(−E/T)` is invariant.
///
/// The proposal must know its ratio ([`Transition::log_ratio`]). Two energies a step, one where
/// the energy at the start is cached. Nothing that the proposal carries is rolled back.
///
/// Its link is that of the proposal for the rows that took it, with the decisions held fixed; for the others `dx′ = dx`.
///
/// Diagnostics: those of the proposal, `energy` at the new state, `accepted`.
pub struct Metropolis {
    proposal: Box<dyn Transition>,
    temperature: f64,
}

impl Metropolis {
    /// Tests `proposal` at temperature T.
    pub fn new(proposal: Box<dyn Transition>, temperature: f64) -> Self {
        Metropolis { proposal, temperature }
    }
}

/// The link of a proposal for the rows that took it, and that of staying for the others.
fn taken_or_not(link: Link, decision: &Decision) -> Result<Link> {
    let taken = host::numbers(&decision.accepted)?;
    let rows = |accepted: bool| -> Vec<u32> {
        (0u32..).zip(&taken).filter(|(_, t)| (**t != 0.0) == accepted).map(|(row, _)| row).collect()
    };
    let (moved, stayed) = (rows(true), rows(false));
    if moved.is_empty() {
        return Ok(Link::Identity);
    }
    let link = link.of_rows(&moved)?;
    Ok(Link::Rows(vec![(moved, link), (stayed, Link::Identity)]))
}

impl Transition for Metropolis {
    fn init(&self, e: &dyn EnergyFn, at: ebm_core::Batch, key: Key) -> Result<ChainState> {
        self.proposal.init(e, at, key)
    }

    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let proposed = self.proposal.step(e, state, key.at("proposal"))?;
        let Some(ratio) = self.proposal.log_ratio(e, state, &proposed.state)? else {
            return Err(Error::capability(
                self.name(),
                "the ratio of proposal densities",
                self.proposal.name(),
                "choose a proposal that knows it, such as `gaussian-noise`; `mala` and `hmc` bring their own test",
            ));
        };
        let here = match &state.cache {
            Some(slope) => slope.energy.clone(),
            None => e.energy(&state.at)?,
        };
        let there = e.energy(&proposed.state.at)?;
        let log_ratio = ((&here - &there)?.affine(1.0 / self.temperature, 0.0)? + ratio)?;
        let decision = Decision::draw(&log_ratio, &state.at.chains, key.at("accept"))?;
        let x = decision.select(&proposed.state.at.x, &state.at.x)?;
        let mut next = proposed.state;
        next.at = next.at.with_x(x);
        next.cache = None;
        // A proposal x + noise moves with x whether taken or not.
        let link = match proposed.link {
            Link::Identity => Link::Identity,
            other => taken_or_not(other, &decision)?,
        };
        let mut out = Stepped::new(next, link);
        out.info = proposed.info;
        Ok(out.with("energy", decision.select(&there, &here)?).with("accepted", decision.accepted))
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.proposal.fits(e)
    }

    fn couples_chains(&self) -> bool {
        self.proposal.couples_chains()
    }

    fn needs_reference(&self) -> bool {
        self.proposal.needs_reference()
    }

    fn law(&self) -> Law {
        Law::Reversible { temperature: self.temperature }
    }

    fn sensitivity(&self) -> Sensitivity {
        // A chain that stays moves with where it was.
        Sensitivity::either([self.proposal.sensitivity(), Sensitivity::Passes])
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.proposal.bounds()
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        Some(Box::new(Metropolis { proposal: self.proposal.adjusted(by)?, temperature: self.temperature }))
    }

    fn carried(&self) -> Vec<String> {
        self.proposal.carried()
    }

    fn name(&self) -> String {
        format!("metropolis of {}", self.proposal.name())
    }
}

/// Settings of `metropolis`.
#[derive(Debug, Settings)]
pub struct MetropolisConfig {
    /// The step that is tested; it must know its ratio.
    pub proposal: Box<dyn TransitionConfig>,
    /// T of the target exp(-E/T).
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
}

#[plugin(
    "metropolis",
    summary = "an accept test around a proposal that knows its ratio",
    source = "Metropolis, Rosenbluth, Rosenbluth, Teller, Teller 1953; Hastings 1970",
    example = r#"proposal = { kind = "langevin", step_size = 0.01, noise = 0.14, noise_first = false }"#
)]
impl TransitionConfig for MetropolisConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(Metropolis::new(self.proposal.build_at("proposal", cx)?, self.temperature)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::Tensor;
    use ebm_testkit::{check_variance, run, toy};

    use super::*;
    use crate::Langevin;

    /// A random walk with drift 0.3: not symmetric.
    struct Drift;

    impl Transition for Drift {
        fn step(&self, _: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
            let at = &state.at;
            let eps = key.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
            Ok(Stepped::new(state.advance((&at.x + eps.affine(1.0, 0.3)?)?), Link::Identity))
        }
        fn sensitivity(&self) -> Sensitivity {
            Sensitivity::Exact
        }
        fn needs_energy(&self) -> bool {
            false
        }
        fn log_ratio(&self, _: &dyn EnergyFn, from: &ChainState, to: &ChainState) -> Result<Option<Tensor>> {
            // −½(−d − 0.3)² + ½(d − 0.3)² = −0.6 d.
            Ok(Some((&to.at.x - &from.at.x)?.sum(1)?.affine(-0.6, 0.0)?))
        }
        fn name(&self) -> String {
            "drift".into()
        }
    }

    #[test]
    fn an_asymmetric_proposal_keeps_the_target() {
        let m = Metropolis::new(Box::new(Drift), 0.5);
        let x = run(&m, &toy::bowl(1, 1.0).unwrap(), 8_000, 60, Key::root(3)).unwrap().at.x;
        check_variance(&x, 0.5, 4.0).unwrap();
    }

    #[test]
    fn a_langevin_proposal_is_mala() {
        let e = toy::bowl(1, 2.0).unwrap();
        let m = Metropolis::new(Box::new(Langevin::unadjusted(0.4, 1.0)), 1.0);
        check_variance(&run(&m, &e, 8_000, 40, Key::root(3)).unwrap().at.x, 0.5, 4.0).unwrap();
    }

    #[test]
    fn a_proposal_without_ratio_is_an_error_that_says_so() {
        let e = toy::bowl(1, 2.0).unwrap();
        let m = Metropolis::new(Box::new(Langevin::new(0.4, 0.1).clamped(0.0, 1.0)), 1.0);
        let text = run(&m, &e, 2, 1, Key::root(3)).unwrap_err().to_string();
        assert!(text.contains("langevin") && text.contains("ratio"), "{text}");
    }
}
