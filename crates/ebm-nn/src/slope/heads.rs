//! The ends of networks, and attention: operations of one operand whose gradient is written out here, so that none of them is a graph.

use candle_core::{D, DType, Tensor};
use ebm_core::Result;
use ebm_core::operators::Parts;
use ebm_core::plan::{NodeId, Op};

use super::gradient::Gradient;
use super::{Pull, Sweep};

impl Sweep<'_> {
    /// `None` for what is not written out.
    pub(super) fn head(&self, op: &Op, from: NodeId, x: &Tensor) -> Result<Option<(Tensor, Pull)>> {
        let images = self.images.clone();
        Ok(Some(match op {
            Op::Linear { weight, bias } => {
                let w = self.p.get(weight)?.detach();
                let mut y = x.matmul(&w.t()?)?;
                if let Some(bias) = bias {
                    y = y.broadcast_add(self.p.get(bias)?)?;
                }
                (y, Box::new(move |g: &Gradient| Ok(vec![(from, g.whole()?.matmul(&w)?)])))
            }
            Op::Scale(factor) => {
                let factor = *factor;
                let pull = move |g: &Gradient| Ok(vec![(from, g.whole()?.affine(factor, 0.0)?)]);
                (x.affine(factor, 0.0)?, Box::new(pull))
            }
            Op::Flatten => {
                let first = images.leave(x)?;
                let shape = first.dims().to_vec();
                let pull = move |g: &Gradient| {
                    Ok(vec![(from, images.enter(&g.whole()?.reshape(shape.as_slice())?)?)])
                };
                (first.flatten_from(1)?, Box::new(pull))
            }
            Op::SpatialMean | Op::SpatialSum => {
                let first = images.leave(x)?;
                let (b, c, h, w) = first.dims4()?;
                let rows = first.flatten_from(2)?;
                let (y, factor) = match op {
                    Op::SpatialMean => (rows.mean(D::Minus1)?, 1.0 / (h * w) as f64),
                    _ => (rows.sum(D::Minus1)?, 1.0),
                };
                let pull = move |g: &Gradient| {
                    let g = g.whole()?.affine(factor, 0.0)?.reshape((b, c, 1, 1))?;
                    Ok(vec![(from, images.enter(&g.broadcast_as((b, c, h, w))?.contiguous()?)?)])
                };
                (y, Box::new(pull))
            }
            Op::Attention { prefix } => return self.attention(prefix, from, x),
            _ => return Ok(None),
        }))
    }

    /// Self attention (see [`layers::self_attention`](crate::layers::self_attention)): all three maps by one product on rows `(B·P, C)`, which
    /// are all there is where channels come last; there the rest is one kernel.
    fn attention(&self, prefix: &str, from: NodeId, x: &Tensor) -> Result<Option<(Tensor, Pull)>> {
        let part = |name: &str, what: &str| self.p.get(&format!("{prefix}.{name}_conv.{what}"));
        let names = ["query", "key", "value"];
        // Weights (n, C, 1, 1), biases (n,).
        let joined = |what: &str| {
            let flat = |t: &Tensor| t.reshape((t.dim(0)?, t.elem_count() / t.dim(0)?.max(1)));
            let parts = names.map(|name| Ok(flat(&part(name, what)?.detach())?)).into_iter();
            Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
        };
        let kept =
            |what: &str| self.net.weights().kept(self.p, &format!("{prefix}: all {what}"), || joined(what));
        let (weight, bias) = (kept("weight")?, kept("bias")?.flatten_all()?);
        let wide = names
            .map(|name| part(name, "bias").map(Tensor::elem_count))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let gamma = self.p.get(&format!("{prefix}.gamma"))?.detach();
        let maps = Maps { weight, bias, gamma, wide };
        let Some(ops) = self.operators.last.clone() else {
            return self.attention_by_products(&maps, from, x);
        };
        // Where channels come first, they come last for the kernel alone.
        let turned = self.images.last().is_none();
        let seen = if turned { ops.enter(x, DType::F32)? } else { x.clone() };
        let ((b, h, w, c), dtype) = (seen.dims4()?, seen.dtype());
        let rows = seen.reshape((b * h * w, c))?.to_dtype(DType::F32)?;
        let all = rows.matmul(&maps.weight.t()?)?.reshape((b, h * w, ()))?;
        let Some((mut y, kept)) = ops.attention(&seen, &all, &maps.bias, &maps.gamma)? else {
            return self.attention_by_products(&maps, from, x);
        };
        if turned {
            y = ops.leave(&y)?;
        }
        let pull = move |g: &Gradient| {
            let whole = if turned { Some(g.whole()?) } else { None };
            let last = whole.as_ref().map(|g| ops.enter(g, DType::F32)).transpose()?;
            let parts = last.as_ref().map_or(g.parts(), |g| Parts(g, None));
            let (of_all, own_way) = ops.attention_back(&all, &maps.bias, &maps.gamma, &kept, parts)?;
            let of_rows = of_all.reshape((b * h * w, ()))?.matmul(&maps.weight)?;
            let of_x = of_rows.to_dtype(dtype)?.reshape((b, h, w, c))?;
            // Its own way round is a part by itself.
            Ok(match whole {
                Some(whole) => vec![(from, whole), (from, ops.leave(&of_x)?)],
                None => vec![(from, own_way), (from, of_x)],
            })
        };
        Ok(Some((y, Box::new(pull))))
    }

    /// The same by products of whole score matrices.
    fn attention_by_products(&self, maps: &Maps, from: NodeId, x: &Tensor) -> Result<Option<(Tensor, Pull)>> {
        let Some(softmax) = self.operators.softmax.clone() else { return Ok(None) };
        let images = self.images.clone();
        let (b, c, h, w) = images.leave(x)?.dims4()?;
        let places = h * w;
        let rows = move |t: &Tensor| {
            t.reshape((b, c, places))?.transpose(1, 2)?.contiguous()?.reshape((b * places, c))
        };
        let image =
            move |t: &Tensor| t.reshape((b, places, c))?.transpose(1, 2)?.contiguous()?.reshape((b, c, h, w));
        let (weight, gamma) = (maps.weight.clone(), maps.gamma.reshape((1, 1, 1))?);
        // (B, P, 2q + C)
        let all = rows(&images.leave(x)?)?.matmul(&weight.t()?)?.broadcast_add(&maps.bias)?;
        let all = all.reshape((b, places, ()))?;
        let map = |at: usize| all.narrow(2, maps.wide[..at].iter().sum(), maps.wide[at])?.contiguous();
        let (query, key, value) = (map(0)?, map(1)?, map(2)?);
        let Some(shares) = softmax.softmax(&query.matmul(&key.transpose(1, 2)?)?)? else { return Ok(None) };
        let mixed = shares.matmul(&value)?.broadcast_mul(&gamma)?;
        let y = (x + images.enter(&image(&mixed)?)?)?;
        let pull = move |g: &Gradient| {
            let whole = g.whole()?;
            let g = rows(&images.leave(&whole)?)?.reshape((b, places, c))?.broadcast_mul(&gamma)?;
            let of_scores = softmax.back(&shares, &g.matmul(&value.transpose(1, 2)?)?)?;
            let of_value = shares.transpose(1, 2)?.matmul(&g)?;
            let (of_query, of_key) = (of_scores.matmul(&key)?, of_scores.transpose(1, 2)?.matmul(&query)?);
            let of_all = Tensor::cat(&[of_query, of_key, of_value], 2)?.reshape((b * places, ()))?;
            Ok(vec![(from, whole), (from, images.enter(&image(&of_all.matmul(&weight)?)?)?)])
        };
        Ok(Some((y, Box::new(pull))))
    }
}

/// The maps of an attention: weights `(2q + C, C)` and biases of queries, keys and values one below the other, γ, and how many rows each has.
struct Maps {
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor,
    wide: Vec<usize>,
}
