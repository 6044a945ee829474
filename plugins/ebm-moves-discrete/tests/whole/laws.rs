//! Moves of discrete samples against enumeration: they leave the law as it is, and go back as often as forth.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Autograd, Batch, ChainState, Chains, Diff, Domain, EnergyFn, EnergySpec, Forward, Key, ParamSet, Result,
    Stop, Stoppable, Transition, View, host,
};
use ebm_energies_discrete as _;
use ebm_eval::digit;
use ebm_moves_discrete as _;

use crate::parts::{energy, mover};
use ebm_testkit::check_transition;

/// `E(x) = sin(2 Σ a_i x_i) − 0.7 Σ x_i x_{i+1} x_{i+2}`: of no second degree, so that slopes are not differences.
struct Curved;

impl Forward for Curved {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?;
        let n = x.value().dims()[1];
        let a = Tensor::from_vec((0..n).map(|i| 0.5 + 0.3 * i as f64).collect(), n, x.value().device())?;
        let part = |from: usize| x.linear(|t| t.narrow(1, from, n - 2));
        let triples = part(0)?.mul(&part(1)?)?.mul(&part(2)?)?.sum_last()?;
        x.times(&a)?.sum_last()?.scale(2.0)?.sin()?.minus(&triples.scale(0.7)?)
    }
}

fn curved(shape: &[usize], domain: Domain) -> Arc<dyn EnergyFn> {
    let spec = EnergySpec::new(shape, &["curved"]).on(domain);
    Arc::new(Autograd::new("curved", Curved, spec, ParamSet::default()))
}

/// All samples, row by row, and how many there are.
fn all(e: &dyn EnergyFn) -> (Vec<f64>, usize) {
    let (values, domain) = (e.spec().sample_shape.iter().product::<usize>(), e.spec().domain);
    let k = domain.states().unwrap();
    let sites = if let Domain::Categorical(k) = domain { values / k } else { values };
    let count = k.pow(sites as u32);
    let mut x = Vec::new();
    for n in 0..count {
        for site in 0..sites {
            let state = digit(n as u64, site, k);
            match domain {
                Domain::Spins => x.push(2.0 * state as f64 - 1.0),
                Domain::Binary => x.push(state as f64),
                _ => x.extend((0..k).map(|s| f64::from(u8::from(s == state)))),
            }
        }
    }
    (x, count)
}

fn batch(e: &dyn EnergyFn, x: Vec<f64>, n: usize) -> Batch {
    let shape = [&[n], &e.spec().sample_shape[..]].concat();
    Batch::new(Tensor::from_vec(x, shape, &Device::Cpu).unwrap()).unwrap()
}

const CHAINS: usize = 60_000;

/// Starts chains in the exact law, takes `steps` steps and compares how often each sample is there, and, if the move is
/// `reversible`, how often chains went from one to another and back.
fn keeps(t: &dyn Transition, e: &dyn EnergyFn, steps: usize, reversible: bool) {
    t.fits(e).unwrap();
    let (every, count) = all(e);
    let width = every.len() / count;
    let energies = host::numbers(&e.energy(&batch(e, every.clone(), count)).unwrap()).unwrap();
    let weights: Vec<f64> = energies.iter().map(|v| (-v).exp()).collect();
    let total: f64 = weights.iter().sum();
    let law: Vec<f64> = weights.iter().map(|w| w / total).collect();
    let coin = Key::root(11);
    let exact = |chain: usize| {
        let mut left = coin.uniform_at(chain as u64);
        law.iter().position(|p| {
            left -= p;
            left < 0.0
        })
    };
    let from: Vec<usize> = (0..CHAINS).map(|c| exact(c).unwrap_or(count - 1)).collect();
    let x = from.iter().flat_map(|s| every[s * width..][..width].to_vec()).collect();
    let at = batch(e, x, CHAINS).with_chains(Chains::range(3, CHAINS));
    let mut state: ChainState = t.init(e, at, Key::root(4).at("init")).unwrap();
    state.of = steps;
    for k in 0..steps {
        state = t.step(e, &state, Key::root(4).at(k)).unwrap().state;
    }
    let end = host::numbers(&state.at.x).unwrap();
    let number = |row: &[f64]| (0..count).find(|s| &every[s * width..][..width] == row);
    let to: Vec<usize> = end.chunks(width).map(|row| number(row).expect("a sample of the domain")).collect();
    let mut counts = vec![0usize; count * count];
    from.iter().zip(&to).for_each(|(a, b)| counts[a * count + b] += 1);
    for s in 0..count {
        let found = to.iter().filter(|b| **b == s).count() as f64;
        let (mean, p) = (CHAINS as f64 * law[s], law[s]);
        // Four and a half standard errors: some hundred comparisons under fixed keys.
        let gap = (found - mean).abs() / (mean * (1.0 - p)).sqrt();
        assert!(gap < 4.5, "{}: sample {s} is there {found} times, wanted {mean:.0}", t.name());
        for other in 0..s {
            let (there, back) = (counts[s * count + other] as f64, counts[other * count + s] as f64);
            let gap = (there - back).abs() / (there + back).sqrt().max(1.0);
            let text = format!("{}: {there} from {s} to {other}, {back} back", t.name());
            assert!(!reversible || gap < 4.5, "{text}");
        }
    }
    let moved = from.iter().zip(&to).filter(|(a, b)| a != b).count();
    assert!(moved > CHAINS / 20, "{} hardly moves: {moved}", t.name());
}

