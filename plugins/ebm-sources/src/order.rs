//! Which sample stands at which place of an epoch: what all sources share.

use std::sync::{Arc, Mutex, PoisonError};

use ebm_core::{Key, Settings};

/// Which sample stands at `position` of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Order {
    /// A new permutation each epoch.
    #[default]
    Shuffle,
    /// Drawn with replacement.
    Replacement,
}

/// The order of one epoch under one key.
type Permutation = (Key, u64, Arc<Vec<usize>>);

/// Sample indices by batch, a function of (key, epoch, index). The permutation asked for last is kept:
/// drawing it anew for every batch would cost more than reading the batch.
///
/// ```
/// use ebm_core::Key;
/// use ebm_sources::{Order, kit::Sequence};
///
/// let sequence = Sequence::new(Order::Shuffle, 6);
/// let mut epoch = sequence.at(0, 0, 6, Key::root(1));
/// assert_eq!(sequence.at(0, 2, 2, Key::root(1)), epoch[2..4]);
/// epoch.sort();
/// assert_eq!(epoch, [0, 1, 2, 3, 4, 5]);
/// ```
pub struct Sequence {
    order: Order,
    len: usize,
    /// Sizes of the blocks in which samples are read, and how many samples may be at hand; none for all.
    blocks: Option<(Vec<usize>, usize)>,
    kept: Mutex<Option<Permutation>>,
}

impl Sequence {
    /// The order of `len` samples, at least 1.
    pub fn new(order: Order, len: usize) -> Self {
        Sequence { order, len, blocks: None, kept: Mutex::new(None) }
    }

    /// The order of samples that lie in blocks of these sizes, of which at most `window` samples (one block at
    /// least) are at hand at a time: blocks are shuffled, as many as fit are taken together and shuffled through.
    pub fn in_blocks(blocks: Vec<usize>, window: usize) -> Self {
        let len = blocks.iter().sum();
        Sequence { blocks: Some((blocks, window)), ..Sequence::new(Order::Shuffle, len) }
    }

    /// Sample indices of batch `index` of `size` of an epoch.
    #[cfg(test)]
    pub fn rows(&self, epoch: u64, index: usize, size: usize, key: Key) -> Vec<usize> {
        self.at(epoch, index * size, size, key)
    }

    /// Sample indices of `count` places of an epoch from `first`.
    pub fn at(&self, epoch: u64, first: usize, count: usize, key: Key) -> Vec<usize> {
        let positions = first..first + count;
        match self.order {
            Order::Shuffle => {
                let permutation = self.permutation(epoch, key);
                positions.map(|p| permutation[p % permutation.len()]).collect()
            }
            Order::Replacement => {
                let draws = key.at("replacement").at(epoch);
                positions.map(|p| draws.below(p as u64, self.len)).collect()
            }
        }
    }

    fn permutation(&self, epoch: u64, key: Key) -> Arc<Vec<usize>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((k, e, p)) if (*k, *e) == (key, epoch) => p.clone(),
            _ => {
                let draws = key.at("shuffle").at(epoch);
                let p = Arc::new(match &self.blocks {
                    None => draws.permutation(self.len),
                    Some((blocks, window)) => windows(blocks, *window, draws),
                });
                *kept = Some((key, epoch, p.clone()));
                p
            }
        }
    }
}

fn windows(blocks: &[usize], window: usize, draws: Key) -> Vec<usize> {
    let firsts: Vec<usize> = blocks
        .iter()
        .scan(0, |next, n| {
            *next += n;
            Some(*next - n)
        })
        .collect();
    let mut all = Vec::with_capacity(blocks.iter().sum());
    let mut together = Vec::new();
    let mut shuffle_through = |together: &mut Vec<usize>| {
        let order = draws.at("window").at(all.len() as u64).permutation(together.len());
        all.extend(order.into_iter().map(|i| together[i]));
        together.clear();
    };
    for block in draws.at("blocks").permutation(blocks.len()) {
        if !together.is_empty() && together.len() + blocks[block] > window {
            shuffle_through(&mut together);
        }
        together.extend(firsts[block]..firsts[block] + blocks[block]);
    }
    shuffle_through(&mut together);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_in_blocks_shows_everything_once_and_few_blocks_at_a_time() {
        let blocks = vec![7, 5, 6, 7, 1, 7];
        let sequence = Sequence::in_blocks(blocks.clone(), 14);
        let block_of = |row: usize| {
            let mut end = 0;
            blocks.iter().position(|n| {
                end += n;
                row < end
            })
        };
        let (a, b) = (sequence.rows(0, 0, 33, Key::root(1)), sequence.rows(1, 0, 33, Key::root(1)));
        assert_ne!(a, b);
        for rows in [&a, &b] {
            let mut sorted = rows.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..33).collect::<Vec<_>>());
            // Between its first and its last sample a block shares the place with what fits beside it.
            for block in 0..blocks.len() {
                let at: Vec<usize> = (0..33).filter(|i| block_of(rows[*i]) == Some(block)).collect();
                assert!(at[at.len() - 1] - at[0] < 14, "{rows:?}");
            }
        }
        // Samples of a window are mixed, not block after block.
        assert!(a.windows(2).filter(|w| block_of(w[0]) != block_of(w[1])).count() > 6, "{a:?}");
        // A batch is the same however the epoch is cut.
        assert_eq!(sequence.rows(0, 3, 8, Key::root(1)), a[24..32]);
    }
}
