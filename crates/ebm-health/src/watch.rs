//! Sees every step of a run, says at once what is beyond repair, and keeps what its health is judged by.

use ebm_core::{Cause, Finding, Level, Report};
use serde::{Deserialize, Serialize};

use crate::causes::{self, Evidence};
use crate::facts::Facts;
use crate::help::help;
use crate::judgement::Health;
use crate::numbers::Numbers;
use crate::rules;
use crate::trace::Trace;

/// Steps whose least energies are what the later ones are compared with.
const FIRST: usize = 10;

/// Times the first energies, at least 1 nat, that are beyond repair: in a row, and at once. Runs that settled had spikes of a
/// hundred (study of digits).
const BLOWN: (f64, f64) = (1e6, 1e9);

/// The same of the samples' distance from the data.
const FAR: (f64, f64) = (1e3, 1e6);

/// Times the first energies below which a state may be kept as a healthy one.
const CALM: f64 = 1e3;

/// Steps in a row that are no accident: of blown energies, of equal energies, of updates that change nothing.
const IN_A_ROW: (u32, u32, u32) = (3, 20, 50);

/// Batches left out, of the last 32, with which nothing is learnt any more.
const LEFT_OUT: u32 = 16;

/// What is remembered of a run; a plain value, to be kept with its state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    trace: Trace,
    /// Sizes of the first energies.
    first: Numbers,
    /// Steps in a row with blown energies, samples far away, equal energies, no change of a parameter.
    blown: u32,
    far: u32,
    equal: u32,
    still: u32,
    /// The last 32 batches, newest in the lowest bit: 1 where one was left out.
    left_out: u32,
    skipped: u64,
    step: u64,
    /// Size of the energies at the last step, and the largest update and distance lately, which fade by a tenth a step.
    last: Numbers,
    /// Numbers of the last report that explain a fault.
    evidence: Option<Evidence>,
    /// What ended the run, or made it go back.
    end: Option<Finding>,
}

impl Watch {
    /// Takes a step's numbers; what is beyond repair.
    pub fn see(&mut self, facts: &Facts, report: &Report) -> Option<Finding> {
        self.step = report.step;
        self.left_out <<= 1;
        let own = |name: &str| !name.starts_with("seconds");
        let values = report.values.iter().filter(|(name, _)| own(name));
        self.trace.push(report.step, values.map(|(name, v)| (name.as_str(), *v)));
        self.remember(report);
        let (size, _, out) = self.lately();
        let base = self.base();
        let over = |v: f64, bound: (f64, f64), streak: &mut u32| {
            *streak = if v > bound.0 { *streak + 1 } else { 0 };
            *streak >= IN_A_ROW.0 || v > bound.1
        };
        if over(size / base, BLOWN, &mut self.blown) {
            let evidence = format!("the energies have grown from at most {} to {}", short(base), short(size));
            return Some(self.explained(facts, evidence));
        }
        if over(out, FAR, &mut self.far) {
            let evidence = format!("the samples' values are {} half widths away from the data", short(out));
            return Some(self.explained(facts, evidence));
        }
        let spread = |name: &str| report.get(name) == Some(0.0);
        let alike = facts.batch.is_some_and(|n| n > 1)
            && spread("energy.data.sd")
            && (spread("energy.samples.sd") || report.get("energy.samples.sd").is_none());
        let trained = facts.trainable != Some(0);
        self.equal = if alike && trained { self.equal + 1 } else { 0 };
        if self.equal >= IN_A_ROW.1 {
            let at = report.get("energy.data").map_or(String::new(), short);
            let evidence = format!(
                "the energy is the same, {at}, for all data and all samples, in {} steps in a row",
                self.equal
            );
            return Some(self.finding(Level::Ill, Cause::ConstantEnergy, evidence));
        }
        let still = report.get("update") == Some(0.0) && report.get("rate").is_some_and(|r| r > 0.0);
        self.still = if still && trained { self.still + 1 } else { 0 };
        (self.still >= IN_A_ROW.2).then(|| {
            let evidence = format!("no parameter has changed in {} steps", self.still);
            self.finding(Level::Ill, Cause::Frozen, evidence)
        })
    }

    /// Takes a batch that was left out because a number was not finite, `why`; what is beyond repair.
    pub fn left_out(&mut self, facts: &Facts, why: &str, in_a_row: u32, most: u32) -> Option<Finding> {
        self.left_out = (self.left_out << 1) | 1;
        self.skipped += 1;
        if in_a_row > most {
            return Some(self.not_finite(facts, format!("{why} ({in_a_row} batches in a row)")));
        }
        let lately = self.left_out.count_ones();
        (lately >= LEFT_OUT)
            .then(|| self.not_finite(facts, format!("{why} ({lately} of the last 32 batches were left out)")))
    }

