//! Augmentation of images: each image of a batch is changed alone, by its own random stream.

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor, Var};
use ebm_core::{BuildCx, ChainState, EnergyFn, Error, Key, Link, Result, Sensitivity, Stepped, Transition};

/// The random numbers of one image: a stream for each purpose, the same wherever the image stands in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Dice {
    key: Key,
    chain: u64,
}

impl Dice {
    /// The numbers for the purpose `label`.
    pub fn at(self, label: &str) -> Dice {
        Dice { key: self.key.at(label), chain: self.chain }
    }

    /// The numbers of attempt or place `n`.
    pub fn numbered(self, n: usize) -> Dice {
        Dice { key: self.key.at(n), chain: self.chain }
    }

    /// Uniform in [low, high).
    pub fn uniform(self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.key.uniform_at(self.chain)
    }

    /// Uniform in `0..n`.
    pub fn below(self, n: usize) -> usize {
        self.key.below(self.chain, n)
    }

    /// True with a probability.
    pub fn hits(self, probability: f64) -> bool {
        self.key.uniform_at(self.chain) < probability
    }
}

/// A change of images, which [`Augment`] makes a transition of.
///
/// ```
/// use ebm_core::candle::{Device, Tensor};
/// use ebm_core::Result;
/// use ebm_transitions::kit::{Change, Dice};
///
/// /// Darkens each image by a factor of its own in [½, 1).
/// struct Dim;
/// impl Change for Dim {
///     fn change(&self, x: &Tensor, dice: &[Dice]) -> Result<Tensor> {
///         let factors: Vec<f32> = dice.iter().map(|d| d.at("dim").uniform(0.5, 1.0) as f32).collect();
///         Ok(x.broadcast_mul(&Tensor::from_vec(factors, (dice.len(), 1, 1, 1), x.device())?)?)
///     }
///     fn name(&self) -> String {
///         "dim".into()
///     }
/// }
/// ```
pub trait Change: Send + Sync + 'static {
    /// What becomes of the images `x (B, C, H, W)` in f32 within [0, 1], each by the dice at its place; of the same shape.
    ///
    /// Trails go through the change by its derivative, so it is made of tensor operations that candle differentiates; what is
    /// not (rounding) acts on detached tensors.
    ///
    /// # Errors
    /// If an operation fails.
    fn change(&self, x: &Tensor, dice: &[Dice]) -> Result<Tensor>;

    /// The change's name for messages.
    fn name(&self) -> String;
}

/// The ends of [0, 1] on a device; a clamp by numbers would upload them each time.
pub struct Unit {
    zero: Tensor,
    one: Tensor,
}

impl Unit {
    /// On this device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn on(device: &Device) -> Result<Self> {
        Ok(Unit { zero: Tensor::zeros((), DType::F32, device)?, one: Tensor::ones((), DType::F32, device)? })
    }

    /// `x` in f32, of any shape, clipped to [0, 1].
    ///
    /// # Errors
    /// If an operation fails.
    pub fn clip(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_maximum(&self.zero)?.broadcast_minimum(&self.one)?)
    }
}

/// A change applied to every image of a batch.
///
/// Values are taken from the data's range to [0, 1] and back. The numbers are drawn on the host; the work is
/// done by tensor operations in f32 on the device of the batch, and nothing is read back. Images are resampled
/// and recoloured by matrix products, so a GPU that rounds the factors of products (`run.dtype = "tf32"`)
/// rounds them here too. The published program works on bytes and rounds after every operation, which this
/// does not.
///
/// It does not depend on θ; what was before it is differentiated through it. Its link holds the dice fixed and applies the
/// transpose of the change's derivative: that of its matrix for flips, crops, rotations and blurs, which are linear, and
/// that of the piece of a piecewise linear map where values are clipped or colours are turned.
#[derive(Clone)]
pub struct Augment {
    change: Arc<dyn Change>,
    range: (f64, f64),
}

impl Augment {
    /// `change` of images with values in `range`.
    pub fn new(change: impl Change, range: (f64, f64)) -> Self {
        Augment { change: Arc::new(change), range }
    }

    /// `change` for the images of the context; of data without a range the values are in [0, 1].
    ///
    /// # Errors
    /// If samples are not images.
    pub fn build(cx: &BuildCx, change: impl Change) -> Result<Box<dyn Transition>> {
        cx.image_shape()?;
        Ok(Box::new(Augment::new(change, cx.range().unwrap_or((0.0, 1.0)))))
    }
}

/// Numbers of a tensor from which on candle's processor gives an operation to all threads, which meet at each. A hundred short
/// operations take ten times longer so where another program has a processor.
const SHARED: usize = 64 * 1024;

impl Augment {
    /// The images `x (B, C, H, W)` changed.
    fn changed(&self, x: &Tensor, dice: &[Dice]) -> Result<Tensor> {
        let (low, high) = self.range;
        let scale = high - low;
        let unit = x.to_dtype(DType::F32)?.affine(1.0 / scale, -low / scale)?;
        let unit = Unit::on(x.device())?.clip(&unit)?;
        Ok(self.change.change(&unit, dice)?.affine(scale, low)?.to_dtype(x.dtype())?)
    }

