//! Settings that change over the run.

use ebm_core::Settings;

/// A number of the configuration that changes over the training steps.
#[derive(Clone, Debug, PartialEq, Settings)]
pub struct ScheduledSetting {
    /// Dotted path of a number below `sampler`, `objective` or `optimiser`, such as `sampler.steps`.
    pub setting: String,
    /// Value up to step `begin`; absent: the one that the setting has. Whole numbers stay whole.
    pub from: Option<f64>,
    /// Value from step `end` on.
    pub to: f64,
    /// Step from which it changes, from 0.
    #[setting(default = 0, unit = "updates")]
    pub begin: u64,
    /// Step from which it has changed; absent: where schedules of the run end.
    pub end: Option<u64>,
    /// How it goes from one to the other.
    #[setting(default = Course::Linear)]
    pub course: Course,
    /// Steps from one value to the next: at each the parts that the setting belongs to are made anew.
    #[setting(default = 100, at_least = 1, unit = "updates")]
    pub every: u64,
}

/// How a setting goes from a value to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Course {
    /// On a straight line.
    Linear,
    /// On half a cosine.
    Cosine,
    /// By equal factors; both values have one sign.
    Geometric,
}

impl ScheduledSetting {
    fn end(&self, of: u64) -> u64 {
        self.end.unwrap_or(of).max(self.begin)
    }

    /// How many of its steps are counted at `step` of `of`: the value changes when this does.
    pub(crate) fn place(&self, step: u64, of: u64) -> u64 {
        let length = self.end(of) - self.begin;
        match step.saturating_sub(self.begin) {
            // A change at once has no steps to count, only before and after.
            _ if length == 0 => u64::from(step >= self.begin),
            all if all >= length => length,
            some => some - some % self.every,
        }
    }

    /// The value at `step` of `of` of a setting that stands as `written`.
    pub(crate) fn value(&self, written: f64, step: u64, of: u64) -> f64 {
        let (from, length) = (self.from.unwrap_or(written), self.end(of) - self.begin);
        if length == 0 {
            return if step >= self.begin { self.to } else { from };
        }
        let t = self.place(step, of) as f64 / length as f64;
        match self.course {
            Course::Linear => from + (self.to - from) * t,
            Course::Cosine => self.to + (from - self.to) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos()),
            Course::Geometric => from * (self.to / from).powf(t),
        }
    }

    /// What may not be meant by it in a run of `steps` updates whose schedules go over `of`: its setting at fault, and why.
    pub(crate) fn remark(&self, steps: u64, of: u64) -> Option<(&'static str, String)> {
        let Self { setting, begin, every, .. } = self;
        if let Some(end) = self.end.filter(|end| end < begin) {
            return Some((
                "end",
                format!("is {end}, before begin = {begin}: `{setting}` changes at once, at step {begin}"),
            ));
        }
        let last = steps.checked_sub(1)?;
        (self.place(last, of) == 0).then(|| {
            let (at, found) = if last < *begin { ("begin", begin) } else { ("every", every) };
            (at, format!("is {found}, so `{setting}` never changes in a run of {steps} updates"))
        })
    }

    /// Why it cannot go from the one to the other, in words.
    pub(crate) fn misfit(&self, written: f64) -> Option<String> {
        let from = self.from.unwrap_or(written);
        if !(from.is_finite() && self.to.is_finite()) {
            return Some(format!("goes from {from} to {}, must be finite", self.to));
        }
        (self.course == Course::Geometric && from * self.to <= 0.0).then(|| {
            format!(
                "goes from {from} to {} by equal factors, which have one sign; use another course",
                self.to
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rising(course: Course) -> ScheduledSetting {
        ScheduledSetting {
            setting: "sampler.steps".into(),
            from: Some(10.0),
            to: 40.0,
            begin: 100,
            end: Some(300),
            course,
            every: 50,
        }
    }

    #[test]
    fn values_stand_between_changes_and_end_where_they_are_to() {
        let s = rising(Course::Linear);
        let found: Vec<f64> =
            [0, 99, 149, 150, 199, 200, 299, 300, 9000].map(|k| s.value(7.0, k, 5000)).to_vec();
        assert_eq!(found, [10.0, 10.0, 10.0, 17.5, 17.5, 25.0, 32.5, 40.0, 40.0]);
        let geometric = rising(Course::Geometric).value(7.0, 200, 5000);
        assert!((geometric - 20.0).abs() < 1e-12, "{geometric}");
        assert!((rising(Course::Cosine).value(7.0, 200, 5000) - 25.0).abs() < 1e-12);
    }

    #[test]
    fn without_ends_it_goes_from_what_is_written_over_the_run() {
        let s = ScheduledSetting { from: None, begin: 0, end: None, ..rising(Course::Linear) };
        assert_eq!([0, 50, 100].map(|k| s.value(7.0, k, 100)), [7.0, 23.5, 40.0]);
        // A change at once.
        let s = ScheduledSetting { end: Some(100), ..rising(Course::Linear) };
        assert_eq!([99, 100].map(|k| s.value(7.0, k, 5000)), [10.0, 40.0]);
        assert_ne!(s.place(99, 5000), s.place(100, 5000));
    }

    #[test]
    fn what_changes_nothing_or_ends_before_it_begins_is_remarked_upon() {
        let s = rising(Course::Linear);
        let remark = |s: &ScheduledSetting, steps| s.remark(steps, steps).unzip();
        assert_eq!(remark(&s, 151), (None, None));
        let (at, text) = remark(&s, 150);
        assert_eq!(at, Some("every"));
        assert!(
            text.is_some_and(|t| t.contains("is 50") && t.contains("never changes in a run of 150 updates"))
        );
        assert_eq!(remark(&s, 100).0, Some("begin"));
        let at_once = |end| ScheduledSetting { end: Some(end), ..rising(Course::Linear) };
        assert_eq!(remark(&at_once(100), 101), (None, None));
        assert_eq!(remark(&at_once(100), 100).0, Some("begin"));
        let (at, text) = remark(&at_once(30), 5000);
        assert_eq!(at, Some("end"));
        assert!(text.is_some_and(|t| t.contains("is 30, before begin = 100") && t.contains("at step 100")));
    }

    #[test]
    fn equal_factors_do_not_go_through_zero() {
        let s = ScheduledSetting { from: Some(0.0), ..rising(Course::Geometric) };
        assert!(s.misfit(1.0).is_some_and(|text| text.contains("one sign")));
        assert!(rising(Course::Geometric).misfit(1.0).is_none());
    }
}
