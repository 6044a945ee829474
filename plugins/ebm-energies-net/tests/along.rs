//! Nets of series, sets and angles: their laws, their gradients by differences, and what must not change their energy.
#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, BuildCx, Chains, EnergyConfig, EnergyFn, Key};
use ebm_energies_net as _;
use ebm_testkit::check_energy;

fn built(text: &str, shape: &[usize], condition: usize) -> Arc<dyn EnergyFn> {
    let config: Box<dyn EnergyConfig> = toml::from_str(text).unwrap();
    let cx = BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(1));
    config.build(&mut cx.with_condition(condition)).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn refused(text: &str, shape: &[usize]) -> String {
    let config: Box<dyn EnergyConfig> = toml::from_str(text).unwrap();
    config.build(&mut BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(1))).err().unwrap().to_string()
}

fn normal(seed: u64, rows: usize, shape: &[usize]) -> Tensor {
    Key::root(seed).normal(&Chains::range(0, rows), shape, DType::F64, &Device::Cpu).unwrap()
}

fn energies(e: &dyn EnergyFn, x: Tensor) -> Vec<f64> {
    e.energy(&Batch::new(x).unwrap()).unwrap().to_vec1().unwrap()
}

const SERIES: &str = "kind = 'series-net'
layers = [{ filters = 3, kernel = 4, stride = 3 }, { filters = 2, kernel = 3, stride = 2 }]
hidden = [4]
activation = 'tanh'";

#[test]
fn nets_of_series_and_sets_keep_the_laws_of_an_energy() {
    let mean = SERIES.to_string() + "\npooling = 'mean'";
    let set = "kind = 'set-net'\npoint = [4, 3]\nhidden = [3]";
    for (text, shape) in [
        (SERIES, &[2, 11][..]),
        (SERIES, &[9]),
        (&mean, &[2, 11]),
        (set, &[5, 2]),
        ("kind = 'mlp'\nhidden = [5]\nperiodic = 2", &[2]),
    ] {
        let at = Batch::new(normal(2, 3, shape)).unwrap();
        let e = built(text, shape, 0);
        assert!(e.plan().is_some(), "engines have nothing to compile of {text}");
        check_energy(e.as_ref(), &at).unwrap_or_else(|e| panic!("{text}: {e}"));
        if !text.contains("periodic") {
            let e = built(&format!("{text}\nconditional = true"), shape, 2);
            assert!(e.energy(&at).is_err());
            let given = at.with_cond(Some(normal(3, 3, &[2])));
            assert!(e.plan().is_some());
            check_energy(e.as_ref(), &given).unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    }
}

/// candle's own convolution along one axis has a wrong gradient where the stride does not divide.
#[test]
fn the_slope_along_a_series_is_that_of_differences_at_every_place() {
    for length in [9, 10, 11, 12, 13] {
        let e = built(SERIES, &[2, length], 0);
        let x = normal(length as u64, 1, &[2, length]);
        let slope: Vec<f64> =
            e.slope(&Batch::new(x.clone()).unwrap()).unwrap().grad.flatten_all().unwrap().to_vec1().unwrap();
        let values: Vec<f64> = x.flatten_all().unwrap().to_vec1().unwrap();
        for place in 0..2 * length {
            let at = |h: f64| {
                let mut moved = values.clone();
                moved[place] += h;
                energies(e.as_ref(), Tensor::from_vec(moved, (1, 2, length), &Device::Cpu).unwrap())[0]
            };
            // Central differences of step 1e-5 err by 1e-10 of the third derivative and 1e-11 of rounding.
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            let gap = (difference - slope[place]).abs();
            assert!(gap < 1e-8, "length {length}, place {place}: {difference} {}", slope[place]);
        }
    }
}

#[test]
fn the_order_of_points_and_whole_turns_change_no_energy() {
    let set = built("kind = 'set-net'\npoint = [8, 8]\nhidden = [8]", &[6, 3], 0);
    let x = normal(4, 5, &[6, 3]);
    let order = Tensor::new(&[3u32, 0, 5, 1, 4, 2], &Device::Cpu).unwrap();
    let turned = x.index_select(&order, 1).unwrap();
    let near = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(near(energies(set.as_ref(), x.clone()), energies(set.as_ref(), turned)));
    // A point that moves is seen.
    let first = x.narrow(1, 0, 1).unwrap().affine(1.0, 0.5).unwrap();
    let moved = Tensor::cat(&[first, x.narrow(1, 1, 5).unwrap()], 1).unwrap();
    assert!(!near(energies(set.as_ref(), x), energies(set.as_ref(), moved)));

    let angles = built("kind = 'mlp'\nhidden = [8]\nperiodic = 3", &[2], 0);
    let x = normal(5, 5, &[2]);
    let turns = Tensor::new(&[[TAU, -2.0 * TAU]], &Device::Cpu).unwrap();
    let whole = energies(angles.as_ref(), x.broadcast_add(&turns).unwrap());
    assert!(near(energies(angles.as_ref(), x.clone()), whole));
    let half = energies(angles.as_ref(), x.broadcast_add(&(turns * 0.5).unwrap()).unwrap());
    assert!(!near(energies(angles.as_ref(), x), half));
    // Cosines and sines of one, two and three times each angle.
    assert_eq!(angles.params().get("layer1.weight").unwrap().dims(), [8, 12]);
}

#[test]
fn nets_that_cannot_be_are_refused_by_setting() {
    let text = refused("kind = 'series-net'\nlayers = [{ filters = 2, kernel = 9 }]", &[3]);
    assert!(text.contains("layers[0].kernel") && text.contains("at most 7"), "{text}");
    assert!(refused("kind = 'set-net'\npoint = []", &[3, 2]).contains("point"));
    let deep = format!("kind = 'set-net'\npoint = {:?}\nhidden = [2]", vec![2; 5000]);
    let text = refused(&deep, &[3, 2]);
    assert!(text.contains("point") && text.contains("5001 layers") && text.contains("at most 256"), "{text}");
    assert!(refused("kind = 'set-net'\nhidden = []\nconditional = true", &[3, 2]).contains("conditional"));
    let both = "kind = 'mlp'\nperiodic = 2\nfourier = { features = 3 }";
    assert!(refused(both, &[2]).contains("periodic"));
}
