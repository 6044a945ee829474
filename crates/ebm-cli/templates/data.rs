//! `spiral`: points on a spiral, with noise.

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, BuildCx, Chains, DataConfig, DataSource, Error, Key, Labelled, Result, Settings, Split, plugin,
};

/// Points on a spiral: x = t (cos 4t, sin 4t) with t in (0, 2) and normal noise.
#[derive(Clone, Debug, Settings)]
pub struct Spiral {
    /// Number of training points.
    #[setting(default = 1000, at_least = 1, at_most = 1_000_000)]
    pub train: usize,
    /// Number of points that are held out.
    #[setting(default = 200, at_least = 1, at_most = 1_000_000)]
    pub held_out: usize,
    /// Standard deviation of the noise, in units of the points.
    #[setting(default = 0.05, at_least = 0.0)]
    pub noise: f64,
}

impl Spiral {
    /// Points `first .. first + n` of all: those of training come first, then those that are held out.
    fn points(&self, first: usize, n: usize) -> Result<Tensor> {
        // A point is made of its number, so that nothing is stored.
        let (chains, key) = (Chains::range(first as u64, n), Key::root(0).at("spiral"));
        let t = key.at("place").uniform(&chains, &[1], DType::F32, &Device::Cpu)?.affine(2.0, 0.0)?;
        let turn = t.affine(4.0, 0.0)?;
        let curve = Tensor::cat(&[turn.cos()?, turn.sin()?], 1)?.broadcast_mul(&t)?;
        let noise = key.at("noise").normal(&chains, &[2], DType::F32, &Device::Cpu)?;
        Ok((curve + noise.affine(self.noise, 0.0)?)?)
    }
}

impl DataSource for Spiral {
    fn len(&self) -> usize {
        self.train
    }
    fn sample_shape(&self) -> &[usize] {
        &[2]
    }
    fn batch(&self, epoch: u64, index: usize, size: usize, key: Key) -> Result<Batch> {
        // Another order in every epoch; a batch larger than the set goes round.
        let (order, first) = (key.at("order").at(epoch).permutation(self.train), index * size);
        if index >= self.batches(size) {
            let message =
                format!("batch {index} of {size} is past the end of an epoch of {} points", self.train);
            return Err(Error::config(self.name(), message));
        }
        let rows: Vec<u32> = (first..first + size).map(|place| order[place % self.train] as u32).collect();
        let all = self.points(0, self.train)?;
        let x = all.index_select(&Tensor::new(rows.as_slice(), &Device::Cpu)?, 0)?;
        // Chains are places in the epoch: each row has random numbers of its own, whatever its point.
        Ok(Batch::new(x)?.with_chains(Chains::range(first as u64, size)))
    }
    fn stored(&self, split: Split, limit: usize) -> Result<Option<Labelled>> {
        let (first, n) = match split {
            Split::Train => (0, self.train),
            Split::HeldOut => (self.train, self.held_out),
        };
        Ok(Some(Labelled { x: self.points(first, n.min(limit))?, labels: None }))
    }
    fn held_out(&self) -> Result<usize> {
        Ok(self.held_out)
    }
    fn name(&self) -> String {
        "spiral".into()
    }
}

#[plugin("spiral", source = "this example", example = "noise = 0.05")]
impl DataConfig for Spiral {
    fn make(&self, _: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        Ok(Arc::new(self.clone()))
    }
}
