//! What a device does in one kernel where tensor operations would take several, or take a detour.
//!
//! An engine [installs](install) its operators when it opens a device; layers, samplers and optimisers ask for them by the
//! device of their tensors and go on with tensor operations where there are none. All methods see plain numbers: no result is
//! a node of a graph.

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{DType, Device, DeviceLocation, Result as TensorResult, Tensor};

use crate::plan::{Activation, Pool};
use crate::{Batch, Chains, EnergyFn, Key, Result, RowProgram, RowStep, Slope, Walked};

/// A law of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// Standard normal.
    Normal,
    /// Uniform in [0, 1).
    Uniform,
}

/// Which of a convolution and its two gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// The result, of `x` and `w`.
    Forward,
    /// The gradient of the input, of `g` and `w`.
    Input {
        /// Sides of the input.
        size: (usize, usize),
    },
    /// The gradient of the weight, of `x` and `g`.
    Weight {
        /// Side of the kernel.
        kernel: usize,
    },
}

/// A convolution, or one of its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Which.
    pub pass: Pass,
    /// Stride.
    pub stride: usize,
    /// Zero padding on each side.
    pub padding: usize,
}

/// A group norm, affine maps of the channels, a pointwise function and a sum, one after another on `x` `(B, C, H, W)`:
/// `z = gain2·(gain·n(x) + shift) + shift2`, `y = f(z) + skip`.
#[derive(Clone, Debug, Default)]
pub struct NormAct {
    /// Groups and ε of the norm n; absent: the identity.
    pub norm: Option<(usize, f64)>,
    /// Gain of each channel, `(C,)`.
    pub gain: Option<Tensor>,
    /// Shift of each channel, `(C,)`.
    pub shift: Option<Tensor>,
    /// Gain of each channel of each sample, `(B, C)`.
    pub gain2: Option<Tensor>,
    /// Shift of each channel of each sample, `(B, C)`.
    pub shift2: Option<Tensor>,
    /// The function f; absent: the identity.
    pub function: Option<Activation>,
    /// What is added at the end, like `x`: a residual block's way round.
    pub skip: Option<Tensor>,
}

/// The numbers of one update of Adam: `m = b1·m + (1 − b1)·g`, `v = b2·v + (1 − b2)·g²` with g times `clip`,
/// `p = keep·p − step·m/(√v/root + epsilon)`, average `decay·a + (1 − decay)·p`.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Factor of the gradient.
    pub clip: f64,
    /// β₁.
    pub b1: f64,
    /// β₂.
    pub b2: f64,
    /// √(1 − β₂ᵗ).
    pub root: f64,
    /// rate/(1 − β₁ᵗ).
    pub step: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// 1 − rate·weight decay.
    pub keep: f64,
    /// Share of the old average that stays.
    pub decay: f64,
}

/// New values of one parameter: itself, m, v, average; those that are kept.
#[derive(Clone, Debug)]
pub struct AdamNew {
    /// The parameter.
    pub p: Tensor,
    /// The mean gradient, if it was given.
    pub m: Option<Tensor>,
    /// The mean squared gradient.
    pub v: Tensor,
    /// The average, if it was given.
    pub average: Option<Tensor>,
}

/// The rows of a reference set nearest to each row of a batch.
#[derive(Clone, Debug)]
pub struct Nearest {
    /// Euclidean distances, `(B,)`; NaN where none counts.
    pub distance: Tensor,
    /// Rows of the reference set, `(B,)` in u32.
    pub row: Tensor,
    /// How many rows of the reference set count, `(B,)` in u32.
    pub counted: Tensor,
}

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

/// Where the random numbers of a step come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A key.
    Key(Key),
    /// The tape's key of its step.
    Tape(&'a Tape),
}

impl From<Key> for Source<'_> {
    fn from(key: Key) -> Self {
        Source::Key(key)
    }
}

/// Gradients of [`Operators::norm_act_tangent`].
#[derive(Clone, Debug)]
pub struct TangentGrads {
    /// Of the input.
    pub x: Tensor,
    /// Of the input's tangent.
    pub dx: Tensor,
    /// Of `gain2` and `shift2`, `(2, B, C)`, if asked for.
    pub affine: Option<Tensor>,
}

