//! Rows of a table that are training or held out, and where their samples begin.

use std::path::PathBuf;

use ebm_core::Columns;
use ebm_data::table::Table;

/// Training or held-out rows, the series one behind the other.
pub(crate) struct Part {
    pub table: Table,
    pub file: PathBuf,
    /// Rows of the file before these.
    before: usize,
    /// The row that each had among them before series were put together.
    order: Vec<usize>,
    /// Rows of each series.
    lengths: Vec<usize>,
}

impl Part {
    /// Rows of a file that stand there behind `before` others; column `series` of them says of which series each is.
    pub fn new(table: Table, file: PathBuf, before: usize, series: Option<usize>) -> Self {
        let (order, lengths) = match series {
            Some(column) => table.series(column),
            None => ((0..table.len()).collect(), vec![table.len()]),
        };
        let sorted = order.windows(2).all(|pair| pair[0] < pair[1]);
        let table = if sorted { table } else { table.select(&order) };
        Part { table, file, before, order, lengths }
    }

    /// The row of the file, from 0.
    pub fn row_of_file(&self, row: usize) -> usize {
        self.before + self.order.get(row).copied().unwrap_or(row)
    }

    /// First rows of all samples.
    pub fn starts(&self, columns: &Columns, step: usize) -> Vec<usize> {
        columns.starts(&self.lengths, step)
    }

    /// Series that are too short for a sample, and how many there are.
    pub fn too_short(&self, window: usize) -> (usize, usize) {
        (self.lengths.iter().filter(|n| **n < window).count(), self.lengths.len())
    }

    /// Whether each row is one to learn from, where every so many samples of `window` rows, from `step` to `step`, are held out; 0 for
    /// none. Rows behind a sample belong to it, and those of a series that make none to the next.
    pub fn learns(&self, every: usize, window: usize, step: usize) -> Vec<bool> {
        let mut all = Vec::with_capacity(self.table.len());
        let mut sample = 0usize;
        for length in &self.lengths {
            let whole = length.checked_sub(window).map_or(0, |spare| spare / step + 1);
            all.extend((0..*length).map(|row| {
                let at = sample + (row / step).min(whole);
                every == 0 || !at.is_multiple_of(every)
            }));
            sample += whole;
        }
        all
    }
}
