//! Walks whose steps start the same work, recorded once and played again.

use candle_core::{DType, Device, Result as TensorResult, Tensor};

use super::recordings::{Recording, Reels};
use crate::{Batch, Key, Result, RowStep};

/// What changes from step to step of a walk, and from walk to walk, on the device: a step reads and writes it there, so that it can be recorded
/// once and run again, whatever its step size and noise are.
#[derive(Debug)]
pub struct Tape {
    /// Words of the keys of the steps, `(K,)` in i64.
    pub keys: Tensor,
    /// Settings of the steps, `(K, 7)` in f32: the step size, the limit of a move or −1, the noise before the gradient is taken, that after the
    /// move, 1 where samples are clamped or 0, and the ends of their range.
    pub settings: Tensor,
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
    /// A row of [`Tape::settings`]: what kernels read of a step.
    pub fn settings_of(step: &RowStep) -> [f32; 7] {
        let (before, after) = if step.noise_first { (step.noise, 0.0) } else { (0.0, step.noise) };
        let (low, high) = step.clamp.unwrap_or((0.0, 0.0));
        let clamped = if step.clamp.is_some() { 1.0 } else { 0.0 };
        let limit = step.move_limit.unwrap_or(-1.0);
        [step.step_size, limit, before, after, clamped, low, high].map(|v| v as f32)
    }

    /// Of a walk from `at` in these steps, each with its key; samples and condition are copied.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(at: &Batch, steps: &[(Key, RowStep)]) -> TensorResult<Tape> {
        let (device, log) = (at.device(), (steps.len(), at.len()));
        Ok(Tape {
            keys: words(steps, device)?,
            settings: settings(steps, device)?,
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
    pub fn rewind(&self, at: &Batch, steps: &[(Key, RowStep)]) -> TensorResult<()> {
        let over = |old: &Tensor, new: &Tensor| old.slice_set(&new.contiguous()?, 0, 0);
        over(&self.keys, &words(steps, at.device())?)?;
        over(&self.settings, &settings(steps, at.device())?)?;
        over(&self.chains, &indices(at)?)?;
        over(&self.x, &at.x)?;
        if let (Some(old), Some(new)) = (&self.condition, &at.cond) {
            over(old, new)?;
        }
        self.step.zero_set()
    }
}

fn words(steps: &[(Key, RowStep)], device: &Device) -> TensorResult<Tensor> {
    let words = steps.iter().map(|(k, _)| {
        let [low, high] = k.words();
        (u64::from(low) | u64::from(high) << 32).cast_signed()
    });
    Tensor::from_vec(words.collect(), steps.len(), device)
}

fn settings(steps: &[(Key, RowStep)], device: &Device) -> TensorResult<Tensor> {
    let all = steps.iter().flat_map(|(_, step)| Tape::settings_of(step));
    Tensor::from_vec(all.collect(), (steps.len(), 7), device)
}

fn indices(at: &Batch) -> TensorResult<Tensor> {
    let chains = at.chains.ids().iter().map(|i| i.cast_signed());
    Tensor::from_vec(chains.collect(), at.len(), at.device())
}

/// The steps of [`RowOps`](super::RowOps) on a [`Tape`], from which they take keys, chains and settings: nothing of these may stay in a recording.
pub trait TapeOps: Send + Sync {
    /// `x + σ·ε` of the tape's samples, with the key and the first noise of its step; the samples to the bit where that is 0.
    ///
    /// # Errors
    /// If the device fails.
    fn add_noise(&self, tape: &Tape) -> TensorResult<Option<Tensor>>;

    /// The end of a step that takes its gradient `grad` at `hat`, written to the tape's samples. False where it is not covered.
    ///
    /// # Errors
    /// If the device fails.
    fn advance(&self, tape: &Tape, hat: &Tensor, grad: &Tensor) -> TensorResult<bool>;

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
        let step = |noise_first| RowStep {
            step_size: 0.5,
            noise: 0.25,
            noise_first,
            clamp: Some((-1.0, 2.0)),
            move_limit: None,
        };
        let plain = RowStep { noise: 0.0, clamp: None, move_limit: Some(3.0), ..step(true) };
        let tape = Tape::new(&batch(1.0, 5), &[(Key::root(1), plain), (Key::root(2), plain)]).unwrap();
        // What a recording holds of it.
        let all = |t: &Tape| {
            let parts = [&t.keys, &t.settings, &t.chains, &t.x, t.condition.as_ref().unwrap()];
            parts.map(Tensor::clone)
        };
        let held = all(&tape);
        tape.step.slice_set(&Tensor::new(&[2i64], &Device::Cpu).unwrap(), 0, 0).unwrap();
        let (next, steps) = (batch(7.0, 9), [(Key::root(3), step(true)), (Key::root(4), step(false))]);
        tape.rewind(&next, &steps).unwrap();
        let wanted = all(&Tape::new(&next, &steps).unwrap());
        assert_eq!(
            tape.settings.to_vec2::<f32>().unwrap(),
            [[0.5, -1.0, 0.25, 0.0, 1.0, -1.0, 2.0], [0.5, -1.0, 0.0, 0.25, 1.0, -1.0, 2.0]]
        );
        for (now, want) in held.iter().zip(wanted) {
            assert_eq!(format!("{now}"), format!("{want}"));
        }
        assert_eq!(tape.step.to_vec1::<i64>().unwrap(), [0]);
    }
}
