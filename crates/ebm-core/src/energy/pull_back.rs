//! An energy of a transformed sample, `E(g(x))`: image pyramids, crops, other resolutions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, DeviceLocation, Tensor};

use crate::energy::outline::{Outline, unwritten};
use crate::operators::{Identity, Parts, operators};
use crate::plan::{NetPlan, Op, Pool};
use crate::{Batch, EnergyFn, EnergySpec, Error, ParamSet, Result, Slope, ThetaGrad, WeightFn};

/// A differentiable map of samples without trainable parameters. What it keeps from call to call stays where it is in memory.
pub trait Map: Send + Sync {
    /// Shape of one sample that goes in.
    fn input_shape(&self) -> &[usize];

    /// Shape of one sample that comes out.
    fn output_shape(&self) -> &[usize];

    /// `g(x)`.
    ///
    /// # Errors
    /// If an operation fails.
    fn apply(&self, x: &Tensor) -> Result<Tensor>;

    /// `Dg(x)·v`.
    ///
    /// # Errors
    /// If an operation fails.
    fn jvp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor>;

    /// `Dg(x)ᵀ·u`.
    ///
    /// # Errors
    /// If an operation fails.
    fn vjp(&self, x: &Tensor, u: &Tensor) -> Result<Tensor>;

    /// Whether the map is linear, so that [`Map::bend`] is zero and never called.
    fn is_linear(&self) -> bool {
        true
    }

    /// The matrices R `(H', H)` and C `(W', W)` if it is `R x Cᵀ` for each channel.
    fn matrices(&self) -> Option<[Vec<Vec<f64>>; 2]> {
        None
    }

    /// The map as operations of a layer plan, each with the shape of its result, if it is made of such.
    fn plan(&self) -> Option<Vec<(Op, Vec<usize>)>> {
        None
    }

    /// `∇ₓ⟨u, Dg(x)·v⟩`: the map's own curvature.
    ///
    /// # Errors
    /// If an operation fails.
    fn bend(&self, x: &Tensor, u: &Tensor, v: &Tensor) -> Result<Tensor> {
        let _ = (u, v);
        Ok(x.zeros_like()?)
    }
}

/// `E(g(x))` for a [`Map`] `g`.
pub struct PullBack {
    map: Arc<dyn Map>,
    inner: Arc<dyn EnergyFn>,
    spec: EnergySpec,
    plan: Option<NetPlan>,
    identity: Identity,
}

impl PullBack {
    /// The energy `inner` of `map`'s image.
    ///
    /// # Errors
    /// If the map's result does not fit the energy.
    pub fn new(map: Arc<dyn Map>, inner: Arc<dyn EnergyFn>) -> Result<Self> {
        if map.output_shape() != inner.spec().sample_shape {
            return Err(Error::shape(
                "pull-back",
                map.output_shape(),
                format!("{:?}", inner.spec().sample_shape),
                "the map must produce the samples of the inner energy",
            ));
        }
        let mut spec = inner.spec().clone();
        spec.sample_shape = map.input_shape().to_vec();
        let plan = inner.plan().zip(map.plan()).map(|(net, before)| net.behind(&spec.sample_shape, &before));
        Ok(PullBack { map, inner, spec, plan, identity: Identity::new() })
    }

    fn inside(&self, at: &Batch) -> Result<Batch> {
        self.spec.check("pull-back", at)?;
        Ok(at.with_x(self.map.apply(&at.x)?))
    }
}

impl EnergyFn for PullBack {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }

    fn params(&self) -> &ParamSet {
        self.inner.params()
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.inner.terms(&self.inside(at)?)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        let s = self.inner.slope(&self.inside(at)?)?;
        Ok(Slope { energy: s.energy, grad: self.map.vjp(&at.x, &s.grad)? })
    }

    fn identity(&self) -> Option<Identity> {
        self.identity.with([self.inner.identity()])
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        self.inner.grad_theta(&self.inside(at)?, w)
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.inner.grad_theta_slope(&self.inside(at)?, &self.map.jvp(&at.x, v)?)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        let inside = self.inside(at)?;
        let h = self.inner.hvp(&inside, &self.map.jvp(&at.x, v)?)?;
        let straight = self.map.vjp(&at.x, &h)?;
        if self.map.is_linear() {
            return Ok(straight);
        }
        let g = self.inner.slope(&inside)?.grad;
        Ok((straight + self.map.bend(&at.x, &g, v)?)?)
    }

    fn plan(&self) -> Option<&NetPlan> {
        self.plan.as_ref()
    }

    fn outline(&self) -> Result<Outline> {
        let Some([rows, columns]) = self.map.matrices() else {
            return Err(unwritten("a view by another map"));
        };
        Ok(Outline::View { rows, columns, inner: Box::new(self.inner.outline()?) })
    }

    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        self.inner.refreshed_buffers()
    }

    fn engine(&self) -> String {
        format!("pull-back of {}", self.inner.engine())
    }

    fn layers(&self, batch: usize) -> String {
        self.inner.layers(batch)
    }
}

/// A linear map of images applied to rows and columns: `y = R x Cᵀ` for each channel.
///
/// Pooling, cropping, resizing and padding are all of this form.
pub struct Separable {
    from: Vec<usize>,
    to: Vec<usize>,
    rows: Vec<Vec<f64>>,
    columns: Vec<Vec<f64>>,
    /// Number of published poolings that this map is, if it is that.
    poolings: Option<usize>,
    /// Both matrices as tensors, for each dtype and device that asked.
    made: Mutex<Vec<(DType, DeviceLocation, Tensor, Tensor)>>,
}

