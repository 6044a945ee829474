//! Tempered programs reach the exact weights of modes that a plain chain never leaves.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, Blind, BuildCx, DrawRequest, Drawn, EnergyConfig, EnergyFn, Key, Sampler, Sensitivity, Stepped,
};
use ebm_energies_density::{DoubleWell, GaussianMixture, Grid25, RoundGaussian};
use ebm_samplers::{Chain, Langevin, Mala, ReplicaExchange, SequentialMonteCarlo, Tempering};

type Memory = BTreeMap<String, Tensor>;

fn energy(config: &dyn EnergyConfig, d: usize) -> Arc<dyn EnergyFn> {
    config.build(&mut BuildCx::new(&[d], DType::F64, &Device::Cpu, Key::root(0))).unwrap()
}

/// `n` chains at `x`.
fn at(n: usize, x: &[f64]) -> Batch {
    let x = Tensor::new(x, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    Batch::new(x.repeat((n, 1)).unwrap()).unwrap()
}

fn draw(s: &dyn Sampler, e: &dyn EnergyFn, from: Batch, key: u64, memory: &mut Memory) -> Drawn {
    let mut blind = Blind;
    s.draw(e, from, Key::root(key), &mut DrawRequest::new(&mut blind, memory)).unwrap()
}

/// Steps that adapt on each rung with `rate`, or (rate 0) have what they learnt.
fn mala(rate: f64, steps: usize) -> Box<dyn Sampler> {
    Box::new(Chain::new(Box::new(Mala::new(0.01).adapting(0.65, rate)), steps))
}

fn geometric(hottest: f64, rungs: usize) -> Vec<f64> {
    (0..rungs).map(|r| hottest.powf((rungs - 1 - r) as f64 / (rungs - 1) as f64)).collect()
}

fn exchange(rate: f64, rounds: usize, ladder: &[f64]) -> ReplicaExchange {
    ReplicaExchange::new(mala(rate, 3), rounds, ladder).unwrap()
}

/// Learns step sizes, then draws anew from `from` with kernels that stand still, so that the law is exact.
fn exact(e: &dyn EnergyFn, from: &Batch, rounds: usize, ladder: &[f64]) -> Drawn {
    let mut memory = Memory::new();
    draw(&exchange(0.5, 60, ladder), e, from.narrow(0, 100).unwrap(), 1, &mut memory);
    draw(&exchange(0.0, rounds, ladder), e, from.clone(), 2, &mut memory)
}

fn column(x: &Tensor, i: usize) -> Vec<f64> {
    x.narrow(1, i, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn mean(v: impl IntoIterator<Item = f64>) -> f64 {
    let (n, sum) = v.into_iter().fold((0, 0.0), |(n, s), v| (n + 1, s + v));
    sum / f64::from(n)
}

fn share(v: &[f64], f: impl Fn(f64) -> bool) -> f64 {
    mean(v.iter().map(|v| f64::from(u8::from(f(*v)))))
}

/// Four standard errors of a share `p` of `n` independent chains.
fn four_errors(p: f64, n: usize) -> f64 {
    4.0 * (p * (1.0 - p) / n as f64).sqrt()
}

#[test]
fn both_wells_are_filled_from_one() {
    let (n, e) = (1200, energy(&DoubleWell { barrier: 14.0, minimum: 1.0 }, 1));
    let start = at(n, &[1.0]);
    // The same number of steps on the target alone: nobody crosses 14 nats.
    let plain = draw(&*mala(0.1, 180), e.as_ref(), start.clone(), 1, &mut Memory::new());
    assert_eq!(share(&column(&plain.last.at.x, 0), |x| x < 0.0), 0.0);
    let drawn = exact(e.as_ref(), &start, 60, &geometric(14.0, 5));
    let x = column(&drawn.last.at.x, 0);
    let left = share(&x, |x| x < 0.0);
    assert!((left - 0.5).abs() < four_errors(0.5, n), "{left}");
    // The second moment is known; x² spreads by 2·√(1/112)·|x| around it, 0.19.
    let (second, want) = (mean(x.iter().map(|x| x * x)), e.density().unwrap().variance().unwrap()[0]);
    assert!((second - want).abs() < 4.0 * 0.19 / (n as f64).sqrt(), "{second} {want}");
    let swapped = drawn.info["swapped"].to_vec1::<f64>().unwrap();
    assert_eq!((swapped.len(), drawn.curves["swapped"].dims()), (n, &[59][..]));
    let share = mean(swapped);
    assert!(share > 0.3 && share < 0.95, "a ladder that works: {share}");
}

fn lopsided() -> Arc<dyn EnergyFn> {
    let part = |m: f64, weight| RoundGaussian { mean: vec![m, 0.0], sd: 0.3, weight };
    energy(&GaussianMixture { components: vec![part(-3.0, 0.2), part(3.0, 0.8)] }, 2)
}

/// The normaliser of [`lopsided`] at T = 1, 2π, over that at `temperature`, a sum over a lattice.
fn lopsided_ratio(e: &dyn EnergyFn, temperature: f64) -> f64 {
    let (cells, width) = (400, 40.0);
    let h = 2.0 * width / f64::from(cells);
    let points: Vec<[f64; 2]> = (0..cells)
        .flat_map(|i| (0..cells).map(move |j| [f64::from(i), f64::from(j)].map(|k| (k + 0.5) * h - width)))
        .collect();
    let points = Tensor::from_vec(points.concat(), (points.len(), 2), &Device::Cpu).unwrap();
    let u = e.energy(&Batch::new(points).unwrap()).unwrap();
    let hot: f64 = u.to_vec1::<f64>().unwrap().iter().map(|u| (-u / temperature).exp() * h * h).sum();
    std::f64::consts::TAU / hot
}

#[test]
fn unequal_modes_get_their_weights() {
    let (n, e) = (600, lopsided());
    let start = at(n, &[-3.0, 0.0]);
    let drawn = exact(e.as_ref(), &start, 120, &geometric(100.0, 9));
    let heavy = share(&column(&drawn.last.at.x, 0), |x| x > 0.0);
    assert!((heavy - 0.8).abs() < four_errors(0.8, n), "{heavy}");
    // Within the modes each coordinate has the deviation 0.3.
    let y = mean(column(&drawn.last.at.x, 1).iter().map(|y| y * y));
    assert!((y / 0.09 - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt(), "{y}");
}

#[test]
fn all_of_the_grid_is_reached_from_its_centre() {
    let (n, e) = (1000, energy(&Grid25::default(), 2));
    let start = at(n, &[0.0, 0.0]);
    let plain = draw(&*mala(0.1, 180), e.as_ref(), start.clone(), 1, &mut Memory::new());
    let away = share(&column(&plain.last.at.x, 0), |x| x.abs() > 0.5);
    assert!(away < 0.02, "12 nats and a third: hardly anybody leaves: {away}");
    let drawn = exact(e.as_ref(), &start, 60, &geometric(100.0, 7));
    for i in 0..2 {
        let x = column(&drawn.last.at.x, i);
        for mode in -2..=2 {
            let p = share(&x, |x| (x - f64::from(mode)).abs() < 0.5);
            assert!((p - 0.2).abs() < four_errors(0.2, n), "coordinate {i}, mode {mode}: {p}");
        }
        // Five equal modes: fourth moment 6.8 about 0, so x² spreads by √(6.8 − 4).
        let second = mean(x.iter().map(|x| x * x));
        assert!((second - 2.01).abs() < 4.0 * (2.8 / n as f64).sqrt(), "{second}");
    }
}

/// Cooled too fast, the modes keep hot shares; the weights of annealed importance sampling mend it exactly.
#[test]
fn weights_mend_what_fast_cooling_spoils() {
    let (n, e, ladder) = (1500, lopsided(), geometric(100.0, 8));
    let start = at(n, &[-3.0, 0.0]);
    let mut memory = Memory::new();
    let few = start.narrow(0, 100).unwrap();
    draw(&Tempering::new(mala(0.5, 60), &ladder).unwrap(), e.as_ref(), few, 1, &mut memory);
    let drawn = draw(&Tempering::new(mala(0.0, 25), &ladder).unwrap(), e.as_ref(), start, 2, &mut memory);
    let x = column(&drawn.last.at.x, 0);
    let plain = share(&x, |x| x > 0.0);
    assert!((plain - 0.8).abs() > 2.0 * four_errors(0.8, n), "the cooling is too fast to be right: {plain}");
    let w: Vec<f64> = drawn.info["log_weight"].to_vec1::<f64>().unwrap().iter().map(|w| w.exp()).collect();
    let total: f64 = w.iter().sum();
    let heavy = x.iter().zip(&w).filter(|(x, _)| **x > 0.0).map(|(_, w)| w).sum::<f64>() / total;
    // The delta method's standard error of a weighted share.
    let error =
        x.iter().zip(&w).map(|(x, w)| (w * (f64::from(u8::from(*x > 0.0)) - heavy)).powi(2)).sum::<f64>();
    let error = error.sqrt() / total;
    assert!((heavy - 0.8).abs() < 4.0 * error, "{heavy} ± {error}");
    assert!(error < 0.04, "{error}");
    // Its mean is the ratio of the normalisers.
    let ratio = lopsided_ratio(e.as_ref(), ladder[0]);
    let (got, n) = (total / n as f64, n as f64);
    let spread = (mean(w.iter().map(|w| w * w)) - got * got).sqrt();
    assert!((got - ratio).abs() < 4.0 * spread / n.sqrt(), "{got} wants {ratio}, spread {spread}");
}

/// Populations cooled as fast, resampled: the shares themselves are right, and so is the ratio of the normalisers.
#[test]
fn resampled_populations_have_the_weights_of_the_modes() {
    let (size, count, e, ladder) = (150, 16, lopsided(), geometric(100.0, 8));
    let start = at(size, &[-3.0, 0.0]);
    let mut learnt = Memory::new();
    // The first rung forgets the start: steps there are long.
    let smc = |rate, steps| SequentialMonteCarlo::new(mala(rate, steps), &ladder).unwrap();
    draw(&smc(0.5, 60), e.as_ref(), start.clone(), 1, &mut learnt);
    let ratio = lopsided_ratio(e.as_ref(), ladder[0]).ln();
    for adapts in [false, true] {
        let s = if adapts { smc(0.0, 25).adapting(0.7) } else { smc(0.0, 25) };
        let (mut shares, mut ratios, mut within) = (Vec::new(), Vec::new(), Vec::new());
        for key in 0..count {
            let drawn = draw(&s, e.as_ref(), start.clone(), 10 + key, &mut learnt.clone());
            shares.push(share(&column(&drawn.last.at.x, 0), |x| x > 0.0));
            ratios.push(drawn.info["log_ratio"].to_vec1::<f64>().unwrap()[0]);
            within.extend(column(&drawn.last.at.x, 1));
            let least = drawn.info["effective"].to_vec1::<f64>().unwrap()[0];
            assert!(least > if adapts { 0.69 } else { 0.3 }, "{least}");
            assert_eq!(drawn.curves["effective"].dims(), [ladder.len() - 1]);
        }
        // Populations know nothing of each other: their spread is the error.
        let error = |all: &[f64]| {
            let m = mean(all.iter().copied());
            (all.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (all.len() * (all.len() - 1)) as f64).sqrt()
        };
        for (all, want, most) in [(&shares, 0.8, 0.03), (&ratios, ratio, 0.05)] {
            let (got, error) = (mean(all.iter().copied()), error(all));
            assert!((got - want).abs() < 4.0 * error && error < most, "{got} ± {error}, wants {want}");
        }
        // Copies have moved apart: the variance within a mode, 0.09, to 4 errors of a third of the chains.
        let (y, n) = (mean(within.iter().map(|y| y * y)), within.len() as f64 / 3.0);
        assert!((y / 0.09 - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "{y}");
    }
}

/// Chains under different conditions are populations of their own: none takes the place of one under another.
#[test]
fn conditions_keep_their_chains() {
    let mut spec = ebm_core::EnergySpec::new(&[1], &["e"]);
    spec.condition = ebm_core::Condition::Required(1);
    // Under condition c the energy is c + x²/2: by far the lower one would win all places.
    let e = ebm_core::Autograd::new("by condition", ByCondition, spec, ebm_core::ParamSet::default());
    let n = 40;
    let cond =
        Tensor::from_vec((0..n).map(|i| f64::from(50 * (i % 2))).collect(), (n as usize, 1), &Device::Cpu);
    let from = at(n as usize, &[0.0]).with_cond(Some(cond.unwrap()));
    let s = SequentialMonteCarlo::new(mala(0.0, 5), &[8.0, 4.0, 2.0, 1.0]).unwrap().adapting(0.9);
    let drawn = draw(&s, &e, from.clone(), 1, &mut Memory::new());
    let bits = |b: &Batch| b.cond.as_ref().unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(bits(&drawn.last.at), bits(&from));
    let ratios = drawn.info["log_ratio"].to_vec1::<f64>().unwrap();
    // Of both is ½ log(1/8), less what the constant costs.
    let gap = ratios[0] - ratios[1] - 50.0 * (1.0 - 1.0 / 8.0);
    assert!(gap.abs() < 1.0, "{ratios:?}");
}

/// E(x | c) = c + x²/2.
struct ByCondition;

impl ebm_core::Forward for ByCondition {
    fn terms<V: ebm_core::Diff>(
        &self,
        _: &ebm_core::View,
        x: &V,
        cond: Option<&Tensor>,
    ) -> ebm_core::Result<V> {
        x.square()?.scale(0.5)?.shift(cond.unwrap())
    }
}

/// A chain does not see its batch, and going on with stored memory is going on, to the bit.
#[test]
fn tempered_programs_are_reproducible() {
    let e = energy(&Grid25::default(), 2);
    let ladder = geometric(20.0, 3);
    let fixed = || Box::new(Chain::new(Box::new(Mala::new(0.02)), 2)) as Box<dyn Sampler>;
    let own = || {
        let mala = Mala::new(0.02).adapting(0.65, 0.2).per_chain();
        Box::new(Chain::new(Box::new(mala), 2)) as Box<dyn Sampler>
    };
    let bits = |t: &Tensor| -> Vec<u64> {
        t.flatten_all().unwrap().to_vec1::<f64>().unwrap().into_iter().map(f64::to_bits).collect()
    };
    let path = std::env::temp_dir().join(format!("ebm-tempering-{}.safetensors", std::process::id()));
    for program in [fixed, own] {
        let both: [Box<dyn Sampler>; 2] = [
            Box::new(ReplicaExchange::new(program(), 5, &ladder).unwrap()),
            Box::new(Tempering::new(program(), &ladder).unwrap()),
        ];
        for s in both {
            let start = at(8, &[0.1, 0.2]);
            let mut memory = Memory::new();
            let whole = draw(&*s, e.as_ref(), start.clone(), 3, &mut memory);
            for first in [0, 3] {
                let part = start.narrow(first, 5).unwrap();
                let part = draw(&*s, e.as_ref(), part, 3, &mut Memory::new()).last.at.x;
                assert_eq!(bits(&part), bits(&whole.last.at.x.narrow(0, first, 5).unwrap()));
            }
            let mut again = memory.clone();
            if !memory.is_empty() {
                let all = memory.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                ebm_core::candle::safetensors::save(&all, &path).unwrap();
                again =
                    ebm_core::candle::safetensors::load(&path, &Device::Cpu).unwrap().into_iter().collect();
                assert_eq!(
                    memory.keys().filter(|k| k.ends_with(".chains")).count(),
                    3,
                    "{:?}",
                    memory.keys()
                );
            }
            let a = draw(&*s, e.as_ref(), whole.last.at.clone(), 4, &mut memory);
            let b = draw(&*s, e.as_ref(), whole.last.at, 4, &mut again);
            assert_eq!(bits(&a.last.at.x), bits(&b.last.at.x));
            assert!(memory.keys().eq(again.keys()));
        }
    }
    std::fs::remove_file(path).unwrap();
}

/// The derivative of ⟨u, x_K⟩ in θ through all rungs, against differences.
#[test]
fn the_trail_goes_through_all_rungs() {
    let e = ebm_testkit::toy::mlp(2, 4, 1, 3).unwrap();
    let steps = Chain::new(Box::new(Langevin::new(0.3, 0.2).clamped(-1.0, 1.5)), 2);
    let s = Tempering::new(Box::new(steps), &[4.0, 2.0, 1.0]).unwrap();
    assert_eq!(s.sensitivity(usize::MAX), Sensitivity::Exact);
    let u = at(3, &[1.0, -0.5]).x;
    let go = |trail: usize| {
        let (mut blind, mut memory) = (Blind, Memory::new());
        let mut request = DrawRequest::new(&mut blind, &mut memory).with_trail(trail, None);
        s.draw(&e, at(3, &[0.3, 0.8]), Key::root(1), &mut request).unwrap()
    };
    let mut sum = ebm_core::ThetaGrad { terms: u.clone(), grads: BTreeMap::new() };
    for d in go(usize::MAX).trail.pull_back(&e, &u).unwrap() {
        sum.accumulate(&e.grad_theta_slope(&d.at, &d.v).unwrap().grads, 1.0).unwrap();
    }
    let want = ebm_testkit::theta_difference(&e, 1e-5, || {
        Ok((go(0).last.at.x * &u)?.sum_all()?.to_scalar::<f64>()?)
    })
    .unwrap();
    for (name, g) in &want {
        // h² times third derivatives of order 10.
        assert!(ebm_testkit::relative_gap(&sum.grads[name], g).unwrap() < 1e-6, "{name}");
    }
    for n in [0, 1, 2, 3, 5, 6] {
        assert_eq!(go(n).trail.len(), n);
    }
}

#[test]
fn steps_are_shared_out_and_seen_in_order() {
    let program = || Box::new(Chain::new(Box::new(Langevin::new(0.1, 0.1)), 4)) as Box<dyn Sampler>;
    let e = ebm_testkit::toy::bowl(2, 1.0).unwrap();
    let all: [Box<dyn Sampler>; 3] = [
        Box::new(SequentialMonteCarlo::new(program(), &[4.0, 2.0, 1.0]).unwrap()),
        Box::new(Tempering::new(program(), &[4.0, 2.0, 1.0]).unwrap()),
        Box::new(ReplicaExchange::new(program(), 3, &[4.0, 2.0, 1.0]).unwrap()),
    ];
    for s in all {
        for steps in [12, 13, 3, 2, 0] {
            let s = if steps == 12 { s.with_steps(s.steps()) } else { s.with_steps(steps) };
            assert_eq!(s.steps(), steps);
            let mut seen = Vec::new();
            let mut probe = |k: usize, _: &Stepped| {
                seen.push(k);
                Ok(())
            };
            let mut memory = Memory::new();
            let mut request = DrawRequest::new(&mut probe, &mut memory);
            let drawn = s.draw(&e, at(2, &[1.0, 1.0]), Key::root(1), &mut request).unwrap();
            assert_eq!(seen, (0..steps).collect::<Vec<_>>(), "{}", s.name());
            assert_eq!(drawn.curves.get("energy").map_or(0, |c| c.dims()[0]), steps);
        }
    }
}
