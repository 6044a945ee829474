//! Step sizes that adapt: each chain's own, their bytes, and the target once they are fixed.

#![allow(clippy::unwrap_used)]
use ebm_core::candle::DType;
use ebm_core::{
    Batch, Blind, Chains, DrawRequest, Draws, EnergyFn, Keep, Key, Opaque, ParamSet, Sampler, Sensitivity,
    Stepped, Transition,
};
use ebm_testkit::{check_transition, check_variance, relative_gap, run, toy};

use super::*;
use crate::{Chain, Hmc, Mala};

/// E = c|x|²/2 with the condition c of each chain: Gaussians of very different widths in one batch.
fn scales() -> impl EnergyFn {
    Opaque::new("scales", &[2], ParamSet::default(), |_, x, cond| {
        let energy = x.sqr()?.sum_keepdim(1)?.affine(0.5, 0.0)?;
        Ok(match cond {
            Some(stiffness) => (energy * stiffness)?,
            None => energy,
        })
    })
}

/// Chains `ids`; the stiffness of chain `i` is 10⁴ if `i` is odd, else 1. All start at the origin.
fn batch(ids: &[u64]) -> Batch {
    let n = ids.len();
    let c: Vec<f64> = ids.iter().map(|i| if i % 2 == 1 { 1e4 } else { 1.0 }).collect();
    Batch::new(Tensor::zeros((n, 2), DType::F64, &Device::Cpu).unwrap())
        .unwrap()
        .with_cond(Some(Tensor::from_vec(c, (n, 1), &Device::Cpu).unwrap()))
        .with_chains(Chains::from_ids(ids.to_vec()))
}

fn kernels(target: f64, rate: f64) -> [Box<dyn Transition>; 2] {
    let mala = Mala::new(0.01).adapting(target, rate).per_chain();
    // Without jitter a step size of 0.7 would turn a bowl of curvature 2 by half a circle: x goes to −x and back.
    [Box::new(mala), Box::new(Hmc::new(0.05, 3).jittered(0.2).adapting(target, rate).per_chain())]
}

type Memory = BTreeMap<String, Tensor>;

fn draw(t: Box<dyn Transition>, at: Batch, steps: usize, key: u64, memory: &mut Memory) -> Batch {
    let mut blind = Blind;
    let mut request = DrawRequest::new(&mut blind, memory);
    Chain::new(t, steps).draw(&scales(), at, Key::root(key), &mut request).unwrap().last.at
}

fn bits(memory: &Memory) -> Vec<(String, Vec<u64>)> {
    let read = |t: &Tensor| match t.dtype() {
        DType::I64 => t.to_vec1::<i64>().unwrap().into_iter().map(|v| v as u64).collect(),
        _ => t.to_vec1::<f64>().unwrap().into_iter().map(f64::to_bits).collect(),
    };
    memory.iter().map(|(k, t)| (k.clone(), read(t))).collect()
}

/// Step sizes a factor 10⁴ (MALA) or 100 (HMC) apart, each at the acceptance asked for.
#[test]
fn every_chain_finds_its_own_acceptance() {
    let ids: Vec<u64> = (0..12).map(|i| i + (1 << 40)).collect();
    for (kind, (t, ratio)) in kernels(0.65, 0.1).into_iter().zip([1e4, 1e2]).enumerate() {
        let e = scales();
        let mut state = ChainState::new(batch(&ids));
        let (warm, n) = (300usize, 500);
        let mut taken = vec![0.0; ids.len()];
        for k in 0..warm + n {
            let out = t.step(&e, &state, Key::root(3).at(k)).unwrap();
            if k >= warm {
                let now = out.info["accepted"].to_vec1::<f64>().unwrap();
                taken.iter_mut().zip(now).for_each(|(sum, a)| *sum += a / n as f64);
            }
            state = out.state;
        }
        // Four standard errors of 500 decisions; the mean chance itself is at the target to 1/(0.1·500) times
        // the change of log h, which fluctuates by a few tenths.
        let off = 4.0 * (0.65f64 * 0.35 / n as f64).sqrt() + 0.01;
        assert!(taken.iter().all(|a| (a - 0.65).abs() < off), "{kind}: {taken:?}");
        let step =
            StepSize { per_chain: true, ..StepSize::configured(NAMES[kind], 1.0, Some(0.5), 0.1, None) };
        let Sizes::Rows(h) = step.of(&state).unwrap() else { panic!("one a row") };
        let mean = |odd: usize| {
            let of: Vec<f64> = h.iter().skip(odd).step_by(2).map(|h| h.ln()).collect();
            of.iter().sum::<f64>() / of.len() as f64
        };
        let found = (mean(0) - mean(1)).exp();
        // Six chains each, log h of each fluctuating by about √rate/2.
        assert!((found / ratio).ln().abs() < 0.6, "{kind}: {found} wants {ratio}");
    }
}

