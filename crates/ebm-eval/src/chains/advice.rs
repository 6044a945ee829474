//! What is wrong with chains, from their diagnostics, and what would help: never "run longer" for chains that do not move.

use std::fmt;

use serde::Serialize;

use crate::chains::energy_information::LEAST_INFORMATION;
use crate::chains::ess::ChainSummary;

/// R-hat above which chains do not agree (Vehtari et al. 2021).
pub const WORST_RHAT: f64 = 1.01;
/// Effective draws a chain below which errors themselves are uncertain: 400 for four chains (Vehtari et al. 2021).
pub const LEAST_ESS: f64 = 100.0;
/// Acceptance at or below which a chain is stuck, and, from the other end, at or above which all is accepted.
const STUCK: f64 = 0.005;

/// What [`chain_advice`] judges by.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChainFacts<'a> {
    /// Number of chains.
    pub chains: usize,
    /// Draws of each.
    pub draws: usize,
    /// Share of the moves that were accepted, one number a chain or one for all; empty if the moves do not say.
    pub accepted: &'a [f64],
    /// Moves that diverged (their energy error was beyond any use), and moves made.
    pub divergences: Option<(usize, usize)>,
    /// Mean step size at the first and at the last recorded step, if the moves have one that may adapt.
    pub step_sizes: Option<(f64, f64)>,
    /// Chains whose step size is the smallest or largest allowed, of how many, and their mean step size, if step sizes adapt.
    pub at_limit: Option<(usize, usize, f64)>,
    /// Trajectories that ended at their greatest length and not by themselves, of how many, if moves have some.
    pub deepest: Option<(usize, usize)>,
    /// The least E-BFMI of a chain ([`crate::EnergyInformation`]), if moves have momenta and say so.
    pub energy_information: Option<f64>,
    /// Diagnostics, one a scalar.
    pub summaries: &'a [ChainSummary],
}

/// One thing that is wrong, with its figures; `Display` says what it means and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ChainAdvice {
    /// More chains than draws: the first axis is that of the chains, and may have been taken for the other.
    SwappedAxes {
        /// Number of chains.
        chains: usize,
        /// Draws of each.
        draws: usize,
    },
    /// Of one chain R-hat can compare its halves only.
    OneChain,
    /// Chains that accept (almost) nothing.
    Rejecting {
        /// How many.
        stuck: usize,
        /// Of how many.
        of: usize,
        /// Whether the step size adapts.
        adapted: bool,
    },
    /// Chains accept (almost) everything and still do not mix.
    AcceptingAll {
        /// Mean acceptance.
        accepted: f64,
        /// Whether the step size adapts.
        adapted: bool,
    },
    /// Adapted step sizes stand at the smallest or the largest that is allowed: the acceptance asked for is not reached.
    AtLimit {
        /// Chains of which it does.
        chains: usize,
        /// Of how many.
        of: usize,
        /// Their mean step size.
        step_size: f64,
    },
    /// Scalars that never change, within any chain.
    Frozen {
        /// How many.
        scalars: usize,
        /// Of how many.
        of: usize,
    },
    /// Step sizes moved while draws were recorded, which biases them.
    Adapting {
        /// Mean step size at the first recorded step.
        from: f64,
        /// At the last.
        to: f64,
    },
    /// Moves whose energy error was beyond any use: the chains avoid some region.
    Divergent {
        /// How many.
        diverged: usize,
        /// Of how many.
        of: usize,
        /// Whether the step size adapts: then it is set by the acceptance that is asked for.
        adapted: bool,
    },
    /// Trajectories were ended by their greatest length, not because they turned back.
    CutShort {
        /// How many.
        cut: usize,
        /// Of how many.
        of: usize,
    },
    /// Fresh momenta change the energy by too little for what the target has of it.
    LittleInformation {
        /// The least E-BFMI of a chain.
        least: f64,
    },
    /// Chains disagree, although they move.
    NotMixed {
        /// The largest R-hat.
        rhat: f64,
    },
    /// Too few effective draws, although the chains move.
    FewEffective {
        /// The smallest effective sample size, of bulk or tails.
        ess: f64,
        /// What is wanted.
        wanted: f64,
    },
}

