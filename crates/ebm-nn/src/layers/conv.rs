//! Two-dimensional convolution with any kernel, stride and zero padding, and its exact adjoints.
//!
//! candle's own backward pass is correct here but computes the weight gradient even for a frozen
//! weight, takes a slow path for the input gradient on the CPU, and assumes square images where
//! the stride does not divide; so the two adjoints are written out.

use candle_core::{DType, Result, Tensor};
use ebm_core::operators::{Convolution, Order, Pass, operators};
use ebm_core::plan::Products;
use ebm_core::tie::{Back, tie2};
use ebm_core::{Diff, Result as CoreResult};

use super::turned::Turned;

/// Bytes of unfolded patches that the weight gradient may hold at a time.
const PATCH_BYTES: usize = 64 << 20;

/// `w ⋆ x + b`: `x` `(B, C, H, W)`, `w` `(O, C, k, k)`, `b` `(O,)`; result `(B, O, H', W')` with
/// `H' = (H + 2·padding − k)/stride + 1`, rounded down.
///
/// # Errors
/// If the shapes do not fit, or `padding ≥ k`.
pub fn conv2d<V: Diff>(
    x: &V,
    w: &Tensor,
    b: Option<&Tensor>,
    stride: usize,
    padding: usize,
) -> CoreResult<V> {
    conv2d_in(Products::Full, x, w, b, stride, padding)
}

