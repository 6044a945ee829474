//! An energy that also knows its normalised density: the five calls of `Autograd`, and exact answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::host;
use ebm_core::plan::NetPlan;
use ebm_core::{
    Autograd, Batch, BuildCx, Chains, Density, EnergyFn, EnergySpec, Error, Forward, Key, Outline, ParamSet,
    Result, RowSlopes, Slope, ThetaGrad, View, WeightFn,
};

use crate::Stream;

/// Writes one exact draw, flattened, into a slice as long as a sample.
pub type Drawer<'a> = Box<dyn Fn(&mut Stream, &mut [f64]) + 'a>;

/// A forward function of one term whose integral, draws and moments are known.
///
/// All answers are for the parameters `p` of the moment, so they stay right while an energy is trained.
pub trait KnownDensity: Forward {
    /// `log Z = log ∫ exp(−E(x)) dx`, nats.
    ///
    /// # Errors
    /// If a parameter cannot be read, or the density has no finite integral.
    fn log_z(&self, p: &View) -> Result<f64>;

    /// What draws a sample; prepared once for many draws.
    ///
    /// # Errors
    /// If a parameter cannot be read, or the density has no finite integral.
    fn drawer(&self, p: &View) -> Result<Drawer<'_>>;

    /// Exact mean of each coordinate, flattened, if finite.
    fn mean(&self, p: &View) -> Option<Vec<f64>>;

    /// Exact variance of each coordinate, flattened, if finite.
    fn variance(&self, p: &View) -> Option<Vec<f64>>;

    /// Energy of one flattened sample, its gradient written to `grad`, where a formula without parameters is at hand: it
    /// spares samplers the graph, which for a few numbers takes fifty times as long as the numbers. Must be what
    /// [`Forward::terms`] gives, to rounding.
    fn row(&self, x: &[f64], grad: &mut [f64]) -> Option<f64> {
        let _ = (x, grad);
        None
    }

    /// The same prepared from parameters, for samples of this dtype, where the formula has some: it is kept until they change.
    ///
    /// # Errors
    /// If a parameter cannot be read.
    fn prepared(&self, p: &View, dtype: DType) -> Result<Option<Arc<dyn RowSlopes + Send>>> {
        let _ = (p, dtype);
        Ok(None)
    }

    /// Energies `(B,)` and gradients `(B, D)` of flattened samples `(B, D)` by tensors, where there is a way to them without a
    /// graph. Must be what [`Forward::terms`] gives, to rounding.
    ///
    /// # Errors
    /// If a parameter cannot be read, or an operation fails.
    fn batch(&self, p: &View, x: &Tensor) -> Result<Option<(Tensor, Tensor)>> {
        let _ = (p, x);
        Ok(None)
    }
}

/// The energy `net` with its [`Density`].
pub struct Closed<F> {
    inner: Autograd<F>,
    dtype: DType,
    device: Device,
    prepared: Mutex<Option<Prepared>>,
}

/// What was made of the parameters of a version.
#[derive(Clone)]
struct Prepared {
    version: u64,
    rows: Option<Arc<dyn RowSlopes + Send>>,
}

/// Rows by a formula without parameters.
struct ByFormula<'a, F>(&'a F);

impl<F: KnownDensity> RowSlopes for ByFormula<'_, F> {
    fn slopes(&self, x: &[f64], energy: &mut [f64], grad: &mut [f64]) -> Result<()> {
        let width = x.len() / energy.len().max(1);
        for ((e, x), grad) in
            energy.iter_mut().zip(x.chunks_exact(width.max(1))).zip(grad.chunks_exact_mut(width.max(1)))
        {
            // Whether there is a formula was asked before.
            *e = self.0.row(x, grad).unwrap_or(f64::NAN);
        }
        Ok(())
    }
}

/// Rows by what was made of parameters.
struct ByParameters(Arc<dyn RowSlopes + Send>);

impl RowSlopes for ByParameters {
    fn slopes(&self, x: &[f64], energy: &mut [f64], grad: &mut [f64]) -> Result<()> {
        self.0.slopes(x, energy, grad)
    }
}