/// The operators of a device. Each returns `None` for what it does not cover (a dtype, a shape), which costs nothing.
pub trait Operators: Send + Sync {
    /// Name in logs.
    fn name(&self) -> &str;

    /// The numbers of [`Key::fill_normal_rows`], or of [`Key::fill_uniform`] for each chain, as `(B, width)` in f32, to the bit.
    ///
    /// # Errors
    /// If the device fails; so for all methods.
    fn random(
        &self,
        law: Law,
        key: Key,
        chains: &Chains,
        width: usize,
        device: &Device,
    ) -> TensorResult<Option<Tensor>> {
        let _ = (law, key, chains, width, device);
        Ok(None)
    }

    /// `x + σ·ε` for the noise of a row step.
    ///
    /// # Errors
    /// If the device fails.
    fn add_noise(
        &self,
        x: &Tensor,
        sigma: f64,
        chains: &Chains,
        from: Source<'_>,
    ) -> TensorResult<Option<Tensor>> {
        let _ = (x, sigma, chains, from);
        Ok(None)
    }

    /// The end of a row step that takes its gradient `grad` at `hat`; with a tape the result is written to its `x`.
    ///
    /// # Errors
    /// If the device fails.
    fn advance(
        &self,
        step: &RowStep,
        hat: &Tensor,
        grad: &Tensor,
        chains: &Chains,
        from: Source<'_>,
    ) -> TensorResult<Option<Tensor>> {
        let _ = (step, hat, grad, chains, from);
        Ok(None)
    }

    /// Writes a step's energies `(B,)` and the mean squares of its gradient `(B, ...)` to the tape, before [`Operators::advance`] writes
    /// over what they may share. False where the device keeps no tapes.
    ///
    /// # Errors
    /// If the device fails.
    fn log_step(&self, tape: &Tape, energy: &Tensor, grad: &Tensor) -> TensorResult<bool> {
        let _ = (tape, energy, grad);
        Ok(false)
    }

    /// Goes on to the tape's next step.
    ///
    /// # Errors
    /// If the device fails.
    fn next_step(&self, tape: &Tape) -> TensorResult<()> {
        let _ = tape;
        Ok(())
    }

    /// Runs `step` so many times; a device may run it once, record what it starts the second time, and start that as often as is
    /// left. `step` must start the same work at each call, and read nothing from the device, on which no other thread may work meanwhile.
    ///
    /// # Errors
    /// If `step` fails.
    fn repeat(&self, times: usize, step: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        (0..times).try_for_each(|_| step())
    }

    /// Mean square of each row of `x` `(B, ...)`: `(B,)`.
    ///
    /// # Errors
    /// If the device fails.
    fn row_mean_square(&self, x: &Tensor) -> TensorResult<Option<Tensor>> {
        let _ = x;
        Ok(None)
    }

    /// A convolution without bias, or one of its gradients, of two operands: `x` `(B, C, H, W)` and `w` `(O, C, k, k)`, with the gradient
    /// `g` of the result in the place of what is asked for.
    ///
    /// # Errors
    /// If the device fails.
    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> TensorResult<Option<Tensor>> {
        let _ = (what, a, b);
        Ok(None)
    }

    /// `x` `(B, C, H, W)` pooled.
    ///
    /// # Errors
    /// If the device fails.
    fn pool(&self, x: &Tensor, rule: &Pool) -> TensorResult<Option<Tensor>> {
        let _ = (x, rule);
        Ok(None)
    }

    /// Gradient of the input of [`Operators::pool`], whose sides are `size`.
    ///
    /// # Errors
    /// If the device fails.
    fn pool_input(&self, g: &Tensor, rule: &Pool, size: (usize, usize)) -> TensorResult<Option<Tensor>> {
        let _ = (g, rule, size);
        Ok(None)
    }

