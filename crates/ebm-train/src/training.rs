//! Training without a configuration: an energy, samples, and what trains them, as values.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{DataSource, EnergyFn, Objective, Observer, Optimiser, ReplayConfig, Result, Sampler};

use crate::checkpoint;
use crate::config::RunSection;
use crate::plan::Plan;
use crate::points::Points;
use crate::run::{self, Options, Summary};
use crate::state::TrainState;

/// Trains an energy on samples. In memory; with a directory the run is saved there and goes on where it was.
///
/// Chains of objectives that sample start on the data, or on a replay buffer if one is given. The defaults are 1000
/// steps of 64 samples and seed 0. The front page of the crate `ebm` has an example.
pub struct Training {
    pub(crate) energy: Arc<dyn EnergyFn>,
    pub(crate) data: Arc<dyn DataSource>,
    pub(crate) sampler: Option<Box<dyn Sampler>>,
    pub(crate) objective: Option<Box<dyn Objective>>,
    pub(crate) optimiser: Option<Box<dyn Optimiser>>,
    pub(crate) replay: Option<Box<dyn ReplayConfig>>,
    pub(crate) run: RunSection,
    directory: Option<PathBuf>,
    observers: Vec<Box<dyn Observer>>,
}

/// What training came to.
pub struct TrainedEnergy {
    /// The energy that was given, with averaged weights if the optimiser keeps an average, else those of the last update.
    pub energy: Arc<dyn EnergyFn>,
    /// How the run ended, and its last report.
    pub summary: Summary,
}

impl Training {
    /// Training of `energy` on samples `data` `(N, ...)`, f32 or f64 as the parameters are, on their device.
    ///
    /// # Errors
    /// If there are no samples.
    pub fn of(energy: impl EnergyFn + 'static, data: Tensor) -> Result<Self> {
        Ok(Self::on(Arc::new(energy), Arc::new(Points::new(data)?)))
    }

    /// The same on any source of samples.
    pub fn on(energy: Arc<dyn EnergyFn>, data: Arc<dyn DataSource>) -> Self {
        Training {
            energy,
            data,
            sampler: None,
            objective: None,
            optimiser: None,
            replay: None,
            run: RunSection::default(),
            directory: None,
            observers: Vec::new(),
        }
    }

    /// The program that samples the energy in a step; objectives without samples need none.
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Some(Box::new(sampler));
        self
    }

    /// What is minimised.
    #[must_use]
    pub fn objective(mut self, objective: impl Objective + 'static) -> Self {
        self.objective = Some(Box::new(objective));
        self
    }

    /// How parameters move.
    #[must_use]
    pub fn optimiser(mut self, optimiser: impl Optimiser + 'static) -> Self {
        self.optimiser = Some(Box::new(optimiser));
        self
    }

    /// A memory of earlier chains, on which chains start.
    #[must_use]
    pub fn replay(mut self, replay: impl ReplayConfig + 'static) -> Self {
        self.replay = Some(Box::new(replay));
        self
    }

    /// Number of updates.
    #[must_use]
    pub fn steps(mut self, steps: u64) -> Self {
        self.run.steps = steps;
        self
    }

    /// Number of updates that schedules of rates and weights go over; that of the run without it.
    #[must_use]
    pub fn schedule_steps(mut self, steps: u64) -> Self {
        self.run.schedule_steps = Some(steps);
        self
    }

    /// Samples, and chains, in a step.
    #[must_use]
    pub fn batch(mut self, batch: usize) -> Self {
        self.run.batch = batch;
        self
    }

    /// Seed of all random numbers.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.run.seed = seed;
        self
    }

    /// Saves the run in `directory`, where it goes on from its newest checkpoint if it has one.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_path_buf());
        self
    }

    /// Tells `observer` what happens.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Trains.
    ///
    /// # Errors
    /// If a part is missing, two do not fit, or one fails. A run that diverged is no error: see the summary.
    pub fn run(mut self) -> Result<TrainedEnergy> {
        let (directory, observers) = (self.directory.take(), std::mem::take(&mut self.observers));
        let plan = Plan::given(self)?;
        let saved = |d: &&Path| !checkpoint::list(&run::checkpoints_of(d)).is_empty();
        let mut state = match directory.as_deref().filter(saved) {
            Some(directory) => run::resume(&plan, directory)?.0,
            None => TrainState::new(&plan)?,
        };
        let options = Options { directory: directory.as_deref(), observers, ..Options::default() };
        let summary = run::run(&plan, &mut state, options)?;
        let energy = plan.energy().clone();
        for (name, value) in state.average.iter().flatten() {
            if energy.params().role(name).is_some() {
                energy.params().set(name, value)?;
            }
        }
        Ok(TrainedEnergy { energy, summary })
    }
}