/// Everything that is wrong with chains, the most basic first; empty if nothing is.
///
/// Chains that are stuck (they accept nothing, or no scalar ever changes) or that accept everything without mixing are
/// said to be so, and then nothing advises more draws: more of the same would not help.
pub fn chain_advice(facts: &ChainFacts<'_>) -> Vec<ChainAdvice> {
    let mut found = Vec::new();
    let &ChainFacts { chains, draws, accepted, divergences, step_sizes, at_limit, .. } = facts;
    let &ChainFacts { deepest, energy_information, summaries, .. } = facts;
    if chains > draws {
        found.push(ChainAdvice::SwappedAxes { chains, draws });
    }
    if chains == 1 {
        found.push(ChainAdvice::OneChain);
    }
    // Only step sizes that adapt have limits.
    let adapted = at_limit.is_some();
    let stuck = accepted.iter().filter(|a| **a <= STUCK).count();
    if stuck > 0 {
        found.push(ChainAdvice::Rejecting { stuck, of: accepted.len(), adapted });
    }
    // No ESS of the mean: all draws are equal. Infinite R-hat: all draws of each half are.
    let frozen = summaries.iter().filter(|s| s.rhat.is_infinite() || s.mcse.is_nan()).count();
    if frozen > 0 {
        found.push(ChainAdvice::Frozen { scalars: frozen, of: summaries.len() });
    }
    let rhat = summaries.iter().map(|s| s.rhat).fold(f64::NEG_INFINITY, f64::max);
    let ess = summaries.iter().map(|s| s.ess_bulk.min(s.ess_tail)).fold(f64::INFINITY, f64::min);
    let wanted = LEAST_ESS * chains as f64;
    let (apart, few) = (rhat > WORST_RHAT, ess < wanted);
    let mean = accepted.iter().sum::<f64>() / accepted.len() as f64;
    let all = mean >= 1.0 - STUCK && (apart || few);
    if all {
        found.push(ChainAdvice::AcceptingAll { accepted: mean, adapted });
    }
    let at_limit = at_limit.filter(|l| l.0 > 0);
    if let Some((chains, of, step_size)) = at_limit {
        found.push(ChainAdvice::AtLimit { chains, of, step_size });
    }
    if let Some((from, to)) = step_sizes.filter(|(from, to)| from != to) {
        found.push(ChainAdvice::Adapting { from, to });
    }
    if let Some((diverged, of)) = divergences.filter(|d| d.0 > 0) {
        found.push(ChainAdvice::Divergent { diverged, of, adapted });
    }
    // One trajectory in a hundred may be long without harm.
    if let Some((cut, of)) = deepest.filter(|(cut, of)| 100 * cut > *of) {
        found.push(ChainAdvice::CutShort { cut, of });
    }
    if let Some(least) = energy_information.filter(|e| *e < LEAST_INFORMATION) {
        found.push(ChainAdvice::LittleInformation { least });
    }
    if stuck == 0 && frozen == 0 && !all && at_limit.is_none() {
        if apart {
            found.push(ChainAdvice::NotMixed { rhat });
        }
        if few {
            found.push(ChainAdvice::FewEffective { ess, wanted });
        }
    }
    found
}

