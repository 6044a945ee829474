//! Pooling and its transpose.

use candle_core::{DType, Result, Tensor};
use ebm_core::operators::{Parts, PoolOps};
use ebm_core::plan::Pool;

use super::args::{BLOCK, count, rule, side};
use super::{Kernels, whole};
use crate::launcher::{Arg, Launcher};

/// Sides of images: before pooling, after it, and of the result of the kernel.
struct Sides {
    full: (usize, usize),
    pooled: (usize, usize),
    result: (usize, usize),
}

impl<L: Launcher> Kernels<L> {
    /// A pass of `x`, or of a gradient with `more` of it where the kernel takes two parts.
    fn pooling(
        &self,
        kernel: &'static str,
        x: &Tensor,
        more: Option<Option<&Tensor>>,
        by: &Pool,
        sides: &Sides,
    ) -> Result<Option<Tensor>> {
        let (b, c, _, _) = x.dims4()?;
        let ((h, w), (m, k), (out_h, out_w)) = (sides.full, sides.pooled, sides.result);
        // Places are counted as one number in an image, which has the sides of either.
        let small = [(h, w), (m, k)].into_iter().all(|(a, b)| a.checked_mul(b).and_then(count).is_some());
        let Some(planes) = count(b * c).filter(|_| small && x.dtype() == DType::F32) else { return Ok(None) };
        let (x, out) = (whole(x)?, self.empty(&[b, c, out_h, out_w], x.device())?);
        let (number, size) = rule(by);
        let mut args: Vec<Arg<'_>> = vec![planes.into(), number.into(), size.into()];
        args.extend([h, w, m, k].map(|n| Arg::I32(side(n))));
        let second = more.flatten().map(whole).transpose()?;
        args.push(Arg::In(&x));
        args.extend(more.map(|_| Arg::from(second.as_ref())));
        args.push(Arg::Out(&out));
        // SAFETY: the sides are those of the tensors.
        unsafe { self.launch(kernel, out.elem_count().div_ceil(BLOCK), BLOCK as u32, &args)? };
        Ok(Some(out))
    }
}

impl<L: Launcher> PoolOps for Kernels<L> {
    fn pool(&self, x: &Tensor, by: &Pool) -> Result<Option<Tensor>> {
        let (_, _, h, w) = x.dims4()?;
        let pooled = (by.length(h), by.length(w));
        self.pooling("pool", x, None, by, &Sides { full: (h, w), pooled, result: pooled })
    }

    fn pool_back(&self, g: Parts<'_>, by: &Pool, size: (usize, usize)) -> Result<Tensor> {
        let (_, _, m, k) = g.0.dims4()?;
        let sides = Sides { full: size, pooled: (m, k), result: size };
        let alike = g.1.is_none_or(|more| more.dims() == g.0.dims() && more.dtype() == DType::F32);
        let done = if alike { self.pooling("pool_back", g.0, Some(g.1), by, &sides)? } else { None };
        done.ok_or_else(|| {
            candle_core::Error::Msg(format!("pool: a gradient {:?} of an image {size:?}", g.0.dims()))
        })
    }
}