    /// `y` of [`NormAct`], and what [`Operators::norm_act_input`] wants to know again.
    ///
    /// # Errors
    /// If the device fails.
    fn norm_act(&self, x: &Tensor, what: &NormAct) -> TensorResult<Option<(Tensor, Tensor)>> {
        let _ = (x, what);
        Ok(None)
    }

    /// Gradient of the input of [`Operators::norm_act`], which gave `kept`, from that of its result.
    ///
    /// # Errors
    /// If the device fails.
    fn norm_act_input(&self, x: &Tensor, what: &NormAct, kept: &Tensor, g: &Tensor) -> TensorResult<Tensor>;

    /// Gradients of `gain2` and `shift2` of [`Operators::norm_act`], `(2, B, C)`, from that of its result.
    ///
    /// # Errors
    /// If the device fails.
    fn norm_act_affine(&self, x: &Tensor, what: &NormAct, kept: &Tensor, g: &Tensor) -> TensorResult<Tensor>;

    /// Derivative of `y` of [`NormAct`] without its skip where `x` moves along `dx`, and what [`Operators::norm_act_tangent_back`]
    /// wants to know again.
    ///
    /// # Errors
    /// If the device fails.
    fn norm_act_tangent(
        &self,
        x: &Tensor,
        what: &NormAct,
        dx: &Tensor,
    ) -> TensorResult<Option<(Tensor, Tensor)>> {
        let _ = (x, what, dx);
        Ok(None)
    }

    /// Gradients of the operands of [`Operators::norm_act_tangent`], which gave `kept`, from that of its result; of the affine maps
    /// where `affine`.
    ///
    /// # Errors
    /// If the device fails.
    fn norm_act_tangent_back(
        &self,
        x: &Tensor,
        what: &NormAct,
        dx: &Tensor,
        kept: &Tensor,
        g: &Tensor,
        affine: bool,
    ) -> TensorResult<TangentGrads>;

    /// Softmax over the last axis of `x`.
    ///
    /// # Errors
    /// If the device fails.
    fn softmax(&self, x: &Tensor) -> TensorResult<Option<Tensor>> {
        let _ = x;
        Ok(None)
    }

    /// Gradient of the input of [`Operators::softmax`], whose result was `y`, from that of its result.
    ///
    /// # Errors
    /// If the device fails.
    fn softmax_input(&self, y: &Tensor, g: &Tensor) -> TensorResult<Tensor>;

    /// For each row of `x` `(B, D)` the `k`-th nearest (from 1) row of `bank` `(M, D)` that is further away than `exclude`; the first
    /// of equally near rows comes first.
    ///
    /// # Errors
    /// If the device fails.
    fn nearest(&self, x: &Tensor, bank: &Tensor, k: usize, exclude: f64) -> TensorResult<Option<Nearest>> {
        let _ = (x, bank, k, exclude);
        Ok(None)
    }

    /// One update of Adam of a parameter `p` with gradient `g`, moments `m` (`None` where β₁ is 0) and `v`, and average.
    ///
    /// # Errors
    /// If the device fails.
    fn adam(
        &self,
        step: &AdamStep,
        p: &Tensor,
        g: &Tensor,
        m: Option<&Tensor>,
        v: &Tensor,
        average: Option<&Tensor>,
    ) -> TensorResult<Option<AdamNew>> {
        let _ = (step, p, g, m, v, average);
        Ok(None)
    }
}

static INSTALLED: RwLock<Vec<(DeviceLocation, Arc<dyn Operators>)>> = RwLock::new(Vec::new());

/// Makes `operators` those of `device`, in place of earlier ones.
pub fn install(device: &Device, operators: Arc<dyn Operators>) {
    let place = device.location();
    let mut all = INSTALLED.write().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(at, _)| *at != place);
    all.push((place, operators));
}

/// The operators of `device`, if an engine has installed any.
pub fn operators(device: &Device) -> Option<Arc<dyn Operators>> {
    let all = INSTALLED.read().unwrap_or_else(PoisonError::into_inner);
    if all.is_empty() {
        return None;
    }
    let place = device.location();
    all.iter().find(|(at, _)| *at == place).map(|(_, o)| o.clone())
}

