//! Whether samples have the energies of data: the overlap of both, within groups.

use serde::Serialize;

use crate::detection::auroc_interval::{AurocParts, model_variance};
use crate::error::{Result, at_least};
use crate::numeric::bootstrap::Interval;

/// Energies of data and of samples under one energy, such as those of one step of a run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct EnergyGroup<'a> {
    /// Energies of data, in nats.
    pub data: &'a [f64],
    /// Energies of samples.
    pub samples: &'a [f64],
}

/// The probability that a sample has a higher energy than a datum of its group, ties counting half: 1/2 where both are
/// alike, near 1 where the chains no longer reach what the energy calls likely, near 0 where they find states that are
/// lower than any data.
///
/// Groups are compared each within itself and averaged with the weights n m/(n + m) (van Elteren 1960), because an energy
/// moves as a whole from step to step: energies pooled over steps overlap however far apart both sets are at each. The
/// interval is that of [`auroc_interval`](crate::auroc_interval), of the average of independent groups.
///
/// # Errors
/// If there is no group, a group has fewer than two energies of either kind, an energy is NaN, or `level` is outside
/// (0, 1).
///
/// ```
/// use ebm_eval::{EnergyGroup, energy_overlap};
/// let (data, samples) = ([0.1, 0.2, 0.3, 0.4], [0.15, 0.25, 0.35, 0.38]);
/// // The same offset on both sides changes nothing.
/// let later = ([9.1, 9.2, 9.3, 9.4], [9.15, 9.25, 9.35, 9.38]);
/// let groups = [EnergyGroup { data: &data, samples: &samples }, EnergyGroup { data: &later.0, samples: &later.1 }];
/// let overlap = energy_overlap(&groups, 0.95)?;
/// assert!(overlap.low < 0.5 && 0.5 < overlap.high);
/// # Ok::<(), ebm_eval::EvalError>(())
/// ```
pub fn energy_overlap(groups: &[EnergyGroup<'_>], level: f64) -> Result<Interval> {
    at_least("groups of energies", groups.len(), 1)?;
    let all: Vec<AurocParts> =
        groups.iter().map(|g| AurocParts::new(g.samples, g.data)).collect::<Result<_>>()?;
    let weight = |p: &AurocParts| {
        let (n, m) = (p.sizes.0 as f64, p.sizes.1 as f64);
        n * m / (n + m)
    };
    let total: f64 = all.iter().map(weight).sum();
    let model = |theta: f64| -> f64 {
        all.iter().map(|p| (weight(p) / total).powi(2) * model_variance(p.sizes, theta)).sum()
    };
    let auroc = all.iter().map(|p| weight(p) / total * p.auroc).sum();
    let pooled = AurocParts {
        auroc,
        variance: all.iter().map(|p| (weight(p) / total).powi(2) * p.variance).sum(),
        model: model(auroc),
        misplaced: all.iter().map(|p| p.misplaced).sum(),
        sizes: (0, 0),
    };
    pooled.solve(model, level)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::assert_close;
    use crate::{SplitMix, auroc_interval};

    fn normal(r: &mut SplitMix, n: usize, mean: f64) -> Vec<f64> {
        (0..n).map(|_| mean + r.normal()).collect()
    }

    #[test]
    fn one_group_is_the_plain_area() {
        let mut r = SplitMix::new(1);
        let (data, samples) = (normal(&mut r, 40, 0.0), normal(&mut r, 30, 1.0));
        let found = energy_overlap(&[EnergyGroup { data: &data, samples: &samples }], 0.9).unwrap();
        let wanted = auroc_interval(&samples, &data, 0.9).unwrap();
        for (f, w) in [
            (found.value, wanted.value),
            (found.low, wanted.low),
            (found.high, wanted.high),
            (found.se, wanted.se),
        ] {
            assert_close(f, w, 1e-12);
        }
    }

    #[test]
    fn drift_does_not_hide_that_both_have_parted() {
        let mut r = SplitMix::new(2);
        // The energy falls by 10 from group to group; samples lie 3 above the data in each.
        let sets: Vec<(Vec<f64>, Vec<f64>)> = (0..20)
            .map(|i| -10.0 * f64::from(i))
            .map(|at| (normal(&mut r, 16, at), normal(&mut r, 16, at + 3.0)))
            .collect();
        let groups: Vec<EnergyGroup<'_>> =
            sets.iter().map(|(data, samples)| EnergyGroup { data, samples }).collect();
        let parted = energy_overlap(&groups, 0.95).unwrap();
        // Φ(3/√2) = 0.983.
        assert!((parted.value - 0.983).abs() < 0.02 && parted.low > 0.95, "{parted:?}");
        let (data, samples): (Vec<Vec<f64>>, Vec<Vec<f64>>) = sets.into_iter().unzip();
        assert!(auroc_interval(&samples.concat(), &data.concat(), 0.95).unwrap().value < 0.55);
    }

    #[test]
    fn intervals_of_many_small_groups_reach_their_level() {
        let mut r = SplitMix::new(3);
        let held = (0..500).filter(|_| {
            let sets: Vec<(Vec<f64>, Vec<f64>)> =
                (0..10).map(|_| (normal(&mut r, 8, 0.0), normal(&mut r, 8, 0.0))).collect();
            let groups: Vec<EnergyGroup<'_>> =
                sets.iter().map(|(data, samples)| EnergyGroup { data, samples }).collect();
            let i = energy_overlap(&groups, 0.95).unwrap();
            (i.low..=i.high).contains(&0.5)
        });
        // A standard error of 1 %.
        let held = held.count() as f64 / 500.0;
        assert!((0.91..=0.99).contains(&held), "{held}");
    }

    #[test]
    fn groups_are_checked() {
        assert!(energy_overlap(&[], 0.95).is_err());
        let one = EnergyGroup { data: &[1.0], samples: &[1.0, 2.0] };
        assert!(energy_overlap(&[one], 0.95).is_err());
    }
}