    /// Takes the number of batches that were left out in all, where only that is known.
    pub fn skipped(&mut self, batches: u64) {
        self.skipped = batches;
    }

    /// Whether nothing speaks against keeping the present state as a healthy one.
    pub fn is_calm(&self, facts: &Facts) -> bool {
        let (size, _, out) = self.lately();
        let streaks = [self.blown, self.far, self.left_out.count_ones()];
        streaks.iter().all(|n| *n == 0)
            && self.equal < IN_A_ROW.1 / 2
            && self.still < IN_A_ROW.2 / 2
            && size < CALM * self.base()
            && out < FAR.0 / 10.0
            && rules::all(&self.seen(facts, true)).iter().all(|found| found.level < Level::Ill)
    }

    fn seen<'a>(&'a self, facts: &'a Facts, ripe: bool) -> rules::Seen<'a> {
        rules::Seen { trace: &self.trace, facts, step: self.step, skipped: self.skipped, ripe }
    }

    /// The run ended, or was sent back, by this.
    pub fn end_by(&mut self, finding: Finding) {
        self.end = Some(finding);
    }

    /// A finding of a policy's own bound, with the cause that the numbers tell.
    pub fn bound_left(&self, facts: &Facts, why: &str) -> Finding {
        let mut found = self.explained(facts, why.to_string());
        found.evidence = why.to_string();
        found
    }

    /// The health of the run as far as it has come.
    pub fn health(&self, facts: &Facts) -> Health {
        let mut findings: Vec<Finding> = self.end.iter().cloned().collect();
        findings.extend(rules::all(&self.seen(facts, false)));
        // What ended the run is said once, and not that it was too short to judge.
        if let Some(end) = &self.end {
            let more = |f: &Finding| f.cause != end.cause && f.cause != Cause::Unknown;
            findings =
                std::iter::once(end.clone()).chain(findings.into_iter().skip(1).filter(more)).collect();
        }
        Health::of(findings, rules::well(&self.trace))
    }

    fn remember(&mut self, report: &Report) {
        let names = ["energy.data", "energy.samples", "energy.data.sd", "energy.samples.sd"];
        let size = names.iter().filter_map(|n| report.get(n)).fold(0.0f64, |m, v| m.max(v.abs()));
        if self.first.0.len() < FIRST {
            self.first.0.push(size);
        }
        let (_, update, out) = self.lately();
        let fading = |name: &str, before: f64| report.get(name).unwrap_or(0.0).max(0.9 * before);
        self.last = Numbers(vec![size, fading("update", update), fading("samples.reach", out)]);
        let before = self.evidence.take().unwrap_or_default();
        let grad = report.get("sampler.grad_rms").map(|g| g.max(0.9 * before.grad_rms.unwrap_or(0.0)));
        self.evidence = Some(Evidence {
            grad_rms: grad.filter(|g| g.is_finite()),
            saturated: report.get("sampler.saturated").filter(|s| s.is_finite()),
            penalty: report.values.contains_key("loss.reg"),
        });
    }

    /// Size of the energies, update and distance lately.
    fn lately(&self) -> (f64, f64, f64) {
        match self.last.0[..] {
            [size, update, out] => (size, update, out),
            _ => (0.0, 0.0, 0.0),
        }
    }

    /// The least of the first energies, at least 1 nat.
    fn base(&self) -> f64 {
        self.first.0.iter().copied().fold(f64::INFINITY, f64::min).clamp(1.0, f64::MAX)
    }

    fn not_finite(&self, facts: &Facts, evidence: String) -> Finding {
        let found = self.explained(facts, evidence);
        match found.cause {
            Cause::Unknown => {
                Finding { cause: Cause::NotFinite, help: help(Cause::NotFinite).into(), ..found }
            }
            _ => found,
        }
    }

    /// What was found with the cause that the numbers tell.
    fn explained(&self, facts: &Facts, evidence: String) -> Finding {
        let (size, update, out) = self.lately();
        let seen = self.evidence.clone().unwrap_or_default();
        let grown = size > CALM * self.base();
        let (cause, why) = causes::of_growth(facts, &seen, update, out, grown);
        let evidence = if why.is_empty() { evidence } else { format!("{evidence}; {why}") };
        self.finding(Level::Ill, cause, evidence)
    }

    fn finding(&self, level: Level, cause: Cause, evidence: String) -> Finding {
        Finding { level, cause, step: self.step, evidence: capital(&evidence), help: help(cause).into() }
    }
}

/// With a capital at its beginning.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Three digits that matter.
pub(crate) fn short(v: f64) -> String {
    match v.abs() {
        0.0 => "0".into(),
        a if (1e-3..1e5).contains(&a) => {
            format!("{v:.*}", (2 - a.log10().floor() as i32).clamp(0, 5) as usize)
        }
        _ => format!("{v:.1e}"),
    }
}
