//! Walks whose steps are alike, recorded once and played again.

use candle_core::{DType, Result as TensorResult, Tensor};

use crate::{Batch, Key, Result, RowStep};

/// What changes from step to step of a walk whose steps are alike, on the device: a step reads and writes it there, so that it can
/// be recorded once and run again.
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
    /// Energies, `(K, B)`.
    pub energy: Tensor,
    /// Mean squares of the gradients, `(K, B)`.
    pub grad_square: Tensor,
}

impl Tape {
    /// Of a walk from `at` that takes one of `keys` a step; the samples are copied.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(at: &Batch, keys: &[Key]) -> TensorResult<Tape> {
        let words = keys.iter().map(|k| {
            let [low, high] = k.words();
            (u64::from(low) | u64::from(high) << 32).cast_signed()
        });
        let chains = at.chains.ids().iter().map(|i| i.cast_signed());
        let (device, log) = (at.device(), (keys.len(), at.len()));
        Ok(Tape {
            keys: Tensor::from_vec(words.collect(), keys.len(), device)?,
            step: Tensor::zeros(1, DType::I64, device)?,
            chains: Tensor::from_vec(chains.collect(), at.len(), device)?,
            x: at.x.force_contiguous()?,
            energy: Tensor::zeros(log, DType::F32, device)?,
            grad_square: Tensor::zeros(log, DType::F32, device)?,
        })
    }
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

    /// Runs `step` on `tape` so many times; a device may run it once, record what it starts the second time, and start that as often as
    /// is left. `step` must start the same work at each call, and read nothing from the device, on which no other thread may work
    /// meanwhile.
    ///
    /// # Errors
    /// If `step` fails.
    fn repeat(&self, tape: &Tape, times: usize, step: &mut dyn FnMut() -> Result<()>) -> Result<()>;
}
