//! `newest`: a buffer that holds the newest chains.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Error, Key, ReplayBuffer, ReplayConfig, Result, Settings, plugin};

/// The newest chains, of which any may go on.
#[derive(Clone, Debug, Settings)]
pub struct Newest {
    /// Number of chains.
    #[setting(at_least = 1)]
    pub capacity: usize,
}

/// The chains `(n, ...)` that a buffer holds, oldest first.
struct Held {
    capacity: usize,
    chains: Option<Tensor>,
}

impl ReplayBuffer for Held {
    fn len(&self) -> usize {
        self.chains.as_ref().map_or(0, |chains| chains.dims()[0])
    }
    fn draw(&self, n: usize, key: Key) -> Result<Option<(Vec<u64>, Tensor)>> {
        let Some(chains) = self.chains.as_ref().filter(|_| self.len() >= n) else { return Ok(None) };
        let slots: Vec<u32> =
            key.permutation(self.len()).into_iter().take(n).map(|slot| slot as u32).collect();
        let drawn = chains.index_select(&Tensor::new(slots.as_slice(), chains.device())?, 0)?;
        Ok(Some((slots.into_iter().map(u64::from).collect(), drawn)))
    }
    fn put(&mut self, _: Option<&[u64]>, x: &Tensor, _: Key) -> Result<()> {
        let all = match &self.chains {
            Some(held) if held.dims()[1..] != x.dims()[1..] => {
                let expected = format!("(n, {:?})", &held.dims()[1..]);
                return Err(Error::shape(
                    self.name(),
                    x.dims(),
                    expected,
                    "put samples of the shape that is held",
                ));
            }
            Some(held) => Tensor::cat(&[held, x], 0)?,
            None => x.clone(),
        };
        let n = all.dims()[0];
        let first = n.saturating_sub(self.capacity);
        self.chains = Some(all.narrow(0, first, n - first)?.contiguous()?);
        Ok(())
    }
    fn save(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(self.chains.iter().map(|chains| ("chains".to_string(), chains.clone())).collect())
    }
    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        match (state.get("chains"), state.len()) {
            (Some(chains), 1) => self.chains = Some(chains.clone()),
            _ => {
                let found: Vec<&String> = state.keys().collect();
                let message = format!(
                    "is given {found:?} by the checkpoint, must be `chains` alone; it is another buffer's"
                );
                return Err(Error::config(self.name(), message));
            }
        }
        Ok(())
    }
    fn capacity(&self, _: usize) -> Option<usize> {
        Some(self.capacity)
    }
    fn draws_distinct(&self) -> bool {
        true
    }
    fn name(&self) -> String {
        "newest".into()
    }
}

#[plugin("newest", source = "this example", example = "capacity = 1000")]
impl ReplayConfig for Newest {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn ReplayBuffer>> {
        Ok(Box::new(Held { capacity: self.capacity, chains: None }))
    }
}
