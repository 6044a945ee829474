//! Self attention over the positions of a map (SAGAN's block, as the published program has it).

use candle_core::{D, Tensor};
use ebm_core::{Diff, Result, View};

/// `x + γ·V softmax(QᵀK)ᵀ`: `x` `(B, C, H, W)`; queries and keys have `q` channels, no `1/√q`
/// (Zhang et al. 2019). All three maps are 1×1 convolutions with bias; parameters are
/// `{prefix}.query_conv.weight` `(q, C, 1, 1)`, `.bias` and so on, and `{prefix}.gamma` `(1,)`.
///
/// # Errors
/// If a parameter is missing or the shapes do not fit.
pub fn self_attention<V: Diff>(x: &V, p: &View, prefix: &str) -> Result<V> {
    let (b, c, h, w) = x.value().dims4()?;
    let positions = h * w;
    // (B, P, C): every 1×1 convolution is one matrix product over channels.
    let rows = x.linear(|t| {
        t.reshape((b, c, positions))?.transpose(1, 2)?.contiguous()?.reshape((b * positions, c))
    })?;
    let map = |part: &str| -> Result<V> {
        let weight = p.get(&format!("{prefix}.{part}.weight"))?.flatten_from(1)?;
        let bias = p.get(&format!("{prefix}.{part}.bias"))?;
        let y = super::linear(&rows, &weight, Some(bias))?;
        y.linear(|t| t.reshape((b, positions, ())))
    };
    let (query, key, value) = (map("query_conv")?, map("key_conv")?, map("value_conv")?);
    let scores = query.bilinear(&key, |q, k| q.matmul(&k.transpose(1, 2)?.contiguous()?))?;
    let shares = scores.softmax_last()?;
    let mixed = shares.bilinear(&value, |a, v| a.contiguous()?.matmul(&v.contiguous()?))?;
    let gamma: Tensor = p.get(&format!("{prefix}.gamma"))?.reshape((1, 1, 1))?;
    let mixed =
        mixed.times(&gamma)?.linear(|t| t.transpose(1, D::Minus1)?.contiguous()?.reshape((b, c, h, w)))?;
    x.plus(&mixed)
}