const NAMES: [&str; 2] = ["mala.step_size", "hmc.step_size"];

/// One batch, two parts, and another order of rows: the same chains, the same table, to the bit.
#[test]
fn chains_keep_their_step_size_in_any_batch() {
    for kind in 0..2 {
        let go = |parts: &[&[u64]]| {
            let mut memory = Memory::new();
            let mut ends = BTreeMap::new();
            for part in parts {
                for round in 0..2 {
                    let [a, b] = kernels(0.6, 0.3);
                    let t = if kind == 0 { a } else { b };
                    let at = draw(t, batch(part), 5, round, &mut memory);
                    let rows = at.x.to_vec2::<f64>().unwrap();
                    ends.extend(at.chains.ids().iter().copied().zip(rows));
                }
            }
            (ends, bits(&memory))
        };
        let whole = go(&[&[7, 8, 9, 10]]);
        assert_eq!(whole.1.len(), 2);
        assert_eq!(whole, go(&[&[10, 7], &[9, 8]]));
        assert_eq!(whole, go(&[&[9, 7, 10, 8]]));
    }
}

#[test]
fn going_on_from_stored_bytes_is_going_on() {
    let path = std::env::temp_dir().join(format!("ebm-step-sizes-{}.safetensors", std::process::id()));
    for kind in 0..2 {
        let pick = || kernels(0.6, 0.3).into_iter().nth(kind).unwrap();
        let mut memory = Memory::new();
        let at = draw(pick(), batch(&[3, 4, u64::MAX]), 6, 1, &mut memory);
        let all = memory.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        ebm_core::candle::safetensors::save(&all, &path).unwrap();
        let read = ebm_core::candle::safetensors::load(&path, &Device::Cpu).unwrap();
        let mut again: Memory = read.into_iter().collect();
        assert_eq!(bits(&memory), bits(&again));
        let a = draw(pick(), at.clone(), 6, 2, &mut memory);
        let b = draw(pick(), at, 6, 2, &mut again);
        assert_eq!(relative_gap(&a.x, &b.x).unwrap(), 0.0);
        assert_eq!(bits(&memory), bits(&again));
        // A chain that was away still has its own; a new one begins at the start.
        let before = bits(&memory);
        draw(pick(), batch(&[4, 5]), 1, 3, &mut memory);
        let table = |all: &[(String, Vec<u64>)]| -> BTreeMap<u64, u64> {
            all[1].1.iter().copied().zip(all[0].1.iter().copied()).collect()
        };
        let (before, after) = (table(&before), table(&bits(&memory)));
        assert_eq!((before[&3], before[&u64::MAX]), (after[&3], after[&u64::MAX]));
        assert_ne!(before[&4], after[&4]);
        assert!(after.contains_key(&5) && after.len() == 4);
    }
    std::fs::remove_file(path).unwrap();
}

