//! `newest`: a buffer of the chains of the last update alone.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Error, Key, ReplayBuffer, ReplayConfig, Result, Settings, plugin};

/// What was put last; the next update goes on from any of it.
#[derive(Clone, Debug, Settings)]
pub struct Newest {}

#[derive(Default)]
struct Held(Option<Tensor>);

impl ReplayBuffer for Held {
    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |x| x.dims()[0])
    }

    fn draw(&self, n: usize, key: Key) -> Result<Option<(Vec<u64>, Tensor)>> {
        let Some(x) = self.0.as_ref().filter(|x| x.dims()[0] > 0) else { return Ok(None) };
        let slots: Vec<u64> = (0..n as u64).map(|i| key.below(i, x.dims()[0]) as u64).collect();
        let rows: Vec<u32> = slots.iter().map(|s| *s as u32).collect();
        Ok(Some((slots, x.index_select(&Tensor::new(rows, x.device())?, 0)?)))
    }

    fn put(&mut self, _: Option<&[u64]>, x: &Tensor, _: Key) -> Result<()> {
        if let Some(held) = &self.0
            && held.dims()[1..] != x.dims()[1..]
        {
            let message = format!("holds chains {:?}, found {:?}", &held.dims()[1..], &x.dims()[1..]);
            return Err(Error::config("newest", message));
        }
        self.0 = Some(x.clone());
        Ok(())
    }

    fn save(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(self.0.iter().map(|x| ("chains".to_string(), x.clone())).collect())
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.0 = state.get("chains").cloned();
        Ok(())
    }

    fn name(&self) -> String {
        "newest".into()
    }
}

#[plugin("newest", source = "this example", example = "")]
impl ReplayConfig for Newest {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn ReplayBuffer>> {
        Ok(Box::<Held>::default())
    }
}
