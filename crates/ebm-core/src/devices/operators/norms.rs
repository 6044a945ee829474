//! Norms with all that follows them, as one pass over an image.

use candle_core::{Result, Tensor};

use super::Parts;
use crate::plan::Activation;

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

/// [`NormAct`] and its gradients.
pub trait NormOps: Send + Sync {
    /// `y` of [`NormAct`], and what [`NormOps::back`] and [`NormOps::affine_back`] want to know again.
    ///
    /// # Errors
    /// If the device fails.
    fn norm_act(&self, x: &Tensor, what: &NormAct) -> Result<Option<(Tensor, Tensor)>>;

    /// Gradient of the input of [`NormOps::norm_act`], which gave `kept`, from that of its result; and where `total`, the gradient that came in, as
    /// one: that of what was added at the end.
    ///
    /// # Errors
    /// If the device fails.
    fn back(
        &self,
        x: &Tensor,
        what: &NormAct,
        kept: &Tensor,
        g: Parts<'_>,
        total: bool,
    ) -> Result<(Tensor, Option<Tensor>)>;

    /// Gradients of `gain2` and `shift2` of [`NormOps::norm_act`], `(2, B, C)`, from that of its result.
    ///
    /// # Errors
    /// If the device fails.
    fn affine_back(&self, x: &Tensor, what: &NormAct, kept: &Tensor, g: &Tensor) -> Result<Tensor>;
}

/// Gradients of [`TangentOps::tangent`].
#[derive(Clone, Debug)]
pub struct TangentGrads {
    /// Of the input.
    pub x: Tensor,
    /// Of the input's tangent.
    pub dx: Tensor,
    /// Of `gain2` and `shift2`, `(2, B, C)`, if asked for.
    pub affine: Option<Tensor>,
}

/// The derivative of [`NormAct`] along a direction, and its gradients: second derivatives of energies.
pub trait TangentOps: Send + Sync {
    /// Derivative of `y` of [`NormAct`] without its skip where `x` moves along `dx`, and what [`TangentOps::back`] wants to know again.
    ///
    /// # Errors
    /// If the device fails.
    fn tangent(&self, x: &Tensor, what: &NormAct, dx: &Tensor) -> Result<Option<(Tensor, Tensor)>>;

    /// Gradients of the operands of [`TangentOps::tangent`], which gave `kept`, from that of its result; of the affine maps
    /// where `affine`.
    ///
    /// # Errors
    /// If the device fails.
    fn back(
        &self,
        x: &Tensor,
        what: &NormAct,
        dx: &Tensor,
        kept: &Tensor,
        g: &Tensor,
        affine: bool,
    ) -> Result<TangentGrads>;
}
