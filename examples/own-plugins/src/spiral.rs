//! `spiral`: points along an arm that winds outwards.

use std::f64::consts::TAU;
use std::sync::Arc;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Batch, BuildCx, Chains, DataConfig, DataSource, Key, Labelled, Result, Settings, Split, plugin,
};

/// Points `r(cos 2πr·turns, sin 2πr·turns)` at uniform r in (0, 1), blurred.
#[derive(Clone, Debug, Settings)]
pub struct Spiral {
    /// Number of points.
    #[setting(default = 4096, at_least = 1, at_most = 1e7, unit = "points")]
    pub points: usize,
    /// Turns of the arm.
    #[setting(default = 2.0, above = 0.0)]
    pub turns: f64,
    /// Standard deviation of the blur.
    #[setting(default = 0.02, at_least = 0.0)]
    pub blur: f64,
}

struct Points {
    /// `(N, 2)`, f32.
    x: Tensor,
    shape: [usize; 2],
    place: (ebm_core::candle::DType, Device),
}

impl DataSource for Points {
    fn len(&self) -> usize {
        self.shape[0]
    }

    fn sample_shape(&self) -> &[usize] {
        &self.shape[1..]
    }

    fn batch(&self, epoch: u64, index: usize, size: usize, key: Key) -> Result<Batch> {
        // The order of an epoch is a function of the key. Places, not samples, tell the chains apart: the noise of two
        // rows that hold the same sample must differ.
        let order = key.at("order").at(epoch as usize).permutation(self.len());
        let rows: Vec<u32> = (0..size).map(|i| order[(index * size + i) % self.len()] as u32).collect();
        let x = self.x.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?;
        let (dtype, device) = &self.place;
        let chains = Chains::range((index * size) as u64, size);
        Ok(Batch::new(x.to_dtype(*dtype)?.to_device(device)?)?.with_chains(chains))
    }

    fn stored(&self, split: Split, limit: usize) -> Result<Option<Labelled>> {
        if split == Split::HeldOut {
            return Ok(None);
        }
        Ok(Some(Labelled { x: self.x.narrow(0, 0, limit.min(self.len()))?, labels: None }))
    }

    fn name(&self) -> String {
        "spiral".into()
    }
}

#[plugin("spiral", source = "this example", example = "points = 512")]
impl DataConfig for Spiral {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let key = Key::root(0).at("spiral");
        let mut values = Vec::with_capacity(2 * self.points);
        let (mut u, mut z) = ([0f32; 4], [0f32; 4]);
        for i in 0..self.points as u64 {
            key.at("along").fill_uniform(i, &mut u);
            key.at("blur").fill_normal(i, &mut z);
            let r = f64::from(u[0]);
            let (sin, cos) = (TAU * r * self.turns).sin_cos();
            values.push((r * cos + self.blur * f64::from(z[0])) as f32);
            values.push((r * sin + self.blur * f64::from(z[1])) as f32);
        }
        let x = Tensor::from_vec(values, (self.points, 2), &Device::Cpu)?;
        Ok(Arc::new(Points { x, shape: [self.points, 2], place: (cx.dtype(), cx.device().clone()) }))
    }
}
