//! A run that is none, for the tests of observers.

use std::collections::BTreeMap;
use std::path::Path;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Autograd, Diff, EnergyFn, EnergySpec, Event, Forward, Observer, ParamSet, Report, Result, RunView, View,
};

struct Flat;
impl Forward for Flat {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        x.flatten()?.square()?.sum_last()
    }
}

/// Samples of a given shape.
pub struct Run {
    shape: Vec<usize>,
    energy: Box<dyn EnergyFn>,
}

impl Run {
    pub fn new(shape: &[usize]) -> Self {
        let spec = EnergySpec::new(shape, &["flat"]);
        Run {
            shape: shape.to_vec(),
            energy: Box::new(Autograd::new("flat", Flat, spec, ParamSet::default())),
        }
    }

    fn ramp(&self, n: usize) -> Result<Tensor> {
        let d: usize = self.shape.iter().product();
        let v: Vec<f32> = (0..n * d).map(|i| (i % 17) as f32 / 16.0).collect();
        let mut shape = vec![n];
        shape.extend_from_slice(&self.shape);
        Ok(Tensor::from_vec(v, shape, &Device::Cpu)?)
    }
}

impl RunView for Run {
    fn energy(&self) -> &dyn EnergyFn {
        &*self.energy
    }
    fn samples(&self, n: usize) -> Result<Tensor> {
        self.ramp(n)
    }
    fn buffered(&self, n: usize) -> Result<Option<Tensor>> {
        self.ramp(n.min(3)).map(Some)
    }
    fn data(&self, n: usize) -> Result<Option<Tensor>> {
        self.ramp(n).map(Some)
    }
    fn sample_shape(&self) -> &[usize] {
        &self.shape
    }
}

/// The report of step `step`.
pub fn report(step: u64, of: u64) -> Report {
    let values = [("energy.data", -0.5), ("energy.samples", 0.25), ("loss.kl", f64::NAN), ("rate", 1e-3)];
    Report {
        step,
        of,
        values: values.map(|(k, v)| (k.to_string(), v)).into_iter().collect::<BTreeMap<_, _>>(),
    }
}

/// Tells `observer` about steps `from + 1 ..= to` of 1×4×4 images.
pub fn run(observer: &mut dyn Observer, directory: &Path, from: u64, to: u64, reason: &str) -> Result<()> {
    run_of(observer, directory, &Run::new(&[1, 4, 4]), from, to, reason)
}

/// The same of samples as in `view`.
pub fn run_of(
    observer: &mut dyn Observer,
    directory: &Path,
    view: &Run,
    from: u64,
    to: u64,
    reason: &str,
) -> Result<()> {
    observer.on(&Event::Start { step: from, of: to, name: "fake", directory })?;
    for step in from + 1..=to {
        observer.on(&Event::Step { report: &report(step, to), view })?;
    }
    observer.on(&Event::Checkpoint { step: to, path: directory })?;
    observer.on(&Event::Finish { report: &report(to, to), reason, view })
}
