//! Softmax, a block a row.

use candle_core::{DType, Result, Tensor};
use ebm_core::operators::SoftmaxOps;

use super::args::{count, threads_for};
use super::{Kernels, whole};
use crate::launcher::{Arg, Launcher};

/// Number and length of the rows of `x`; `None` for what the kernels do not take.
fn row_shape(x: &Tensor) -> Option<(usize, u32)> {
    let width = *x.dims().last()?;
    let rows = x.elem_count() / width.max(1);
    let fits = x.dtype() == DType::F32 && rows > 0 && count(rows).is_some();
    count(width).filter(|_| fits).map(|width| (rows, width))
}

impl<L: Launcher> SoftmaxOps for Kernels<L> {
    fn softmax(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let Some((rows, width)) = row_shape(x) else { return Ok(None) };
        let (x, y) = (whole(x)?, self.empty(x.dims(), x.device())?);
        let args = [width.into(), Arg::In(&x), Arg::Out(&y)];
        // SAFETY: x and y have rows × width entries, a block a row.
        unsafe { self.launch("softmax", rows, threads_for(width as usize), &args)? };
        Ok(Some(y))
    }

    fn back(&self, y: &Tensor, g: &Tensor) -> Result<Tensor> {
        let fits = g.dims() == y.dims() && g.dtype() == DType::F32;
        let Some((rows, width)) = row_shape(y).filter(|_| fits) else {
            candle_core::bail!("softmax: a gradient {:?} of shares {:?}", g.dims(), y.dims())
        };
        let (y, g, gx) = (whole(y)?, whole(g)?, self.empty(y.dims(), y.device())?);
        let args = [width.into(), Arg::In(&y), Arg::In(&g), Arg::Out(&gx)];
        // SAFETY: as in `softmax`.
        unsafe { self.launch("softmax_back", rows, threads_for(width as usize), &args)? };
        Ok(gx)
    }
}
