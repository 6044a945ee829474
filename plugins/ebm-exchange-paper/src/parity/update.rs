//! The parameter update: clipped Adam step from zero moments, and the weight average.

use ebm_core::Result;
use ebm_core::candle::{DType, Tensor};

use super::compare::{Tensors, norm, relative, sum};
use super::iteration::Iteration;
use super::report::Report;

/// Largest relative error of a number stored in f32: half a unit of its last place.
const STORED: f64 = 5.960_464_477_539_063e-8;

/// Deviations of an update in units of the rate.
#[derive(Default)]
struct UpdateGap {
    worst: f64,
    /// Updated entries off by more than a hundredth, of all of them.
    off: usize,
    entries: usize,
}

/// Parameters after an update: for every entry the smallest and largest value that the gradient's own rounding leaves open.
struct Updated {
    low: Tensors,
    high: Tensors,
}

impl Iteration<'_> {
    /// The clipped Adam step and the average from golden gradients, where the file holds all of them.
    pub(super) fn update_from_golden(&self, report: &mut Report) -> Result<()> {
        let mut parts = vec![self.golden.group("g.total")?];
        if parts[0].is_empty() {
            parts = ["cdreg", "kl", "ent"]
                .into_iter()
                .map(|p| self.golden.group(&format!("g.{p}")))
                .collect::<Result<_>>()?;
            if parts[0].is_empty() {
                return Ok(());
            }
        }
        // Parts that cancel leave a sum of the size of their rounding, of which Adam's first step makes a full one.
        let (mut total, mut rounding) = (Tensors::new(), Tensors::new());
        for part in &parts {
            total = sum(&total, part, 1.0)?;
            let sizes: Tensors =
                part.iter().map(|(n, t)| Ok((n.clone(), t.abs()?))).collect::<Result<_>>()?;
            rounding = sum(&rounding, &sizes, STORED)?;
        }
        let found = relative(norm(&total)?, self.golden.scalar("grad_norm")?);
        report.add("norm of the golden total gradient", found, 1e-5);
        let clip = self.clip(&total)?;
        let after = Updated {
            low: self.updated(&sum(&total, &rounding, 1.0)?, clip)?,
            high: self.updated(&sum(&total, &rounding, -1.0)?, clip)?,
        };
        let gap = self.update_gap(&after, true)?;
        report.add_with("Adam and average from golden gradients", gap.worst, 1e-3, 1e-3);
        Ok(())
    }

    pub(super) fn update_from_own(&self, report: &mut Report, total: &Tensors) -> Result<()> {
        let low = self.updated(total, self.clip(total)?)?;
        let after = Updated { high: low.clone(), low };
        let live = self.update_gap(&after, true)?;
        // Adam's first step is g/(|g| + 1e−8): entries near rounding may be off by up to 2 lr.
        report.add_with("update from own gradients, largest", live.worst, 2.01, 2.01);
        if live.entries > 0 {
            let share = live.off as f64 / live.entries as f64;
            report.add_with("update from own gradients, share off by 1 %", share, 0.01, 1e-3);
            let idle = self.update_gap(&after, false)?;
            report.add_with("update of parameters without gradient", idle.worst, 1.01, 1.01);
        }
        Ok(())
    }

    /// The factor of the gradient that limits its norm.
    fn clip(&self, total: &Tensors) -> Result<f64> {
        Ok((self.golden.number("clip")? / (norm(total)? + 1e-6)).min(1.0))
    }

    /// One Adam step from zero moments on the file's weights, the gradient times `clip`.
    fn updated(&self, total: &Tensors, clip: f64) -> Result<Tensors> {
        let (rate, beta) = (self.golden.number("lr")?, self.golden.number("beta2")?);
        let epsilon = self.golden.number("adam_eps")?;
        let mut after = self.golden.group("w")?;
        for (name, g) in total {
            let Some(w) = after.get(name).filter(|w| w.dims() == g.dims()) else { continue };
            let g = g.to_dtype(DType::F64)?.affine(clip, 0.0)?;
            let second = g.sqr()?.affine(1.0 - beta, 0.0)?;
            let floor = second.sqrt()?.affine((1.0 - beta).sqrt().recip(), epsilon)?;
            let next = (w - (g / floor)?.affine(rate, 0.0)?)?;
            after.insert(name.clone(), next);
        }
        Ok(after)
    }

    /// Deviation of `after` and of the average in units of the rate, over live parameters or over those
    /// without gradient.
    fn update_gap(&self, after: &Updated, live: bool) -> Result<UpdateGap> {
        let zero = self.golden.names("zero_gradient")?;
        let rate = self.golden.number("lr")?;
        let mean = self.golden.number("ema_mu")?;
        let before = self.golden.group("w")?;
        let mut gap = UpdateGap::default();
        for (group, is_mean) in [("after", false), ("ema", true)] {
            for (name, want) in self.golden.group(group)? {
                let (Some(low), Some(high), Some(w)) =
                    (after.low.get(&name), after.high.get(&name), before.get(&name))
                else {
                    continue;
                };
                if zero.contains(&name) == live {
                    continue;
                }
                self.golden.shaped(&format!("{group}.{name}"), &want, w.dims())?;
                let found = |a: &Tensor| -> Result<Tensor> {
                    Ok(match is_mean {
                        true => (w.affine(mean, 0.0)? + a.affine(1.0 - mean, 0.0)?)?,
                        false => a.clone(),
                    })
                };
                let list = |t: &Tensor| -> Result<Vec<f64>> { Ok(t.flatten_all()?.to_vec1()?) };
                let (low, high, want) = (list(&found(low)?)?, list(&found(high)?)?, list(&want)?);
                let gaps: Vec<f64> = (0..want.len())
                    .map(|i| {
                        // Nearest value that the gradient's rounding allows; storing the wanted one costs half a unit.
                        let nearest = want[i].max(low[i]).min(high[i]);
                        let off = (nearest - want[i]).abs() - STORED * want[i].abs();
                        if low[i].is_finite() && want[i].is_finite() { off.max(0.0) / rate } else { f64::NAN }
                    })
                    .collect();
                gap.worst = gaps.iter().fold(gap.worst, |m, g| if g.is_nan() { f64::NAN } else { m.max(*g) });
                if !is_mean {
                    gap.off += gaps.iter().filter(|g| **g > 0.01).count();
                    gap.entries += gaps.len();
                }
            }
        }
        Ok(gap)
    }
}