/// Walks by the operators of one device.
struct Walker<'a, E: ?Sized> {
    energy: &'a E,
    at: &'a Batch,
    operators: Arc<dyn Operators>,
}

/// A step's end, and the point and slope it was taken from.
struct Taken {
    next: Tensor,
    hat: Tensor,
    slope: Slope,
}

impl<E: EnergyFn + ?Sized> Walker<'_, E> {
    /// `None` where the device has no kernels for it.
    fn step(&self, x: &Tensor, step: &RowStep, from: Source<'_>) -> Result<Option<Taken>> {
        let (o, chains) = (&self.operators, &self.at.chains);
        let noisy = step.noise_first && step.noise != 0.0;
        let hat = if noisy { o.add_noise(x, step.noise, chains, from)? } else { Some(x.clone()) };
        let Some(hat) = hat else { return Ok(None) };
        let slope = self.energy.slope(&self.at.with_x(hat.clone()))?;
        if let Source::Tape(tape) = from
            && !o.log_step(tape, &slope.energy, &slope.grad)?
        {
            return Ok(None);
        }
        let next = o.advance(step, &hat, &slope.grad, chains, from)?;
        Ok(next.map(|next| Taken { next, hat, slope }))
    }

    /// `times` steps that are alike, the first with `key.at(0)`: the samples after them, energies and mean squares of gradients
    /// `(times, B)`. `None` where the device keeps no tapes.
    fn repeated(&self, step: &RowStep, times: usize, key: Key) -> Result<Option<(Tensor, Tensor, Tensor)>> {
        let keys: Vec<Key> = (0..times).map(|k| key.at(k)).collect();
        let tape = Tape::new(self.at, &keys)?;
        let mut covered = true;
        self.operators.repeat(times, &mut || {
            covered = covered && self.step(&tape.x, step, Source::Tape(&tape))?.is_some();
            Ok(self.operators.next_step(&tape)?)
        })?;
        Ok(covered.then_some((tape.x, tape.energy, tape.grad_square)))
    }
}

/// Steps from which on a walk is worth a tape: one to run, one to record, one to play, and the last, which is plain.
const WORTH_A_TAPE: usize = 4;

/// A row program by one slope and two kernels a step, recorded where all steps are alike and the device can; `None` where the device
/// has no operators for it.
///
/// # Errors
/// If the energy or the device fails.
pub fn walk<E: EnergyFn + ?Sized>(
    e: &E,
    at: &Batch,
    program: &RowProgram,
    key: Key,
) -> Result<Option<Walked>> {
    let Some(o) = operators(at.device()).filter(|_| at.dtype() == DType::F32) else { return Ok(None) };
    let walker = Walker { energy: e, at, operators: o.clone() };
    let (mut x, mut last) = (at.x.clone(), None);
    let (mut energies, mut squares) = (Vec::new(), Vec::new());
    let mut done = 0;
    if let [first, rest @ ..] = program.steps.as_slice()
        && program.steps.len() >= WORTH_A_TAPE
        && rest.iter().all(|s| s == first)
        && let Some((end, energy, square)) = walker.repeated(first, rest.len(), key)?
    {
        done = rest.len();
        (x, energies, squares) = (end, vec![energy], vec![square]);
    }
    for (k, step) in program.steps.iter().enumerate().skip(done) {
        let Some(taken) = walker.step(&x, step, key.at(k).into())? else { return Ok(None) };
        let Some(square) = o.row_mean_square(&taken.slope.grad)? else { return Ok(None) };
        x = taken.next;
        energies.push(taken.slope.energy.unsqueeze(0)?);
        squares.push(square.unsqueeze(0)?);
        last = Some((taken.hat, taken.slope.grad));
    }
    let Some((hat, grad)) = last else { return Ok(None) };
    let (energy, grad_square) = (Tensor::cat(&energies, 0)?, Tensor::cat(&squares, 0)?);
    Ok(Some(Walked { x, hat, grad, energy, grad_square }))
}
