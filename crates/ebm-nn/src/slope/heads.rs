//! The ends of networks, and attention: operations of one operand whose gradient is written out here, so that none of them is a graph.

use candle_core::{D, DType, Tensor};
use ebm_core::Result;
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

    /// Self attention (see [`layers::self_attention`](crate::layers::self_attention)): its products on rows `(B·P, C)`, which are all there is
    /// where channels come last.
    fn attention(&self, prefix: &str, from: NodeId, x: &Tensor) -> Result<Option<(Tensor, Pull)>> {
        let Some(softmax) = self.operators.softmax.clone() else { return Ok(None) };
        let (last, dtype, images) = (self.images.last().is_some(), x.dtype(), self.images.clone());
        let (b, c, (h, w)) = (x.dim(0)?, x.dim(if last { 3 } else { 1 })?, images.sides(x)?);
        let places = h * w;
        // (B, C, H, W) or (B, H, W, C) to (B·P, C) in f32, and back.
        let rows = move |t: &Tensor| match last {
            true => t.reshape((b * places, c))?.to_dtype(DType::F32),
            false => t.reshape((b, c, places))?.transpose(1, 2)?.contiguous()?.reshape((b * places, c)),
        };
        let image = move |t: Tensor| match last {
            true => t.to_dtype(dtype)?.reshape((b, h, w, c)),
            false => t.reshape((b, places, c))?.transpose(1, 2)?.contiguous()?.reshape((b, c, h, w)),
        };
        let part = |name: &str, what: &str| self.p.get(&format!("{prefix}.{name}_conv.{what}"));
        let names = ["query", "key", "value"];
        let of = |name: &str| Ok(part(name, "weight")?.detach().flatten_from(1)?);
        let (weights, biases) = (
            names.map(of).into_iter().collect::<Result<Vec<_>>>()?,
            names.map(|name| part(name, "bias")).into_iter().collect::<Result<Vec<_>>>()?,
        );
        let (weight, bias) = (Tensor::cat(&weights, 0)?, Tensor::cat(&biases, 0)?);
        let wide: Vec<usize> = weights.iter().map(|w| w.dim(0)).collect::<candle_core::Result<_>>()?;
        // All three maps by one product, (B, P, 2q + C).
        let all = rows(x)?.matmul(&weight.t()?)?.broadcast_add(&bias)?.reshape((b, places, ()))?;
        let map = |at: usize| all.narrow(2, wide[..at].iter().sum(), wide[at])?.contiguous();
        let (query, key, value) = (map(0)?, map(1)?, map(2)?);
        let scores = query.matmul(&key.transpose(1, 2)?.contiguous()?)?;
        let Some(shares) = softmax.softmax(&scores)? else { return Ok(None) };
        let gamma = self.p.get(&format!("{prefix}.gamma"))?.reshape((1, 1, 1))?.detach();
        let mixed = shares.matmul(&value)?.broadcast_mul(&gamma)?.reshape((b * places, c))?;
        let y = (x + image(mixed)?)?;
        let pull = move |g: &Gradient| {
            let whole = g.whole()?;
            let g = rows(&whole)?.reshape((b, places, c))?.broadcast_mul(&gamma)?;
            let of_shares = g.matmul(&value.transpose(1, 2)?.contiguous()?)?;
            let of_value = shares.transpose(1, 2)?.contiguous()?.matmul(&g)?;
            let of_scores = softmax.back(&shares, &of_shares)?;
            let of_query = of_scores.matmul(&key)?;
            let of_key = of_scores.transpose(1, 2)?.contiguous()?.matmul(&query)?;
            let of_all = Tensor::cat(&[of_query, of_key, of_value], 2)?.reshape((b * places, ()))?;
            // Its own way round is a part by itself.
            Ok(vec![(from, whole), (from, image(of_all.matmul(&weight)?)?)])
        };
        Ok(Some((y, Box::new(pull))))
    }
}
