//! How often a training run records a step of its sampler: counted on a device that runs nothing.
#![allow(clippy::unwrap_used)]

mod convolution;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ebm_core::candle::{Device, Result, Tensor};
use ebm_core::operators::{Convolution, ConvolutionOps, Operators, Recording, install};
use ebm_core::plan::Products;
use ebm_engine_gpu::{Arg, Launcher, operators};
use ebm_plugins as _;
use ebm_train::{Plan, RunConfig, TrainState, step_reporting};

/// Recordings, and how often they were played.
type Counts = Arc<[AtomicUsize; 2]>;

struct Paper(Counts);

struct Played(Counts);

impl Recording for Played {
    fn play(&self) -> Result<()> {
        self.0[1].fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Launcher for Paper {
    fn name(&self) -> &str {
        "a count of recordings"
    }

    fn channels_last(&self, _: Products) -> bool {
        true
    }

    unsafe fn launch(&self, _: &'static str, _: u32, _: u32, args: &[Arg<'_>]) -> Result<()> {
        args.iter().try_for_each(|arg| if let Arg::Out(t) = arg { t.zero_set() } else { Ok(()) })
    }

    fn record(
        &self,
        _: &[usize],
        step: &mut dyn FnMut() -> ebm_core::Result<()>,
    ) -> ebm_core::Result<Option<Box<dyn Recording>>> {
        step()?;
        self.0[0].fetch_add(1, Ordering::Relaxed);
        Ok(Some(Box::new(Played(self.0.clone()))))
    }
}

struct Library;

impl ConvolutionOps for Library {
    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        convolution::result(what, a, b).map(Some)
    }
}

/// A training run with this energy and this sampler.
fn config(energy: &str, sampler: &str) -> String {
    format!(
        r#"
format = 1
data = {{ kind = "digits" }}
energy = {{ {energy} }}
sampler = {{ {sampler} }}
replay = {{ kind = "reservoir", capacity = 40 }}
optimiser = {{ kind = "adam", rate = 1e-3, average = 0.9 }}
[run]
batch = 3
seed = 4
engine = "graph"
[chains]
restart = 0.3
transitions = [{{ kind = "simclr", smallest_area = 0.3 }}]
[objective]
kind = "contrastive"
energy_l2 = 1.0
kl = {{ trail = 1 }}
"#
    )
}

const SCALES: &str = r#"kind = "multi-scale", parts = [
    { name = "small", energy = { kind = "mlp", hidden = [4] } },
    { name = "large", energy = { kind = "digits-net", filters = 4 } },
]"#;
const LEVELS: &str =
    r#"kind = "noise-conditioned", energy = { kind = "mlp", hidden = [4], conditional = true }"#;
const CLASSES: &str =
    r#"kind = "marginal", classes = 3, energy = { kind = "mlp", hidden = [4], conditional = true }"#;
const LANGEVIN: &str = r#"{ kind = "langevin", step_size = 1.0, noise = 0.05, clamp = [0.0, 1.0] }"#;

fn chain(transition: &str) -> String {
    format!(r#"kind = "chain", steps = 10, transition = {transition}"#)
}

#[test]
fn a_training_run_records_one_step() {
    let plain = chain(LANGEVIN);
    let annealed = chain(&format!(
        r#"{{ kind = "anneal", transition = {LANGEVIN}, step_size = [2.0, 1.0], noise = [1.0, 0.0] }}"#
    ));
    let ladder = format!(r#"kind = "tempering", hottest = 4.0, rungs = 3, program = {{ {plain} }}"#);
    // Of the ten steps of a walk the first and the last are run; a ladder has a walk on each rung.
    for (what, energy, sampler, played) in [
        ("steps that are alike", SCALES, &plain, 8),
        ("steps that differ", SCALES, &annealed, 8),
        ("three temperatures", SCALES, &ladder, 3 * 8),
        ("an energy of noise levels", LEVELS, &plain, 8),
        ("a marginal energy", CLASSES, &plain, 8),
    ] {
        let counts = Counts::default();
        let own = operators(Paper(counts.clone()));
        install(&Device::Cpu, Operators { convolutions: Some(Arc::new(Library)), ..own });
        let config = RunConfig::from_toml(&config(energy, sampler)).unwrap();
        let plan = Plan::build(&config, Path::new("."), &Device::Cpu, None).unwrap();
        let mut state = TrainState::new(&plan).unwrap();
        for update in 1..=4 {
            step_reporting(&plan, &mut state, true).unwrap();
            let [recorded, all] = [0, 1].map(|k| counts[k].load(Ordering::Relaxed));
            println!("{what}, after {update} updates: {recorded} recordings, played {all} times");
            assert_eq!((recorded, all), (1, played * update), "{what}");
        }
    }
}
