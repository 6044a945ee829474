//! The rules by which a run is judged at its end.

use ebm_core::{Cause, Finding, Level};
use ebm_eval::{growth, trend};

use crate::causes::{is_long, is_noisy, moves, percent};
use crate::facts::Facts;
use crate::help::help;
use crate::trace::Trace;
use crate::watch::short;

/// Steps that a judgement needs, and those that it needs to call a run ill for something that training may still mend.
const FEWEST: (u64, u64) = (20, 100);

/// Overlap of the energies of data and samples, or 1 less it, from which on it is worth a look, and from which on ill.
const APART: (f64, f64) = (0.95, 0.99);

/// Growth of the energies that is told, and an energy that f32 can no longer resolve to a thousandth.
const GROWN: f64 = 100.0;
const HUGE: f64 = 1e5;

/// Share of values on the clamp beyond that of the data: worth a look, and ill.
pub(crate) const SATURATED: (f64, f64) = (0.3, 0.5);

/// Mean distance of the samples' values from the middle of the data, in half widths: worth a look, and ill.
pub(crate) const FAR: (f64, f64) = (3.0, 10.0);

/// Mean distance that a chain goes in a step, in half widths of the data: ill, and worth a look, below.
const MOVED: (f64, f64) = (1e-4, 1e-3);

/// Gradient of another term in gradients of the contrast between data and samples: worth a look, and ill.
const OUTWEIGHED: (f64, f64) = (100.0, 1e4);

/// Spread of the energies of data in spreads of those of samples: ill, and worth a look, below.
const SPREAD: (f64, f64) = (1e-3, 1e-2);

/// Size of an update in sizes of the weights: worth a look, and ill.
pub(crate) const UPDATE: (f64, f64) = (0.2, 0.5);

/// Share of batches that were left out from which on a run is ill.
const LEFT_OUT: f64 = 0.1;

/// What there is to judge by.
pub(crate) struct Seen<'a> {
    pub trace: &'a Trace,
    pub facts: &'a Facts,
    pub step: u64,
    pub skipped: u64,
    /// Whether it is old enough, whatever its step says.
    pub ripe: bool,
}

impl Seen<'_> {
    fn late(&self, name: &str) -> Option<f64> {
        self.trace.late(name)
    }

    fn finding(&self, level: Level, cause: Cause, evidence: String) -> Finding {
        // What training may still mend is not called ill before it has begun.
        self.after(FEWEST.1, level, cause, evidence)
    }

    /// A finding that is ill only in a run of so many steps.
    fn after(&self, steps: u64, level: Level, cause: Cause, evidence: String) -> Finding {
        let early = !self.ripe && self.step < steps;
        let level = if early { level.min(Level::Watch) } else { level };
        Finding { level, cause, step: self.step, evidence, help: help(cause).into() }
    }

    /// A finding if `value` is above the first bound, ill above the second.
    fn above(
        &self,
        value: f64,
        bounds: (f64, f64),
        cause: Cause,
        evidence: impl Fn() -> String,
    ) -> Option<Finding> {
        let level = if value > bounds.1 { Level::Ill } else { Level::Watch };
        (value > bounds.0).then(|| self.finding(level, cause, evidence()))
    }
}

/// The sentence on a run of which nothing is to be said.
pub(crate) fn well(trace: &Trace) -> &'static str {
    match trace.late("energy.difference") {
        Some(_) => {
            "The run is well: energies of data and samples are together and the gradient does not grow."
        }
        None => "Nothing speaks against the run; it compares no energies of data and samples.",
    }
}

/// All that is to be said.
pub(crate) fn all(seen: &Seen<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if seen.step < FEWEST.0 {
        let evidence =
            format!("There are too few numbers to judge it by: energies of fewer than {} steps", FEWEST.0);
        found.push(seen.finding(Level::Watch, Cause::Unknown, evidence));
    }
    // Of what is equally bad, what is nearer to the cause comes first.
    found.extend(constants(seen));
    found.extend(terms(seen));
    found.extend(apart(seen));
    found.extend(scale(seen));
    found.extend(updates(seen));
    found.extend(chains(seen));
    if seen.skipped > 0 {
        let n = seen.skipped;
        let share = n as f64 / (n + seen.step) as f64;
        let evidence = format!(
            "{n} batches were left out because a number was not finite (learning rate or step size too large?)"
        );
        found.extend(seen.above(share, (0.0, LEFT_OUT), Cause::NotFinite, || evidence.clone()));
    }
    found
}

