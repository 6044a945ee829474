//! Numbers of a run over its steps in bounded memory: means of blocks that double in length when there are too many.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::numbers::Numbers;

/// Most blocks; an even number.
const MOST: usize = 96;

/// Fewest blocks that are the end of a run.
const FEWEST_LATE: usize = 5;

/// Numbers by name, each as a mean of the finite ones of every block; NaN where a block has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// Reports in a block.
    length: u64,
    /// Reports in the block that is not full.
    filled: u64,
    /// Sum and count of that block.
    open: BTreeMap<String, Numbers>,
    /// Last step of each full block.
    steps: Numbers,
    blocks: BTreeMap<String, Numbers>,
}

impl Default for Trace {
    fn default() -> Self {
        let (open, steps, blocks) = (BTreeMap::new(), Numbers::default(), BTreeMap::new());
        Trace { length: 1, filled: 0, open, steps, blocks }
    }
}

impl Trace {
    /// Takes the numbers of a step.
    pub fn push<'a>(&mut self, step: u64, values: impl Iterator<Item = (&'a str, f64)>) {
        for (name, value) in values.filter(|(_, v)| v.is_finite()) {
            let open = self.open.entry(name.to_string()).or_insert_with(|| Numbers(vec![0.0, 0.0]));
            open.0[0] += value;
            open.0[1] += 1.0;
        }
        self.filled += 1;
        if self.filled == self.length {
            self.close(step);
        }
    }

    fn close(&mut self, step: u64) {
        let before = self.steps.0.len();
        self.steps.0.push(step as f64);
        self.filled = 0;
        for name in self.open.keys() {
            self.blocks.entry(name.clone()).or_insert_with(|| Numbers(vec![f64::NAN; before]));
        }
        for (name, all) in &mut self.blocks {
            let mean = self.open.get(name).map_or(f64::NAN, |open| open.0[0] / open.0[1]);
            all.0.push(mean);
        }
        self.open.clear();
        if self.steps.0.len() == MOST {
            self.length *= 2;
            self.steps.0 = self.steps.0.chunks_exact(2).map(|pair| pair[1]).collect();
            for all in self.blocks.values_mut() {
                all.0 = all.0.chunks_exact(2).map(mean_of_finite).collect();
            }
        }
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.blocks.keys().map(String::as_str)
    }

    /// Number of full blocks.
    pub fn len(&self) -> usize {
        self.steps.0.len()
    }

    /// Steps and numbers called `name` of the blocks that have one.
    pub fn points(&self, name: &str) -> (Vec<f64>, Vec<f64>) {
        let all = self.blocks.get(name).map_or(&[][..], |all| &all.0);
        self.steps.0.iter().zip(all).filter(|(_, v)| v.is_finite()).map(|(s, v)| (*s, *v)).unzip()
    }

    /// Median of the blocks between these shares of their number, if one has the number.
    pub fn between(&self, name: &str, from: f64, to: f64) -> Option<f64> {
        let n = self.len() as f64;
        median(self.blocks.get(name)?.0.get((n * from) as usize..(n * to).ceil() as usize)?)
    }

    /// Median of the last tenth of the blocks, of five at least.
    pub fn late(&self, name: &str) -> Option<f64> {
        let n = self.len();
        median(self.blocks.get(name)?.0.get(n - n.div_ceil(10).max(FEWEST_LATE).min(n)..)?)
    }
}

fn mean_of_finite(values: &[f64]) -> f64 {
    let (sum, n) = values.iter().filter(|v| v.is_finite()).fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
    sum / n
}

/// Median of the finite values.
fn median(values: &[f64]) -> Option<f64> {
    let mut all: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    all.sort_by(f64::total_cmp);
    let n = all.len();
    Some((all.get(n.checked_sub(1)? / 2)? + all.get(n / 2)?) / 2.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_long_run_is_kept_in_few_blocks_of_equal_length() {
        let mut t = Trace::default();
        for step in 1..=1000u64 {
            t.push(step, [("a", step as f64)].into_iter());
        }
        // 96 blocks became 48 of two, and so on: 62 of 16 steps.
        assert_eq!((t.len(), t.length), (62, 16));
        let (steps, values) = t.points("a");
        assert_eq!((steps[0], values[0], steps[61], values[61]), (16.0, 8.5, 992.0, 984.5));
        assert_eq!(t.late("a"), Some(936.5), "the median of the last seven blocks");
    }

    #[test]
    fn names_may_come_late_and_have_gaps() {
        let mut t = Trace::default();
        for step in 1..=10u64 {
            let b = (step > 5 && step % 2 == 0).then_some(("b", f64::NAN)).into_iter();
            t.push(step, [("a", 1.0)].into_iter().chain(b).chain((step == 8).then_some(("c", 3.0))));
        }
        assert_eq!((t.late("a"), t.late("b"), t.late("c")), (Some(1.0), None, Some(3.0)));
        assert_eq!(t.points("c"), (vec![8.0], vec![3.0]));
    }

    #[test]
    fn a_trace_goes_on_after_it_was_written_and_read() {
        let mut whole = Trace::default();
        let mut cut = Trace::default();
        for step in 1..=333u64 {
            let value = [("a", (step as f64 * 0.37).sin())];
            whole.push(step, value.into_iter());
            cut.push(step, value.into_iter());
            if step % 50 == 0 {
                cut = serde_json::from_str(&serde_json::to_string(&cut).unwrap()).unwrap();
            }
        }
        assert_eq!(whole, cut);
    }
}
