//! The five calls from one generic forward function.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Tensor, Var};

use super::outline::{Formula, Outline, unwritten};
use super::severed::Severed;
use crate::operators::Identity;
use crate::plan::NetPlan;
use crate::{
    Batch, Diff, Dual, EnergyFn, EnergySpec, ParamSet, Result, Role, Slope, ThetaGrad, View, WeightFn,
};

// ANCHOR: forward
/// The only function most authors write. [`Autograd`] derives every call of [`EnergyFn`] from it:
/// `V = Tensor` gives values and reverse gradients, `V = Dual` carries a tangent along.
pub trait Forward: Send + Sync + 'static {
    /// Terms `(B, T)` of the energy at `x` `(B, ...)`, written with the operations of [`Diff`].
    ///
    /// # Errors
    /// If a parameter is missing or an operation fails.
    fn terms<V: Diff>(&self, p: &View, x: &V, cond: Option<&Tensor>) -> Result<V>;

    /// The terms at `x`, and the gradient of their sum with respect to `x`, where there is a better way to it than a graph; no
    /// gradient flows to the parameters `p`.
    ///
    /// # Errors
    /// As [`Forward::terms`].
    fn slope(&self, p: &View, x: &Tensor, cond: Option<&Tensor>) -> Result<Option<(Tensor, Tensor)>> {
        let _ = (p, x, cond);
        Ok(None)
    }

    /// What [`Forward::slope`] starts; see [`EnergyFn::identity`]. A function that keeps nothing it made of its parameters, or writes it over
    /// in place, may give one that never changes.
    fn identity(&self) -> Option<Identity> {
        None
    }

    /// The same formula in Python, for those who take the energy to PyTorch: see [`Formula::python`]. Without it an energy
    /// that has no layer plan stays here.
    fn python(&self) -> Option<String> {
        None
    }

    /// Tensors besides the parameters that the Python reads, by name.
    fn constants(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    /// New values of buffers after an update (power iteration), from the parameters `p`.
    ///
    /// # Errors
    /// If a parameter is missing or an operation fails.
    fn refreshed(&self, p: &View) -> Result<BTreeMap<String, Tensor>> {
        let _ = p;
        Ok(BTreeMap::new())
    }
}
// ANCHOR_END: forward

/// An energy made of a forward function and its parameters.
pub struct Autograd<F> {
    net: F,
    name: String,
    spec: EnergySpec,
    params: ParamSet,
    plan: Option<NetPlan>,
    severed: Severed,
}

impl<F: Forward> Autograd<F> {
    /// The energy `net` over `params`; `name` stands in its error messages.
    pub fn new(name: impl Into<String>, net: F, spec: EnergySpec, params: ParamSet) -> Self {
        Autograd { net, name: name.into(), spec, params, plan: None, severed: Severed::default() }
    }

    /// The same energy with a layer plan for fused engines.
    #[must_use]
    pub fn with_plan(mut self, plan: NetPlan) -> Self {
        self.plan = Some(plan);
        self
    }

    /// The forward function.
    pub fn net(&self) -> &F {
        &self.net
    }

    fn forward<V: Diff>(&self, p: &View, x: &V, at: &Batch) -> Result<V> {
        self.spec.check(&self.name, at)?;
        let out = self.net.terms(p, x, at.cond.as_ref()).map_err(|e| e.within(&self.name))?;
        let want = [at.len(), self.spec.terms.len()];
        if out.value().dims() != want {
            return Err(crate::Error::shape(
                &self.name,
                out.value().dims(),
                format!("terms {want:?}"),
                "keep the batch axis first and one column a term",
            ));
        }
        Ok(out)
    }

    fn collect(&self, terms: Tensor, store: &GradStore) -> ThetaGrad {
        let grads = self
            .params
            .trainable()
            .filter_map(|name| {
                let g = store.get(self.params.var(name)?)?;
                Some((name.to_string(), g.clone()))
            })
            .collect();
        ThetaGrad { terms, grads }
    }
}

/// The gradient of `x` in `store`, zero if `x` does not enter: the curvature of a function that is linear in it.
fn input_grad(store: &mut GradStore, x: &Var) -> Result<Tensor> {
    match store.remove(x) {
        Some(g) => Ok(g),
        None => Ok(x.as_tensor().zeros_like()?),
    }
}

impl<F: Forward> EnergyFn for Autograd<F> {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }

    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.forward(self.params.frozen(), &at.x.detach(), at)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.spec.check(&self.name, at)?;
        let direct = self.net.slope(self.params.frozen(), &at.x.detach(), at.cond.as_ref());
        if let Some((terms, grad)) = direct.map_err(|e| e.within(&self.name))? {
            // A sum of one term is no work.
            let energy = if terms.dim(1)? == 1 { terms.squeeze(1)? } else { terms.sum(D::Minus1)? };
            return Ok(Slope { energy, grad });
        }
        let x = Var::from_tensor(&at.x)?;
        let energy = self.forward(self.params.frozen(), x.as_tensor(), at)?.sum(D::Minus1)?;
        let terms = |p: &View, x: &Tensor| self.forward(p, x, at);
        let mut store = energy.sum_all()?.backward()?;
        let grad = self.severed.of_input(&self.name, &mut store, &x, at, self.params.frozen(), &terms)?;
        Ok(Slope { energy: energy.detach(), grad })
    }

    fn identity(&self) -> Option<Identity> {
        self.net.identity()
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        let terms = self.forward(self.params.live(), &at.x.detach(), at)?;
        let weights = w.of(&terms.detach())?;
        let store = (&terms * weights.detach())?.sum_all()?.backward()?;
        let again = |p: &View, x: &Tensor| self.forward(p, x, at);
        let grads = self.severed.of_params(&self.name, &store, &self.params, &at.x.detach(), &again)?;
        Ok(ThetaGrad { terms: terms.detach(), grads })
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        let x = Dual::new(at.x.detach(), v.detach());
        let out = self.forward(self.params.live(), &x, at)?;
        let store = out.tangent().sum_all()?.backward()?;
        Ok(self.collect(out.value().detach(), &store))
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        let x = Var::from_tensor(&at.x)?;
        let out = self.forward(self.params.frozen(), &Dual::new(x.as_tensor().clone(), v.detach()), at)?;
        input_grad(&mut out.tangent().sum_all()?.backward()?, &x)
    }

    fn plan(&self) -> Option<&NetPlan> {
        self.plan.as_ref()
    }

    fn outline(&self) -> Result<Outline> {
        let formula = |text| {
            let mut formula = Formula::new(self.spec.terms.join(" and "), &self.params, text);
            let constants = self.net.constants().into_iter().map(|(name, t)| (name, t, Role::Buffer));
            formula.tensors.extend(constants);
            Outline::Formula(formula)
        };
        match (&self.plan, self.net.python()) {
            (Some(plan), _) => Ok(Outline::Net { plan: plan.clone(), params: self.params.clone() }),
            (None, Some(text)) => Ok(formula(text)),
            (None, None) => Err(unwritten(&self.name)),
        }
    }

    fn engine(&self) -> String {
        let device = self.params.names().find_map(|n| self.params.get(n)).map(Tensor::device);
        match device.and_then(crate::devices::operators::operators) {
            Some(o) => format!("graph with {}", o.name),
            None => "graph".into(),
        }
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.net.refreshed(self.params.frozen())
    }
}

/// The dtype in which an energy computes: that of its parameters, else that of the batch.
pub fn dtype_of(e: &dyn EnergyFn, at: &Batch) -> DType {
    e.params().names().find_map(|n| e.params().get(n)).map_or(at.dtype(), Tensor::dtype)
}
