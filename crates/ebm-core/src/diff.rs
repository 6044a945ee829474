//! Differentiable values: the algebra in which an author writes a forward pass once.
//!
//! candle keeps no graph of its backward pass, so a second derivative taken by a second
//! `backward` is silently wrong. Written over [`Diff`], a forward pass runs on plain tensors (for
//! values and reverse gradients) and on [`Dual`] numbers, which carry the directional derivative
//! along a constant direction `v` with them. One ordinary `backward` of that derivative's sum is
//! the exact mixed second derivative (forward-over-reverse, Pearlmutter 1994).

use candle_core::{D, DType, Result as TensorResult, Tensor};

use crate::Result;
use crate::batch::wide;

mod sigmoid;
mod softmax;
mod tails;

use sigmoid::sigmoid;
pub(crate) use softmax::from_top;
use softmax::{log_sum_exp, log_sum_exp_tangent, softmax, softmax_tangent};
use tails::{bell, log_beside_one, rest, sigmoid_slope};

/// The derivative of `x·sigmoid(x)`: `s·(1 + x·(1 − s))`, with digits in the tails, and tracked.
///
/// # Errors
/// If a tensor operation fails.
pub fn swish_slope(x: &Tensor) -> TensorResult<Tensor> {
    let s = sigmoid(x)?;
    let left = (x * rest(x, &s)?)?.affine(1.0, 1.0)?;
    s * left
}

/// A value an author's forward pass works on: a [`Tensor`] or a [`Dual`].
///
/// Six primitives carry it; all else is provided on top. The closures see plain tensors.
pub trait Diff: Clone + Sized {
    /// The value itself, for its shape; using its numbers in a constant cuts the derivative.
    fn value(&self) -> &Tensor;

    /// What `f` makes of the plain tensors of `parts` in one piece, for engines that have a kernel for several operations, and
    /// the tangent that `df` makes of them, their tangents and the result; `None` if either has no answer. Derivatives in reverse are
    /// what `f` and `df` tie to their results.
    ///
    /// # Errors
    /// If `f` or `df` fails.
    fn fused(
        parts: &[&Self],
        f: impl FnOnce(&[&Tensor]) -> Result<Option<Tensor>>,
        df: impl FnOnce(&[&Tensor], &[&Tensor], &Tensor) -> Result<Option<Tensor>>,
    ) -> Result<Option<Self>> {
        let _ = (parts, f, df);
        Ok(None)
    }

    /// A linear map `f` (convolution or product with a weight, pooling, reshape, sum).
    ///
    /// # Errors
    /// If `f` fails.
    fn linear(&self, f: impl Fn(&Tensor) -> TensorResult<Tensor>) -> Result<Self>;

    /// A pointwise function `f` with derivative `df`.
    ///
    /// # Errors
    /// If `f` or `df` fails.
    fn pointwise(
        &self,
        f: impl Fn(&Tensor) -> TensorResult<Tensor>,
        df: impl Fn(&Tensor) -> TensorResult<Tensor>,
    ) -> Result<Self>;

    /// A map `f` linear in each of two values (product, matrix product of activations).
    ///
    /// # Errors
    /// If `f` fails.
    fn bilinear(&self, other: &Self, f: impl Fn(&Tensor, &Tensor) -> TensorResult<Tensor>) -> Result<Self>;

    /// A map `f` jointly linear in several values (concatenation, stacking).
    ///
    /// # Errors
    /// If `f` fails.
    fn join(parts: &[Self], f: impl Fn(&[Tensor]) -> TensorResult<Tensor>) -> Result<Self>;

    /// The sum of two values of broadcastable shapes.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    fn plus(&self, other: &Self) -> Result<Self>;

    /// The sum with a constant or parameter `c`, broadcast.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    fn shift(&self, c: &Tensor) -> Result<Self>;

