//! The loop of a program of steps, which honours all that a program owes its caller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::Tensor;

use crate::{
    Batch, ChainState, DrawRequest, Drawn, EnergyFn, Error, Key, Result, RowProgram, Sampler, Sensitivity,
    StepInfo, Stepped, Trail, Transition,
};

/// The program in which each step is one of some transitions.
///
/// ```
/// use ebm_core::{Blind, Program, Sampler, Sensitivity, Transition};
/// # use ebm_core::{ChainState, EnergyFn, Key, Link, Result, Stepped};
/// # struct Step;
/// # impl Transition for Step {
/// #     fn step(&self, _: &dyn EnergyFn, s: &ChainState, _: Key) -> Result<Stepped> {
/// #         Ok(Stepped::new(s.advance(s.at.x.clone()), Link::Identity))
/// #     }
/// #     fn sensitivity(&self) -> Sensitivity { Sensitivity::Exact }
/// #     fn name(&self) -> String { "step".into() }
/// # }
/// # let (coarse, fine): (Box<dyn Transition>, Box<dyn Transition>) = (Box::new(Step), Box::new(Step));
/// // The last quarter of the steps is of the second.
/// let program = Program::new("two-speed", 40, vec![coarse, fine], |k, of| usize::from(4 * k >= 3 * of));
/// assert_eq!(program.steps(), 40);
/// assert_eq!(program.sensitivity(10), Sensitivity::Exact);
/// ```
#[derive(Clone)]
pub struct Program {
    name: String,
    steps: usize,
    parts: Arc<[Box<dyn Transition>]>,
    pick: Arc<Pick>,
}

/// Which part step `k` of `of` is.
type Pick = dyn Fn(usize, usize) -> usize + Send + Sync;

impl Program {
    /// `steps` steps, of which step `k` is of `parts[pick(k, steps)]`.
    pub fn new(
        name: impl Into<String>,
        steps: usize,
        parts: Vec<Box<dyn Transition>>,
        pick: impl Fn(usize, usize) -> usize + Send + Sync + 'static,
    ) -> Self {
        Program { name: name.into(), steps, parts: parts.into(), pick: Arc::new(pick) }
    }

    /// The transitions of the steps, each once.
    fn used(&self) -> impl Iterator<Item = &dyn Transition> {
        let picked: BTreeSet<usize> = (0..self.steps).map(|k| (self.pick)(k, self.steps)).collect();
        picked.into_iter().filter_map(|i| self.parts.get(i)).map(Box::as_ref)
    }
}

