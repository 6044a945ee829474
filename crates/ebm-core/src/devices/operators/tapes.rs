//! Walks whose steps are alike, recorded once and played again.

use candle_core::{DType, Device, Result as TensorResult, Tensor};

use super::recordings::{Recording, Reels};
use crate::{Batch, Key, Result, RowStep};

/// What changes from step to step of a walk whose steps are alike, and from walk to walk, on the device: a step reads and writes it there, so
/// that it can be recorded once and run again.
#[derive(Debug)]
pub struct Tape {
    /// Words of the keys of the steps, `(K,)` in i64.
    pub keys: Tensor,
    /// Number of the step, `(1,)` in i64.
    pub step: Tensor,
    /// Indices of the chains, `(B,)` in i64.
    pub chains: Tensor,
    /// The samples before the step and after it.
    pub x: Tensor,
    /// Their condition, `(B, n)`, if they have one.
    pub condition: Option<Tensor>,
    /// Energies, `(K, B)`.
    pub energy: Tensor,
    /// Mean squares of the gradients, `(K, B)`.
    pub grad_square: Tensor,
}

impl Tape {
    /// Of a walk from `at` that takes one of `keys` a step; samples and condition are copied.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(at: &Batch, keys: &[Key]) -> TensorResult<Tape> {
        let (device, log) = (at.device(), (keys.len(), at.len()));
        Ok(Tape {
            keys: words(keys, device)?,
            step: Tensor::zeros(1, DType::I64, device)?,
            chains: indices(at)?,
            x: at.x.force_contiguous()?,
            condition: at.cond.as_ref().map(Tensor::force_contiguous).transpose()?,
            energy: Tensor::zeros(log, DType::F32, device)?,
            grad_square: Tensor::zeros(log, DType::F32, device)?,
        })
    }

    /// The same tape at the start of another walk of as many steps on samples of the same shape: everything is written over where it lies. The
    /// logs stay, for each step writes its row.
    ///
    /// # Errors
    /// If a shape differs, or the device fails.
    pub fn rewind(&self, at: &Batch, keys: &[Key]) -> TensorResult<()> {
        let over = |old: &Tensor, new: &Tensor| old.slice_set(&new.contiguous()?, 0, 0);
        over(&self.keys, &words(keys, at.device())?)?;
        over(&self.chains, &indices(at)?)?;
        over(&self.x, &at.x)?;
        if let (Some(old), Some(new)) = (&self.condition, &at.cond) {
            over(old, new)?;
        }
        self.step.zero_set()
    }
}

fn words(keys: &[Key], device: &Device) -> TensorResult<Tensor> {
    let words = keys.iter().map(|k| {
        let [low, high] = k.words();
        (u64::from(low) | u64::from(high) << 32).cast_signed()
    });
    Tensor::from_vec(words.collect(), keys.len(), device)
}

fn indices(at: &Batch) -> TensorResult<Tensor> {
    let chains = at.chains.ids().iter().map(|i| i.cast_signed());
    Tensor::from_vec(chains.collect(), at.len(), at.device())
}

/// The steps of [`RowOps`](super::RowOps) on a [`Tape`], from which they take keys and chains.
pub trait TapeOps: Send + Sync {
    /// `x + σ·ε` of the tape's samples, with the key of its step.
    ///
    /// # Errors
    /// If the device fails.
    fn add_noise(&self, tape: &Tape, sigma: f64) -> TensorResult<Option<Tensor>>;

    /// The end of a step that takes its gradient `grad` at `hat`, written to the tape's samples. False where it is not covered.
    ///
    /// # Errors
    /// If the device fails.
    fn advance(&self, tape: &Tape, step: &RowStep, hat: &Tensor, grad: &Tensor) -> TensorResult<bool>;

    /// Writes a step's energies `(B,)` and the mean squares of its gradient `(B, ...)` to the tape, before [`TapeOps::advance`] writes
    /// over what they may share. False where it is not covered.
    ///
    /// # Errors
    /// If the device fails.
    fn log(&self, tape: &Tape, energy: &Tensor, grad: &Tensor) -> TensorResult<bool>;

    /// Goes on to the tape's next step.
    ///
    /// # Errors
    /// If the device fails.
    fn next(&self, tape: &Tape) -> TensorResult<()>;

    /// Where tapes and recordings wait for the next walk.
    fn reels(&self) -> &Reels;

    /// A number for whatever else decides what a step starts, such as how products are rounded: a recording is played only where it is the
    /// same as when it was made.
    fn mode(&self) -> u64 {
        0
    }

    /// Runs a whole walk, prepared for a recording in it.
    ///
    /// # Errors
    /// If `walk` fails.
    fn prepared(&self, walk: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        walk()
    }

    /// What `step` on `tape` starts, which is not run; `None` where the device records nothing, or cannot record this. `step` was run once
    /// before; it must start the same work at each call, and read nothing from the device, on which no other thread may work meanwhile.
    ///
    /// # Errors
    /// If the device fails.
    fn record(&self, tape: &Tape, step: &mut dyn FnMut() -> Result<()>)
    -> Result<Option<Box<dyn Recording>>>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Chains;

    #[test]
    fn another_walk_is_written_over_the_tape() {
        let batch = |first: f32, chain: u64| {
            let t = |n: usize| Tensor::full(first, (2, n), &Device::Cpu).unwrap();
            let at = Batch::new(t(3)).unwrap().with_cond(Some(t(4)));
            at.with_chains(Chains::range(chain, 2))
        };
        let tape = Tape::new(&batch(1.0, 5), &[Key::root(1), Key::root(2)]).unwrap();
        // What a recording holds of it.
        let held = [&tape.keys, &tape.chains, &tape.x, tape.condition.as_ref().unwrap()].map(Tensor::clone);
        tape.step.slice_set(&Tensor::new(&[2i64], &Device::Cpu).unwrap(), 0, 0).unwrap();
        let (next, keys) = (batch(7.0, 9), [Key::root(3), Key::root(4)]);
        tape.rewind(&next, &keys).unwrap();
        let want = Tape::new(&next, &keys).unwrap();
        let wanted = [&want.keys, &want.chains, &want.x, want.condition.as_ref().unwrap()];
        for (now, want) in held.iter().zip(wanted) {
            assert_eq!(format!("{now}"), format!("{want}"));
        }
        assert_eq!(tape.step.to_vec1::<i64>().unwrap(), [0]);
    }
}
