//! What a rank has of a step: shards of the batch of its own, or rows of one that it shares.

use std::ops::Range;

use ebm_core::{Error, Result};

/// Rows of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Which shard of the run.
    pub shard: usize,
    /// Which of its rows are here.
    pub rows: Range<usize>,
    /// Rows of the whole shard.
    pub of: usize,
}

impl Share {
    /// Whether all rows of the shard are here.
    pub fn is_whole(&self) -> bool {
        self.rows.len() == self.of
    }
}

/// How the batch of a run lies on its ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Shards of the run, on whatever rank.
    pub shards: usize,
    /// Ranks that share each shard; 1 if no shard is shared.
    pub sharers: usize,
    /// What is here, in order.
    pub mine: Vec<Share>,
}

impl Layout {
    /// The layout of `batch` rows in `shards` shards on rank `rank` of `size`.
    ///
    /// # Errors
    /// If shards do not divide the batch, or neither of ranks and shards divides the other.
    pub fn new(batch: usize, shards: usize, rank: usize, size: usize) -> Result<Self> {
        if shards == 0 || !batch.is_multiple_of(shards) {
            let message = format!("is {shards}, which does not divide run.batch = {batch}");
            return Err(Error::config("run.shards", message));
        }
        let of = batch / shards;
        let whole = |shard| Share { shard, rows: 0..of, of };
        if shards.is_multiple_of(size) {
            let own = shards / size;
            return Ok(Layout {
                shards,
                sharers: 1,
                mine: (rank * own..(rank + 1) * own).map(whole).collect(),
            });
        }
        if !size.is_multiple_of(shards) {
            let message =
                format!("is {shards} on {size} ranks; one of the two must be a multiple of the other");
            return Err(Error::config("run.shards", message));
        }
        let sharers = size / shards;
        if sharers > of {
            let message = format!("is {batch}, which leaves some of {size} ranks without a row; start fewer");
            return Err(Error::config("run.batch", message));
        }
        let (shard, place) = (rank / sharers, rank % sharers);
        let rows = of * place / sharers..of * (place + 1) / sharers;
        Ok(Layout { shards, sharers, mine: vec![Share { shard, rows, of }] })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_row_is_on_one_rank() {
        for (batch, shards) in [(12, 1), (12, 4), (7, 1), (24, 3), (16, 16)] {
            for size in 1..=12 {
                let all: Result<Vec<Layout>> =
                    (0..size).map(|rank| Layout::new(batch, shards, rank, size)).collect();
                let Ok(all) = all else { continue };
                let rows =
                    all.iter().flat_map(|l| &l.mine).flat_map(|s| s.rows.clone().map(|r| s.shard * s.of + r));
                assert_eq!(rows.collect::<Vec<_>>(), (0..batch).collect::<Vec<_>>(), "{shards} on {size}");
            }
        }
    }

    #[test]
    fn what_does_not_divide_is_refused() {
        let text = |batch, shards, size| Layout::new(batch, shards, 0, size).unwrap_err().to_string();
        assert!(text(64, 3, 1).contains("run.shards"));
        assert!(text(64, 4, 6).contains("multiple"));
        assert!(text(4, 1, 8).contains("run.batch"));
    }
}
