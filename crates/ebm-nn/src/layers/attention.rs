//! Self attention over the positions of a map (SAGAN's block, as the published program has it).

use candle_core::{D, Tensor};
use ebm_core::operators::operators;
use ebm_core::{Diff, Result, View};

use super::tie::{Back, tie1};

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
    let shares = softmax(&scores)?;
    let mixed = shares.bilinear(&value, |a, v| a.contiguous()?.matmul(&v.contiguous()?))?;
    let gamma: Tensor = p.get(&format!("{prefix}.gamma"))?.reshape((1, 1, 1))?;
    let mixed =
        mixed.times(&gamma)?.linear(|t| t.transpose(1, D::Minus1)?.contiguous()?.reshape((b, c, h, w)))?;
    x.plus(&mixed)
}

/// Softmax over the last axis, in one kernel each way where the device has it.
fn softmax<V: Diff>(scores: &V) -> Result<V> {
    let Some(o) = operators(scores.value().device()).and_then(|o| o.softmax.clone()) else {
        return scores.softmax_last();
    };
    let value = |parts: &[&Tensor]| {
        let (s, o) = (parts[0], o.clone());
        let plain = s.detach();
        let Some(y) = o.softmax(&plain)? else { return Ok(None) };
        let back = move |g: &Tensor| {
            // Computed again: tying a result takes its storage.
            let once = || candle_core::Error::Msg("softmax: covered once only".into());
            o.back(&o.softmax(&plain)?.ok_or_else(once)?, g)
        };
        Ok(Some(tie1("softmax", s, y, || Box::new(back) as Back)?))
    };
    // dy = y (dx - sum of y dx).
    let along = |_: &[&Tensor], tangents: &[&Tensor], y: &Tensor| {
        let moved = (y * tangents[0])?;
        Ok(Some((&moved - y.broadcast_mul(&moved.sum_keepdim(D::Minus1)?)?)?))
    };
    let fused = V::fused(&[scores], value, along)?;
    fused.map_or_else(|| scores.softmax_last(), Ok)
}
