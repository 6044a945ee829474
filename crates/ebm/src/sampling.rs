//! Samples of a trained model, or of a composition of trained models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use ebm_core::{Blind, EnergyFn, Key, Probe, Sampler, Split};
use ebm_train::{Generator, Plan, TrainState, run};

use crate::composing;
use crate::config::Override;
use crate::showing::{self, Film};
use crate::tensors::floats;
use crate::training::{build, source_of};
use crate::whole_file::free;
use crate::{Error, Result, Source};

/// A model that can be sampled and asked for energies.
pub struct Model {
    plan: Plan,
    state: TrainState,
    /// Updates of the checkpoint; `None` for a configuration, whose weights are those it names or fresh ones.
    pub step: Option<u64>,
}

/// Most values drawn in one call: 8 GiB in f32.
const MOST_ENTRIES: usize = 1 << 31;

/// Most steps of one program: its diagnostics are kept step by step.
const MOST_STEPS: usize = 10_000_000;

impl Model {
    /// Opens a run directory at its newest whole checkpoint, a configuration file, or a composition of runs such as
    /// `runs/a and not 0.3 * runs/b` (see [`compose`](crate::compose)).
    ///
    /// # Errors
    /// If it is neither, or the checkpoint does not fit.
    pub fn open(target: &Path, changes: &[Override]) -> Result<Self> {
        if target.is_dir() {
            if !target.join("config.toml").is_file() {
                return Err(Error::Usage(format!(
                    "{}: found no config.toml in it, wanted the directory of a run or a configuration file",
                    target.display()
                )));
            }
            let plan = build(&source_of(target, changes)?)?;
            let (state, damaged) = run::resume(&plan, target)?;
            for (path, why) in damaged {
                tracing::warn!("passed over {}: {why}", path.display());
            }
            let step = Some(state.step);
            return Ok(Model { plan, state, step });
        }
        let mut source = match composing::source(target) {
            Some(composition) => composition?,
            None => Source::file(target)?,
        };
        source.overrides = changes.to_vec();
        let source = source.borrowing()?;
        let plan = build(&source)?;
        let state = TrainState::new(&plan).map_err(|e| source.place(e))?;
        Ok(Model { plan, state, step: None })
    }

    /// The live parts.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The state.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// The energy with the weights that samples are drawn from.
    ///
    /// # Errors
    /// If the weights cannot be written.
    pub fn energy(&self) -> Result<&dyn EnergyFn> {
        Ok(self.plan.sampled_energy(&self.state)?.as_ref())
    }

    /// The same, to be a part of another energy.
    ///
    /// # Errors
    /// As [`Model::energy`].
    pub fn shared_energy(&self) -> Result<Arc<dyn EnergyFn>> {
        Ok(self.plan.sampled_energy(&self.state)?.clone())
    }

    /// `n` samples `(n, ...)` from fresh starts; `steps` of the generation program, or as many as configured.
    ///
    /// # Errors
    /// If sampling fails or a sample is not finite.
    pub fn sample(&self, n: usize, steps: Option<usize>, seed: Option<u64>) -> Result<Tensor> {
        self.sample_watched(n, steps, seed, None, &mut Blind)
    }

    /// As [`Model::sample`], of `energy` in place of the model's own (a restriction or a composition of it with samples of the same shape);
    /// `probe` sees every step of every piece of at most `run.batch` chains.
    ///
    /// # Errors
    /// As [`Model::sample`], and if the probe fails.
    pub fn sample_watched(
        &self,
        n: usize,
        steps: Option<usize>,
        seed: Option<u64>,
        energy: Option<&dyn EnergyFn>,
        probe: &mut dyn Probe,
    ) -> Result<Tensor> {
        let entries = n.checked_mul(self.plan.energy().spec().sample_shape.iter().product::<usize>().max(1));
        if entries.is_none_or(|e| e > MOST_ENTRIES) {
            return Err(Error::Usage(format!(
                "--n {n}: found more values than fit in memory at once; draw fewer at a time"
            )));
        }
        if let Some(k) = steps.filter(|k| *k > MOST_STEPS) {
            return Err(Error::Usage(format!("--steps {k}: wanted at most {MOST_STEPS}")));
        }
        let mut generator = Generator::of(&self.plan, &self.state)?;
        let own: Option<Box<dyn Sampler>> = steps.map(|k| self.plan.generator().with_steps(k));
        if let Some(own) = &own {
            generator.sampler = own.as_ref();
        }
        if let Some(energy) = energy {
            generator.energy = energy;
        }
        let key = seed.map_or(self.plan.key(), Key::root).at("generate");
        Ok(generator.draw_watched(n, conditions(&self.plan)?.as_ref(), key, probe)?)
    }
}

