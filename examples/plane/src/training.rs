//! One run: the configuration with a data set and a seed, trained in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ebm::core::{EnergyFn, Report, Split};
use ebm::data::toy2d::Toy2d;
use ebm::train::{Plan, TrainState, step};
use ebm::{Error, Result, Source};
use serde_json::{Map, Value, json};

use crate::cpu;

/// The configuration beside this program.
const CONFIG: &str = include_str!("../plane.toml");

/// A trained run.
pub struct Run {
    /// The energy with averaged weights.
    pub energy: Arc<dyn EnergyFn>,
    /// The plan it came from.
    pub plan: Plan,
    /// Held-out points, x and y in turn.
    pub held_out: Vec<f32>,
    /// Training points, the same.
    pub training: Vec<f32>,
    name: &'static str,
    wall: f64,
    cpu: Option<f64>,
    last: Report,
    step_size: Option<f64>,
    from_files: bool,
}

/// Trains `set` under `seed`; points from `folder` or drawn.
pub fn train(
    config: Option<&Path>,
    set: Toy2d,
    seed: u64,
    folder: Option<&Path>,
    changes: &[String],
) -> Result<Run> {
    let source = match config {
        Some(path) => Source::file(path)?,
        None => Source::text("plane.toml (built in)", CONFIG),
    };
    let data = match folder {
        None => format!("data.name={}", set.name()),
        Some(folder) => {
            let file = |part: &str| -> Result<String> {
                let path = std::path::absolute(folder.join(format!("{}_{part}.npy", set.name())));
                let path = path.map_err(|e| Error::unfit(folder.display(), e.to_string()))?;
                Ok(Value::from(path.display().to_string()).to_string())
            };
            let (train, held) = (file("train")?, file("heldout")?);
            format!("data={{ kind = \"npy\", path = {train}, held_out = {held}, order = \"replacement\" }}")
        }
    };
    let source = source.with([data, format!("run.seed={seed}")])?.with(changes)?;
    let config = source.read()?;
    let cpu = ebm::run::open_device("cpu")?;
    let plan = Plan::build(&config, &source.places, &cpu.device, cpu.engine())?;
    let mut state = TrainState::new(&plan)?;
    let (wall, cpu) = (Instant::now(), cpu::seconds());
    let mut last = Report::default();
    while state.step < plan.config().run.steps {
        last = step(&plan, &mut state)?;
    }
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu::seconds().zip(cpu).map(|(now, then)| now - then));
    let points = |split, what: &str| -> Result<Vec<f32>> {
        let stored = plan.data().stored(split, usize::MAX)?;
        let stored =
            stored.ok_or_else(|| Error::unfit(plan.data().name(), format!("has no {what} points")))?;
        Ok(stored.x.flatten_all().and_then(|x| x.to_vec1()).map_err(ebm::core::Error::from)?)
    };
    let step_size = state.sampler.iter().find(|(name, _)| name.ends_with("mala.step_size"));
    let step_size = step_size.and_then(|(_, t)| t.to_vec1::<f64>().ok()?.first().copied());
    Ok(Run {
        energy: state.sampled_energy(&plan)?.clone(),
        held_out: points(Split::HeldOut, "held-out")?,
        training: points(Split::Train, "training")?,
        plan,
        name: set.name(),
        wall,
        cpu,
        last,
        step_size,
        from_files: folder.is_some(),
    })
}

impl Run {
    /// What the line says about training.
    pub fn line(&self, objective: &str) -> Map<String, Value> {
        let run = &self.plan.config().run;
        let hundredths = |v: f64| (v * 100.0).round() / 100.0;
        let held_out = if self.from_files { "files" } else { "own draws, streams apart from training" };
        let line = json!({
            "bench": "toy2d", "peer": "ebm", "objective": objective, "dataset": self.name, "seed": run.seed,
            "steps": run.steps, "batch": run.batch,
            "threads": std::env::var("EBM_THREADS").ok().and_then(|n| n.parse::<usize>().ok()),
            "train_s": hundredths(self.wall), "cpu_s": self.cpu.map(hundredths),
            "version": env!("CARGO_PKG_VERSION"), "engine": self.plan.energy().engine(), "held_out": held_out,
            "mala_h": self.step_size, "accept_jump": self.last.get("sampler.accepted"),
        });
        match line {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}
