//! What a device does in one kernel where tensor operations would take several, or take a detour.
//!
//! An engine [installs](install) its operators when it opens a device; layers, samplers and optimisers ask for them by the
//! device of their tensors and go on with tensor operations where there are none. All methods see plain numbers: no result is
//! a node of a graph.

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{DType, Device, DeviceLocation, Result as TensorResult, Tensor};

use crate::plan::{Activation, Pool};
use crate::{Batch, Chains, EnergyFn, Key, Result, RowProgram, RowStep, Walked};

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

/// A group norm, affine maps of the channels and a pointwise function, one after another on `x` `(B, C, H, W)`:
/// `z = gain2·(gain·n(x) + shift) + shift2`, `y = f(z)`.
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
    fn add_noise(&self, x: &Tensor, sigma: f64, chains: &Chains, key: Key) -> TensorResult<Option<Tensor>> {
        let _ = (x, sigma, chains, key);
        Ok(None)
    }

    /// The end of a row step that takes its gradient `grad` at `hat`.
    ///
    /// # Errors
    /// If the device fails.
    fn advance(
        &self,
        step: &RowStep,
        hat: &Tensor,
        grad: &Tensor,
        chains: &Chains,
        key: Key,
    ) -> TensorResult<Option<Tensor>> {
        let _ = (step, hat, grad, chains, key);
        Ok(None)
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

/// A row program by one slope and two kernels a step; `None` where the device has none for it.
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
    let (mut x, mut last) = (at.x.clone(), None);
    let (mut energies, mut squares) = (Vec::new(), Vec::new());
    for (k, step) in program.steps.iter().enumerate() {
        let key = key.at(k);
        let hat = if step.noise_first && step.noise != 0.0 {
            match o.add_noise(&x, step.noise, &at.chains, key)? {
                Some(hat) => hat,
                None => return Ok(None),
            }
        } else {
            x
        };
        let slope = e.slope(&at.with_x(hat.clone()))?;
        let (Some(next), Some(square)) =
            (o.advance(step, &hat, &slope.grad, &at.chains, key)?, o.row_mean_square(&slope.grad)?)
        else {
            return Ok(None);
        };
        x = next;
        energies.push(slope.energy);
        squares.push(square);
        last = Some((hat, slope.grad));
    }
    let Some((hat, grad)) = last else { return Ok(None) };
    let (energy, grad_square) = (Tensor::stack(&energies, 0)?, Tensor::stack(&squares, 0)?);
    Ok(Some(Walked { x, hat, grad, energy, grad_square }))
}