impl<F: KnownDensity> Closed<F> {
    /// The energy `net` over the parameters declared in `cx`, with one term called `term`.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn build(cx: &mut BuildCx, net: F, term: &str) -> Result<Arc<dyn EnergyFn>> {
        let spec = EnergySpec::new(cx.sample_shape(), &[term]);
        let params = cx.take_params()?;
        let inner = Autograd::new(cx.path(), net, spec, params);
        let (dtype, device) = (cx.dtype(), cx.device().clone());
        Ok(Arc::new(Closed { inner, dtype, device, prepared: Mutex::new(None) }))
    }

    fn view(&self) -> &View {
        self.inner.params().frozen()
    }

    /// What is prepared of the parameters as they are now.
    fn of_parameters(&self) -> Result<Option<Arc<dyn RowSlopes + Send>>> {
        let version = self.inner.params().version();
        // Nothing can panic under this lock that leaves it half changed.
        let mut kept = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.as_ref().filter(|k| k.version == version) {
            return Ok(known.rows.clone());
        }
        let rows = self.inner.net().prepared(self.view(), self.dtype)?;
        *kept = Some(Prepared { version, rows: rows.clone() });
        Ok(rows)
    }

    /// Energies and gradients by [`KnownDensity::batch`], or of the rows by [`KnownDensity::row`] if there is a formula and the
    /// batch is on the processor.
    fn by_rows(&self, at: &Batch) -> Result<Option<Slope>> {
        self.spec().check("closed form", at)?;
        if at.dtype() == self.dtype
            && let Some((energy, grad)) = self.inner.net().batch(self.view(), &at.x.flatten_from(1)?)?
        {
            return Ok(Some(Slope { energy, grad: grad.reshape(at.x.dims())? }));
        }
        let (b, floats) = (at.len(), matches!(at.dtype(), DType::F32 | DType::F64));
        let width = at.x.elem_count() / b.max(1);
        if !(floats && at.device().is_cpu() && width > 0) {
            return Ok(None);
        }
        let x = at.x.flatten_all()?;
        let x = match at.dtype() {
            DType::F32 => x.to_vec1::<f32>()?.into_iter().map(f64::from).collect(),
            _ => x.to_vec1::<f64>()?,
        };
        let (mut energy, mut grad) = (Vec::with_capacity(b), vec![0.0; x.len()]);
        for (x, grad) in x.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
            let Some(e) = self.inner.net().row(x, grad) else { return Ok(None) };
            energy.push(e);
        }
        let back = |v: Vec<f64>, shape: &[usize]| -> Result<Tensor> {
            Ok(match at.dtype() {
                DType::F32 => {
                    Tensor::from_vec(v.into_iter().map(|v| v as f32).collect(), shape, &Device::Cpu)?
                }
                _ => Tensor::from_vec(v, shape, &Device::Cpu)?,
            })
        };
        Ok(Some(Slope { energy: back(energy, &[b])?, grad: back(grad, at.x.dims())? }))
    }
}

impl<F: KnownDensity> EnergyFn for Closed<F> {
    fn spec(&self) -> &EnergySpec {
        self.inner.spec()
    }
    fn params(&self) -> &ParamSet {
        self.inner.params()
    }
    fn terms(&self, at: &Batch) -> Result<Tensor> {
        match self.by_rows(at)? {
            Some(rows) => Ok(rows.energy.unsqueeze(1)?),
            None => self.inner.terms(at),
        }
    }
    fn slope(&self, at: &Batch) -> Result<Slope> {
        match self.by_rows(at)? {
            Some(rows) => Ok(rows),
            None => self.inner.slope(at),
        }
    }
    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        self.inner.grad_theta(at, w)
    }
    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.inner.grad_theta_slope(at, v)
    }
    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.inner.hvp(at, v)
    }
    fn plan(&self) -> Option<&NetPlan> {
        self.inner.plan()
    }
    fn outline(&self) -> Result<Outline> {
        self.inner.outline()
    }
    fn rows<'a>(&'a self, at: &Batch) -> Result<Option<Box<dyn RowSlopes + 'a>>> {
        self.spec().check("closed form", at)?;
        let floats = matches!(at.dtype(), DType::F32 | DType::F64) && at.dtype() == self.dtype;
        let width = at.x.elem_count() / at.len().max(1);
        if !(floats && at.device().is_cpu() && width > 0) {
            return Ok(None);
        }
        if let Some(rows) = self.of_parameters()? {
            return Ok(Some(Box::new(ByParameters(rows))));
        }
        let formula = self.inner.net().row(&vec![0.0; width], &mut vec![0.0; width]).is_some();
        Ok(formula.then(|| Box::new(ByFormula(self.inner.net())) as Box<dyn RowSlopes + 'a>))
    }
    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.inner.refreshed_buffers()
    }
    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }
}

