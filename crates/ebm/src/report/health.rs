//! The health of a run in a sentence, from its numbers.
//!
//! The rules are rules of thumb with round thresholds, each said in the remark it makes; they look at the last tenth
//! of the steps, so a run that has recovered is well.

use serde::Serialize;

use crate::report::series::Series;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing to say against it.
    Well,
    /// Worth a look.
    Watch,
    /// Something went wrong.
    Ill,
}

/// What is to be said about a run.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// The worst of all.
    pub level: Level,
    /// The worst in a sentence.
    pub sentence: String,
    /// Everything else, worst first.
    pub remarks: Vec<String>,
}

/// Share of the steps, from the end, that is looked at.
const LATE: f64 = 0.1;

/// Steps with finite energies that a judgement needs.
const FEWEST: usize = 20;

impl Health {
    /// Of a run with these numbers that `ended` in such a way (`diverged` with its reason).
    pub fn of(series: &Series, skipped: u64, diverged: Option<&str>) -> Self {
        let mut found: Vec<(Level, String)> = Vec::new();
        if let Some(why) = diverged {
            found.push((Level::Ill, format!("The run diverged: {why}.")));
        }
        found.extend(energies(series));
        found.extend(gradient(series));
        found.extend(sampler(series));
        if skipped > 0 {
            let sentence = format!(
                "{skipped} batches were left out because a number was not finite (learning rate or step size too large?)."
            );
            found.push((Level::Watch, sentence));
        }
        if series.points("energy.difference").count() < FEWEST {
            let sentence =
                format!("There are too few numbers to judge it by: energies of fewer than {FEWEST} steps.");
            found.push((Level::Watch, sentence));
        }
        found.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
        let mut found = found.into_iter();
        let well =
            "The run is well: energies of data and samples are together and the gradient does not grow.";
        let (level, sentence) = found.next().unwrap_or((Level::Well, well.into()));
        Health { level, sentence, remarks: found.map(|(_, s)| s).collect() }
    }
}

/// Contrastive divergence is at rest where data and samples have equal energies.
fn energies(series: &Series) -> Option<(Level, String)> {
    let difference = series.late("energy.difference", LATE)?;
    let spread = |name| series.late(name, LATE).unwrap_or(0.0);
    let sd = spread("energy.data.sd").max(spread("energy.samples.sd"));
    if sd > 0.0 && difference < -3.0 * sd {
        return Some((
            Level::Ill,
            format!(
                "The energies have parted: data lie {:.3} below samples, over 3 standard deviations ({sd:.3}); the chains no longer reach what the energy calls likely (more or longer sampler steps, the KL term, a lower learning rate).",
                -difference
            ),
        ));
    }
    (sd > 0.0 && difference > 3.0 * sd).then(|| {
        (
            Level::Watch,
            format!("Samples have lower energies than data, by {difference:.3}, over 3 standard deviations ({sd:.3}): the sampler finds states that training has not raised yet."),
        )
    })
}

/// A gradient that keeps growing ends in a blow-up.
fn gradient(series: &Series) -> Option<(Level, String)> {
    let late = series.late("grad", LATE)?;
    let last = *series.steps.last()? as f64;
    let early = crate::median::median(
        series.points("grad").filter(|(step, _)| (0.1..0.3).contains(&(*step as f64 / last))).map(|(_, v)| v),
    )?;
    (early > 0.0 && late > 10.0 * early).then(|| {
        (
            Level::Watch,
            format!("The gradient's norm is {:.0} times what it was early in the run ({late:.3} against {early:.3}): a blow-up may be near.", late / early),
        )
    })
}

/// Chains that stick, or moves that are never accepted, do not sample.
fn sampler(series: &Series) -> Vec<(Level, String)> {
    let mut found = Vec::new();
    if let Some(share) = series.late("sampler.saturated", LATE).filter(|s| *s > 0.9) {
        let percent = 100.0 * share;
        found.push((
            Level::Watch,
            format!("{percent:.0} % of the samples' values lie at the bounds of the clamp: the step size may be too large."),
        ));
    }
    for name in series.values.keys().filter(|n| n.starts_with("sampler.") && n.contains("accept")) {
        if let Some(rate) = series.late(name, LATE).filter(|r| *r < 0.05) {
            let percent = 100.0 * rate;
            found.push((
                Level::Watch,
                format!(
                    "Only {percent:.1} % of the proposals are accepted ({name}): the step size is too large."
                ),
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    type Column = (&'static str, fn(f64) -> f64);

    fn series(columns: &[Column]) -> Series {
        let mut s = Series { steps: (1..=100).collect(), ..Series::default() };
        for (name, f) in columns {
            s.values.insert((*name).into(), s.steps.iter().map(|t| f(*t as f64)).collect());
        }
        s
    }

    #[test]
    fn energies_that_part_are_ill_and_those_together_well() {
        let sd = ("energy.data.sd", (|_| 0.01) as fn(f64) -> f64);
        let parted = Health::of(&series(&[("energy.difference", |t| -t / 100.0), sd]), 0, None);
        assert_eq!(parted.level, Level::Ill);
        assert!(parted.sentence.contains("parted"), "{}", parted.sentence);
        let together = Health::of(
            &series(&[("energy.difference", |t| if t < 50.0 { -1.0 } else { 0.001 }), sd]),
            0,
            None,
        );
        assert_eq!(together.level, Level::Well);
        let below = Health::of(&series(&[("energy.difference", |_| 1.0), sd]), 0, None);
        assert_eq!(below.level, Level::Watch);
    }

    #[test]
    fn the_worst_comes_first_and_the_rest_follows() {
        let s =
            series(&[("grad", |t| t * t), ("sampler.accepted", |_| 0.01), ("sampler.saturated", |_| 0.99)]);
        let health = Health::of(&s, 2, Some("|energy.data| is 12, above 10"));
        assert_eq!(health.level, Level::Ill);
        assert!(health.sentence.contains("above 10"), "{}", health.sentence);
        let all = health.remarks.join("\n");
        for word in ["gradient's norm", "accepted", "clamp", "2 batches"] {
            assert!(all.contains(word), "{word}: {all}");
        }
    }

    #[test]
    fn nothing_is_no_health() {
        assert_eq!(Health::of(&Series::default(), 0, None).level, Level::Watch);
    }
}
