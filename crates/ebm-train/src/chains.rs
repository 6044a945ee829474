//! The buffers of earlier chains: one for each shard.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{Key, ReplayBuffer, ReplayConfig, Result};
use ebm_model::Setup;
use ebm_model::checkpoint::{entries_of, name_in};

use crate::labels::Rows;

/// The buffers of the shards that are on this rank.
///
/// A run has as many buffers as shards, and each shard draws from and writes to its own alone. That makes what a
/// buffer holds the same on any number of ranks.
pub struct Replay {
    /// Shard and buffer, in order.
    pub(crate) shards: Vec<(usize, Box<dyn ReplayBuffer>)>,
    /// Shards of the run.
    pub(crate) of: usize,
}

impl Replay {
    /// Empty buffers for these of `of` shards, whose rows are `rows`.
    ///
    /// # Errors
    /// If one cannot be built.
    pub(crate) fn empty(
        config: &dyn ReplayConfig,
        setup: &Setup<'_>,
        rows: &Rows,
        shards: impl Iterator<Item = usize>,
        of: usize,
    ) -> Result<Self> {
        let key = setup.key().at("replay");
        let build = |shard: usize| -> Result<(usize, Box<dyn ReplayBuffer>)> {
            let key = if of == 1 { key } else { key.at("shard").at(shard) };
            let mut cx = setup.context_of("replay", &rows.shape(), key).with_shards(of);
            Ok((shard, config.build(&mut cx)?))
        };
        Ok(Replay { shards: shards.map(build).collect::<Result<_>>()?, of })
    }

    pub(crate) fn shard(&self, shard: usize) -> Option<&dyn ReplayBuffer> {
        self.shards.iter().find(|(s, _)| *s == shard).map(|(_, b)| b.as_ref())
    }

    pub(crate) fn shard_mut(&mut self, shard: usize) -> Option<&mut Box<dyn ReplayBuffer>> {
        self.shards.iter_mut().find(|(s, _)| *s == shard).map(|(_, b)| b)
    }

    /// Number of chains held in the whole run: shards are fed alike.
    pub fn len(&self) -> usize {
        self.shards.first().map_or(0, |(_, b)| b.len() * self.of)
    }

    /// Whether none are held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the samples of all full buffers of the run, if they have a capacity.
    pub fn full_bytes(&self) -> Option<usize> {
        Some(self.shards.first()?.1.full_bytes()?.saturating_mul(self.of))
    }

    /// `n` chains for a look at them, as even as possible from the buffers here; `None` while fewer are held.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn look(&self, n: usize, key: Key) -> Result<Option<Tensor>> {
        let (mut parts, count) = (Vec::new(), self.shards.len());
        for (i, (shard, buffer)) in self.shards.iter().enumerate() {
            let own = n * (i + 1) / count - n * i / count;
            let key = if self.of == 1 { key } else { key.at("shard").at(*shard) };
            match buffer.draw(own, key)? {
                Some((_, x)) => parts.push(x),
                None if own == 0 && n > 0 => {}
                None => return Ok(None),
            }
        }
        Ok(match &parts[..] {
            [] => None,
            [one] => Some(one.clone()),
            many => Some(Tensor::cat(many, 0)?),
        })
    }

    /// What the buffers here give to `n` chains of the whole run, by shard; `None` while one holds fewer than its part.
    ///
    /// # Errors
    /// If an operation fails.
    pub(crate) fn parts(&self, n: usize, key: Key) -> Result<Option<BTreeMap<String, Tensor>>> {
        let mut parts = BTreeMap::new();
        for (shard, buffer) in &self.shards {
            let own = self.part_of(n, *shard);
            let key = if self.of == 1 { key } else { key.at("shard").at(*shard) };
            match buffer.draw(own, key)? {
                Some((_, x)) => drop(parts.insert(shard.to_string(), x)),
                None if own == 0 && n > 0 => {}
                None => return Ok(None),
            }
        }
        Ok(Some(parts))
    }

    /// The parts of all shards as one tensor, in the order of the shards; `None` if one that has a part gave none.
    ///
    /// # Errors
    /// If they do not go together.
    pub(crate) fn together(&self, n: usize, parts: &BTreeMap<String, Tensor>) -> Result<Option<Tensor>> {
        let mut all = Vec::new();
        for shard in 0..self.of {
            match parts.get(&shard.to_string()) {
                Some(x) => all.push(x),
                None if self.part_of(n, shard) == 0 => {}
                None => return Ok(None),
            }
        }
        if all.is_empty() { Ok(None) } else { Ok(Some(Tensor::cat(&all, 0)?)) }
    }

    fn part_of(&self, n: usize, shard: usize) -> usize {
        n * (shard + 1) / self.of - n * shard / self.of
    }

    /// Everything that the buffers here hold, by names that are the same on any rank.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn save(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut all = BTreeMap::new();
        for (shard, buffer) in &self.shards {
            all.extend(buffer.save()?.into_iter().map(|(k, v)| (name_in(*shard, self.of, &k), v)));
        }
        Ok(all)
    }

    /// Replaces everything that the buffers here hold by what [`Replay::save`] gave on any number of ranks.
    ///
    /// # Errors
    /// If the tensors are not of such buffers.
    pub fn load(&mut self, all: &BTreeMap<String, Tensor>) -> Result<()> {
        self.shards.iter_mut().try_for_each(|(shard, b)| b.load(&entries_of(*shard, self.of, all)))
    }
}