    /// `factor · x`.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn scale(&self, factor: f64) -> Result<Self> {
        self.linear(|t| t.affine(factor, 0.0))
    }

    /// `x · c` with a constant or parameter `c`, broadcast.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    fn times(&self, c: &Tensor) -> Result<Self> {
        self.linear(|t| t.broadcast_mul(c))
    }

    /// `x − other`.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    fn minus(&self, other: &Self) -> Result<Self> {
        self.plus(&other.scale(-1.0)?)
    }

    /// Product of two values of broadcastable shapes.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    fn mul(&self, other: &Self) -> Result<Self> {
        self.bilinear(other, |a, b| a.broadcast_mul(b))
    }

    /// `x²`.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn square(&self) -> Result<Self> {
        self.pointwise(|t| t.sqr(), |t| t.affine(2.0, 0.0))
    }

    /// `x·sigmoid(x)` (SiLU).
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn swish(&self) -> Result<Self> {
        // Not candle's `silu`: its backward pass, `s·(1 − y) + y`, cancels for large `y` in f32.
        self.pointwise(|t| t * sigmoid(t)?, swish_slope)
    }

    /// `1/(1 + exp(−x))`.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn sigmoid(&self) -> Result<Self> {
        self.pointwise(sigmoid, |t| {
            if t.dtype() != DType::F64 {
                return sigmoid_slope(t);
            }
            let s = sigmoid(t)?;
            &s * rest(t, &s)?
        })
    }

    /// Hyperbolic tangent.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn tanh(&self) -> Result<Self> {
        self.pointwise(tails::tanh, |t| bell(t, &tails::tanh(t)?))
    }

    /// `max(x, 0)`; derivative 0 at 0.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn relu(&self) -> Result<Self> {
        self.leaky_relu(0.0)
    }

    /// `x` if positive, else `slope·x`.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn leaky_relu(&self, slope: f64) -> Result<Self> {
        let df = |t: &Tensor| {
            let on = t.gt(&t.zeros_like()?)?.to_dtype(t.dtype())?;
            on.affine(1.0 - slope, slope)
        };
        self.pointwise(|t| t * df(t)?, df)
    }

    /// `log(1 + exp x)`, without overflow.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn softplus(&self) -> Result<Self> {
        self.pointwise(|t| t.relu()? + log_beside_one(&t.abs()?.neg()?.exp()?)?, sigmoid)
    }

    /// `exp x`.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn exp(&self) -> Result<Self> {
        self.pointwise(|t| t.exp(), |t| t.exp())
    }

    /// Natural logarithm of positive values.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn log(&self) -> Result<Self> {
        self.pointwise(|t| t.log(), |t| t.recip())
    }

    /// Square root of positive values.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn sqrt(&self) -> Result<Self> {
        self.pointwise(|t| t.sqrt(), |t| t.sqrt()?.recip()?.affine(0.5, 0.0))
    }

    /// `1/x`.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn recip(&self) -> Result<Self> {
        self.pointwise(|t| t.recip(), |t| t.sqr()?.recip()?.neg())
    }

    /// Sine.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn sin(&self) -> Result<Self> {
        self.pointwise(|t| t.sin(), |t| t.cos())
    }

    /// Cosine.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn cos(&self) -> Result<Self> {
        self.pointwise(|t| t.cos(), |t| t.sin()?.neg())
    }

    /// Keeps the batch axis, flattens the rest: `(B, n)`.
    ///
    /// # Errors
    /// If the value has no batch axis.
    fn flatten(&self) -> Result<Self> {
        self.linear(|t| t.flatten_from(1))
    }

    /// `x W` for `x` `(B, n)` and `W` `(n, m)`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    fn matmul(&self, w: &Tensor) -> Result<Self> {
        self.linear(|t| t.matmul(w))
    }

    /// PyTorch's linear layer: `x Wᵀ + b` for `x` `(B, in)`, `W` `(out, in)`, `b` `(out,)`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    fn linear_layer(&self, w: &Tensor, b: Option<&Tensor>) -> Result<Self> {
        let y = self.linear(|t| t.matmul(&w.t()?))?;
        match b {
            Some(b) => y.shift(b),
            None => Ok(y),
        }
    }

    /// Sum over the last axis, which stays with length 1.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn sum_last(&self) -> Result<Self> {
        self.linear(|t| wide(t, |t| t.sum_keepdim(D::Minus1)))
    }

    /// Mean over the last axis, which stays with length 1.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn mean_last(&self) -> Result<Self> {
        self.linear(|t| wide(t, |t| t.mean_keepdim(D::Minus1)))
    }

    /// Softmax over the last axis.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn softmax_last(&self) -> Result<Self> {
        // In f64 what cancels leaves ten digits and more, and runs go on to the same bytes.
        if self.value().dtype() != DType::F64 {
            let value = |parts: &[&Tensor]| Ok(Some(softmax(parts[0])?));
            let along =
                |_: &[&Tensor], moved: &[&Tensor], y: &Tensor| Ok(Some(softmax_tangent(y, moved[0])?));
            if let Some(y) = Self::fused(&[self], value, along)? {
                return Ok(y);
            }
        }
        // The maximum is a constant shift: softmax does not depend on it.
        let top = self.value().detach().max_keepdim(D::Minus1)?.neg()?;
        let e = self.shift(&top)?.exp()?;
        e.mul(&e.sum_last()?.recip()?)
    }

    /// `log Σ exp` over the last axis, which stays with length 1.
    ///
    /// # Errors
    /// If the tensor operation fails.
    fn log_sum_exp_last(&self) -> Result<Self> {
        if self.value().dtype() != DType::F64 {
            let value = |parts: &[&Tensor]| Ok(Some(log_sum_exp(parts[0])?));
            let along =
                |x: &[&Tensor], moved: &[&Tensor], _: &Tensor| Ok(Some(log_sum_exp_tangent(x[0], moved[0])?));
            if let Some(y) = Self::fused(&[self], value, along)? {
                return Ok(y);
            }
        }
        let top = self.value().detach().max_keepdim(D::Minus1)?;
        // Where all are −∞, or one is +∞, the difference to the top would be no number.
        let top = top.abs()?.lt(f64::INFINITY)?.where_cond(&top, &top.zeros_like()?)?;
        self.shift(&top.neg()?)?.exp()?.sum_last()?.log()?.shift(&top)
    }
}

