//! The mixture of energies.

use std::collections::BTreeMap;

use candle_core::{D, DType, Tensor};

use super::{Part, common_spec, describe, layers, merged_params, no_terms, prefixed, prefixed_buffers};
use crate::diff::from_top;
use crate::{Batch, EnergyFn, EnergySpec, Error, ParamSet, Result, Slope, ThetaGrad, WeightFn, per_row};

/// `E = −(1/β) log Σ exp(−β (αₖEₖ + log Zₖ))`: disjunction, mixtures. One term.
pub struct SoftMin {
    parts: Vec<Part>,
    /// `log Zₖ`.
    log_z: Vec<f64>,
    sharpness: f64,
    spec: EnergySpec,
    params: ParamSet,
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
        Ok(SoftMin { spec, params: merged_params(&parts)?, log_z: vec![0.0; parts.len()], parts, sharpness })
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
        self.log_z = log_z.to_vec();
        Ok(self)
    }

    /// Shares `softmax(−β αₖEₖ)` `(B, n)` and the soft minimum `(B,)`, from energies `(B, n)`.
    fn shares(&self, energies: &Tensor) -> Result<(Tensor, Tensor)> {
        let n = energies.affine(-self.sharpness, 0.0)?;
        let top = n.max_keepdim(D::Minus1)?;
        let e = n.broadcast_sub(&top)?.exp()?;
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

    fn slopes(&self, at: &Batch) -> Result<(Tensor, Vec<Tensor>)> {
        let mut energies = Vec::new();
        let mut grads = Vec::new();
        for (p, z) in self.parts.iter().zip(&self.log_z) {
            let s = p.energy.slope(at)?;
            energies.push(s.energy.affine(p.weight, *z)?);
            grads.push(s.grad.affine(p.weight, 0.0)?);
        }
        Ok((Tensor::stack(&energies, 1)?, grads))
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
        let (energies, grads) = self.slopes(at)?;
        let (shares, low) = self.shares(&energies)?;
        let mut grad = at.x.zeros_like()?;
        for (k, g) in grads.iter().enumerate() {
            grad = (grad + g.broadcast_mul(&per_row(&shares.get_on_dim(1, k)?, g)?)?)?;
        }
        Ok(Slope { energy: low, grad })
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        let (shares, low) = self.shares(&self.energies(at)?)?;
        let terms = low.unsqueeze(1)?;
        let outer = w(&terms)?.squeeze(1)?;
        let mut grads = BTreeMap::new();
        for (k, p) in self.parts.iter().enumerate().filter(|(_, p)| !p.energy.params().is_empty()) {
            let inner = (&outer * shares.get_on_dim(1, k)?)?.affine(p.weight, 0.0)?;
            let inner = for_all_terms(&inner, p)?;
            grads.extend(prefixed(&p.name, p.energy.grad_theta(at, &|_| Ok(inner.clone()))?.grads));
        }
        Ok(ThetaGrad { terms, grads })
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        let (energies, grads) = self.slopes(at)?;
        let (shares, _) = self.shares(&energies)?;
        let coefficients = self.share_slopes(&shares, &grads, v)?;
        let mut all = ThetaGrad { terms: no_terms(at)?, grads: BTreeMap::new() };
        for (k, p) in self.parts.iter().enumerate().filter(|(_, p)| !p.energy.params().is_empty()) {
            let share = shares.get_on_dim(1, k)?.affine(p.weight, 0.0)?;
            let direct = p.energy.grad_theta_slope(at, &v.broadcast_mul(&per_row(&share, v)?)?)?;
            all.accumulate(&prefixed(&p.name, direct.grads), 1.0)?;
            let w = for_all_terms(&coefficients.get_on_dim(1, k)?.affine(p.weight, 0.0)?, p)?;
            let through = p.energy.grad_theta(at, &|_| Ok(w.clone()))?;
            all.accumulate(&prefixed(&p.name, through.grads), 1.0)?;
        }
        Ok(all)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        let (energies, grads) = self.slopes(at)?;
        let (shares, _) = self.shares(&energies)?;
        let coefficients = self.share_slopes(&shares, &grads, v)?;
        let mut sum = at.x.zeros_like()?;
        for (k, p) in self.parts.iter().enumerate() {
            let share = per_row(&shares.get_on_dim(1, k)?.affine(p.weight, 0.0)?, v)?;
            let c = per_row(&coefficients.get_on_dim(1, k)?, v)?;
            sum = ((sum + p.energy.hvp(at, v)?.broadcast_mul(&share)?)? + grads[k].broadcast_mul(&c)?)?;
        }
        Ok(sum)
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        prefixed_buffers(&self.parts)
    }

    fn engine(&self) -> String {
        describe("soft-min", &self.parts)
    }

    fn layers(&self, batch: usize) -> String {
        layers(&self.parts, batch)
    }
}
