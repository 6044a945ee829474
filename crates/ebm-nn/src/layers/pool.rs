//! Pooling as a product with one small matrix for rows and one for columns.
//!
//! candle's `avg_pool2d` has no padding, no backward pass where window and stride differ, and a
//! wrong one where the size is not a multiple. A matrix has neither problem, its adjoint is its
//! transpose, and it serves every rule.

use candle_core::{Result, Tensor};
use ebm_core::operators::{Parts, operators};
use ebm_core::plan::Pool;
use ebm_core::tie::{Back, tie1};
use ebm_core::{Diff, Result as CoreResult};

/// The pooling rule of one side as a matrix `(n', n)`, row by row.
///
/// [`Pool::Average3`]: 3-average, stride 2, zero padding counted. [`Pool::Blur`]: `[1, 2, 1]/4`,
/// stride 2, reflected border. [`Pool::Average`]: windows of `size` side by side.
pub fn pooling_matrix(rule: &Pool, n: usize) -> Vec<f64> {
    let m = rule.length(n);
    let mut matrix = vec![0.0; m * n];
    for o in 0..m {
        let row = &mut matrix[o * n..(o + 1) * n];
        match rule {
            Pool::Average3 => {
                (2 * o..2 * o + 3).filter(|&i| i >= 1 && i <= n).for_each(|i| row[i - 1] += 1.0 / 3.0)
            }
            Pool::Blur => [(0, 0.25), (1, 0.5), (2, 0.25)].into_iter().for_each(|(tap, weight)| {
                row[reflect(2 * o + tap, n)] += weight;
            }),
            Pool::Average { size } => {
                row[o * size..(o + 1) * size].iter_mut().for_each(|v| *v = 1.0 / *size as f64);
            }
        }
    }
    matrix
}

/// Index `padded − 1` of a side of `n` pixels, reflected at the border without repeating the edge.
fn reflect(padded: usize, n: usize) -> usize {
    match padded {
        0 => 1.min(n - 1),
        p if p > n => n.saturating_sub(2),
        p => p - 1,
    }
}

/// Pools `x` `(B, C, H, W)` to `(B, C, H', W')` with `rows` `(H', H)` and `columns` `(W', W)`, both
/// made from [`pooling_matrix`] in the dtype and on the device of `x`.
///
/// # Errors
/// If the shapes do not fit.
pub fn pool2d<V: Diff>(x: &V, rows: &Tensor, columns: &Tensor) -> CoreResult<V> {
    x.linear(|t| {
        let y = both_sides(&t.detach(), rows, columns)?;
        tie1("pool2d", t, y, || {
            let (r, c) = (rows.clone(), columns.clone());
            Box::new(move |g: &Tensor| both_sides(g, &r.t()?.contiguous()?, &c.t()?.contiguous()?)) as Back
        })
    })
}

/// [`pool2d`] for matrices that come from `rule`, in one kernel where the device has one.
///
/// # Errors
/// If the shapes do not fit.
pub fn pool2d_by<V: Diff>(x: &V, rule: &Pool, rows: &Tensor, columns: &Tensor) -> CoreResult<V> {
    let Some(o) = operators(x.value().device()).and_then(|o| o.pools.clone()) else {
        return pool2d(x, rows, columns);
    };
    x.linear(|t| {
        let size = (t.dim(2)?, t.dim(3)?);
        let Some(y) = o.pool(&t.detach(), rule)? else {
            return pool2d(t, rows, columns).map_err(candle_core::Error::wrap);
        };
        tie1("pool2d", t, y, || {
            let (o, rule) = (o.clone(), rule.clone());
            Box::new(move |g: &Tensor| o.pool_back(Parts(g, None), &rule, size)) as Back
        })
    })
}

/// `R x Cᵀ` for each channel.
fn both_sides(x: &Tensor, rows: &Tensor, columns: &Tensor) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let (h2, w2) = (rows.dim(0)?, columns.dim(0)?);
    let y = x.contiguous()?.reshape((b * c * h, w))?.matmul(&columns.t()?)?;
    let y = y.reshape((b * c, h, w2))?.transpose(1, 2)?.contiguous()?;
    let y = y.reshape((b * c * w2, h))?.matmul(&rows.t()?)?;
    y.reshape((b * c, w2, h2))?.transpose(1, 2)?.contiguous()?.reshape((b, c, h2, w2))
}

/// The pooling matrix of one side as a tensor like `like`.
///
/// # Errors
/// If the tensor cannot be made.
pub fn pooling_tensor(rule: &Pool, n: usize, like: &Tensor) -> Result<Tensor> {
    let m = rule.length(n);
    Tensor::from_vec(pooling_matrix(rule, n), (m, n), &candle_core::Device::Cpu)?
        .to_dtype(like.dtype())?
        .to_device(like.device())
}
