//! Training of parts that were given as values.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Autograd, Chains, Diff, EnergyFn, EnergySpec, Forward, Key, ParamSet, Result, Role, View};
use ebm_objectives::Contrast;
use ebm_optimisers::Adam;
use ebm_samplers::{Chain, Langevin};
use ebm_train::{Outcome, TrainedEnergy, Training};

/// E(x) = |xW|²/2.
struct Gaussian;
impl Forward for Gaussian {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        x.matmul(p.get("w")?)?.square()?.sum_last()?.scale(0.5)
    }
}

fn training() -> Training {
    let w = ("w".to_string(), Tensor::eye(2, DType::F64, &Device::Cpu).unwrap(), Role::Trainable);
    let params = ParamSet::new([w]).unwrap();
    let energy = Autograd::new("gaussian", Gaussian, EnergySpec::new(&[2], &["e"]), params);
    let data = Key::root(1).normal(&Chains::range(0, 300), &[2], DType::F64, &Device::Cpu).unwrap();
    let optimiser = Adam::new(0.02).averaging(0.9);
    Training::of(energy, (data * 0.5).unwrap()).unwrap().optimiser(optimiser).batch(32).seed(4)
}

fn sampled() -> Training {
    training()
        .objective(Contrast::default())
        .sampler(Chain::new(Box::new(Langevin::unadjusted(0.02, 1.0)), 5))
}

fn bits(trained: &TrainedEnergy) -> Vec<u64> {
    let w = trained.energy.params().get("w").unwrap().flatten_all().unwrap();
    w.to_vec1::<f64>().unwrap().into_iter().map(f64::to_bits).collect()
}

#[test]
fn a_gaussian_is_learned_in_memory() {
    let trained = sampled().steps(300).run().unwrap();
    assert_eq!((trained.summary.outcome.clone(), trained.summary.step), (Outcome::Done, 300));
    let w = trained.energy.params().get("w").unwrap();
    let precision = w.matmul(&w.t().unwrap()).unwrap().to_vec2::<f64>().unwrap();
    // The data have precision 4, known to 8 % from 300 samples; steps of 0.02 sharpen by 4 %, an average over ten
    // updates of 32 samples wanders by some 10 %.
    assert!(precision.iter().enumerate().all(|(i, row)| (row[i] - 4.0).abs() < 1.2), "{precision:?}");
    assert_eq!(bits(&trained), bits(&sampled().steps(300).run().unwrap()), "the same seed, the same bits");
}

#[test]
fn a_directory_makes_a_run_that_goes_on() {
    let (straight, halves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = |steps, directory: &Path| sampled().steps(steps).directory(directory).run().unwrap();
    let want = run(12, straight.path());
    run(5, halves.path());
    let got = run(12, halves.path());
    assert_eq!((got.summary.steps_now, bits(&got)), (7, bits(&want)));
}

#[test]
fn what_is_missing_is_named() {
    let text = |t: Training| t.run().err().unwrap().to_string();
    assert!(text(training()).contains("objective: is missing"));
    let alone = text(training().objective(Contrast::default()));
    assert!(alone.contains("`contrast`") && alone.contains("no sampler"), "{alone}");
    let none = Tensor::zeros((0, 2), DType::F64, &Device::Cpu).unwrap();
    let energy: Arc<dyn EnergyFn> = sampled().steps(1).run().unwrap().energy;
    assert_eq!(energy.spec().sample_shape, [2]);
    let e = Autograd::new("gaussian", Gaussian, EnergySpec::new(&[2], &["e"]), ParamSet::default());
    assert!(Training::of(e, none).err().unwrap().to_string().contains("at least one sample"));
}