/// A kernel whose chains come with step sizes that were learnt before.
struct Learnt(Box<dyn Transition>, &'static str, fn(u64) -> f64);

impl Transition for Learnt {
    fn init(&self, e: &dyn EnergyFn, at: Batch, key: Key) -> Result<ChainState> {
        let mut state = self.0.init(e, at, key)?;
        let ids = state.at.chains.ids();
        let sizes: Vec<f64> = ids.iter().map(|id| self.2(*id)).collect();
        let ids: Vec<i64> = ids.iter().map(|id| *id as i64).collect();
        state.aux.insert(format!("{}.chains", self.1), Tensor::new(ids, &Device::Cpu)?);
        state.aux.insert(self.1.into(), Tensor::new(sizes, &Device::Cpu)?);
        Ok(state)
    }
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        self.0.step(e, state, key)
    }
    fn sensitivity(&self) -> Sensitivity {
        self.0.sensitivity()
    }
    fn name(&self) -> String {
        self.0.name()
    }
}

fn learnt(kind: usize, sizes: fn(u64) -> f64) -> Learnt {
    Learnt(kernels(0.6, 0.0).into_iter().nth(kind).unwrap(), NAMES[kind], sizes)
}

/// Frozen step sizes of 0.1 to 0.9 (without the test MALA's variance would be up to ten times too wide): all chains
/// have the one target.
#[test]
fn frozen_step_sizes_keep_the_target() {
    let e = toy::bowl(1, 2.0).unwrap();
    for (kind, name) in NAMES.into_iter().enumerate() {
        let t = learnt(kind, |id| 0.1 + 0.2 * (id % 5) as f64);
        let end = run(&t, &e, 8_000, 80, Key::root(7)).unwrap();
        check_variance(&end.at.x, 0.5, 4.0).unwrap();
        // Chains of one step size alone too: errors that cancel over chains would show here.
        for first in 0..5 {
            let of: Vec<u32> = (first..8_000).step_by(5).collect();
            let x = end.at.x.index_select(&Tensor::new(of, &Device::Cpu).unwrap(), 0).unwrap();
            check_variance(&x, 0.5, 4.0).unwrap();
        }
        let sizes = end.aux[name].to_vec1::<f64>().unwrap();
        assert_eq!(sizes[..3], [0.1, 0.1 + 0.2, 0.1 + 0.2 * 2.0], "nothing moved");
    }
}

#[test]
fn the_laws_of_a_transition_hold_row_by_row() {
    let e = toy::mlp(3, 5, 2, 4).unwrap();
    let x = Key::root(8).normal(&Chains::range(0, 7), &[3], DType::F64, &Device::Cpu).unwrap();
    let at = Batch::new(x).unwrap();
    for kind in 0..2 {
        // Some rows are rejected, each has its own step size, and the link knows both.
        check_transition(&learnt(kind, |id| 0.2 + 0.2 * id as f64), &e, &at, true).unwrap();
    }
    // A moving step size of each chain, unlike a common one, lets halves of a batch run alone.
    check_transition(&*kernels(0.6, 0.3)[1], &e, &at, true).unwrap();
}

#[test]
fn a_common_step_size_is_where_chains_begin() {
    let step = |per_chain| StepSize { per_chain, ..StepSize::configured("h", 1.0, Some(0.5), 0.1, None) };
    let mut state = ChainState::new(batch(&[1, 2]));
    state.aux.insert("h".into(), Tensor::new(&[0.25f64], &Device::Cpu).unwrap());
    assert_eq!(step(true).of(&state).unwrap(), Sizes::Rows(vec![0.25; 2]));
    let sizes = Sizes::Rows(vec![0.25, 4.0]);
    let half = Tensor::new(&[0.5f64, 0.5], &Device::Cpu).unwrap();
    step(true).adapt(&mut state, &sizes, &half).unwrap();
    assert_eq!(step(true).of(&state).unwrap(), sizes);
    assert_eq!(step(false).of(&state).unwrap(), Sizes::Common(1.0), "the geometric mean");
    step(false).adapt(&mut state, &Sizes::Common(1.0), &half).unwrap();
    assert_eq!(step(true).of(&state).unwrap(), Sizes::Rows(vec![1.0; 2]));
    state.aux.insert("h".into(), Tensor::new(&[1.0f64; 3], &Device::Cpu).unwrap());
    let text = step(true).of(&state).unwrap_err().to_string();
    assert!(text.contains("2 chains") && text.contains("3 step sizes"), "{text}");
}

