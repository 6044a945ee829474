//! What a configuration would do, without doing it.

use std::time::Instant;

use ebm_core::{Family, catalogue};
use ebm_train::{Plan, TrainState, step};
use serde::Serialize;
use serde_json::Value;

use crate::config::source::Source;
use crate::error::Result;
use crate::run::open::build;

/// Steps that are timed; the first is thrown away, for it fills caches.
const TIMED: u32 = 2;

/// What `ebm check` says.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Section, kind, and what it is.
    pub parts: Vec<(String, String)>,
    /// Shape of one sample.
    pub sample_shape: Vec<usize>,
    /// Number of training samples.
    pub samples: usize,
    /// Number of held-out samples.
    pub held_out: usize,
    /// Names of the classes of labelled data; empty if they have none.
    pub class_names: Vec<String>,
    /// Length of the condition; 0 for none.
    pub condition: usize,
    /// Number of trainable parameters.
    pub parameters: usize,
    /// Names of the energy's terms.
    pub terms: Vec<String>,
    /// How the energy's calls are computed.
    pub engine: String,
    /// What the engine chose for each layer; empty on the graph.
    pub layers: String,
    /// Remarks of the parts.
    pub notes: Vec<String>,
    /// What a step costs; `None` if nothing was timed.
    pub cost: Option<Cost>,
    /// The complete configuration.
    pub resolved: String,
}

/// What training costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Seconds of one step; `None` if nothing was timed.
    pub step_seconds: Option<f64>,
    /// Whether whole steps were timed; else the seconds are those of a few input gradients, scaled up.
    pub measured: bool,
    /// Seconds of the run: steps times that.
    pub run_seconds: Option<f64>,
    /// Bytes of parameters, average and, once a step was done, moments.
    pub state_bytes: usize,
    /// Bytes of a pass's activations and their gradients, estimated from the energy's layers, where it has a plan.
    pub activation_bytes: Option<u64>,
    /// Bytes of the samples in a full replay buffer, if the run has one with a capacity.
    pub replay_bytes: Option<usize>,
    /// Most memory that this program has had, where the system tells.
    pub peak_bytes: Option<usize>,
}

/// Longest step, in seconds, that is timed as a whole.
const LONGEST: f64 = 10.0;

/// Input gradients that the rest of a step costs about as much as: two energies with parameter gradients and the mixed
/// second derivative.
const REST: usize = 8;

/// Reads a configuration, builds all its parts, and, if `timed`, measures or estimates a step on a state that is thrown
/// away.
///
/// # Errors
/// As [`train`](crate::run::train), before its first step.
pub fn check(source: &Source, timed: bool) -> Result<CheckReport> {
    let plan = build(source)?;
    let tree = plan.config().tree()?;
    let mut checked = CheckReport {
        parts: parts(&tree),
        sample_shape: plan.data().sample_shape().to_vec(),
        samples: plan.data().len(),
        held_out: plan.data().held_out()?,
        class_names: plan.facts().class_names.clone(),
        condition: plan.facts().condition,
        parameters: plan.energy().params().count(),
        terms: plan.energy().spec().terms.clone(),
        engine: plan.energy().engine(),
        layers: plan.energy().layers(plan.config().run.batch),
        notes: plan.notes().to_vec(),
        cost: None,
        resolved: plan.text().to_string(),
    };
    let mut state = TrainState::new(&plan).map_err(|e| source.place(e))?;
    checked.cost = Some(cost(&plan, &mut state, timed).map_err(|e| match e {
        crate::error::Error::Core(e) => source.place(e),
        other => other,
    })?);
    Ok(checked)
}

fn cost(plan: &Plan, state: &mut TrainState, timed: bool) -> Result<Cost> {
    let mut step_seconds = timed.then(|| guess(plan)).transpose()?;
    let measured = step_seconds.is_some_and(|s| s < LONGEST);
    if measured {
        step(plan, state)?;
        let began = Instant::now();
        for _ in 0..TIMED {
            step(plan, state)?;
        }
        step_seconds = Some(began.elapsed().as_secs_f64() / f64::from(TIMED));
    }
    let size = |t: &candle_core::Tensor| t.elem_count() * t.dtype().size_in_bytes();
    let live: usize = state.params.names().filter_map(|n| state.params.get(n)).map(size).sum();
    let average: usize = state.average.iter().flat_map(|a| a.values()).map(size).sum();
    let moments: usize = state.optimiser.tensors.values().map(size).sum();
    Ok(Cost {
        step_seconds,
        measured,
        run_seconds: step_seconds.map(|s| s * plan.config().run.steps as f64),
        state_bytes: live + average + moments,
        activation_bytes: Some(plan.describe().memory.activations).filter(|b| *b > 0),
        replay_bytes: state.replay.as_ref().and_then(|r| r.full_bytes()),
        peak_bytes: peak_memory(),
    })
}

/// Seconds of a step, scaled up from input gradients of one or two samples.
fn guess(plan: &Plan) -> Result<f64> {
    let batch = plan.config().run.batch;
    let rows = batch.min(2);
    let few = plan.data().batch(0, 0, rows, plan.key().at("data"))?;
    let like =
        |t: &candle_core::Tensor| t.to_dtype(plan.config().run.dtype.dtype())?.to_device(plan.device());
    let x = like(&few.x).map_err(ebm_core::Error::from)?;
    let cond = few.cond.as_ref().map(like).transpose().map_err(ebm_core::Error::from)?;
    let at = few.with_x(x).with_cond(cond);
    plan.energy().slope(&at)?;
    let began = Instant::now();
    plan.energy().slope(&at)?;
    let each = began.elapsed().as_secs_f64() / rows as f64;
    Ok(each * batch as f64 * (plan.sampler().steps() + REST) as f64)
}

/// Section and kind of every component in the configuration, outermost first, with its summary.
fn parts(tree: &Value) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (section, family) in [
        ("data", Family::Data),
        ("energy", Family::Energy),
        ("sampler", Family::Sampler),
        ("replay", Family::Replay),
        ("objective", Family::Objective),
        ("optimiser", Family::Optimiser),
        ("observer", Family::Observer),
        ("policy", Family::Policy),
    ] {
        let Some(value) = tree.get(section) else { continue };
        let list = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        for one in &list {
            let kind = one.get("kind").and_then(Value::as_str).unwrap_or_default();
            if let Some(c) = catalogue::find(family, kind) {
                out.push((
                    section.to_string(),
                    format!("{kind}: {} ({} {})", c.summary, c.origin, c.version),
                ));
            }
            if let Some(inner) = one.pointer("/transition/kind").and_then(Value::as_str)
                && let Some(c) = catalogue::find(Family::Transition, inner)
            {
                out.push(("  transition".to_string(), format!("{inner}: {}", c.summary)));
            }
        }
    }
    out
}

/// The most memory this process has had, in bytes (Linux).
pub(crate) fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok().map(|k| k * 1024)
}
