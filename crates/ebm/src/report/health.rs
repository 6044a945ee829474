//! The health of a run in a sentence, from its numbers.
//!
//! The rules are rules of thumb with round thresholds, each said in the remark it makes; they look at the last tenth
//! of the steps, so a run that has recovered is well.

use ebm_eval::{growth, trend};
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

/// Distance of the mean energies of data and samples, in deviations of a difference of one of each, at which the higher
/// energy is that of the farther set with a probability of 0.95 and of 0.99 (normal energies).
const APART: (f64, f64) = (1.645, 2.326);

/// Growth of the energies from early to late that is told, and an energy that f32 can no longer resolve to a thousandth.
const GROWN: f64 = 100.0;
const HUGE: f64 = 1e5;

impl Health {
    /// Of a run with these numbers that `ended` in such a way (`diverged` with its reason).
    pub fn of(series: &Series, skipped: u64, diverged: Option<&str>) -> Self {
        let mut found: Vec<(Level, String)> = Vec::new();
        if let Some(why) = diverged {
            found.push((Level::Ill, format!("The run diverged: {why}.")));
        }
        found.extend(energies(series));
        found.extend(scale(series));
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
    // Of a difference of one datum and one sample.
    let sd = spread("energy.data.sd").hypot(spread("energy.samples.sd"));
    let (watch, ill) = (APART.0 * sd, APART.1 * sd);
    if sd > 0.0 && difference < -watch {
        let (level, share) = if difference < -ill { (Level::Ill, 0.99) } else { (Level::Watch, 0.95) };
        return Some((
            level,
            format!(
                "The energies have parted: data lie {:.3} below samples, which have the higher energy in over {share} of all pairs; the chains no longer reach what the energy calls likely (more or longer sampler steps, the KL term, a lower learning rate).",
                -difference
            ),
        ));
    }
    (sd > 0.0 && difference > watch).then(|| {
        (
            Level::Watch,
            format!("Samples have lower energies than data, by {difference:.3}, in over 0.95 of all pairs: the sampler finds states that training has not raised yet."),
        )
    })
}

/// Energies that are all alike say nothing, and ones that grow without end leave the numbers they are stored in.
fn scale(series: &Series) -> Vec<(Level, String)> {
    let mut found = Vec::new();
    if let (Some(0.0), Some(0.0)) =
        (series.late("energy.data.sd", LATE), series.late("energy.samples.sd", LATE))
    {
        found.push((
            Level::Ill,
            "The energy is the same for all data and all samples: it says nothing (weights that are 0, dead units?).".to_string(),
        ));
    }
    let Some(late) = series.late("energy.data", LATE).map(f64::abs) else { return found };
    let spread = series.late("energy.data.sd", LATE).unwrap_or(0.0);
    if spread > 0.0 && late > HUGE * spread.max(1.0) && late > HUGE {
        // Steps of f32 are 1/16,777,216 of a number.
        let level = if late / 16_777_216.0 > 1e-3 * spread { Level::Ill } else { Level::Watch };
        found.push((
            level,
            format!("The energies of data are about {late:.1e}, with a spread of {spread:.1e}: single precision hardly tells them apart (an energy without bound; add a penalty on its size)."),
        ));
    }
    let (steps, values): (Vec<f64>, Vec<f64>) =
        series.points("energy.data").map(|(step, v)| (step as f64, v)).unzip();
    if values.len() < FEWEST {
        return found;
    }
    if let (Ok(times), Ok(slope)) = (growth(&values), trend(&steps, &values, 0.99))
        && times > GROWN
        && slope.is_certain()
        && slope.change.abs() > 2.0 * slope.noise
        && late > GROWN
    {
        let level = if late > 1e6 { Level::Ill } else { Level::Watch };
        found.push((
            level,
            format!("The energies of data have grown {times:.0}-fold since early in the run, to {late:.1e}, and still grow."),
        ));
    }
    found
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
    fn overlap_is_judged_by_both_spreads() {
        let level = |difference: fn(f64) -> f64| {
            let sds: [Column; 2] = [("energy.data.sd", |_| 0.3), ("energy.samples.sd", |_| 0.4)];
            Health::of(&series(&[("energy.difference", difference), sds[0], sds[1]]), 0, None).level
        };
        // A difference of one of each has the deviation 0.5.
        assert_eq!(level(|_| -0.7), Level::Well);
        assert_eq!(level(|_| -0.9), Level::Watch);
        assert_eq!(level(|_| -1.3), Level::Ill);
        assert_eq!(level(|_| 1.3), Level::Watch);
    }

    #[test]
    fn constant_and_endless_energies_are_not_well() {
        let zero: Column = ("energy.difference", |_| 0.0);
        let flat: [Column; 3] = [zero, ("energy.data.sd", |_| 0.0), ("energy.samples.sd", |_| 0.0)];
        let constant = Health::of(&series(&flat), 0, None);
        assert!(constant.level == Level::Ill && constant.sentence.contains("same for all"), "{constant:?}");
        let sds: [Column; 2] = [("energy.data.sd", |_| 1.0), ("energy.samples.sd", |_| 1.0)];
        let huge = Health::of(&series(&[zero, sds[0], sds[1], ("energy.data", |_| -1e17)]), 0, None);
        assert!(huge.level == Level::Ill && huge.sentence.contains("1.0e17"), "{huge:?}");
        let grows =
            Health::of(&series(&[zero, sds[0], sds[1], ("energy.data", |t| (0.1 * t).exp())]), 0, None);
        assert!(grows.level == Level::Watch && grows.sentence.contains("-fold"), "{grows:?}");
        let settles =
            Health::of(&series(&[zero, sds[0], sds[1], ("energy.data", |t| 5.0 - 5.0 / t)]), 0, None);
        assert_eq!(settles.level, Level::Well, "{settles:?}");
    }

    #[test]
    fn nothing_is_no_health() {
        assert_eq!(Health::of(&Series::default(), 0, None).level, Level::Watch);
    }
}
