//! Where a run begins, and which lines of its files should be there then.

/// A run that goes on after `step` of `of`, with an entry after every so manyth step and after the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub step: u64,
    pub of: u64,
    pub every: u64,
}

impl Course {
    /// Whether the last entry, of step `last` after one of step `earlier`, is there because the run was interrupted after
    /// it: a run that was not has none between two that are due.
    pub fn cut_by_interruption(self, last: u64, earlier: u64) -> bool {
        let due = last - last % self.every.max(1);
        last == self.step && last != self.of && last != due && earlier <= due
    }

    /// What to say if entries are missing at the end of `name`, whose last two are of the steps `earlier` and `last`.
    ///
    /// Entries may have been rarer in an earlier part of the run, so the distance of the last two counts, too.
    pub fn gap(self, name: &str, last: u64, earlier: u64) -> Option<String> {
        let every = self.every.max(1);
        let spacing = if earlier == 0 { every } else { every.max(last - earlier.min(last)) };
        if self.step - last.min(self.step) < spacing {
            return None;
        }
        let ends = if last == 0 { "holds no step".into() } else { format!("ends at step {last}") };
        Some(format!(
            "{name}: {ends}, and the run goes on after step {}; what was told in between is not in it",
            self.step
        ))
    }
}
