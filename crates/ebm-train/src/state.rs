//! The state of a run: everything the next step depends on besides the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{EnergyFn, Key, Level, OptimiserState, ParamSet, Report, Result, Stop, agree};
use ebm_health::Health;
use ebm_model::Generator;
use ebm_model::checkpoint::{entries_of, tensors};

use crate::care::{Care, Return};
use crate::chains::Replay;
use crate::checkpoint;
use crate::config::Weights;
use crate::plan::Plan;
use crate::run::Outcome;
use crate::step::fulfil::OBJECTIVE;
use crate::tuned::{self, Trained};

/// Everything the next step depends on besides the plan. Random numbers are functions of the seed
/// and of `attempts`, so there is no generator state.
pub struct TrainState {
    /// Updates so far.
    pub step: u64,
    /// Steps tried so far: updates and batches that were skipped because a number was not finite.
    pub attempts: u64,
    /// Epoch of the next data batch.
    pub epoch: u64,
    /// Index of the next data batch in its epoch.
    pub cursor: usize,
    /// The energy's parameters and buffers, and the objective's own as `objective.<name>`; they share memory with the
    /// plan's parts.
    pub params: ParamSet,
    /// Exponential moving average of the trainable parameters, if the optimiser keeps one.
    pub average: Option<BTreeMap<String, Tensor>>,
    /// Moments of the optimiser.
    pub optimiser: OptimiserState,
    /// Earlier chains.
    pub replay: Option<Replay>,
    /// What the sampler keeps from one program to the next (adapted step sizes), by shard if there are several.
    pub sampler: BTreeMap<String, Tensor>,
    /// Memories of the policies, in the order of the configuration.
    pub policies: Vec<serde_json::Value>,
    /// Factor of the learning rate set by policies.
    pub rate_factor: f64,
    /// What watches over the run, and what it has done.
    pub(crate) care: Care,
    /// The report of the last step; without values before the first one.
    pub last: Report,
    /// Whether an observer was stopped in the middle of what it makes of the last step.
    pub untold: bool,
    /// How many of the newest checkpoints are kept, and every which step for good, once a policy said so.
    pub(crate) keep: Option<(usize, u64)>,
    /// The checkpoint that it was read from, while it is as it stands there.
    pub(crate) kept: Option<PathBuf>,
}

impl TrainState {
    /// The state before the first step: parameters as the plan's energy has them, average equal to
    /// them, buffer filled as the configuration says.
    ///
    /// # Errors
    /// If the buffer cannot be built or filled.
    pub fn new(plan: &Plan) -> Result<Self> {
        let tuned = tuned::with(plan, &BTreeMap::new(), 0)?;
        let params = tuned.as_ref().map_or(&plan.params, |tuned| &tuned.params).clone();
        let average = match plan.optimiser.average() {
            Some(_) => Some(trainable(&params)?),
            None => None,
        };
        Ok(TrainState {
            step: 0,
            attempts: 0,
            epoch: 0,
            cursor: 0,
            params,
            average,
            optimiser: OptimiserState::default(),
            replay: plan.new_replay()?,
            sampler: BTreeMap::new(),
            policies: vec![serde_json::Value::Null; plan.policies.len()],
            rate_factor: 1.0,
            care: Care { tuned, ..Care::default() },
            last: Report { of: plan.config.run.steps, ..Report::default() },
            untold: false,
            keep: None,
            kept: None,
        })
    }

    /// Puts scheduled settings at their values of the next step.
    ///
    /// # Errors
    /// If a part refuses its value.
    pub(crate) fn follow(&mut self, plan: &Plan) -> Result<()> {
        let places = tuned::places(plan, self.step);
        if places.is_empty() || self.care.tuned.as_ref().is_some_and(|tuned| tuned.places == places) {
            return Ok(());
        }
        let Some(tuned) = tuned::with(plan, self.care.factors(), self.step)? else { return Ok(()) };
        // A new objective goes on with the parameters of the one before it.
        for name in tuned.params.names().filter(|name| name.starts_with(OBJECTIVE)) {
            if let Some(value) = self.params.get(name) {
                tuned.params.set(name, value)?;
            }
        }
        self.params = tuned.params.clone();
        self.care.tuned = Some(tuned);
        Ok(())
    }

    /// The parts that train, with the schedules and the factors that policies have put on settings.
    pub(crate) fn trained_by<'a>(&'a self, plan: &'a Plan) -> Trained<'a> {
        match &self.care.tuned {
            Some(tuned) => tuned.parts(plan),
            None => Trained {
                sampler: plan.parts.sampler.as_ref(),
                objective: plan.objective.as_ref(),
                optimiser: plan.optimiser.as_ref(),
            },
        }
    }

    /// The root of the random streams of steps: another after each time that the run went back.
    pub(crate) fn stream(&self, plan: &Plan) -> Key {
        match self.care.returns.len() {
            0 => plan.key,
            times => plan.key.at("return").at(times),
        }
    }