/// Conditions for generation: those of the first data batch, used in turn.
pub(crate) fn conditions(plan: &Plan) -> Result<Option<Tensor>> {
    if plan.data().condition() == 0 {
        return Ok(None);
    }
    let size = plan.config().run.batch;
    let cond = plan.data().batch(0, 0, size, plan.key().at("data"))?.cond;
    let dtype = plan.config().run.dtype.dtype();
    let moved = cond.map(|c| c.to_dtype(dtype).and_then(|c| c.to_device(&device_of(plan)))).transpose();
    Ok(moved.map_err(ebm_core::Error::from)?)
}

/// What to draw and where to write it.
#[derive(Clone, Debug, Default)]
pub struct SampleOptions {
    /// Number of samples.
    pub count: usize,
    /// Steps of the program; without it as configured.
    pub steps: Option<usize>,
    /// Seed; without it that of the run.
    pub seed: Option<u64>,
    /// `.png` for a picture, `.npy` for the numbers.
    pub out: PathBuf,
    /// Whether files that are there already are replaced.
    pub overwrite: bool,
    /// A picture of the first chains over time, a row a chain (the paper's figure 5); `.png`.
    pub strip: Option<PathBuf>,
    /// All chains over time as an animation; `.gif`.
    pub animation: Option<PathBuf>,
    /// Samples with their nearest training samples to the right of each; `.png`.
    pub neighbours: Option<PathBuf>,
    /// Called after every step with the number of steps done of all pieces of chains.
    pub progress: Option<fn(u64)>,
}

/// Draws samples and writes them to a file.
///
/// # Errors
/// If the ending is neither, samples cannot be drawn as a picture, the file is there already, or it cannot be written.
pub fn sample(model: &Model, options: &SampleOptions) -> Result<Tensor> {
    let ending = options.out.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let shape = model.plan.data().sample_shape();
    match ending {
        "npy" => {}
        "png" if ebm_observers::picture::can_draw(shape) => {}
        "png" => {
            return Err(Error::Usage(format!(
                "--out {}: samples of shape {shape:?} are no pictures; write them to a file ending in .npy",
                options.out.display()
            )));
        }
        _ => {
            return Err(Error::Usage(format!(
                "--out {}: found the ending `{ending}`, wanted .png or .npy",
                options.out.display()
            )));
        }
    }
    // Before minutes of sampling, not after them.
    free("--out", &options.out, options.overwrite)?;
    showing::check(model, options)?;
    let mut film = Film::new(options);
    let drawn = model.sample_watched(options.count, options.steps, options.seed, None, &mut film)?;
    showing::write(model, options, film, &drawn)?;
    if ending == "npy" {
        ebm_data::npy::write(&options.out, &floats(&drawn)?, drawn.dims())?;
    } else {
        let background = match shape {
            [2] => model.plan.data().stored(Split::Train, 4096)?.map(|l| l.x),
            _ => None,
        };
        ebm_observers::picture::write(&options.out, &drawn, background.as_ref())?;
    }
    Ok(drawn)
}

/// The device of a plan: that of its parameters.
pub(crate) fn device_of(plan: &Plan) -> Device {
    let params = plan.energy().params();
    let first = params.names().next().and_then(|n| params.get(n).map(|t| t.device().clone()));
    first.unwrap_or(Device::Cpu)
}
