//! The `k` nearest reference samples of each sample: on the device where it has an operator, else by matrix product with exact distances
//! after.

use ebm_core::candle::{Device, Tensor};
use ebm_core::operators::operators;
use ebm_core::{Error, Result, host};

/// Distance to and row of the `k`-th nearest reference sample of each sample.
pub struct Neighbours {
    /// Euclidean distances over the flattened samples, `(B,)`: f32 on their device, or f64 on the processor.
    pub distance: Tensor,
    /// Row of the reference set, `(B,)`, in u32, there too.
    pub row: Tensor,
    /// Number of reference samples that count, `(B,)`.
    pub counted: Vec<usize>,
}

/// The `k`-th nearest (from 1) rows of `bank` `(M, ...)` for each row of `x` `(B, ...)`; the first of
/// equally near rows comes first. Rows nearer than `exclude` (the sample itself) do not count.
///
/// # Errors
/// If shapes differ or fewer than `k` rows count.
pub fn kth_nearest(name: &str, x: &Tensor, bank: &Tensor, k: usize, exclude: f64) -> Result<Neighbours> {
    if x.rank() < 2 || bank.rank() < 2 || x.dims()[1..] != bank.dims()[1..] {
        let want = format!("reference samples shaped like the samples {:?}", x.dims());
        return Err(Error::shape(name, bank.dims(), want, "draw both from the same model"));
    }
    let (flat, reference) = (x.flatten_from(1)?, bank.flatten_from(1)?);
    let (b, m) = (flat.dims()[0], reference.dims()[0]);
    if let Some(o) = operators(x.device()).and_then(|o| o.search.clone())
        && let Some(near) = o.nearest(&flat, &reference, k, exclude)?
    {
        // Distances are never below zero: without a bound all count, and nothing is read.
        let counted = if exclude < 0.0 {
            vec![m; b]
        } else {
            host::numbers(&near.counted)?.into_iter().map(|n| n as usize).collect()
        };
        return match counted.iter().find(|n| **n < k) {
            Some(n) => Err(too_few(name, k, exclude, *n)),
            None => Ok(Neighbours { distance: near.distance, row: near.row, counted }),
        };
    }
    // |x|² + |r|² − 2 x·r ranks the candidates; the winners' distances are computed again from the
    // difference, because the expansion cancels where they are close.
    let cross = flat.matmul(&reference.t()?)?.affine(-2.0, 0.0)?;
    let square = |t: &Tensor| t.sqr()?.sum(1);
    let ranked = cross.broadcast_add(&square(&reference)?.unsqueeze(0)?)?;
    let ranked = ranked.broadcast_add(&square(&flat)?.unsqueeze(1)?)?;
    let rows = |t: &Tensor| -> Result<Vec<Vec<f64>>> {
        let width = t.dims()[1].max(1);
        Ok(host::numbers(t)?.chunks(width).map(<[f64]>::to_vec).collect())
    };
    let (ranked, flat, reference) = (rows(&ranked)?, rows(&flat)?, rows(&reference)?);
    let exact = |i: usize, j: usize| {
        flat[i].iter().zip(&reference[j]).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    };
    let (mut distance, mut row, mut counted) = (Vec::with_capacity(b), Vec::with_capacity(b), Vec::new());
    for (i, ranks) in ranked.iter().enumerate() {
        // Rounding of the expansion is relative to the squared norms: keep all that could still win.
        let scale =
            flat[i].iter().map(|v| v * v).sum::<f64>() + ranks.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        let slack = 1e-5 * scale.max(1e-30);
        let mut order: Vec<usize> = (0..m).collect();
        order.sort_by(|a, b| ranks[*a].total_cmp(&ranks[*b]));
        let mut best: Vec<(f64, usize)> = Vec::new();
        // All that are this near stand before the winner, so the loop meets every one of them.
        let mut excluded = 0;
        for j in order {
            if best.len() >= k {
                let worst = best[k - 1].0;
                if ranks[j] > worst * worst + slack {
                    break;
                }
            }
            let d = exact(i, j);
            if d > exclude {
                best.push((d, j));
                best.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            } else {
                excluded += 1;
            }
        }
        let Some((d, j)) = best.get(k - 1) else { return Err(too_few(name, k, exclude, best.len())) };
        distance.push(*d);
        row.push(*j as u32);
        counted.push(m - excluded);
    }
    let distance = Tensor::from_vec(distance, b, &Device::Cpu)?;
    Ok(Neighbours { distance, row: Tensor::from_vec(row, b, &Device::Cpu)?, counted })
}

fn too_few(name: &str, k: usize, exclude: f64, found: usize) -> Error {
    let message = if exclude < 0.0 {
        format!("needs {k} reference samples, found {found}; raise the bank")
    } else {
        format!(
            "needs {k} reference samples further away than exclude = {exclude}, found {found}; lower it or raise the bank"
        )
    };
    Error::config(name, message)
}

/// `(x − r)/(B d²)` for each row: the gradient of the mean log distance, the shape of `x`.
///
/// # Errors
/// If an operation fails.
pub fn mean_log_gradient(x: &Tensor, bank: &Tensor, near: &Neighbours) -> Result<Tensor> {
    let b = near.row.dims1()?;
    // A sample that sits on a reference sample has no direction: its gradient is zero.
    let inverse = near.distance.sqr()?.affine(b as f64, 0.0)?.recip()?;
    let factor = near.distance.gt(0.0)?.where_cond(&inverse, &inverse.zeros_like()?)?;
    let factor = ebm_core::per_row(&factor.to_dtype(x.dtype())?.to_device(x.device())?, x)?;
    Ok((x - bank.index_select(&near.row.to_device(x.device())?, 0)?)?.broadcast_mul(&factor)?)
}
