//! The parameter update: clipped Adam step from zero moments, and the weight average.

use ebm_core::Result;
use ebm_core::candle::DType;

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

impl Iteration<'_> {
    /// The clipped Adam step and the average from golden gradients, where the file holds all of them.
    pub(super) fn update_from_golden(&self, report: &mut Report) -> Result<()> {
        let mut total = self.golden.group("g.total")?;
        if total.is_empty() {
            let parts =
                [self.golden.group("g.cdreg")?, self.golden.group("g.kl")?, self.golden.group("g.ent")?];
            if parts[0].is_empty() {
                return Ok(());
            }
            total = sum(&sum(&parts[0], &parts[1], 1.0)?, &parts[2], 1.0)?;
        }
        let found = relative(norm(&total)?, self.golden.scalar("grad_norm")?);
        report.add("norm of the golden total gradient", found, 1e-5);
        let gap = self.update_gap(&self.updated(&total)?, true)?;
        report.add_with("Adam and average from golden gradients", gap.worst, 1e-3, 1e-3);
        Ok(())
    }

    pub(super) fn update_from_own(&self, report: &mut Report, total: &Tensors) -> Result<()> {
        let after = self.updated(total)?;
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

    /// One clipped Adam step from zero moments on the file's weights.
    fn updated(&self, total: &Tensors) -> Result<Tensors> {
        let (rate, beta) = (self.golden.number("lr")?, self.golden.number("beta2")?);
        let epsilon = self.golden.number("adam_eps")?;
        let clip = (self.golden.number("clip")? / (norm(total)? + 1e-6)).min(1.0);
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
    fn update_gap(&self, after: &Tensors, live: bool) -> Result<UpdateGap> {
        let zero = self.golden.names("zero_gradient")?;
        let rate = self.golden.number("lr")?;
        let mean = self.golden.number("ema_mu")?;
        let before = self.golden.group("w")?;
        let mut gap = UpdateGap::default();
        for (group, is_mean) in [("after", false), ("ema", true)] {
            for (name, want) in self.golden.group(group)? {
                let (Some(a), Some(w)) = (after.get(&name), before.get(&name)) else { continue };
                if zero.contains(&name) == live {
                    continue;
                }
                let found =
                    if is_mean { (w.affine(mean, 0.0)? + a.affine(1.0 - mean, 0.0)?)? } else { a.clone() };
                self.golden.shaped(&format!("{group}.{name}"), &want, found.dims())?;
                // What storing the wanted value in f32 costs is no deviation.
                let stored = want.abs()?.affine(STORED, 0.0)?;
                let gaps = (((found - want)?.abs()? - stored)?.relu()? / rate)?;
                let gaps = gaps.flatten_all()?.to_vec1::<f64>()?;
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
