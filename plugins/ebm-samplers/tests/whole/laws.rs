//! The laws of a program for every kind of this crate, with a transition in each of its places.
#![allow(clippy::unwrap_used)]

use ebm_core::candle::{DType, Device};
use ebm_core::{Batch, Chains, Key, Program, Result, Sampler, Transition};
use ebm_samplers::{Chain, Langevin, ReplicaExchange, Rounds, SequentialMonteCarlo, Tempering};
use ebm_testkit::{check_sampler, toy};

type Step = Box<dyn Transition>;

fn plain() -> Step {
    Box::new(Langevin::new(0.1, 0.05))
}

fn check(build: impl Fn(Step) -> Result<Box<dyn Sampler>>) {
    let e = toy::mlp(3, 4, 2, 1).unwrap();
    let chains = Chains::range(7, 4);
    let x = Key::root(1).normal(&chains, &[3], DType::F64, &Device::Cpu).unwrap();
    check_sampler(&build, &e, &Batch::new(x).unwrap().with_chains(chains)).unwrap();
}

#[test]
fn a_chain() {
    check(|t| Ok(Box::new(Chain::new(t, 4))));
}

#[test]
fn a_choice_of_transitions() {
    let pick = |k: usize, of: usize| usize::from(4 * k >= 3 * of);
    check(|t| Ok(Box::new(Program::new("first", 4, vec![t, plain()], pick))));
    check(|t| Ok(Box::new(Program::new("last", 4, vec![plain(), t], pick))));
}

#[test]
fn rounds_in_blocks_between_and_at_the_end() {
    check(|t| Ok(Box::new(Rounds::new(t, 2, 2, vec![plain()]).refined(1))));
    check(|t| Ok(Box::new(Rounds::new(plain(), 2, 2, vec![plain(), t]).refined(1))));
    check(|t| Ok(Box::new(Rounds::new(plain(), 2, 2, vec![]).finished(t))));
}

#[test]
fn programs_on_a_ladder() {
    check(|t| Ok(Box::new(Tempering::new(Box::new(Chain::new(t, 2)), &[4.0, 2.0, 1.0])?)));
    check(|t| Ok(Box::new(ReplicaExchange::new(Box::new(Chain::new(t, 2)), 3, &[4.0, 1.0])?)));
    let smc = |t| SequentialMonteCarlo::new(Box::new(Chain::new(t, 2)), &[4.0, 2.0, 1.0]);
    check(|t| Ok(Box::new(smc(t)?)));
    check(|t| Ok(Box::new(smc(t)?.adapting(0.9))));
    check(|t| {
        Ok(Box::new(ReplicaExchange::new(Box::new(Chain::new(t, 2)), 3, &[4.0, 2.0, 1.0])?.adapting()))
    });
}

/// A part that cannot tell refuses the trails that reach it, and no others.
#[test]
fn a_part_that_cannot_tell_refuses_the_trails_that_reach_it() {
    let hmc = || Box::new(ebm_samplers::Hmc::new(0.1, 2)) as Step;
    let all: [(Box<dyn Sampler>, usize); 6] = [
        (Box::new(Program::new("late", 8, vec![hmc(), plain()], |k, of| usize::from(2 * k >= of))), 4),
        (Box::new(Rounds::new(plain(), 3, 2, vec![hmc()]).refined(3)), 2),
        (Box::new(Rounds::new(plain(), 3, 2, vec![]).finished(hmc())), 0),
        (Box::new(ReplicaExchange::new(Box::new(Chain::new(plain(), 5)), 3, &[2.0, 1.0]).unwrap()), 5),
        (Box::new(SequentialMonteCarlo::new(Box::new(Chain::new(plain(), 3)), &[2.0, 1.0]).unwrap()), 3),
        (Box::new(Chain::new(hmc(), 5)), 0),
    ];
    for (s, exact) in all {
        for n in 0..9 {
            let told = format!("{:?}", s.sensitivity(n));
            assert_eq!(s.sensitivity(n).is_exact(), n <= exact, "{} with {n}: {told}", s.name());
            assert!(
                n <= exact || ["hmc", "exchange", "resampling"].iter().any(|w| told.contains(w)),
                "{told}"
            );
        }
    }
}