    /// The health of the run so far.
    pub fn health(&self, plan: &Plan) -> Health {
        self.care.watch.health(&plan.watched)
    }

    /// How the run ended if all its steps are done: ill where it was found so.
    pub fn ended(&self, plan: &Plan) -> Outcome {
        let health = self.health(plan);
        match health.worst().filter(|worst| worst.level == Level::Ill) {
            Some(worst) => Outcome::Ill(worst.to_string()),
            None => Outcome::Done,
        }
    }

    /// The times that the run went back to a healthy state, first to last.
    pub fn returns(&self) -> &[Return] {
        &self.care.returns
    }

    /// The place of the next data batch after this one.
    pub(crate) fn next_batch(&self, plan: &Plan) -> (u64, usize) {
        if self.cursor + 1 < plan.data.batches(plan.config.run.batch) {
            (self.epoch, self.cursor + 1)
        } else {
            (self.epoch + 1, 0)
        }
    }

    /// The energy that samples are drawn from: averaged weights, or the live ones if
    /// `generate.weights` says so or there is no average. The plan's energies take the weights of this state.
    ///
    /// # Errors
    /// If the weights cannot be written.
    pub fn sampled_energy<'a>(&self, plan: &'a Plan) -> Result<&'a Arc<dyn EnergyFn>> {
        let live = &plan.parts.energy;
        let Some(average) =
            self.average.as_ref().filter(|_| plan.config.generate.weights == Weights::Average)
        else {
            return Ok(live);
        };
        for name in live.params().names() {
            // Buffers (power-iteration vectors) are those of the live energy; they have no average.
            if let Some(value) = average.get(name).or_else(|| live.params().get(name)) {
                plan.averaged.params().set(name, value)?;
            }
        }
        Ok(&plan.averaged)
    }

    /// The generator of the run at this state: weights, program and piece size as configured.
    ///
    /// # Errors
    /// If the averaged weights cannot be written.
    pub fn generator<'a>(&self, plan: &'a Plan) -> Result<Generator<'a>> {
        // Several shards have a memory each; they are all alike, and the first is on every rank that draws.
        let first = plan.layout.mine.first().map_or(0, |s| s.shard);
        Ok(Generator {
            energy: self.sampled_energy(plan)?.as_ref(),
            sampler: plan.parts.generator.as_ref(),
            starts: &plan.parts.starts,
            begin: None,
            memory: entries_of(first, plan.layout.shards, &self.sampler),
            reference: plan.facts.reference.clone(),
            batch: plan.config.run.batch,
            warm_up: Some(plan.parts.generator.steps() / 2),
            stop: Stop::default(),
        })
    }

    /// `n` chains of the buffers that are here `(n, ...)`; `None` without any, or while they give none.
    ///
    /// # Errors
    /// If a buffer fails.
    pub fn buffered(&self, plan: &Plan, n: usize, key: Key) -> Result<Option<Tensor>> {
        let Some(replay) = &self.replay else { return Ok(None) };
        replay.look(n, key)?.map(|rows| Ok(plan.rows().split(rows)?.0)).transpose()
    }

    /// As [`TrainState::buffered`] of the buffers of all ranks, which all of them call; the first one has the chains, and they
    /// are those that one rank alone would see.
    ///
    /// # Errors
    /// If a buffer fails, on all ranks.
    pub(crate) fn buffered_everywhere(&self, plan: &Plan, n: usize, key: Key) -> Result<Option<Tensor>> {
        let (ranks, Some(replay)) = (plan.ranks(), &self.replay) else { return Ok(None) };
        // Of ranks that share a shard, the first speaks.
        let speaks = ranks.rank().is_multiple_of(plan.layout.sharers);
        let parts = if speaks { replay.parts(n, key) } else { Ok(Some(BTreeMap::new())) };
        let parts = agree(ranks, parts.and_then(|p| p.map(|p| checkpoint::bytes(&p)).transpose()))?;
        let Some(all) = ranks.collect(parts.unwrap_or_default())? else { return Ok(None) };
        let mut found = BTreeMap::new();
        for part in all.iter().filter(|part| !part.is_empty()) {
            found.extend(tensors(part)?);
        }
        let rows = replay.together(n, &found)?.map(|rows| rows.to_device(&plan.device)).transpose()?;
        rows.map(|rows| Ok(plan.rows().split(rows)?.0)).transpose()
    }

    /// Leaves the present batch out: the next step takes other data and other random numbers.
    pub fn skip(&mut self, plan: &Plan) {
        self.kept = None;
        (self.epoch, self.cursor) = self.next_batch(plan);
        self.attempts += 1;
    }
}

/// Copies of the trainable parameters.
fn trainable(params: &ParamSet) -> Result<BTreeMap<String, Tensor>> {
    let mut all = BTreeMap::new();
    for name in params.trainable() {
        if let Some(t) = params.get(name) {
            all.insert(name.to_string(), t.copy()?);
        }
    }
    Ok(all)
}