impl Sampler for Program {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        let parts: Vec<&dyn Transition> = self.parts.iter().map(Box::as_ref).collect();
        drive(e, from, key, request, self.steps, &parts, &|k| (self.pick)(k, self.steps))
    }

    fn sensitivity(&self, trail: usize) -> Sensitivity {
        if trail.min(self.steps) == 0 {
            return Sensitivity::Exact;
        }
        let known: Vec<Sensitivity> = self.parts.iter().map(|t| t.sensitivity()).collect();
        let (mut left, mut found) = (trail, Sensitivity::Passes);
        for k in (0..self.steps).rev() {
            let i = (self.pick)(k, self.steps);
            // Only steps with a gradient count.
            match known.get(i) {
                Some(end @ (Sensitivity::Unknown(_) | Sensitivity::Cuts)) => {
                    return Sensitivity::all([end.clone(), found]);
                }
                Some(Sensitivity::Exact) => {
                    found = Sensitivity::Exact;
                    left -= 1;
                }
                _ => {}
            }
            if left == 0 {
                break;
            }
        }
        found
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        common_bounds(self.used().map(Transition::bounds))
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.used().try_for_each(|t| t.fits(e))
    }

    fn couples_chains(&self) -> bool {
        self.parts.iter().any(|t| t.couples_chains())
    }

    fn needs_reference(&self) -> bool {
        self.parts.iter().any(|t| t.needs_reference())
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        Box::new(Program { steps, ..self.clone() })
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// The box that is common to those that parts of a kernel hold samples in; none if no part has one.
pub fn common_bounds(all: impl IntoIterator<Item = Option<(f64, f64)>>) -> Option<(f64, f64)> {
    all.into_iter().flatten().reduce(|a, b| (a.0.max(b.0), a.1.min(b.1)))
}

/// Runs `steps` steps from `from`: step `k` is of `parts[pick(k)]` under `key.at(k)`.
///
/// The parts' step index and program length are those of the whole program. What a part keeps from step to step is shown to
/// that part alone; the entries that it names as carried are read from the request's memory at the start and written
/// back at the end, under their names if there is one part and as `i/name` for part `i` of several. All parts see the
/// request's reference samples. The probe sees every step, the trail holds as many links of as many rows as was asked, and curves
/// hold the mean of every diagnostic.
///
/// Where every step touches each row alone by one gradient step ([`Transition::row_step`]), nobody watches and at most the last
/// link is asked for, the energy may run the program as a whole ([`operators::walk`](crate::devices::operators::walk)); the result is that of the
/// loop to rounding.
///
/// # Errors
/// If a part does not fit the energy, the energy, a transition or the probe fails, or `pick` names a part that there is not.
pub fn drive(
    e: &dyn EnergyFn,
    from: Batch,
    key: Key,
    request: &mut DrawRequest<'_>,
    steps: usize,
    parts: &[&dyn Transition],
    pick: &dyn Fn(usize) -> usize,
) -> Result<Drawn> {
    let part = |k: usize| {
        let i = pick(k);
        let missing =
            || Error::config("program", format!("step {k} is of part {i}, but there are {}", parts.len()));
        parts.get(i).map(|t| (i, *t)).ok_or_else(missing)
    };
    parts.iter().try_for_each(|t| t.fits(e))?;
    if let Some(drawn) = walk(e, &from, key, request, steps, &part)? {
        return Ok(drawn);
    }
    let rows = request.trail_rows.unwrap_or(from.len());
    let mut kept = Vec::with_capacity(parts.len());
    let mut state = ChainState::new(from);
    for (i, t) in parts.iter().enumerate() {
        let key = if parts.len() == 1 { key.at("init") } else { key.at("init").at(i) };
        let mut own = scoped(request, i, parts.len(), |r| begin(*t, e, state.at.clone(), key, r))?;
        kept.push(std::mem::take(&mut own.aux));
        state.cache = state.cache.or(own.cache);
    }
    let mut info = StepInfo::new();
    let mut trail = Trail::default();
    let mut curves = Curves::default();
    for k in 0..steps {
        let (i, t) = part(k)?;
        (state.step, state.of) = (k, steps);
        (state.reference, state.learning) = (request.reference.cloned(), request.learning(k));
        state.warm_up_left = request.warm_up_left(k);
        state.aux = std::mem::take(&mut kept[i]);
        let stepped = t.step(e, &state, key.at(k))?;
        request.probe.on_step(k, &stepped)?;
        curves.add(&stepped.info)?;
        if request.trail > 0 {
            trail.push(stepped.link.narrow(rows)?, request.trail);
        }
        (state, info) = (stepped.state, stepped.info);
        kept[i] = std::mem::take(&mut state.aux);
    }
    (state.step, state.of, state.reference) = (steps, steps.max(1), None);
    for (i, (t, own)) in parts.iter().zip(kept).enumerate() {
        scoped(request, i, parts.len(), |r| keep(*t, &own, r));
        let name = |name| if parts.len() == 1 { name } else { format!("{i}/{name}") };
        state.aux.extend(own.into_iter().map(|(n, t)| (name(n), t)));
    }
    let mut drawn = Drawn::new(state, trail, info);
    drawn.curves = curves.stack()?;
    Ok(drawn)
}

/// The request as part `i` of `of` sees it.
fn scoped<T>(
    request: &mut DrawRequest<'_>,
    i: usize,
    of: usize,
    run: impl FnOnce(&mut DrawRequest<'_>) -> T,
) -> T {
    if of == 1 { run(request) } else { request.scoped(&i.to_string(), run) }
}

/// The state in which a program begins `t` at `at`: what the request's memory has under the names that `t` carries, and
/// the reference samples.
///
/// # Errors
/// If the transition fails.
fn begin(
    t: &dyn Transition,
    e: &dyn EnergyFn,
    at: Batch,
    key: Key,
    request: &DrawRequest<'_>,
) -> Result<ChainState> {
    let mut state = t.init(e, at, key)?;
    for name in t.carried() {
        if let Some(known) = request.memory.get(&name) {
            state.aux.insert(name, known.clone());
        }
    }
    (state.reference, state.learning) = (request.reference.cloned(), request.learning(0));
    state.warm_up_left = request.warm_up_left(0);
    Ok(state)
}

/// Writes what `t` carries on to the request's memory.
fn keep(t: &dyn Transition, aux: &BTreeMap<String, Tensor>, request: &mut DrawRequest<'_>) {
    for name in t.carried() {
        if let Some(new) = aux.get(&name) {
            request.memory.insert(name, new.clone());
        }
    }
}

/// One step of `t` from `at` that stands by itself between the loops of a program, as step `index` of `of` for
/// schedules. Memory and reference samples are as in [`drive`]; the caller has the link, and no probe sees it.
///
/// # Errors
/// If the energy or the transition fails.
pub fn one_step(
    t: &dyn Transition,
    e: &dyn EnergyFn,
    at: Batch,
    key: Key,
    (index, of): (usize, usize),
    request: &mut DrawRequest<'_>,
) -> Result<Stepped> {
    let mut state = begin(t, e, at, key.at("init"), request)?;
    (state.step, state.of) = (index, of);
    let mut stepped = t.step(e, &state, key)?;
    keep(t, &stepped.state.aux, request);
    stepped.state.reference = None;
    Ok(stepped)
}

/// The program as a whole, where the energy can.
fn walk<'t>(
    e: &dyn EnergyFn,
    from: &Batch,
    key: Key,
    request: &DrawRequest<'_>,
    steps: usize,
    part: &dyn Fn(usize) -> Result<(usize, &'t dyn Transition)>,
) -> Result<Option<Drawn>> {
    if request.trail > 1 || request.probe.wants_steps() || steps == 0 {
        return Ok(None);
    }
    let mut program = RowProgram::default();
    for k in 0..steps {
        let Some(step) = part(k)?.1.row_step(k, steps) else { return Ok(None) };
        program.steps.push(step);
    }
    // A trail goes to the last step with a gradient, and a walk keeps that of the last.
    if request.trail > 0 && program.steps.last().is_some_and(|step| step.step_size == 0.0) {
        return Ok(None);
    }
    let Some(walked) = crate::devices::operators::walk(e, from, &program, key)? else { return Ok(None) };
    let last = steps - 1;
    let step = program.steps[last];
    let mut trail = Trail::default();
    if request.trail > 0 {
        let rows = request.trail_rows.unwrap_or(from.len()).min(from.len());
        let hat = from.with_x(walked.hat).narrow(0, rows)?;
        // Noise after the move decides which clamps hold, so it is drawn again.
        let after = if step.noise_first { None } else { step.noise_of(&hat, key.at(last))? };
        trail.push(step.end(&hat, &walked.grad.narrow(0, 0, rows)?, after.as_ref())?.1, 1);
    }
    let mut info = StepInfo::new();
    info.insert("energy", walked.energy.get(last)?);
    info.insert("grad_square", walked.grad_square.get(last)?);
    info.extend(step.saturated(&walked.x)?.map(|share| ("saturated", share)));
    let mut state = ChainState::new(from.with_x(walked.x));
    (state.step, state.of) = (steps, steps);
    let mut drawn = Drawn::new(state, trail, info);
    drawn.curves.insert("energy", walked.energy.mean(1)?);
    drawn.curves.insert("grad_square", walked.grad_square.mean(1)?);
    Ok(Some(drawn))
}

/// Collects the means of every diagnostic at every step.
#[derive(Default)]
struct Curves(BTreeMap<&'static str, Vec<Tensor>>);

impl Curves {
    fn add(&mut self, info: &StepInfo) -> Result<()> {
        for (name, v) in info {
            self.0.entry(name).or_default().push(v.mean_all()?);
        }
        Ok(())
    }

    /// `(K,)` for each diagnostic (fewer where a transition has it only at some steps).
    fn stack(self) -> Result<BTreeMap<&'static str, Tensor>> {
        self.0.into_iter().map(|(name, v)| Ok((name, Tensor::stack(&v, 0)?))).collect()
    }
}
