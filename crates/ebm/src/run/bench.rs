//! How fast a configuration trains here: a Langevin step, an update, a whole training step.

use std::collections::BTreeMap;

use ebm_core::backend;
use ebm_train::{TrainState, step_reporting};
use serde::Serialize;

use crate::config::source::Source;
use crate::error::{Error, Result};
use crate::median::median;
use crate::run::check::peak_memory;
use crate::run::open::build;
use crate::run::work;

/// What `ebm bench` measured. Times are medians over the timed training steps.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Name of the run in the configuration.
    pub name: String,
    /// How the energy's calls are computed.
    pub engine: String,
    /// Trainable parameters.
    pub parameters: usize,
    /// Samples (and chains) of a training step.
    pub batch: usize,
    /// Sampler steps of a training step.
    pub steps: usize,
    /// Training steps that were timed.
    pub timed: usize,
    /// Seconds of one sampler step.
    pub langevin_step_s: f64,
    /// Seconds of a training step without its sampler: data, losses, gradients, optimiser, buffer.
    pub update_s: f64,
    /// Seconds of a whole training step.
    pub step_s: f64,
    /// The same by stage.
    pub stages_s: BTreeMap<String, f64>,
    /// Training samples a second.
    pub samples_per_s: f64,
    /// Most memory that this program has had, MiB, where the system tells.
    pub peak_rss_mib: Option<f64>,
    /// Arithmetic of a sampler step, GFLOP/s, with every convolution counted as direct (fast algorithms
    /// do less); `None` for an energy without a layer plan.
    pub sampler_gflops: Option<f64>,
    /// The most that this processor does in registers, or this GPU in a matrix product, GFLOP/s, measured in f32.
    pub peak_gflops: Option<f64>,
    /// Memory of the GPU in use after the last step, MiB, by all programs.
    pub device_mib: Option<f64>,
}

/// Trains `warm` steps, then times `timed` more on a state that is thrown away.
///
/// # Errors
/// As [`train`](crate::run::train), before and in its steps.
pub fn bench(source: &Source, warm: usize, timed: usize) -> Result<BenchReport> {
    if timed == 0 {
        return Err(Error::invalid("timed", timed, "at least 1"));
    }
    let plan = build(source)?;
    let mut state = TrainState::new(&plan).map_err(|e| source.place(e))?;
    for _ in 0..warm {
        step_reporting(&plan, &mut state, false)?;
    }
    let mut laps: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..timed {
        let report = step_reporting(&plan, &mut state, false)?;
        let sampler = report.get("seconds.sampler").unwrap_or(0.0);
        let whole = report.get("seconds").unwrap_or(0.0);
        laps.entry("update".into()).or_default().push(whole - sampler);
        for (name, value) in report.values {
            if name.starts_with("seconds") {
                laps.entry(name).or_default().push(value);
            }
        }
    }
    let median = |name: &str| laps.get(name).and_then(|l| median(l.iter().copied())).unwrap_or(0.0);
    let config = &plan.config().run;
    let steps = plan.sampler().steps().max(1);
    let langevin_step_s = median("seconds.sampler") / steps as f64;
    let step_s = median("seconds");
    let stages = laps.keys().filter_map(|k| k.strip_prefix("seconds."));
    let device = plan.device();
    let device_mib = backend::all().iter().find_map(|b| b.memory_in_use(device));
    let device_mib = device_mib.map(|b| b as f64 / f64::from(1 << 20));
    let peaks =
        backend::all().into_iter().map(|b| b.peak_flops(device)).collect::<ebm_core::Result<Vec<_>>>()?;
    let peak_flops = peaks.into_iter().flatten().next();
    Ok(BenchReport {
        name: config.name.clone(),
        engine: plan.energy().engine(),
        parameters: plan.energy().params().count(),
        batch: config.batch,
        steps,
        timed,
        langevin_step_s,
        update_s: median("update"),
        step_s,
        stages_s: stages.map(|s| (s.to_string(), median(&format!("seconds.{s}")))).collect(),
        samples_per_s: config.batch as f64 / step_s.max(1e-12),
        peak_rss_mib: peak_memory().map(|b| b as f64 / f64::from(1 << 20)),
        sampler_gflops: work::slope(&plan)?
            .map(|flops| flops * config.batch as f64 / langevin_step_s.max(1e-12) / 1e9),
        peak_gflops: peak_flops.map(|f| f / 1e9),
        device_mib,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ebm_plugins as _;

    #[test]
    fn the_parts_of_a_step_add_up() {
        let source = Source::quick_start().with(["run.batch=8", "sampler.steps=3"]).unwrap();
        let b = bench(&source, 1, 1).unwrap();
        assert_eq!((b.batch, b.steps, b.timed), (8, 3, 1));
        // One step: its median is its own time. The rest are laps of the same clock, less the report.
        let sum: f64 = b.stages_s.values().sum();
        assert!(sum <= b.step_s && sum > 0.5 * b.step_s, "{sum} {}", b.step_s);
        assert!((3.0 * b.langevin_step_s + b.update_s - b.step_s).abs() < 1e-9);
        assert!(b.sampler_gflops.unwrap() > 0.0 && b.peak_gflops.unwrap() > 0.0);
        assert!(bench(&source, 0, 0).is_err());
    }

    /// Numbers that a training step reads from the device. They wait for it, so a sampler step must read none.
    fn reads_of_a_step(changes: &[&str]) -> u64 {
        let source = Source::quick_start().with(["run.engine=graph", "run.batch=8"]).unwrap();
        let plan = build(&source.with(changes.iter().copied()).unwrap()).unwrap();
        let mut state = TrainState::new(&plan).unwrap();
        step_reporting(&plan, &mut state, false).unwrap();
        let before = ebm_core::host::reads();
        step_reporting(&plan, &mut state, false).unwrap();
        ebm_core::host::reads() - before
    }

    #[test]
    fn steps_of_the_sampler_read_nothing_from_the_device() {
        let few = reads_of_a_step(&["sampler.steps=2"]);
        assert_eq!(reads_of_a_step(&["sampler.steps=11"]), few);
        // The KL term: its own value, and the trail of as many steps.
        let kl = |steps: &str| reads_of_a_step(&[steps, "objective.kl={trail=0}"]);
        assert_eq!(kl("sampler.steps=2"), kl("sampler.steps=7"));
        // Samples that go to the buffer (on the processor; a device keeps them), whether they are finite, energies, losses, norms by parameter and of the whole.
        assert!(few > 0 && few < 40, "{few}");
        println!("reads of a step: {few}, with the KL term {}", kl("sampler.steps=2"));
    }
}
