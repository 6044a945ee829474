//! Energies over energies, closed under the five calls: sum, soft-min, frozen, conditioned.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{D, Tensor};

use crate::plan::NetPlan;
use crate::{
    Batch, Condition, EnergyFn, EnergySpec, Error, Exactness, ParamSet, Result, Slope, ThetaGrad, WeightFn,
    per_row,
};

/// A named part of a composed energy.
#[derive(Clone)]
pub struct Part {
    /// Prefix of the part's parameters and terms.
    pub name: String,
    /// Factor α of its energy; negative for "not".
    pub weight: f64,
    /// The energy.
    pub energy: Arc<dyn EnergyFn>,
}

impl Part {
    /// A part of weight 1.
    pub fn new(name: impl Into<String>, energy: Arc<dyn EnergyFn>) -> Self {
        Part { name: name.into(), weight: 1.0, energy }
    }

    /// The same part with factor `weight`.
    #[must_use]
    pub fn weighted(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }
}

/// Spec fields that a composition inherits from its parts; checks that the parts agree.
fn common_spec(kind: &str, parts: &[Part], terms: Vec<String>) -> Result<EnergySpec> {
    let Some(first) = parts.first() else {
        return Err(Error::config(kind, "has no parts; give it at least one energy"));
    };
    let mut spec = first.energy.spec().clone();
    for part in &parts[1..] {
        let other = part.energy.spec();
        if other.sample_shape != spec.sample_shape {
            return Err(Error::shape(
                format!("{kind}.{}", part.name),
                &other.sample_shape,
                format!("{:?} like part `{}`", spec.sample_shape, first.name),
                "parts see the same samples; put a part of another resolution behind `pull-back`",
            ));
        }
        spec.condition = match (spec.condition, other.condition) {
            (Condition::None, c) | (c, Condition::None) => c,
            (Condition::Required(a), Condition::Required(b) | Condition::Optional(b))
            | (Condition::Optional(b), Condition::Required(a))
                if a == b =>
            {
                Condition::Required(a)
            }
            (Condition::Optional(a), Condition::Optional(b)) if a == b => Condition::Optional(a),
            (a, b) => {
                return Err(Error::config(
                    format!("{kind}.{}", part.name),
                    format!("takes condition {b:?}, the parts before it {a:?}; wrap parts in `conditioned`"),
                ));
            }
        };
        if other.exactness == Exactness::CentralDifferences {
            spec.exactness = Exactness::CentralDifferences;
        }
    }
    spec.terms = terms;
    Ok(spec)
}

fn merged_params(parts: &[Part]) -> Result<ParamSet> {
    ParamSet::merge(parts.iter().map(|p| (p.name.as_str(), p.energy.params())))
}

fn prefixed(name: &str, grads: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    grads.into_iter().map(|(k, v)| (format!("{name}.{k}"), v)).collect()
}

fn prefixed_buffers(parts: &[Part]) -> Result<BTreeMap<String, Tensor>> {
    let mut all = BTreeMap::new();
    for p in parts {
        all.extend(prefixed(&p.name, p.energy.refreshed_buffers()?));
    }
    Ok(all)
}

fn no_terms(at: &Batch) -> Result<Tensor> {
    Ok(Tensor::zeros((at.len(), 0), at.dtype(), at.device())?)
}

/// `E = Σ αₖEₖ`: conjunction, ensembles, negation (α < 0), temperature (α = 1/T).
///
/// Terms are the parts' terms side by side, times α.
pub struct Sum {
    parts: Vec<Part>,
    spec: EnergySpec,
    params: ParamSet,
    plan: Option<NetPlan>,
}

impl Sum {
    /// The weighted sum of `parts`.
    ///
    /// # Errors
    /// If there are none, or shapes, conditions or names do not fit.
    pub fn new(parts: Vec<Part>) -> Result<Self> {
        let terms = parts
            .iter()
            .flat_map(|p| p.energy.spec().terms.iter().map(|t| format!("{}.{t}", p.name)))
            .collect();
        let (spec, params) = (common_spec("sum", &parts, terms)?, merged_params(&parts)?);
        let plans: Option<Vec<_>> =
            parts.iter().map(|p| Some((p.name.as_str(), p.weight, p.energy.plan()?))).collect();
        let plan = plans.and_then(|plans| NetPlan::side_by_side(&plans));
        Ok(Sum { spec, params, parts, plan })
    }

    /// One energy times `factor`, as a sum of one part.
    ///
    /// # Errors
    /// As [`Sum::new`].
    pub fn scaled(name: &str, energy: Arc<dyn EnergyFn>, factor: f64) -> Result<Self> {
        Sum::new(vec![Part::new(name, energy).weighted(factor)])
    }

