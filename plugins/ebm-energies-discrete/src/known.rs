//! An energy whose conditional laws are known: the five calls of `Autograd`, and exact draws.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{
    Autograd, Batch, Conditionals, EnergyFn, EnergySpec, Forward, Key, Outline, Pairs, ParamSet, Result,
    Role, Slope, ThetaGrad, View, WeightFn,
};

/// A forward function with known conditional laws, for the parameters `p` of the moment.
pub(crate) trait Laws: Forward + Clone {
    /// See [`Conditionals::blocks`].
    fn blocks(&self) -> usize;

    /// See [`Conditionals::redraw`].
    fn redraw(&self, p: &View, at: &Batch, block: usize, key: Key) -> Result<Tensor>;

    /// Parameters of the path of [`Conditionals::along`].
    fn along(&self, p: &View, beta: f64, fields: &Tensor) -> Result<Vec<(String, Tensor)>>;

    /// See [`Conditionals::log_z_of_fields`].
    fn log_z_of_fields(&self, p: &View, fields: &Tensor) -> Result<f64>;

    /// See [`Conditionals::pairs`].
    fn pairs(&self, p: &View) -> Result<Option<Pairs>> {
        let _ = p;
        Ok(None)
    }

    /// Terms `(B, 1)` without a graph, where there is a quicker way to them.
    fn values(&self, p: &View, x: &Tensor) -> Result<Option<Tensor>> {
        let _ = (p, x);
        Ok(None)
    }

    /// Gradients of `Σ w_b E(x_b)` by parameter, with `w` of the terms, where there is a quicker way to them than a graph.
    fn grads(&self, p: &View, x: &Tensor, w: &WeightFn<'_>) -> Result<Option<ThetaGrad>> {
        let _ = (p, x, w);
        Ok(None)
    }
}

/// The energy of a forward function with its conditional laws.
pub(crate) struct Known<F> {
    inner: Autograd<F>,
    name: String,
}

impl<F: Laws> Known<F> {
    /// The energy `net` over `params`.
    pub fn build(name: &str, net: F, spec: EnergySpec, params: ParamSet) -> Arc<dyn EnergyFn> {
        Arc::new(Known { inner: Autograd::new(name, net, spec, params), name: name.into() })
    }

    fn net(&self) -> &F {
        self.inner.net()
    }

    fn view(&self) -> &View {
        self.inner.params().frozen()
    }

    fn fields(&self, fields: &Tensor) -> Result<Tensor> {
        let want = &self.spec().sample_shape;
        if fields.dims() != want.as_slice() {
            let hint = "fields are one for each coordinate of a sample";
            return Err(ebm_core::Error::shape(&self.name, fields.dims(), format!("{want:?}"), hint));
        }
        Ok(fields.flatten_all()?)
    }
}

impl<F: Laws> EnergyFn for Known<F> {
    fn spec(&self) -> &EnergySpec {
        self.inner.spec()
    }
    fn params(&self) -> &ParamSet {
        self.inner.params()
    }
    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.spec().check(&self.name, at)?;
        match self.net().values(self.view(), &at.x)? {
            Some(terms) => Ok(terms),
            None => self.inner.terms(at),
        }
    }
    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.inner.slope(at)
    }
    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        self.spec().check(&self.name, at)?;
        match self.net().grads(self.view(), &at.x, w)? {
            Some(mut found) => {
                let trained = |name: &str| self.params().role(name) == Some(Role::Trainable);
                found.grads.retain(|name, _| trained(name));
                Ok(found)
            }
            None => self.inner.grad_theta(at, w),
        }
    }
    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.inner.grad_theta_slope(at, v)
    }
    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.inner.hvp(at, v)
    }
    fn outline(&self) -> Result<Outline> {
        self.inner.outline()
    }
    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.inner.refreshed_buffers()
    }
    fn conditionals(&self) -> Option<&dyn Conditionals> {
        Some(self)
    }
    fn engine(&self) -> String {
        self.inner.engine()
    }
}

impl<F: Laws> Conditionals for Known<F> {
    fn blocks(&self) -> usize {
        self.net().blocks()
    }

    fn redraw(&self, at: &Batch, block: usize, key: Key) -> Result<Tensor> {
        self.spec().check(&self.name, at)?;
        self.net().redraw(self.view(), at, block, key).map_err(|e| e.within(&self.name))
    }

    fn along(&self, beta: f64, fields: &Tensor) -> Result<Arc<dyn EnergyFn>> {
        let params = self.net().along(self.view(), beta, &self.fields(fields)?)?;
        let kept = self.params().names().filter(|n| !params.iter().any(|(own, _)| own.as_str() == *n));
        let kept = kept.filter_map(|n| Some((n.to_string(), self.params().get(n)?.clone(), Role::Buffer)));
        let new = params.iter().map(|(n, t)| (n.to_string(), t.clone(), Role::Buffer));
        let params = ParamSet::new(kept.chain(new).collect::<Vec<_>>())?;
        Ok(Known::build(&self.name, self.net().clone(), self.spec().clone(), params))
    }

    fn log_z_of_fields(&self, fields: &Tensor) -> Result<f64> {
        self.net().log_z_of_fields(self.view(), &self.fields(fields)?)
    }

    fn pairs(&self) -> Result<Option<Pairs>> {
        self.net().pairs(self.view())
    }
}

/// Samples as numbers, row by row.
pub(crate) fn rows(at: &Batch) -> Result<(Vec<f64>, usize)> {
    Ok((ebm_core::host::numbers(&at.x)?, at.x.elem_count() / at.len().max(1)))
}

/// Numbers as samples like those of `at`.
pub(crate) fn like(at: &Batch, x: Vec<f64>) -> Result<Tensor> {
    let x = Tensor::from_vec(x, at.x.dims(), &ebm_core::candle::Device::Cpu)?;
    Ok(x.to_dtype(at.dtype())?.to_device(at.device())?)
}