/// Spins, binary values and states; energies of second degree and others.
fn targets() -> Vec<Arc<dyn EnergyFn>> {
    vec![
        energy(&[4], "kind = 'ising'\ncoupling = 0.5\nfield = 0.3"),
        energy(
            &[3, 3],
            "kind = 'potts'\ncoupling = 0.6\nfields = [0.1, 0.5, 0.0, -0.3, 0.2, 0.0, 0.4, 0.0, 0.1]",
        ),
        curved(&[4], Domain::Spins),
        curved(&[4], Domain::Binary),
        curved(&[2, 3], Domain::Categorical(3)),
        energy(&[4], "kind = 'rbm'\nhidden = 3\ninit = 1.0"),
    ]
}

#[test]
fn sites_at_random_keep_the_law_and_go_back_as_often_as_forth() {
    for e in targets() {
        keeps(mover("kind = 'gibbs'").as_ref(), e.as_ref(), 1, true);
        keeps(mover("kind = 'gibbs'\nsites = 3").as_ref(), e.as_ref(), 2, false);
    }
}

#[test]
fn moves_by_the_slope_keep_the_law_and_go_back_as_often_as_forth() {
    for e in targets() {
        keeps(mover("kind = 'gibbs-with-gradients'").as_ref(), e.as_ref(), 1, true);
        keeps(mover("kind = 'gibbs-with-gradients'").as_ref(), e.as_ref(), 3, false);
        keeps(mover("kind = 'discrete-langevin'\nstep_size = 1.5").as_ref(), e.as_ref(), 1, true);
        keeps(mover("kind = 'discrete-langevin'\nstep_size = 1.5").as_ref(), e.as_ref(), 3, false);
    }
}

#[test]
fn blocks_and_clusters_keep_the_law() {
    for e in targets().into_iter().filter(|e| e.conditionals().is_some()) {
        keeps(mover("kind = 'block-gibbs'").as_ref(), e.as_ref(), 1, false);
        if e.conditionals().unwrap().pairs().unwrap().is_some() {
            keeps(mover("kind = 'swendsen-wang'").as_ref(), e.as_ref(), 1, true);
        }
    }
    // Couplings of both signs, with frustration.
    let signs = energy(&[4], "kind = 'ising'\ncomplete = true\ncouplings = [0.5, -0.4, 0.3, -0.6, 0.2, 0.7]");
    keeps(mover("kind = 'swendsen-wang'").as_ref(), signs.as_ref(), 1, true);
}

#[test]
fn the_laws_of_a_transition_hold() {
    for e in targets() {
        let (x, count) = all(e.as_ref());
        let width = x.len() / count;
        let at = batch(e.as_ref(), x[..6 * width].to_vec(), 6);
        for text in [
            "kind = 'gibbs'\nsites = 2",
            "kind = 'gibbs-with-gradients'",
            "kind = 'discrete-langevin'\nstep_size = 0.5",
            "kind = 'block-gibbs'",
            "kind = 'swendsen-wang'",
        ] {
            let t = mover(text);
            if t.fits(e.as_ref()).is_ok() {
                check_transition(t.as_ref(), e.as_ref(), &at, true).unwrap();
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let (spins, real) = (curved(&[4], Domain::Spins), curved(&[4], Domain::Real));
    for (t, e, parts) in [
        ("kind = 'gibbs'", &real, ["gibbs", "real numbers"]),
        ("kind = 'gibbs-with-gradients'", &real, ["gibbs-with-gradients", "real numbers"]),
        ("kind = 'block-gibbs'", &spins, ["block-gibbs", "spins"]),
        ("kind = 'swendsen-wang'", &spins, ["swendsen-wang", "pairs"]),
    ] {
        let text = mover(t).fits(e.as_ref()).unwrap_err().to_string();
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
    }
    let repelled = energy(&[3, 3], "kind = 'potts'\ncoupling = -0.6");
    let state = ChainState::new(batch(repelled.as_ref(), all(repelled.as_ref()).0[..9].to_vec(), 1));
    let text = mover("kind = 'swendsen-wang'").step(repelled.as_ref(), &state, Key::root(0)).unwrap_err();
    assert!(text.to_string().contains("-0.6"), "{text}");
}

/// Training and drawing ask their energy through a wish to stop.
#[test]
fn a_wish_to_stop_leaves_laws_known_and_is_heard_between_blocks() {
    let (e, stop) = (energy(&[4], "kind = 'ising'\ncoupling = 0.5"), Stop::default());
    let heard = Stoppable::new(e.as_ref(), &stop);
    for text in ["kind = 'block-gibbs'", "kind = 'swendsen-wang'"] {
        let t = mover(text);
        t.fits(&heard).unwrap();
        let state = ChainState::new(batch(e.as_ref(), vec![1.0; 4], 1));
        t.step(&heard, &state, Key::root(1)).unwrap();
    }
    stop.set();
    let state = ChainState::new(batch(e.as_ref(), vec![1.0; 4], 1));
    assert!(mover("kind = 'block-gibbs'").step(&heard, &state, Key::root(1)).is_err());
}

/// A law is kept by a move that leaves some sites alone, too.
#[test]
fn a_sweep_redraws_every_site() {
    let (e, chains) = (energy(&[6], "kind = 'ising'\nlattice = [2, 3]\ncoupling = 0.1"), 200);
    let state = ChainState::new(batch(e.as_ref(), vec![1.0; 6 * chains], chains));
    let x = mover("kind = 'block-gibbs'").step(e.as_ref(), &state, Key::root(2)).unwrap().state.at.x;
    let x = host::numbers(&x).unwrap();
    for site in 0..6 {
        // A site of hardly coupled spins turns over in half of the chains, and stays in all with probability 1e-60.
        assert!(x.chunks(6).any(|row| row[site] < 0.0), "site {site} stays");
    }
}
