//! Networks of images whose channels come last.

use candle_core::{DType, Result, Tensor};

use super::NormAct;
use crate::plan::{Activation, Pool, Products};

/// A gradient that came in one part or in two, which are added where they are read.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a>(pub &'a Tensor, pub Option<&'a Tensor>);

/// The operations of a network between its convolutions on images `(B, H, W, C)`, and their gradients, in the one type that the device
/// keeps images in. Whatever that type is, everything is computed in f32 and rounded once; tensors that are no images are f32.
///
/// A device with these has [`ConvolutionOps`](super::ConvolutionOps) for [`ChannelsLast`](super::Order::ChannelsLast) too.
pub trait LastOps: Send + Sync {
    /// The type that images of a network with such products are kept in; `None` where channels had better come first.
    fn stored(&self, products: Products) -> Option<DType>;

    /// `x` `(B, C, H, W)` in f32 with its channels last, in the type `to`.
    ///
    /// # Errors
    /// If the device fails.
    fn enter(&self, x: &Tensor, to: DType) -> Result<Tensor>;

    /// `x` `(B, H, W, C)` with its channels first, in f32.
    ///
    /// # Errors
    /// If the device fails.
    fn leave(&self, x: &Tensor) -> Result<Tensor>;

    /// `y` of [`NormAct`] of `x + before`, where `before` `(C,)` is a convolution's bias, and what [`LastOps::norm_act_back`] wants to know
    /// again.
    ///
    /// # Errors
    /// If the device fails.
    fn norm_act(
        &self,
        x: &Tensor,
        before: Option<&Tensor>,
        what: &NormAct,
    ) -> Result<Option<(Tensor, Tensor)>>;

    /// Gradient of the input of [`LastOps::norm_act`], which gave `kept`, from that of its result; and where `total`, the gradient that
    /// came in, as one: that of what was added at the end.
    ///
    /// # Errors
    /// If the device fails.
    fn norm_act_back(
        &self,
        x: &Tensor,
        before: Option<&Tensor>,
        what: &NormAct,
        kept: &Tensor,
        g: Parts<'_>,
        total: bool,
    ) -> Result<(Tensor, Option<Tensor>)>;

    /// `f` of the pooled `x + before`, and what [`LastOps::pool_back`] wants to know again.
    ///
    /// # Errors
    /// If the device fails.
    fn pool(
        &self,
        x: &Tensor,
        before: Option<&Tensor>,
        rule: &Pool,
        f: Option<Activation>,
    ) -> Result<Option<(Tensor, Option<Tensor>)>>;

    /// Gradient of the input of [`LastOps::pool`], whose sides are `size` and which gave `kept`, from that of its result.
    ///
    /// # Errors
    /// If the device fails.
    fn pool_back(
        &self,
        kept: Option<&Tensor>,
        rule: &Pool,
        f: Option<Activation>,
        size: (usize, usize),
        g: Parts<'_>,
    ) -> Result<Tensor>;

    /// Self attention over places, `x + γ·V softmax(QᵀK)ᵀ`, in one kernel: `all` `(B, H·W, 2q + C)` in f32 has the maps of queries, keys and
    /// values side by side without their `bias` `(2q + C,)`, `gamma` one number. Also what [`LastOps::attention_back`] wants to know again.
    ///
    /// # Errors
    /// If the device fails.
    fn attention(
        &self,
        x: &Tensor,
        all: &Tensor,
        bias: &Tensor,
        gamma: &Tensor,
    ) -> Result<Option<(Tensor, Tensor)>>;

    /// Gradients of `all` of [`LastOps::attention`], which gave `kept`, and of `x` by its own way round, from that of the result.
    ///
    /// # Errors
    /// If the device fails.
    fn attention_back(
        &self,
        all: &Tensor,
        bias: &Tensor,
        gamma: &Tensor,
        kept: &Tensor,
        g: Parts<'_>,
    ) -> Result<(Tensor, Tensor)>;

    /// `factor·Σ f(x)` over the places, `(B, C)`.
    ///
    /// # Errors
    /// If the device fails.
    fn space(&self, x: &Tensor, f: Option<Activation>, factor: f64) -> Result<Option<Tensor>>;

    /// Gradient of the input of [`LastOps::space`] from that of its result, `(B, C)`.
    ///
    /// # Errors
    /// If the device fails.
    fn space_back(&self, x: &Tensor, f: Option<Activation>, factor: f64, g: &Tensor) -> Result<Tensor>;
}