impl fmt::Display for ChainAdvice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ChainAdvice::SwappedAxes { chains, draws } => write!(
                f,
                "{chains} chains of {draws} draws: more chains than draws; are the axes (chains, draws) in this order?"
            ),
            ChainAdvice::OneChain => {
                f.write_str("one chain: R-hat compares its halves only; run several from different places")
            }
            ChainAdvice::Rejecting { stuck, of, adapted } => {
                let cure = match adapted {
                    true => "begin at a smaller step size or give its adaptation more warm-up",
                    false => "use a smaller step size",
                };
                write!(
                    f,
                    "{stuck} of {of} chains accept nothing and are stuck: {cure}; more steps do not help"
                )
            }
            ChainAdvice::AcceptingAll { accepted, adapted } => {
                let cure = match adapted {
                    true => "set a lower target_acceptance or give the adaptation more warm-up",
                    false => "use a larger step size",
                };
                write!(
                    f,
                    "{:.1} % of the moves are accepted and the chains do not mix: {cure}; more steps help little",
                    100.0 * accepted
                )
            }
            ChainAdvice::AtLimit { chains, of, step_size } => write!(
                f,
                "the step size of {chains} of {of} chains is at its limit ({step_size:.3e}) and their acceptance not what was asked for: begin at another step size, or set wider step limits; more steps do not help"
            ),
            ChainAdvice::Frozen { scalars, of } => write!(
                f,
                "{scalars} of {of} scalars never change within a chain: they have no effective draws; more steps do not help"
            ),
            ChainAdvice::Adapting { from, to } => write!(
                f,
                "step sizes went on adapting while draws were recorded, from {from:.4e} to {to:.4e}: that leaves a bias which no error here shows; measure with the adapted size fixed"
            ),
            ChainAdvice::Divergent { diverged, of, adapted } => {
                let cure = match adapted {
                    true => {
                        "set a higher target_acceptance (0.99, say), by which the step size adapts, or write the energy in other coordinates"
                    }
                    false => "use a smaller step size",
                };
                write!(
                    f,
                    "{diverged} of {of} moves diverged: the chains avoid some region and no figure is to be relied on; {cure}"
                )
            }
            ChainAdvice::CutShort { cut, of } => write!(
                f,
                "{cut} of {of} trajectories were cut at their greatest length: allow a greater depth, or take a metric in which the target is rounder"
            ),
            ChainAdvice::LittleInformation { least } => write!(
                f,
                "E-BFMI is {least:.2}, below {LEAST_INFORMATION}: momenta change the energy by too little to reach the tails; take other coordinates"
            ),
            ChainAdvice::NotMixed { rhat } => write!(
                f,
                "R-hat is {rhat:.4}, above {WORST_RHAT}: the chains do not agree; run longer before these are relied on"
            ),
            ChainAdvice::FewEffective { ess, wanted } => write!(
                f,
                "{ess:.1} effective draws, fewer than {wanted}: run longer before these are relied on"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::autoregression;
    use crate::{Traces, summarise};

    fn of(data: &[f64], chains: usize) -> ChainSummary {
        summarise(Traces::new(data, chains, data.len() / chains).unwrap())
    }

    fn advice(summary: ChainSummary, chains: usize, draws: usize, accepted: &[f64]) -> Vec<ChainAdvice> {
        let summaries = &[summary];
        let step_sizes = Some((0.1, 0.1));
        chain_advice(&ChainFacts {
            chains,
            draws,
            accepted,
            divergences: Some((0, 9)),
            step_sizes,
            at_limit: Some((0, 4, 0.1)),
            summaries,
            ..ChainFacts::default()
        })
    }

    #[test]
    fn good_chains_get_none() {
        let x = autoregression(3, 4, 1000, 0.2);
        assert_eq!(advice(of(&x, 4), 4, 1000, &[0.6, 0.7, 0.99, 1.0]), []);
        // Every move accepted is nothing to say against chains that mix.
        assert_eq!(advice(of(&x, 4), 4, 1000, &[1.0]), []);
    }

    #[test]
    fn chains_that_do_not_move_are_never_told_to_run_longer() {
        let slow = autoregression(4, 4, 200, 0.99);
        let apart: Vec<f64> = (0..4).flat_map(|c| [f64::from(c); 50]).collect();
        let cases = [
            advice(of(&slow, 4), 4, 200, &[0.0, 0.5, 0.001, 0.5]),
            advice(of(&slow, 4), 4, 200, &[0.999]),
            advice(of(&apart, 4), 4, 50, &[]),
            advice(of(&[2.0; 200], 4), 4, 50, &[]),
        ];
        let kinds = [
            ChainAdvice::Rejecting { stuck: 2, of: 4, adapted: true },
            ChainAdvice::AcceptingAll { accepted: 0.999, adapted: true },
            ChainAdvice::Frozen { scalars: 1, of: 1 },
            ChainAdvice::Frozen { scalars: 1, of: 1 },
        ];
        for (found, kind) in cases.iter().zip(kinds) {
            assert_eq!(found, &[kind]);
            assert!(!found[0].to_string().contains("longer"), "{}", found[0]);
        }
        let moving = advice(of(&slow, 4), 4, 200, &[0.5]);
        assert!(moving.iter().all(|a| a.to_string().contains("run longer")) && !moving.is_empty());
    }

    #[test]
    fn axes_single_chains_and_divergences_are_named() {
        let x = autoregression(5, 100, 10, 0.0);
        assert_eq!(advice(of(&x, 100), 100, 10, &[])[0], ChainAdvice::SwappedAxes { chains: 100, draws: 10 });
        let x = autoregression(6, 1, 2000, 0.0);
        assert_eq!(advice(of(&x, 1), 1, 2000, &[]), [ChainAdvice::OneChain]);
        let summaries = &[of(&x, 1)];
        let facts = ChainFacts {
            chains: 4,
            draws: 500,
            step_sizes: Some((0.1, 0.2)),
            divergences: Some((3, 2000)),
            summaries,
            ..Default::default()
        };
        let at_limit = ChainFacts { chains: 4, draws: 500, at_limit: Some((3, 4, 1e-3)), summaries, ..facts };
        let told: Vec<String> = chain_advice(&at_limit).iter().map(ToString::to_string).collect();
        assert!(told[0].starts_with("the step size of 3 of 4 chains is at its limit"), "{told:?}");
        let adapting = ChainAdvice::Adapting { from: 0.1, to: 0.2 };
        assert_eq!(
            chain_advice(&facts),
            [adapting, ChainAdvice::Divergent { diverged: 3, of: 2000, adapted: false }]
        );
    }

    #[test]
    fn advice_names_what_sets_the_step_size() {
        let text = |adapted| ChainAdvice::Divergent { diverged: 1, of: 9, adapted }.to_string();
        assert!(text(true).contains("higher target_acceptance") && !text(true).contains("smaller step size"));
        assert!(text(false).ends_with("use a smaller step size"));
        let x = autoregression(5, 4, 1000, 0.0);
        let summaries = &[of(&x, 4)];
        let known =
            ChainFacts { chains: 4, draws: 1000, divergences: Some((1, 9)), summaries, ..Default::default() };
        let adapting = ChainFacts { at_limit: Some((0, 4, 0.1)), ..known };
        for (facts, adapted) in [(known, false), (adapting, true)] {
            assert_eq!(chain_advice(&facts), [ChainAdvice::Divergent { diverged: 1, of: 9, adapted }]);
        }
        for advice in [
            ChainAdvice::Rejecting { stuck: 1, of: 4, adapted: true },
            ChainAdvice::AcceptingAll { accepted: 1.0, adapted: true },
        ] {
            assert!(!advice.to_string().contains("use a "), "{advice}");
        }
    }

    #[test]
    fn what_trajectories_say_of_themselves_is_told() {
        let facts = ChainFacts { chains: 2, draws: 100, ..ChainFacts::default() };
        let of =
            |deepest, energy_information| chain_advice(&ChainFacts { deepest, energy_information, ..facts });
        let told = of(Some((3, 200)), Some(0.2));
        assert_eq!(
            told,
            [ChainAdvice::CutShort { cut: 3, of: 200 }, ChainAdvice::LittleInformation { least: 0.2 }]
        );
        assert!(told[0].to_string().contains("3 of 200") && told[1].to_string().contains("0.20"));
        assert!(of(Some((2, 200)), Some(0.3)).is_empty());
    }
}