impl Separable {
    /// The map with row matrix `rows` `(H', H)` and column matrix `columns` `(W', W)` on `channels` channels.
    pub fn new(channels: usize, rows: Vec<Vec<f64>>, columns: Vec<Vec<f64>>) -> Self {
        let width = |m: &Vec<Vec<f64>>| m.first().map_or(0, Vec::len);
        Separable {
            from: vec![channels, width(&rows), width(&columns)],
            to: vec![channels, rows.len(), columns.len()],
            rows,
            columns,
            poolings: None,
            made: Mutex::default(),
        }
    }

    /// `levels` times the 3×3 average, stride 2, zero padding 1 counted: the published image pyramid.
    ///
    /// # Errors
    /// If `shape` is not `[C, H, W]`.
    pub fn pyramid(shape: &[usize], levels: usize) -> Result<Self> {
        let &[c, h, w] = shape else {
            return Err(Error::shape(
                "multi-scale",
                shape,
                "(C, H, W)",
                "an image pyramid needs image samples",
            ));
        };
        let average = |n: usize| -> Vec<Vec<f64>> {
            (0..n.div_ceil(2))
                .map(|o| {
                    (0..n).map(|i| if i + 1 >= 2 * o && i <= 2 * o + 1 { 1.0 / 3.0 } else { 0.0 }).collect()
                })
                .collect()
        };
        let power = |n: usize| {
            let mut m: Vec<Vec<f64>> =
                (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
            for _ in 0..levels {
                let next = average(m.len());
                m = next
                    .iter()
                    .map(|r| (0..n).map(|j| r.iter().zip(&m).map(|(a, row)| a * row[j]).sum()).collect())
                    .collect();
            }
            m
        };
        Ok(Separable { poolings: Some(levels), ..Separable::new(c, power(h), power(w)) })
    }

    fn matrix(m: &[Vec<f64>], dtype: DType, device: &Device) -> Result<Tensor> {
        let flat: Vec<f64> = m.iter().flatten().copied().collect();
        let width = m.first().map_or(0, Vec::len);
        Ok(Tensor::from_vec(flat, (m.len(), width), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
    }

    fn tensors(&self, like: &Tensor) -> Result<(Tensor, Tensor)> {
        let (dtype, place) = (like.dtype(), like.device().location());
        // A poisoned lock only means that another thread stopped while making a matrix.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, rows, columns)) = made.iter().find(|m| (m.0, m.1) == (dtype, place)) {
            return Ok((rows.clone(), columns.clone()));
        }
        let rows = Self::matrix(&self.rows, dtype, like.device())?;
        let columns = Self::matrix(&self.columns, dtype, like.device())?;
        made.push((dtype, place, rows.clone(), columns.clone()));
        Ok((rows, columns))
    }

    /// The published pyramid by the device's own pooling, level by level; `None` where it is another map, or the device has none.
    fn by_pools(&self, x: &Tensor, transpose: bool) -> Result<Option<Tensor>> {
        let Some(pools) = operators(x.device()).and_then(|o| o.pools.clone()) else { return Ok(None) };
        let (&[_, h, w], Some(levels)) = (self.from.as_slice(), self.poolings) else { return Ok(None) };
        let rule = Pool::Average3;
        // The sides above each pooling, the image's own first.
        let above = std::iter::successors(Some((h, w)), |(h, w)| Some((rule.length(*h), rule.length(*w))));
        let above: Vec<(usize, usize)> = above.take(levels).collect();
        let mut y = x.clone();
        for k in 0..levels {
            y = match transpose {
                true => pools.pool_back(Parts(&y, None), &rule, above[levels - 1 - k])?,
                false => match pools.pool(&y, &rule)? {
                    Some(y) => y,
                    None => return Ok(None),
                },
            };
        }
        Ok(Some(y))
    }

    fn transform(&self, x: &Tensor, transpose: bool) -> Result<Tensor> {
        if x.dtype() == DType::F32
            && !x.track_op()
            && let Some(y) = self.by_pools(x, transpose)?
        {
            return Ok(y);
        }
        let (rows, columns) = self.tensors(x)?;
        let (b, c, _, _) = x.dims4()?;
        let (left, right) = if transpose { (rows.t()?, columns) } else { (rows, columns.t()?) };
        let left = left.contiguous()?;
        let flat = x.contiguous()?.flatten(0, 1)?;
        let (n, h, w) = flat.dims3()?;
        let y = flat.reshape((n * h, w))?.matmul(&right.contiguous()?)?.reshape((n, h, ()))?;
        let y = left.broadcast_left(n)?.contiguous()?.matmul(&y.contiguous()?)?;
        let (_, h2, w2) = y.dims3()?;
        Ok(y.reshape((b, c, h2, w2))?)
    }
}

impl Map for Separable {
    fn matrices(&self) -> Option<[Vec<Vec<f64>>; 2]> {
        Some([self.rows.clone(), self.columns.clone()])
    }

    fn input_shape(&self) -> &[usize] {
        &self.from
    }

    fn output_shape(&self) -> &[usize] {
        &self.to
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.transform(x, false)
    }

    fn jvp(&self, _: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.transform(v, false)
    }

    fn vjp(&self, _: &Tensor, u: &Tensor) -> Result<Tensor> {
        self.transform(u, true)
    }

    fn plan(&self) -> Option<Vec<(Op, Vec<usize>)>> {
        let mut shape = self.from.clone();
        let ops = (0..self.poolings?).map(|_| {
            shape[1..].iter_mut().for_each(|n| *n = n.div_ceil(2));
            (Op::Pool(Pool::Average3), shape.clone())
        });
        Some(ops.collect())
    }
}