/// [`conv2d`] with factors and results rounded.
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_in<V: Diff>(
    products: Products,
    x: &V,
    w: &Tensor,
    b: Option<&Tensor>,
    stride: usize,
    padding: usize,
) -> CoreResult<V> {
    let y = x.linear(|t| convolve(products, t, w, stride, padding))?;
    match b {
        Some(b) => y.shift(&b.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

/// A factor as a convolution takes it.
pub(super) fn rounded(products: Products, t: &Tensor) -> Result<Tensor> {
    match products {
        Products::Bf16 if t.dtype() == DType::F32 => {
            let low = t.to_dtype(DType::BF16)?;
            // Processors would add up in bf16 too; in f32 the products of such factors are exact, as on a GPU.
            if t.device().is_cpu() { low.to_dtype(DType::F32) } else { Ok(low) }
        }
        _ => Ok(t.clone()),
    }
}

/// A convolution's result in the type of its factors.
pub(super) fn settled(products: Products, y: Tensor, dtype: DType) -> Result<Tensor> {
    match products {
        Products::Bf16 if dtype == DType::F32 => y.to_dtype(DType::BF16)?.to_dtype(dtype),
        _ => Ok(y),
    }
}

/// The convolution without bias as a graph node that computes only the gradients it needs.
pub(crate) fn convolve(
    products: Products,
    x: &Tensor,
    w: &Tensor,
    stride: usize,
    padding: usize,
) -> Result<Tensor> {
    let (_, _, h, width) = x.dims4()?;
    let (_, _, k, k2) = w.dims4()?;
    if k != k2 || padding >= k || stride == 0 || h + 2 * padding < k || width + 2 * padding < k {
        candle_core::bail!(
            "convolution: found kernel {k}×{k2}, stride {stride}, padding {padding} on {h}×{width}; \
             wanted a square kernel that fits the padded image, and padding below the kernel"
        );
    }
    if let Some(turned) = Turned::of(products, x)
        && let Some(y) = turned.convolve(x, w, (h, width), stride, padding)?
    {
        return Ok(y);
    }
    let dtype = x.dtype();
    let (xd, wd) = (rounded(products, &x.detach())?, rounded(products, &w.detach())?);
    let y = match on_device(Pass::Forward, &xd, &wd, stride, padding)? {
        Some(y) => y,
        None => xd.contiguous()?.conv2d(&wd, padding, stride, 1, 1)?,
    };
    let y = settled(products, y, dtype)?;
    tie2(
        "conv2d",
        x,
        w,
        y,
        || {
            let w = wd.clone();
            Box::new(move |g: &Tensor| pulled_back(products, g, &w, (h, width), stride, padding)) as Back
        },
        || {
            let x = xd.clone();
            Box::new(move |g: &Tensor| {
                let w = weight_gradient(&x, &rounded(products, g)?, k, stride, padding)?;
                settled(products, w, dtype)
            }) as Back
        },
    )
}

/// [`input_gradient`] with factors and result rounded.
///
/// # Errors
/// As [`input_gradient`].
pub(crate) fn pulled_back(
    products: Products,
    g: &Tensor,
    w: &Tensor,
    size: (usize, usize),
    stride: usize,
    padding: usize,
) -> Result<Tensor> {
    let x = input_gradient(&rounded(products, g)?, &rounded(products, w)?, size, stride, padding)?;
    settled(products, x, g.dtype())
}

/// The pass of two operands by the device's own convolution, if it has one.
fn on_device(pass: Pass, a: &Tensor, b: &Tensor, stride: usize, padding: usize) -> Result<Option<Tensor>> {
    let what = Convolution { pass, order: Order::ChannelsFirst, stride, padding };
    let convolutions = operators(a.device()).and_then(|o| o.convolutions.clone());
    Ok(convolutions.map(|o| o.convolution(what, a, b)).transpose()?.flatten())
}

/// Gradient of the input `(B, C, H, W)` from the gradient `g` `(B, O, H', W')` of the result.
///
/// # Errors
/// If the shapes do not fit.
pub fn input_gradient(
    g: &Tensor,
    w: &Tensor,
    size: (usize, usize),
    stride: usize,
    padding: usize,
) -> Result<Tensor> {
    if let Some(x) = on_device(Pass::Input { size }, g, w, stride, padding)? {
        return Ok(x);
    }
    let (_, _, k, _) = w.dims4()?;
    let adjoint = |w: &Tensor| w.flip(&[2, 3])?.transpose(0, 1)?.contiguous();
    if stride == 1 {
        return g.contiguous()?.conv2d(&adjoint(w)?, k - 1 - padding, 1, 1, 1);
    }
    // Padded row j = stride·q + r meets kernel rows stride·m + r only: one small convolution for
    // each phase r of rows and columns, then interleaving.
    let (b, _, gh, gw) = g.dims4()?;
    let c = w.dim(1)?;
    let (qh, qw) = ((size.0 + padding).div_ceil(stride), (size.1 + padding).div_ceil(stride));
    let g = g.contiguous()?;
    let mut rows = Vec::with_capacity(stride);
    for ry in 0..stride {
        let mut columns = Vec::with_capacity(stride);
        for rx in 0..stride {
            let (my, mx) = (taps(k, stride, ry), taps(k, stride, rx));
            if my.is_empty() || mx.is_empty() {
                columns.push(Tensor::zeros((b, c, qh, qw), g.dtype(), g.device())?);
                continue;
            }
            let (ny, nx) = (my.len(), mx.len());
            let sub = select(&select(w, &my, 2)?, &mx, 3)?;
            // Full padding in both directions; the kernel may be oblong, candle's padding is not.
            let gp = g.pad_with_zeros(2, ny - 1, ny - 1)?.pad_with_zeros(3, nx - 1, nx - 1)?;
            let part = gp.contiguous()?.conv2d(&adjoint(&sub)?, 0, 1, 1, 1)?;
            columns.push(fit(&fit(&part, 2, gh + ny - 1, qh)?, 3, gw + nx - 1, qw)?);
        }
        rows.push(Tensor::stack(&columns, 4)?);
    }
    // (B, C, qh, stride, qw, stride)
    let whole = Tensor::stack(&rows, 3)?.reshape((b, c, qh * stride, qw * stride))?;
    whole.narrow(2, padding, size.0)?.narrow(3, padding, size.1)?.contiguous()
}

fn taps(k: usize, stride: usize, phase: usize) -> Vec<u32> {
    (phase..k).step_by(stride).map(|i| i as u32).collect()
}

fn select(w: &Tensor, at: &[u32], dim: usize) -> Result<Tensor> {
    w.contiguous()?.index_select(&Tensor::new(at, w.device())?, dim)
}

/// Cuts or zero-pads `dim` from length `have` to `want`.
fn fit(t: &Tensor, dim: usize, have: usize, want: usize) -> Result<Tensor> {
    if have >= want { t.narrow(dim, 0, want)?.contiguous() } else { t.pad_with_zeros(dim, 0, want - have) }
}

/// Gradient of the weight `(O, C, k, k)` from the input `x` and the gradient `g` of the result:
/// one matrix product with the unfolded patches, over as many images at a time as fit in memory.
///
/// # Errors
/// If the shapes do not fit.
pub fn weight_gradient(x: &Tensor, g: &Tensor, k: usize, stride: usize, padding: usize) -> Result<Tensor> {
    if let Some(w) = on_device(Pass::Weight { kernel: k }, x, g, stride, padding)? {
        return Ok(w);
    }
    let (b, c, _, _) = x.dims4()?;
    let (_, o, gh, gw) = g.dims4()?;
    let bytes = (c * k * k * gh * gw * x.dtype().size_in_bytes()).max(1);
    let chunk = (PATCH_BYTES / bytes).clamp(1, b.max(1));
    let mut sum: Option<Tensor> = None;
    let mut start = 0;
    while start < b {
        let n = chunk.min(b - start);
        let cols = unfold(&x.narrow(0, start, n)?, k, stride, padding, (gh, gw))?;
        let rows = g.narrow(0, start, n)?.transpose(0, 1)?.contiguous()?.reshape((o, n * gh * gw))?;
        // Parts are added in single precision: those of bf16 would lose their ends.
        let part = rows.matmul(&cols.t()?)?;
        let part = if x.dtype() == DType::BF16 { part.to_dtype(DType::F32)? } else { part };
        sum = Some(match sum {
            Some(s) => (s + part)?,
            None => part,
        });
        start += n;
    }
    match sum {
        Some(s) => s.to_dtype(x.dtype())?.reshape((o, c, k, k)),
        None => Tensor::zeros((o, c, k, k), x.dtype(), x.device()),
    }
}

/// Patches `(C·k·k, B·H'·W')` of `x` `(B, C, H, W)`.
fn unfold(x: &Tensor, k: usize, stride: usize, padding: usize, (oh, ow): (usize, usize)) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let x = x.transpose(0, 1)?;
    if k == 1 && padding == 0 && stride == 1 {
        return x.contiguous()?.reshape((c, b * h * w));
    }
    // Rows are padded to a whole number of strides beyond the last tap, so that taking every
    // stride-th row is a reshape.
    let long = |o: usize| (o - 1) * stride + k + stride - 1;
    let right = |n: usize, o: usize| long(o).saturating_sub(n + padding);
    let x = x.pad_with_zeros(2, padding, right(h, oh))?.pad_with_zeros(3, padding, right(w, ow))?;
    let x = x.contiguous()?;
    let mut all = Vec::with_capacity(k * k);
    for ky in 0..k {
        let rows = x.narrow(2, ky, oh * stride)?;
        let rows = if stride == 1 {
            rows
        } else {
            let width = x.dim(3)?;
            rows.contiguous()?.reshape((c, b, oh, stride, width))?.narrow(3, 0, 1)?.squeeze(3)?
        };
        for kx in 0..k {
            let cols = rows.narrow(3, kx, ow * stride)?;
            let cols = if stride == 1 {
                cols.contiguous()?
            } else {
                cols.contiguous()?.reshape((c, b, oh, ow, stride))?.narrow(4, 0, 1)?.contiguous()?
            };
            all.push(cols.reshape((c, 1, b * oh * ow))?);
        }
    }
    Tensor::cat(&all, 1)?.reshape((c * k * k, b * oh * ow))
}