impl Diff for Tensor {
    fn value(&self) -> &Tensor {
        self
    }
    fn fused(
        parts: &[&Self],
        f: impl FnOnce(&[&Tensor]) -> Result<Option<Tensor>>,
        _: impl FnOnce(&[&Tensor], &[&Tensor], &Tensor) -> Result<Option<Tensor>>,
    ) -> Result<Option<Self>> {
        f(parts)
    }
    fn linear(&self, f: impl Fn(&Tensor) -> TensorResult<Tensor>) -> Result<Self> {
        Ok(f(self)?)
    }
    fn pointwise(
        &self,
        f: impl Fn(&Tensor) -> TensorResult<Tensor>,
        _: impl Fn(&Tensor) -> TensorResult<Tensor>,
    ) -> Result<Self> {
        Ok(f(self)?)
    }
    fn bilinear(&self, other: &Self, f: impl Fn(&Tensor, &Tensor) -> TensorResult<Tensor>) -> Result<Self> {
        Ok(f(self, other)?)
    }
    fn join(parts: &[Self], f: impl Fn(&[Tensor]) -> TensorResult<Tensor>) -> Result<Self> {
        Ok(f(parts)?)
    }
    fn plus(&self, other: &Self) -> Result<Self> {
        Ok(self.broadcast_add(other)?)
    }
    fn shift(&self, c: &Tensor) -> Result<Self> {
        Ok(self.broadcast_add(c)?)
    }
}

/// A value with its derivative along a constant direction of the input.
#[derive(Clone, Debug)]
pub struct Dual {
    value: Tensor,
    tangent: Tensor,
}

impl Dual {
    /// The input `x` moving along `v` (same shape).
    pub fn new(x: Tensor, v: Tensor) -> Self {
        Dual { value: x, tangent: v }
    }

    /// The derivative along the direction.
    pub fn tangent(&self) -> &Tensor {
        &self.tangent
    }
}

impl Diff for Dual {
    fn value(&self) -> &Tensor {
        &self.value
    }
    fn fused(
        parts: &[&Self],
        f: impl FnOnce(&[&Tensor]) -> Result<Option<Tensor>>,
        df: impl FnOnce(&[&Tensor], &[&Tensor], &Tensor) -> Result<Option<Tensor>>,
    ) -> Result<Option<Self>> {
        let values: Vec<&Tensor> = parts.iter().map(|p| &p.value).collect();
        let tangents: Vec<&Tensor> = parts.iter().map(|p| &p.tangent).collect();
        let Some(value) = f(&values)? else { return Ok(None) };
        Ok(df(&values, &tangents, &value)?.map(|tangent| Dual { value, tangent }))
    }
    fn linear(&self, f: impl Fn(&Tensor) -> TensorResult<Tensor>) -> Result<Self> {
        Ok(Dual { value: f(&self.value)?, tangent: f(&self.tangent)? })
    }
    fn pointwise(
        &self,
        f: impl Fn(&Tensor) -> TensorResult<Tensor>,
        df: impl Fn(&Tensor) -> TensorResult<Tensor>,
    ) -> Result<Self> {
        Ok(Dual { value: f(&self.value)?, tangent: (df(&self.value)? * &self.tangent)? })
    }
    fn bilinear(&self, other: &Self, f: impl Fn(&Tensor, &Tensor) -> TensorResult<Tensor>) -> Result<Self> {
        Ok(Dual {
            value: f(&self.value, &other.value)?,
            tangent: (f(&self.tangent, &other.value)? + f(&self.value, &other.tangent)?)?,
        })
    }
    fn join(parts: &[Self], f: impl Fn(&[Tensor]) -> TensorResult<Tensor>) -> Result<Self> {
        let values: Vec<Tensor> = parts.iter().map(|p| p.value.clone()).collect();
        let tangents: Vec<Tensor> = parts.iter().map(|p| p.tangent.clone()).collect();
        Ok(Dual { value: f(&values)?, tangent: f(&tangents)? })
    }
    fn plus(&self, other: &Self) -> Result<Self> {
        Ok(Dual {
            value: self.value.broadcast_add(&other.value)?,
            tangent: self.tangent.broadcast_add(&other.tangent)?,
        })
    }
    fn shift(&self, c: &Tensor) -> Result<Self> {
        let value = self.value.broadcast_add(c)?;
        let tangent = self.tangent.broadcast_as(value.shape())?;
        Ok(Dual { value, tangent })
    }
}