/// Contrastive divergence is at rest where data and samples have equal energies.
fn apart(seen: &Seen<'_>) -> Option<Finding> {
    let difference = seen.late("energy.difference")?;
    let overlap = match seen.late("energy.overlap") {
        Some(overlap) => overlap,
        None => normal_overlap(seen, difference)?,
    };
    let share = |v: f64| format!("{:.1} %", 100.0 * v);
    if overlap > 0.5 {
        let (cause, why) = parted(seen);
        return seen.above(overlap, APART, cause, || {
            format!(
                "The energies have parted: data lie {} below samples, which have the higher energy in {} of all pairs; the chains no longer reach what the energy calls likely{why}",
                short(-difference), share(overlap)
            )
        });
    }
    seen.above(1.0 - overlap, APART, Cause::ChainsStuck, || {
        format!(
            "Samples have lower energies than data, by {}, in {} of all pairs: the sampler finds states that training has not raised",
            short(difference), share(1.0 - overlap)
        )
    })
}

/// The overlap of normal energies with these spreads, for reports that have none of their own.
fn normal_overlap(seen: &Seen<'_>, difference: f64) -> Option<f64> {
    let spread = |name| seen.late(name).unwrap_or(0.0);
    let sd = spread("energy.data.sd").hypot(spread("energy.samples.sd"));
    (sd > 0.0).then(|| normal_cdf(-difference / sd))
}

/// Probability that a standard normal number is below `z`, to 1e-7 (Abramowitz and Stegun 1964, 26.2.17).
fn normal_cdf(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let coefficients = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let series = coefficients.iter().rev().fold(0.0, |sum, c| (sum + c) * t);
    let above = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt() * series;
    if z > 0.0 { 1.0 - above } else { above }
}

/// Why the chains fell behind.
fn parted(seen: &Seen<'_>) -> (Cause, String) {
    let (facts, grad) = (seen.facts, seen.late("sampler.grad_rms"));
    let on_clamp =
        seen.late("sampler.saturated").zip(facts.data_at_ends).is_some_and(|(s, d)| s - d > SATURATED.0);
    if is_noisy(facts) {
        return (Cause::Noise, moves(facts, grad));
    }
    if on_clamp || is_long(facts, grad) {
        return (Cause::StepSize, moves(facts, grad));
    }
    match (seen.late("replay"), facts.batch) {
        (Some(held), Some(batch)) if held < 4.0 * batch as f64 => {
            (Cause::BufferTooSmall, format!("; the buffer holds {held:.0} chains, a step draws {batch}"))
        }
        _ => (Cause::ChainsStuck, String::new()),
    }
}

/// Energies that grow without end leave the numbers they are stored in.
fn scale(seen: &Seen<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let Some(late) = seen.late("energy.data").map(f64::abs) else { return found };
    let cause = |seen: &Seen<'_>| match seen.late("loss.reg") {
        None => Cause::MissingPenalty,
        Some(_) => Cause::LearningRate,
    };
    let spread = seen.late("energy.data.sd").unwrap_or(0.0);
    if spread > 0.0 && late > HUGE * spread.max(1.0) {
        // Steps of f32 are 1/16,777,216 of a number.
        let level = if late / 16_777_216.0 > 1e-3 * spread { Level::Ill } else { Level::Watch };
        let evidence = format!(
            "The energies of data are about {late:.1e}, with a spread of {spread:.1e}: single precision hardly tells them apart"
        );
        found.push(seen.finding(level, cause(seen), evidence));
    }
    let (steps, values) = seen.trace.points("energy.data");
    if let (Ok(times), Ok(slope)) = (growth(&values), trend(&steps, &values, 0.99))
        && times > GROWN
        && slope.is_certain()
        && slope.change.abs() > 2.0 * slope.noise
        && late > GROWN
    {
        let level = if late > 1e6 { Level::Ill } else { Level::Watch };
        let evidence = format!(
            "The energies of data have grown {times:.0}-fold since early in the run, to {late:.1e}, and still grow"
        );
        found.push(seen.finding(level, cause(seen), evidence));
    }
    found
}

/// What does not change says nothing.
fn constants(seen: &Seen<'_>) -> Option<Finding> {
    if seen.facts.trainable == Some(0) {
        let evidence = "Nothing is trained: the energy has no parameters that may change".into();
        return Some(seen.finding(Level::Watch, Cause::Frozen, evidence));
    }
    let zero = |name: &str| seen.late(name) == Some(0.0);
    if seen.facts.batch != Some(1) && zero("energy.data.sd") && zero("energy.samples.sd") {
        let evidence = "The energy is the same for all data and all samples: it says nothing".into();
        return Some(seen.after(FEWEST.0, Level::Ill, Cause::ConstantEnergy, evidence));
    }
    if zero("update") {
        let evidence = "No parameter changes any more".into();
        return Some(seen.after(FEWEST.0, Level::Ill, Cause::Frozen, evidence));
    }
    let (data, samples) = (seen.late("energy.data.sd")?, seen.late("energy.samples.sd")?);
    let level = if data < SPREAD.0 * samples { Level::Ill } else { Level::Watch };
    (data < SPREAD.1 * samples && seen.facts.batch != Some(1)).then(|| {
        let evidence = format!(
            "The energy hardly differs among data: by {}, where it differs by {} among samples",
            short(data),
            short(samples)
        );
        seen.finding(level, Cause::ConstantEnergy, evidence)
    })
}