    /// The parts.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl EnergyFn for Sum {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }

    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        let all = self
            .parts
            .iter()
            .map(|p| Ok(p.energy.terms(at)?.affine(p.weight, 0.0)?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&all, 1)?)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        let mut sum: Option<Slope> = None;
        for p in &self.parts {
            let s = p.energy.slope(at)?;
            let (e, g) = (s.energy.affine(p.weight, 0.0)?, s.grad.affine(p.weight, 0.0)?);
            sum = Some(match sum {
                None => Slope { energy: e, grad: g },
                Some(t) => Slope { energy: (t.energy + e)?, grad: (t.grad + g)? },
            });
        }
        sum.ok_or_else(|| Error::config("sum", "has no parts"))
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        if let [only] = self.parts.as_slice() {
            let inner = only
                .energy
                .grad_theta(at, &|t| Ok(w(&t.affine(only.weight, 0.0)?)?.affine(only.weight, 0.0)?))?;
            let terms = inner.terms.affine(only.weight, 0.0)?;
            return Ok(ThetaGrad { terms, grads: prefixed(&only.name, inner.grads) });
        }
        // A weight may look at the terms of other parts: they are needed before any part runs.
        let terms = self.terms(at)?;
        let weights = w(&terms)?;
        let mut grads = BTreeMap::new();
        let mut column = 0;
        for p in &self.parts {
            let count = p.energy.spec().terms.len();
            let mine = weights.narrow(1, column, count)?.affine(p.weight, 0.0)?;
            column += count;
            if !p.energy.params().is_empty() {
                grads.extend(prefixed(&p.name, p.energy.grad_theta(at, &|_| Ok(mine.clone()))?.grads));
            }
        }
        Ok(ThetaGrad { terms, grads })
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        let mut grads = BTreeMap::new();
        for p in self.parts.iter().filter(|p| !p.energy.params().is_empty()) {
            let inner = p.energy.grad_theta_slope(at, &v.affine(p.weight, 0.0)?)?;
            grads.extend(prefixed(&p.name, inner.grads));
        }
        Ok(ThetaGrad { terms: no_terms(at)?, grads })
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        let mut sum = at.x.zeros_like()?;
        for p in &self.parts {
            sum = (sum + p.energy.hvp(at, v)?.affine(p.weight, 0.0)?)?;
        }
        Ok(sum)
    }

    fn plan(&self) -> Option<&NetPlan> {
        self.plan.as_ref()
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        prefixed_buffers(&self.parts)
    }

    fn engine(&self) -> String {
        describe("sum", &self.parts)
    }

    fn layers(&self, batch: usize) -> String {
        layers(&self.parts, batch)
    }
}

fn describe(kind: &str, parts: &[Part]) -> String {
    let list: Vec<String> = parts.iter().map(|p| format!("{}: {}", p.name, p.energy.engine())).collect();
    format!("{kind} of {}", list.join("; "))
}

fn layers(parts: &[Part], batch: usize) -> String {
    let of = |p: &Part| match p.energy.layers(batch) {
        text if text.is_empty() => text,
        text => format!("{}:\n{text}", p.name),
    };
    parts.iter().map(of).collect()
}

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

/// An energy whose parameters are not trained: it shows none.
pub struct Frozen {
    inner: Arc<dyn EnergyFn>,
    params: ParamSet,
}

impl Frozen {
    /// `inner` with its parameters hidden.
    pub fn new(inner: Arc<dyn EnergyFn>) -> Self {
        Frozen { inner, params: ParamSet::default() }
    }
}

impl EnergyFn for Frozen {
    fn spec(&self) -> &EnergySpec {
        self.inner.spec()
    }

    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.inner.terms(at)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.inner.slope(at)
    }

    fn grad_theta(&self, at: &Batch, _: &WeightFn<'_>) -> Result<ThetaGrad> {
        Ok(ThetaGrad { terms: self.inner.terms(at)?, grads: BTreeMap::new() })
    }

    fn grad_theta_slope(&self, at: &Batch, _: &Tensor) -> Result<ThetaGrad> {
        Ok(ThetaGrad { terms: no_terms(at)?, grads: BTreeMap::new() })
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.inner.hvp(at, v)
    }

    fn walk(
        &self,
        at: &Batch,
        program: &crate::RowProgram,
        key: crate::Key,
    ) -> Result<Option<crate::Walked>> {
        self.inner.walk(at, program, key)
    }

    fn density(&self) -> Option<&dyn crate::Density> {
        self.inner.density()
    }

    fn engine(&self) -> String {
        format!("frozen {}", self.inner.engine())
    }

    fn layers(&self, batch: usize) -> String {
        self.inner.layers(batch)
    }
}

/// An energy under one fixed condition for all rows.
pub struct Conditioned {
    inner: Arc<dyn EnergyFn>,
    condition: Vec<f64>,
    spec: EnergySpec,
}

impl Conditioned {
    /// `inner` under `condition`.
    ///
    /// # Errors
    /// If `inner` takes no condition, or one of another length.
    pub fn new(inner: Arc<dyn EnergyFn>, condition: Vec<f64>) -> Result<Self> {
        match inner.spec().condition {
            Condition::Optional(n) | Condition::Required(n) if n == condition.len() => {}
            c => {
                return Err(Error::config(
                    "conditioned.condition",
                    format!("has length {}, but the energy takes {c:?}", condition.len()),
                ));
            }
        }
        let mut spec = inner.spec().clone();
        spec.condition = Condition::None;
        Ok(Conditioned { inner, condition, spec })
    }

    fn at(&self, at: &Batch) -> Result<Batch> {
        let row = Tensor::new(self.condition.as_slice(), at.device())?.to_dtype(at.dtype())?;
        let cond = row.unsqueeze(0)?.broadcast_as((at.len(), self.condition.len()))?.contiguous()?;
        Ok(at.clone().with_cond(Some(cond)))
    }
}

impl EnergyFn for Conditioned {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }

    fn params(&self) -> &ParamSet {
        self.inner.params()
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.inner.terms(&self.at(at)?)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.inner.slope(&self.at(at)?)
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        self.inner.grad_theta(&self.at(at)?, w)
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.inner.grad_theta_slope(&self.at(at)?, v)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.inner.hvp(&self.at(at)?, v)
    }

    fn walk(
        &self,
        at: &Batch,
        program: &crate::RowProgram,
        key: crate::Key,
    ) -> Result<Option<crate::Walked>> {
        self.inner.walk(&self.at(at)?, program, key)
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.inner.refreshed_buffers()
    }

    fn engine(&self) -> String {
        format!("conditioned {}", self.inner.engine())
    }

    fn layers(&self, batch: usize) -> String {
        self.inner.layers(batch)
    }
}
