//! A trained model, or a composition of trained models, that is sampled and asked for energies.

use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use ebm_core::{Blind, EnergyFn, Key, Probe, Sampler};
use ebm_train::{Generator, Plan, TrainState, run};

use crate::config::overrides::Override;
use crate::config::source::Source;
use crate::error::{Error, Result};
use crate::model::compose;
use crate::run::conditions::conditions;
use crate::run::open::{build, source_of};

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
    /// `runs/a and not 0.3 * runs/b` (see [`compose`](crate::model::compose())).
    ///
    /// # Errors
    /// If it is neither, or the checkpoint does not fit.
    pub fn open(target: &Path, changes: &[Override]) -> Result<Self> {
        if target.is_dir() {
            if !target.join("config.toml").is_file() {
                return Err(Error::unfit(
                    target.display(),
                    "found no config.toml in it, wanted the directory of a run or a configuration file",
                ));
            }
            let plan = build(&source_of(target, changes)?)?;
            let (state, damaged) = run::resume(&plan, target)?;
            for (path, why) in damaged {
                tracing::warn!("passed over {}: {why}", path.display());
            }
            let step = Some(state.step);
            return Ok(Model { plan, state, step });
        }
        let mut source = match compose::source(target) {
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
            return Err(Error::invalid(
                "count",
                n,
                "fewer samples at a time: their values do not fit in memory at once",
            ));
        }
        if let Some(k) = steps.filter(|k| *k > MOST_STEPS) {
            return Err(Error::invalid("steps", k, format!("at most {MOST_STEPS}")));
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