    /// The transpose of the derivative of [`Augment::changed`] at the first images of `x` on `u` `(n, C, H, W)`.
    fn pulled_back(&self, x: &Tensor, dice: &[Dice], u: &Tensor) -> Result<Tensor> {
        let n = u.dims()[0];
        let x = Var::from_tensor(&x.narrow(0, 0, n)?)?;
        let along = (self.changed(&x, &dice[..n])? * u)?.sum_all()?;
        let all = along.backward()?;
        let grad = all.get(&x).ok_or_else(|| {
            Error::config(
                self.name(),
                "has no derivative: a change is made of tensor operations on its images",
            )
        })?;
        Ok(grad.detach())
    }
}

impl Transition for Augment {
    fn step(&self, _: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let at = &state.at;
        let dice: Vec<Dice> = at.chains.ids().iter().map(|chain| Dice { key, chain: *chain }).collect();
        let each = at.x.elem_count() / at.len().max(1);
        let rows = if at.device().is_cpu() { (SHARED - 1) / each.max(1) } else { at.len() };
        let rows = rows.max(1);
        let mut parts = Vec::new();
        for (i, dice) in dice.chunks(rows).enumerate() {
            parts.push(self.changed(&at.x.narrow(0, i * rows, dice.len())?, dice)?);
        }
        let x = if parts.is_empty() { at.x.clone() } else { Tensor::cat(&parts, 0)? };
        let (augment, from) = (self.clone(), at.x.clone());
        let link = Link::linear(move |u| augment.pulled_back(&from, &dice, u));
        Ok(Stepped::new(state.advance(x), link))
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Passes
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        Some(self.range)
    }

    fn needs_energy(&self) -> bool {
        false
    }

    fn name(&self) -> String {
        self.change.name()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::{Batch, Chains, TransitionConfig};
    use ebm_testkit::{check_transition, toy};

    use super::*;

    /// One image with values in [0, 1], channels first.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct Image {
        pub(crate) channels: usize,
        pub(crate) height: usize,
        pub(crate) width: usize,
        pub(crate) data: Vec<f32>,
    }

    impl Image {
        /// What `change` makes of the image as a batch of one.
        pub(crate) fn through(&self, change: impl FnOnce(&Tensor) -> Result<Tensor>) -> Image {
            let shape = (1, self.channels, self.height, self.width);
            let x = change(&Tensor::from_slice(&self.data, shape, &Device::Cpu).unwrap()).unwrap();
            assert_eq!(x.dims4().unwrap(), shape);
            Image { data: x.flatten_all().unwrap().to_vec1().unwrap(), ..*self }
        }

        pub(crate) fn changed(&self, change: &impl Change, dice: Dice) -> Image {
            self.through(|x| change.change(x, &[dice]))
        }
    }

    /// A smooth image with values inside [0, 1], different in every channel.
    pub(crate) fn ramp(channels: usize, height: usize, width: usize) -> Image {
        let mut data = Vec::new();
        for c in 0..channels {
            for y in 0..height {
                for x in 0..width {
                    data.push(
                        (1 + c + y * 2 + x * 3) as f32 / (channels + 2 * height + 3 * width + 1) as f32,
                    );
                }
            }
        }
        Image { channels, height, width, data }
    }

    /// Kolmogorov's test that `values` are uniform: the largest gap of the distribution functions stays below
    /// 2.23/√n, which a right program passes in all but one of ten thousand keys.
    pub(crate) fn check_uniform(values: impl Iterator<Item = f64>, low: f64, high: f64) {
        let mut all: Vec<f64> = values.map(|v| (v - low) / (high - low)).collect();
        all.sort_by(f64::total_cmp);
        let n = all.len() as f64;
        let gap = |(i, u): (usize, &f64)| ((i as f64 + 1.0) / n - u).max(u - i as f64 / n);
        let largest = all.iter().enumerate().map(gap).fold(0.0, f64::max);
        assert!(all.len() > 1000 && largest < 2.23 / n.sqrt(), "{largest} of {n} in ({low}, {high})");
    }

    pub(crate) fn dice(chain: u64) -> Dice {
        Dice { key: Key::root(77), chain }
    }

    /// The laws of a transition for an augmentation: own stream for each image, range kept, any range.
    pub(crate) fn check(config: &dyn TransitionConfig) {
        for (channels, range) in [(1, (0.0, 1.0)), (3, (-1.0, 1.0))] {
            let shape = [channels, 7, 6];
            let mut cx = BuildCx::new(&shape, DType::F64, &Device::Cpu, Key::root(0)).with_range(Some(range));
            let t = config.build(&mut cx).unwrap();
            let u = Key::root(3).uniform(&Chains::range(0, 6), &shape, DType::F64, &Device::Cpu).unwrap();
            let at = Batch::new(u.affine(range.1 - range.0, range.0).unwrap()).unwrap();
            let e = toy::mlp_on(&shape, 2, 1, 1).unwrap();
            check_transition(&*t, &e, &at, true).unwrap();
            let x = t.step(&e, &ChainState::new(at.clone()), Key::root(5)).unwrap().state.at.x;
            let v = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert!(v.iter().all(|v| *v >= range.0 - 1e-6 && *v <= range.1 + 1e-6));
            // Some image of six is changed (each is with probability one half or more).
            assert!(ebm_testkit::relative_gap(&x, &at.x).unwrap() > 1e-3);
        }
        let mut flat = BuildCx::new(&[5], DType::F64, &Device::Cpu, Key::root(0));
        assert!(config.build(&mut flat).err().unwrap().to_string().contains("(C, H, W)"));
    }
}