impl<F: KnownDensity> Density for Closed<F> {
    fn log_density(&self, at: &Batch) -> Result<Tensor> {
        let log_z = self.inner.net().log_z(self.view())?;
        Ok(self.energy(at)?.affine(-1.0, -log_z)?)
    }

    fn draw(&self, chains: &Chains, key: Key) -> Result<Tensor> {
        let mut shape = vec![chains.len()];
        shape.extend_from_slice(&self.spec().sample_shape);
        let len: usize = self.spec().sample_shape.iter().product();
        let mut data = vec![0f64; len * chains.len()];
        let draw = self.inner.net().drawer(self.view())?;
        if len > 0 {
            for (row, chain) in data.chunks_mut(len).zip(chains.ids()) {
                draw(&mut Stream::new(key, *chain), row);
            }
        }
        Ok(Tensor::from_vec(data, shape, &self.device)?.to_dtype(self.dtype)?)
    }

    fn mean(&self) -> Option<Vec<f64>> {
        self.inner.net().mean(self.view())
    }

    fn variance(&self) -> Option<Vec<f64>> {
        self.inner.net().variance(self.view())
    }
}

/// The entries of parameter `name`, row by row.
pub(crate) fn numbers(p: &View, name: &str) -> Result<Vec<f64>> {
    Ok(host::wide(p.get(name)?)?.flatten_all()?.to_vec1()?)
}

/// Refuses samples of other than two values.
pub(crate) fn plane(cx: &BuildCx) -> Result<()> {
    if cx.sample_len() == 2 {
        return Ok(());
    }
    Err(Error::shape(cx.path(), cx.sample_shape(), "(2,)", "this energy lives on the plane; use 2-D data"))
}

/// Refuses samples of fewer than two values.
pub(crate) fn at_least_two(cx: &BuildCx) -> Result<()> {
    if cx.sample_len() >= 2 {
        return Ok(());
    }
    Err(Error::shape(cx.path(), cx.sample_shape(), "two values or more", "use wider samples"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::{EnergyConfig, Key};

    use super::*;
    use crate::{Banana, DoubleWell, EightSchools, Funnel, Gaussian, Grid25};

    /// Formulas of rows against the graph: energies by the parameter gradient's pass, slopes by differences of them.
    #[test]
    fn rows_agree_with_the_graph() {
        let covariance = vec![1.0, 0.6, 0.1, 0.6, 2.0, -0.3, 0.1, -0.3, 0.5];
        let all: [(&dyn EnergyConfig, usize); 8] = [
            (&Gaussian { covariance: Some(covariance), mean: Some(vec![0.3; 3]), ..Gaussian::default() }, 3),
            (&Gaussian { variances: Some(vec![1.0, 0.4]), ..Gaussian::default() }, 2),
            (&Banana::default(), 3),
            (&DoubleWell { barrier: 3.0, minimum: 1.3 }, 4),
            (&Funnel::default(), 4),
            (&Grid25::default(), 2),
            (&EightSchools { centred: false }, 10),
            (&EightSchools { centred: true }, 10),
        ];
        for (config, d) in all {
            let e = config.build(&mut BuildCx::new(&[d], DType::F64, &Device::Cpu, Key::root(1))).unwrap();
            let x = Key::root(2).normal(&Chains::range(0, 9), &[d], DType::F64, &Device::Cpu).unwrap();
            let at = Batch::new(x.affine(0.9, 0.05).unwrap()).unwrap();
            let slope = e.slope(&at).unwrap();
            let graph = e.grad_theta(&at, &WeightFn::ones()).unwrap().terms;
            let off = |a: &Tensor, b: &Tensor| {
                let gap = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
                gap / (1.0 + b.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap())
            };
            // Rounding of a dozen operations; squares of size 1000 in the grid.
            assert!(off(&e.terms(&at).unwrap(), &graph) < 1e-13, "{d}");
            assert!(off(&slope.energy.unsqueeze(1).unwrap(), &graph) < 1e-13, "{d}");
            // The graph's own gradient: of half precision-free f64, so again rounding only.
            let v = slope.grad.ones_like().unwrap();
            let h = 1e-5;
            let moved =
                |s: f64| e.energy(&at.with_x((&at.x + v.affine(s * h, 0.0).unwrap()).unwrap())).unwrap();
            let along = ((moved(1.0) - moved(-1.0)).unwrap() / (2.0 * h)).unwrap();
            // A central difference: h² times third derivatives, which are 1e4 at the grid's modes (1/sd⁴ times a width).
            assert!(off(&slope.grad.sum(1).unwrap(), &along) < 1e-5, "{d}");
        }
    }
}
