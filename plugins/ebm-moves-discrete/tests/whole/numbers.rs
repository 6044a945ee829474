//! Figures of the book: energies of lattices against Onsager's, effective samples of moves. They take minutes, so they are ignored:
//! `cargo test -p ebm-moves-discrete --test whole numbers:: -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, ChainState, Chains, EnergyFn, Key, host};
use ebm_energies_discrete as _;
use ebm_eval::{Traces, ess_mean, onsager_energy};
use ebm_moves_discrete as _;

use crate::parts::{energy, mover};

fn set(e: &dyn EnergyFn, name: &str, values: Vec<f64>) {
    let n = values.len();
    e.params().set(name, &Tensor::from_vec(values, n, &Device::Cpu).unwrap()).unwrap();
}

/// Sweeps of the checkerboard on 32 lattices of 32×32 spins; by clusters at the coldest.
#[test]
#[ignore = "prints the table of the book"]
fn energies_of_lattices_against_onsagers() {
    let (side, chains, burn, sweeps) = (32usize, 32usize, 300usize, 1200usize);
    for beta in [0.2, 0.35, 0.5, 0.6] {
        let e = energy(&[side, side], &format!("kind = 'ising'\ncoupling = {beta}"));
        for kind in ["block-gibbs", "swendsen-wang"] {
            let (t, ids) = (mover(&format!("kind = '{kind}'")), Chains::range(0, chains));
            // Ordered where the lattice is: from noise domains would last for ever.
            let x = match beta < 0.44 {
                true => e.spec().domain.uniform(&ids, &[side, side], DType::F64, &Device::Cpu, Key::root(3)),
                false => Ok(Some(Tensor::ones((chains, side, side), DType::F64, &Device::Cpu).unwrap())),
            };
            let at = Batch::new(x.unwrap().unwrap()).unwrap().with_chains(ids);
            let mut state = ChainState::new(at);
            let mut means = vec![0.0; chains];
            for k in 0..burn + sweeps {
                state = t.step(e.as_ref(), &state, Key::root(5).at(k)).unwrap().state;
                if k >= burn {
                    let now = host::numbers(&e.energy(&state.at).unwrap()).unwrap();
                    means
                        .iter_mut()
                        .zip(now)
                        .for_each(|(m, e)| *m += e / beta / (sweeps * side * side) as f64);
                }
            }
            let n = chains as f64;
            let mean = means.iter().sum::<f64>() / n;
            let se = (means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt();
            let want = onsager_energy(beta);
            println!("beta {beta}: Onsager {want:.6}, {kind} {mean:.5}, standard error {se:.5}");
            // Four standard errors, and what 32×32 spins differ from infinitely many by where they are correlated.
            assert!((mean - want).abs() < 4.0 * se + 2e-4, "{kind} at {beta}");
        }
    }
}

/// Effective samples for a thousand evaluations, a slope counted as one energy: 16 chains of 20,000 steps.
#[test]
#[ignore = "prints the table of the book"]
fn moves_by_the_slope_against_sites_at_random() {
    let steps = 20_000usize;
    let pairs: Vec<f64> =
        (0..16).flat_map(|i| (i + 1..16).map(move |j| 0.15 * f64::from(1 + 3 * i + 5 * j).sin())).collect();
    let complete = energy(&[16], "kind = 'ising'\ncomplete = true");
    set(complete.as_ref(), "coupling", pairs);
    set(complete.as_ref(), "field", (0..16).map(|i| 0.2 * (2.0 * f64::from(i)).cos()).collect());
    let targets = [
        ("10x10, J 0.3", energy(&[10, 10], "kind = 'ising'\ncoupling = 0.3")),
        ("10x10, J 0.3, field 2", energy(&[10, 10], "kind = 'ising'\ncoupling = 0.3\nfield = 2.0")),
        ("complete 16", complete),
    ];
    for (name, e) in targets {
        // A site by `gibbs` costs one energy besides that of the chain, which is known from the step before.
        for (kind, cost) in [("gibbs", 1.0), ("gibbs-with-gradients", 1.0), ("discrete-langevin", 1.0)] {
            let more = if kind == "discrete-langevin" { "\nstep_size = 1.0" } else { "" };
            let (t, ids) = (mover(&format!("kind = '{kind}'{more}")), Chains::range(0, 16));
            let shape = e.spec().sample_shape.clone();
            let x = e.spec().domain.uniform(&ids, &shape, DType::F64, &Device::Cpu, Key::root(3));
            let mut state = ChainState::new(Batch::new(x.unwrap().unwrap()).unwrap().with_chains(ids));
            let (mut energies, mut rate) = (vec![Vec::new(); 16], 0.0);
            for k in 0..steps {
                let stepped = t.step(e.as_ref(), &state, Key::root(5).at(k)).unwrap();
                if let Some(accepted) = stepped.info.get("accepted") {
                    rate += host::scalar(&accepted.mean_all().unwrap()).unwrap() / steps as f64;
                }
                if k >= steps / 5 && k % 4 == 0 {
                    let now = host::numbers(&stepped.info["energy"]).unwrap();
                    energies.iter_mut().zip(now).for_each(|(all, e)| all.push(e));
                }
                state = stepped.state;
            }
            let draws = energies[0].len();
            let flat: Vec<f64> = energies.concat();
            let mean = flat.iter().sum::<f64>() / flat.len() as f64;
            let ess = ess_mean(Traces::new(&flat, 16, draws).unwrap());
            let each = 1000.0 * ess / (16.0 * steps as f64 * 0.8 * cost);
            println!(
                "{name}, {kind}: accepted {rate:.2}, mean energy {mean:.4}, effective for 1000 {each:.1}"
            );
        }
    }
}
