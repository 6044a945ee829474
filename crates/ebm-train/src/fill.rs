//! Buffers at the start of a run.

use ebm_core::{Chains, ReplayBuffer, Result};
use ebm_model::Setup;

use crate::chains::Replay;
use crate::config::Fill;
use crate::plan::Plan;
use crate::shares::Share;

/// Batches after which filling a buffer that never gets full stops.
const FILL_LIMIT: usize = 100_000;

impl Plan {
    /// An empty buffer for each shard that is here, if the run has any.
    pub(crate) fn empty_replay(&self) -> Result<Option<Replay>> {
        let Some(config) = &self.config.replay else { return Ok(None) };
        let setup = Setup::new(&self.config.run, &self.facts, &self.places, &self.device);
        let mine = self.layout.mine.iter().map(|share| share.shard);
        Replay::empty(config.as_ref(), &setup, &self.rows(), mine, self.layout.shards).map(Some)
    }

    /// Buffers filled as `chains.fill` says.
    pub(crate) fn new_replay(&self) -> Result<Option<Replay>> {
        let Some(mut replay) = self.empty_replay()? else { return Ok(None) };
        for share in &self.layout.mine {
            if let Some(buffer) = replay.shard_mut(share.shard) {
                self.fill(buffer.as_mut(), share)?;
            }
        }
        Ok(Some(replay))
    }

    fn fill(&self, buffer: &mut dyn ReplayBuffer, share: &Share) -> Result<()> {
        let (key, rows) = (self.key.at("fill"), self.rows());
        let batches = self.data.batches(self.config.run.batch);
        for i in 0..FILL_LIMIT {
            let data = || self.shard_at((i / batches) as u64, i % batches, share);
            let (x, cond) = match self.config.chains.fill {
                Fill::None => break,
                Fill::Data => {
                    let data = data()?;
                    (data.x, data.cond)
                }
                Fill::Start => {
                    let first = i * self.config.run.batch + share.shard * share.of;
                    let chains = Chains::range(first as u64, share.of);
                    let cond = if rows.keep() { data()?.cond } else { None };
                    (self.parts.starts.fresh(self.parts.energy.as_ref(), &chains, cond.as_ref(), key)?, cond)
                }
            };
            let x = rows.join(x, cond.as_ref())?;
            let before = buffer.len();
            buffer.put(None, &x, self.key_of(key.at(i), share.shard))?;
            if buffer.len() < before + x.dims().first().copied().unwrap_or(0) {
                break;
            }
        }
        Ok(())
    }
}