/// Draws after a warm-up are of fixed kernels, whose step sizes meet the acceptance; with the gain of 1 that is configured
/// for training the variance would be off by a tenth and more.
#[test]
fn draws_after_a_warm_up_have_the_law_of_the_target() {
    let e = toy::bowl(1, 2.0).unwrap();
    for per_chain in [false, true] {
        let (mala, hmc) =
            (Mala::new(1e-3).adapting(0.65, 1.0), Hmc::new(1e-2, 3).jittered(0.2).adapting(0.8, 1.0));
        let pair: [(f64, Box<dyn Transition>); 2] = match per_chain {
            true => [(0.65, Box::new(mala.per_chain())), (0.8, Box::new(hmc.per_chain()))],
            false => [(0.65, Box::new(mala)), (0.8, Box::new(hmc))],
        };
        for (target, t) in pair {
            let chain = Chain::new(t, 1);
            let start = Batch::new(Tensor::zeros((4000, 1), DType::F64, &Device::Cpu).unwrap()).unwrap();
            // Fifty steps to forget where the warm-up left the chains, which step sizes of their own remember.
            let keep = Keep::from(1).after(150).every(50);
            let drawn = Draws::of(&chain, &e, start, keep, Key::root(5)).unwrap();
            check_variance(&drawn.x.squeeze(1).unwrap(), 0.5, 4.0).unwrap();
            let taken = drawn.numbers("accepted").unwrap();
            let taken = taken.iter().sum::<f64>() / taken.len() as f64;
            // A common size has the mean over all chains to go by. Of single chains with their one acceptance a step, sizes
            // scatter, and a scatter of sizes accepts more than their mean.
            let above = if per_chain { 0.2 } else { 0.05 };
            assert!(taken > target - 0.05 && taken < target + above, "{taken} for {target}");
            assert!(drawn.stats.contains_key("divergent") && drawn.stats.contains_key("step_size"));
        }
    }
}

/// In one program, step by step: sizes move in the warm-up, jump to their average after it, and stay there.
#[test]
fn nothing_moves_after_the_warm_up() {
    let e = toy::bowl(2, 1.0).unwrap();
    for per_chain in [false, true] {
        let mala = Mala::new(0.01).adapting(0.65, 0.1);
        let t: Box<dyn Transition> = Box::new(if per_chain { mala.per_chain() } else { mala });
        let mut seen: Vec<Vec<f64>> = Vec::new();
        let mut probe = |_: usize, s: &Stepped| {
            seen.push(s.info["step_size"].to_vec1::<f64>()?);
            Ok(())
        };
        let mut memory = Memory::new();
        let mut request = DrawRequest::new(&mut probe, &mut memory).with_warm_up(100);
        let at = Batch::new(Tensor::zeros((8, 2), DType::F64, &Device::Cpu).unwrap()).unwrap();
        Chain::new(t, 130).draw(&e, at, Key::root(2), &mut request).unwrap();
        assert!(seen[..100].windows(2).all(|w| w[0] != w[1]));
        assert!(seen[100..].windows(2).all(|w| w[0] == w[1]));
        assert_ne!(seen[99], seen[100]);
        assert_eq!(seen[129].iter().any(|h| *h != seen[129][0]), per_chain);
    }
}

#[test]
fn step_sizes_at_a_limit_are_told() {
    let e = toy::bowl(2, 1.0).unwrap();
    let chain = Chain::new(Box::new(Mala::new(1e-6).adapting(0.65, 0.1)), 1);
    let at = Batch::new(Tensor::zeros((3, 2), DType::F64, &Device::Cpu).unwrap()).unwrap();
    let drawn = Draws::of(&chain, &e, at, Keep::from(2).after(100), Key::root(2)).unwrap();
    assert_eq!(drawn.numbers("at_limit").unwrap(), [1.0; 6]);
}
