//! The mixture of energies, of several or of one under each of its conditions.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{D, DType, Tensor};

use super::{
    Conditioned, Part, common_spec, describe, layers, merged_params, no_terms, outlines, prefixed,
    prefixed_buffers,
};
use crate::diff::from_top;
use crate::energy::outline::{Outline, OutlinePart};
use crate::operators::Identity;
use crate::{Batch, EnergyFn, EnergySpec, Error, ParamSet, Result, Slope, ThetaGrad, WeightFn, per_row};

/// `E = −(1/β) log Σ exp(−β (αₖEₖ + log Zₖ))`: disjunction, mixtures. One term.
///
/// Energies may be infinite: a part of energy +∞ has no share in the mixture, nor has its slope.
pub struct SoftMin {
    parts: Vec<Part>,
    /// Whether all parts are one energy, whose parameters are those of the mixture.
    one: bool,
    /// `log Zₖ`.
    log_z: Vec<f64>,
    sharpness: f64,
    spec: EnergySpec,
    params: ParamSet,
    identity: Identity,
}

impl SoftMin {
    /// The soft minimum of `parts` with sharpness β > 0 (1: mixture; large: minimum).
    ///
    /// # Errors
    /// If there are no parts, β is not positive, or shapes, conditions or names do not fit.
    pub fn new(parts: Vec<Part>, sharpness: f64) -> Result<Self> {
        if !(sharpness > 0.0 && sharpness.is_finite()) {
            return Err(Error::config(
                "soft-min.sharpness",
                format!("is {sharpness}, must be positive and finite"),
            ));
        }
        let spec = common_spec("soft-min", &parts, vec!["soft-min".into()])?;
        let (params, log_z) = (merged_params(&parts)?, vec![0.0; parts.len()]);
        let identity = Identity::new();
        Ok(SoftMin { spec, params, log_z, parts, one: false, sharpness, identity })
    }

    /// `E(x) = −log Σ_y exp(−E(x, y))` over the classes `y`, conditions that are one-hot: the energy of the marginal density of `x`
    /// where `inner` is one of pairs (Grathwohl et al. 2020, equation 4). Its parameters are those of `inner`.
    ///
    /// # Errors
    /// If `inner` takes no condition.
    pub fn marginal(inner: Arc<dyn EnergyFn>) -> Result<Self> {
        let Some(classes) = inner.spec().condition.length() else {
            return Err(Error::config(
                "marginal.energy",
                "takes no condition, so there is nothing to sum over: take it as it is",
            ));
        };
        let of = |class: usize| {
            let one_hot = (0..classes).map(|k| f64::from(u8::from(k == class))).collect();
            let energy = Conditioned::new(inner.clone(), one_hot)?;
            Ok(Part::new(format!("class{class}"), Arc::new(energy)))
        };
        let parts: Vec<Part> = (0..classes).map(of).collect::<Result<_>>()?;
        let spec = common_spec("marginal", &parts, vec!["marginal".into()])?;
        let (params, log_z) = (inner.params().clone(), vec![0.0; classes]);
        let identity = Identity::new();
        Ok(SoftMin { spec, params, log_z, parts, one: true, sharpness: 1.0, identity })
    }

    /// Gradients of part `part` under the names of the mixture's parameters.
    fn own(&self, part: &Part, grads: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
        if self.one { grads } else { prefixed(&part.name, grads) }
    }

    /// Adds `log Zₖ` to each weighted part, in nats: with the log normalising constants of the parts (and β = 1) each has the same
    /// mass in the mixture; a share `w` of the mass has `log Zₖ − log w`.
    ///
    /// # Errors
    /// If there is not one finite number for each part.
    pub fn with_log_z(mut self, log_z: &[f64]) -> Result<Self> {
        if log_z.len() != self.parts.len() || !log_z.iter().all(|z| z.is_finite()) {
            let message =
                format!("log_z is {log_z:?}, must be a finite number for each of {} parts", self.parts.len());
            return Err(Error::config("soft-min.parts", message));
        }
        // Steps that were recorded have the old ones.
        (self.log_z, self.identity) = (log_z.to_vec(), Identity::new());
        Ok(self)
    }

    /// Shares `softmax(−β αₖEₖ)` `(B, n)` and the soft minimum `(B,)`, from energies `(B, n)`.
    fn shares(&self, energies: &Tensor) -> Result<(Tensor, Tensor)> {
        let n = energies.affine(-self.sharpness, 0.0)?;
        let top = n.max_keepdim(D::Minus1)?;
        // 1 at the top, where the difference of two infinities is no number.
        let at_top = n.broadcast_eq(&top)?;
        let e = at_top.where_cond(&n.ones_like()?, &n.broadcast_sub(&top)?.exp()?)?;
        let sum = e.sum_keepdim(D::Minus1)?;
        let low = (sum.log()? + top)?.affine(-1.0 / self.sharpness, 0.0)?;
        Ok((e.broadcast_div(&sum)?, low.squeeze(1)?))
    }