/// A gradient that keeps growing ends in a blow-up, and so do updates as large as the weights.
fn updates(seen: &Seen<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let (Some(late), Some(early)) = (seen.late("grad"), seen.trace.between("grad", 0.1, 0.3))
        && early > 0.0
        && late > 10.0 * early
    {
        let evidence = format!(
            "The gradient's norm is {} times what it was early in the run ({} against {}): a blow-up may be near",
            short(late / early),
            short(late),
            short(early)
        );
        found.push(seen.finding(Level::Watch, Cause::LearningRate, evidence));
    }
    if let Some(update) = seen.late("update") {
        found.extend(seen.above(update, UPDATE, Cause::LearningRate, || {
            format!("An update changes the weights by {} of their size", percent(update))
        }));
    }
    found
}

/// Chains that stick, leave the data, or lie on the clamp do not sample.
fn chains(seen: &Seen<'_>) -> Vec<Finding> {
    let (mut found, facts) = (Vec::new(), seen.facts);
    if let Some(share) = seen.late("sampler.saturated") {
        // Without knowledge of the data only what no data have is told.
        let bounds = if facts.data_at_ends.is_some() { SATURATED } else { (0.9, f64::INFINITY) };
        let of_data = facts.data_at_ends.unwrap_or(0.0);
        let cause = if is_noisy(facts) { Cause::Noise } else { Cause::StepSize };
        found.extend(seen.above(share - of_data, bounds, cause, || {
            let data =
                facts.data_at_ends.map_or(String::new(), |v| format!(", {:.0} % of the data's", 100.0 * v));
            format!(
                "{:.1} % of the samples' values lie at the bounds of the clamp{data}{}",
                100.0 * share,
                moves(facts, seen.late("sampler.grad_rms"))
            )
        }));
    }
    if let Some(reach) = seen.late("samples.reach") {
        let cause = if facts.clamp.is_none() { Cause::Unclamped } else { Cause::StepSize };
        found.extend(seen.above(reach, FAR, cause, || {
            let beyond = seen.late("samples.beyond").unwrap_or(1.0);
            format!(
                "The samples' values lie {} half widths from the middle of the data, {:.0} % of them beyond any data",
                short(reach),
                100.0 * beyond
            )
        }));
    }
    for name in seen.trace.names().filter(|n| n.starts_with("sampler.") && n.contains("accept")) {
        let Some(rate) = seen.late(name) else { continue };
        let percent = 100.0 * rate;
        found.extend(seen.above(1.0 - rate, (0.95, 0.999), Cause::StepSize, || {
            format!("Only {percent:.2} % of the proposals are accepted ({name}): the chains do not move, the step size is too large")
        }));
    }
    if let Some(moved) = seen.late("samples.moved").filter(|moved| *moved < MOVED.1) {
        let level = if moved < MOVED.0 { Level::Ill } else { Level::Watch };
        let evidence = format!(
            "The chains hardly move: by {} half widths of the data in all steps of an update",
            short(moved)
        );
        found.push(seen.finding(level, Cause::ChainsStuck, evidence));
    }
    found
}

/// A term that never acts, or besides which no other does.
fn terms(seen: &Seen<'_>) -> Vec<Finding> {
    let labels = seen.trace.names().filter_map(|n| n.strip_prefix("loss."));
    let labels: Vec<&str> = labels.collect();
    let never = |name: &str| {
        let (_, values) = seen.trace.points(name);
        (!values.is_empty()).then(|| values.iter().all(|v| *v == 0.0))
    };
    let mut found = Vec::new();
    for label in &labels {
        // The gradient tells it; the value alone where norms were not asked for.
        let idle = never(&format!("grad.{label}")).or_else(|| never(&format!("loss.{label}")));
        if idle == Some(true) && seen.step >= FEWEST.0 {
            let evidence =
                format!("The term `{label}` has not acted: its gradient or value was 0 at every step");
            found.push(seen.finding(Level::Watch, Cause::Term, evidence));
        }
    }
    let norm = |label: &str| seen.late(&format!("grad.{label}"));
    let Some(contrast) = norm("cd").filter(|norm| *norm > 0.0) else { return found };
    for label in labels.iter().filter(|label| **label != "cd") {
        let times = norm(label).unwrap_or(0.0) / contrast;
        found.extend(seen.above(times, OUTWEIGHED, Cause::Term, || {
            format!(
                "The gradient of the term `{label}` is {} times that of the contrast between data and samples",
                short(times)
            )
        }));
    }
    found
}
