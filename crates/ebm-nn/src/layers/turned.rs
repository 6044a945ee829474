//! Convolutions of a graph in bfloat16 whose operands are cast anyway: where a device wants such images with their channels last, the cast turns them.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Result, Tensor, TensorId};
use ebm_core::operators::{Convolution, ConvolutionOps, LastOps, Order, Pass, operators};
use ebm_core::plan::Products;
use ebm_core::tie::{Back, tie2};

use super::conv::{pulled_back, rounded, settled, weight_gradient};

/// What a device has for it.
#[derive(Clone)]
pub(super) struct Turned {
    images: Arc<dyn LastOps>,
    convolutions: Arc<dyn ConvolutionOps>,
}

impl Turned {
    /// `None` where channels had better come first, or nothing is cast.
    pub fn of(products: Products, x: &Tensor) -> Option<Turned> {
        if products != Products::Bf16 || x.dtype() != DType::F32 {
            return None;
        }
        let o = operators(x.device())?;
        let (images, convolutions) = (o.last.clone()?, o.convolutions.clone()?);
        (images.stored(products)? == DType::BF16).then_some(Turned { images, convolutions })
    }

    /// The convolution without bias of `x` `(B, C, H, W)` with `w` `(O, C, k, k)`, both in f32, as a graph node; factors, result and gradients are
    /// rounded to bfloat16. `None` if the device does not take it; gradients that it does not take go with channels first.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn convolve(
        &self,
        x: &Tensor,
        w: &Tensor,
        size: (usize, usize),
        stride: usize,
        padding: usize,
    ) -> Result<Option<Tensor>> {
        let kernel = w.dim(2)?;
        let (xd, wd) = (self.enter(&x.detach())?, channels_last(&w.detach(), DType::BF16)?);
        let run = move |o: &Turned, pass: Pass, a: &Tensor, b: &Tensor| {
            o.convolutions.convolution(
                Convolution { pass, order: Order::ChannelsLast, stride, padding },
                a,
                b,
            )
        };
        let Some(y) = run(self, Pass::Forward, &xd, &wd)? else { return Ok(None) };
        let y = self.images.leave(&y)?;
        let (of_x, of_w, plain) = (self.clone(), self.clone(), w.detach());
        let products = Products::Bf16;
        let entered = Entered::of_two(x.track_op() && w.track_op());
        let again = entered.clone();
        let y = tie2(
            "conv2d",
            x,
            w,
            y,
            || {
                Box::new(move |g: &Tensor| {
                    match run(&of_x, Pass::Input { size }, &entered.get(g, || of_x.enter(g))?, &wd)? {
                        Some(g) => of_x.images.leave(&g),
                        None => pulled_back(products, g, &plain, size, stride, padding),
                    }
                }) as Back
            },
            || {
                Box::new(move |g: &Tensor| {
                    match run(&of_w, Pass::Weight { kernel }, &xd, &again.get(g, || of_w.enter(g))?)? {
                        Some(w) => w.to_dtype(DType::F32)?.permute((0, 3, 1, 2))?.contiguous(),
                        None => {
                            let x = rounded(products, &of_w.images.leave(&xd)?)?;
                            let w = weight_gradient(&x, &rounded(products, g)?, kernel, stride, padding)?;
                            settled(products, w, DType::F32)
                        }
                    }
                }) as Back
            },
        )?;
        Ok(Some(y))
    }

    fn enter(&self, x: &Tensor) -> Result<Tensor> {
        self.images.enter(&x.contiguous()?, DType::BF16)
    }
}

/// The gradient of a result as two rules take it one after the other: made for the first, let go by the second. None is kept where there is one rule.
#[derive(Clone)]
struct Entered(Option<Arc<Mutex<Made>>>);

/// A gradient, and what was made of it.
type Made = Option<(TensorId, Tensor)>;

impl Entered {
    fn of_two(two: bool) -> Entered {
        Entered(two.then(Arc::default))
    }

    /// Of `g`, which `make` makes unless the other rule had it made.
    fn get(&self, g: &Tensor, make: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let Some(held) = &self.0 else { return make() };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.take() {
            Some((of, made)) if of == g.id() => Ok(made),
            // Of another pass through the same graph that ended between the two.
            _ => {
                let made = make()?;
                *held = Some((g.id(), made.clone()));
                Ok(made)
            }
        }
    }
}

/// A weight `(O, C, k, k)` as `(O, k, k, C)` in another type, in memory of its own.
pub(crate) fn channels_last(w: &Tensor, to: DType) -> Result<Tensor> {
    w.to_dtype(to)?.permute((0, 2, 3, 1))?.force_contiguous()
}