    fn energies(&self, at: &Batch) -> Result<Tensor> {
        let all = self
            .parts
            .iter()
            .zip(&self.log_z)
            .map(|(p, z)| Ok(p.energy.energy(at)?.affine(p.weight, *z)?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::stack(&all, 1)?)
    }

    /// Shares `(B, n)`, the soft minimum `(B,)` and the slopes of the parts, which are 0 where a part has no share.
    fn slopes(&self, at: &Batch) -> Result<(Tensor, Tensor, Vec<Tensor>)> {
        let mut energies = Vec::new();
        let mut grads = Vec::new();
        for (p, z) in self.parts.iter().zip(&self.log_z) {
            let s = p.energy.slope(at)?;
            energies.push(s.energy.affine(p.weight, *z)?);
            grads.push(s.grad.affine(p.weight, 0.0)?);
        }
        let (shares, low) = self.shares(&Tensor::stack(&energies, 1)?)?;
        let present = |(k, g): (usize, &Tensor)| present(g, &shares.get_on_dim(1, k)?);
        let grads = grads.iter().enumerate().map(present).collect::<Result<_>>()?;
        Ok((shares, low, grads))
    }

    /// Coefficients of the share's own derivative along `v`: `β wₖ (s̄ − sₖ)`, `(B, n)`.
    fn share_slopes(&self, shares: &Tensor, grads: &[Tensor], v: &Tensor) -> Result<Tensor> {
        let along =
            grads.iter().map(|g| Ok((g * v)?.flatten_from(1)?.sum(1)?)).collect::<Result<Vec<_>>>()?;
        let along = Tensor::stack(&along, 1)?;
        // Where one part has all but all of the share its slope is the mean to the last digits; f64 has more of them, and keeps its bytes.
        let along = if along.dtype() == DType::F64 { along } else { from_top(shares, &along)? };
        let mean = (&along * shares)?.sum_keepdim(1)?;
        Ok((mean.broadcast_sub(&along)? * shares)?.affine(self.sharpness, 0.0)?)
    }
}

/// `g` `(B, ...)` where the share `(B,)` is not 0, else 0: what has no share need not be a number.
fn present(g: &Tensor, share: &Tensor) -> Result<Tensor> {
    let none = per_row(&share.eq(0.0)?, g)?.broadcast_as(g.shape())?;
    Ok(none.where_cond(&g.zeros_like()?, g)?)
}

/// Weights `(B,)` as a column for every term of a part, `(B, T)`.
fn for_all_terms(w: &Tensor, part: &Part) -> Result<Tensor> {
    let (rows, terms) = (w.elem_count(), part.energy.spec().terms.len());
    Ok(w.reshape((rows, 1))?.broadcast_as((rows, terms))?.contiguous()?)
}

impl EnergyFn for SoftMin {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }

    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        Ok(self.shares(&self.energies(at)?)?.1.unsqueeze(1)?)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        let (shares, low, grads) = self.slopes(at)?;
        let mut grad = at.x.zeros_like()?;
        for (k, g) in grads.iter().enumerate() {
            grad = (grad + g.broadcast_mul(&per_row(&shares.get_on_dim(1, k)?, g)?)?)?;
        }
        Ok(Slope { energy: low, grad })
    }

    fn identity(&self) -> Option<Identity> {
        self.identity.with(self.parts.iter().map(|p| p.energy.identity()))
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        // Shares need the energies of all parts. They are computed first, without a graph: those of a marginal would otherwise keep the
        // maps of the same network once for each class.
        let (shares, low) = self.shares(&self.energies(at)?)?;
        let terms = low.unsqueeze(1)?;
        let outer = w.of(&terms)?.squeeze(1)?;
        let mut all = ThetaGrad { terms, grads: BTreeMap::new() };
        for (k, p) in self.parts.iter().enumerate().filter(|(_, p)| !p.energy.params().is_empty()) {
            let inner = (&outer * shares.get_on_dim(1, k)?)?.affine(p.weight, 0.0)?;
            let found = p.energy.grad_theta(at, &WeightFn::fixed(for_all_terms(&inner, p)?))?;
            all.accumulate(&self.own(p, found.grads), 1.0)?;
        }
        Ok(all)
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        let (shares, _, grads) = self.slopes(at)?;
        let coefficients = self.share_slopes(&shares, &grads, v)?;
        let mut all = ThetaGrad { terms: no_terms(at)?, grads: BTreeMap::new() };
        for (k, p) in self.parts.iter().enumerate().filter(|(_, p)| !p.energy.params().is_empty()) {
            let share = shares.get_on_dim(1, k)?.affine(p.weight, 0.0)?;
            let direct = p.energy.grad_theta_slope(at, &v.broadcast_mul(&per_row(&share, v)?)?)?;
            all.accumulate(&self.own(p, direct.grads), 1.0)?;
            let w = for_all_terms(&coefficients.get_on_dim(1, k)?.affine(p.weight, 0.0)?, p)?;
            let through = p.energy.grad_theta(at, &WeightFn::fixed(w))?;
            all.accumulate(&self.own(p, through.grads), 1.0)?;
        }
        Ok(all)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        let (shares, _, grads) = self.slopes(at)?;
        let coefficients = self.share_slopes(&shares, &grads, v)?;
        let mut sum = at.x.zeros_like()?;
        for (k, p) in self.parts.iter().enumerate() {
            let share = per_row(&shares.get_on_dim(1, k)?.affine(p.weight, 0.0)?, v)?;
            let c = per_row(&coefficients.get_on_dim(1, k)?, v)?;
            let curved = present(&p.energy.hvp(at, v)?, &shares.get_on_dim(1, k)?)?;
            sum = ((sum + curved.broadcast_mul(&share)?)? + grads[k].broadcast_mul(&c)?)?;
        }
        Ok(sum)
    }

    fn outline(&self) -> Result<Outline> {
        let mut parts = outlines(&self.parts)?;
        Ok(match (self.one, parts.pop()) {
            // All parts are the same energy, each under its class.
            (true, Some(OutlinePart { energy: Outline::Given { inner, .. }, .. })) => {
                Outline::Marginal { classes: self.parts.len(), inner }
            }
            (_, last) => {
                parts.extend(last);
                Outline::SoftMin { sharpness: self.sharpness, parts, log_z: self.log_z.clone() }
            }
        })
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        match (self.one, self.parts.first()) {
            (true, Some(first)) => first.energy.refreshed_buffers(),
            _ => prefixed_buffers(&self.parts),
        }
    }

    fn engine(&self) -> String {
        match (self.one, self.parts.first()) {
            (true, Some(first)) => format!("marginal over {} of {}", self.parts.len(), first.energy.engine()),
            _ => describe("soft-min", &self.parts),
        }
    }

    fn layers(&self, batch: usize) -> String {
        layers(if self.one { &self.parts[..1] } else { &self.parts }, batch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::Device;

    use super::*;
    use crate::{Diff, Opaque};

    /// `E = c·x²` at one coordinate, with c from a list: infinite ones make energies infinite and slopes no numbers at 0.
    fn part(c: f64) -> Part {
        let e = Opaque::new("bowl", &[1], ParamSet::default(), move |_, x, _| Ok(x.sqr()?.affine(c, 0.0)?));
        Part::new(format!("{c}"), Arc::new(e))
    }

    fn at(x: f64) -> Batch {
        Batch::new(Tensor::new(&[[x]], &Device::Cpu).unwrap()).unwrap()
    }

    fn mixture(c: &[f64], x: f64) -> (f64, f64, f64) {
        let mix = SoftMin::new(c.iter().copied().map(part).collect(), 1.0).unwrap();
        let one = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
        let slope = mix.slope(&at(x)).unwrap();
        let v = Tensor::ones((1, 1), slope.grad.dtype(), &Device::Cpu).unwrap();
        (one(slope.energy), one(slope.grad), one(mix.hvp(&at(x), &v).unwrap()))
    }

    #[test]
    fn log_sum_exp_holds_at_infinities() {
        let inf = f64::INFINITY;
        for dtype in [DType::F32, DType::F64] {
            for (row, wanted) in [([-inf, -inf], -inf), ([inf, 0.0], inf), ([-inf, 3.0], 3.0)] {
                let row = Tensor::new(&[row], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                let found = row.log_sum_exp_last().unwrap().to_dtype(DType::F64).unwrap();
                assert_eq!(found.to_vec2::<f64>().unwrap(), [[wanted]], "{row}");
            }
        }
    }

    #[test]
    fn parts_at_infinity_have_no_share_or_all_of_it() {
        let inf = f64::INFINITY;
        let (alone, beside) = (mixture(&[2.0], 1.0), mixture(&[inf, 2.0, inf], 1.0));
        // The curvature of an opaque energy is by differences, whose rounding is of the order of 1e-10.
        let near = |a: (f64, f64, f64)| (a.0, a.1) == (2.0, 4.0) && (a.2 - 4.0).abs() < 1e-8;
        assert!(near(alone) && near(beside), "{alone:?} {beside:?}");
        assert_eq!(mixture(&[inf, inf], 1.0).0, inf);
        assert_eq!(mixture(&[2.0, -inf, -inf], 1.0).0, -inf);
        let nan = mixture(&[2.0, f64::NAN], 1.0).0;
        assert!(nan.is_nan(), "{nan}");
    }
}
