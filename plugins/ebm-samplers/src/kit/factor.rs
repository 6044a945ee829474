//! The linear map of a metric: of single rows, of many rows together, and of tensors.

use std::sync::{Arc, OnceLock};

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Result, RowProduct, flat_rows};

use super::lanes;
use super::metric::{MetricKind, numbers_of};

/// A linear map L for each row, with `L Lᵀ` the covariance of the target as far as it is known. Kernels move in `y = L⁻¹x`, where
/// momenta and noise are standard normal: `x` moves by `L v`, and the gradient there is `Lᵀ∇E`. In the words of Hamiltonian Monte
/// Carlo the mass matrix is `(L Lᵀ)⁻¹`.
#[derive(Clone, Debug)]
pub struct Factor {
    /// No choice, but what was chosen.
    kind: MetricKind,
    /// Coordinates of a sample.
    width: usize,
    /// Numbers of one map after the other: one for all rows, or one for each; none of a unit metric.
    data: Arc<Vec<f64>>,
    /// The one triangle of all rows, for many of them at once; none where each has its own.
    together: Option<Together>,
}

/// A triangle that all rows share, packed when it is first asked for.
#[derive(Clone, Debug)]
struct Together {
    /// Of the samples.
    dtype: DType,
    packed: Arc<OnceLock<Packed>>,
}

/// Widest triangle that is packed for rows: it is held twice more, in less than 12 MiB.
const PACKED: usize = 1024;

/// A triangle in the numbers of the samples. A trajectory in f64 may move by maps in f32: kicks and drifts are shears whatever they are rounded
/// to, so they keep volumes and come back, and what the energy loses is weighed with the rest of its error.
#[derive(Debug)]
enum Packed {
    Single(Triangles<f32>),
    Double(Triangles<f64>),
}

#[derive(Debug)]
struct Triangles<T> {
    up: RowProduct<T>,
    down: RowProduct<T>,
}

impl<T: ebm_core::RowNumber> Triangles<T> {
    fn of(l: &[f64], width: usize) -> Self {
        let transposed: Vec<f64> = (0..l.len()).map(|i| l[i % width * width + i / width]).collect();
        let product = |matrix: &[f64]| RowProduct::of(matrix, vec![0.0; width]);
        Triangles { up: product(&transposed), down: product(l) }
    }
}

/// Which of the two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `L v`, from momenta to positions.
    Up,
    /// `Lᵀ g`, from gradients to momenta.
    Down,
}

impl Factor {
    /// The identity in `width` coordinates.
    pub fn unit(width: usize) -> Self {
        Factor { kind: MetricKind::Unit, width, data: Arc::default(), together: None }
    }

    /// The maps `data`, row by row, of samples of `width` coordinates.
    pub(crate) fn of(kind: MetricKind, width: usize, data: Vec<f64>) -> Self {
        Factor { kind, width, data: Arc::new(data), together: None }
    }

    /// One map that all rows of samples in `dtype` share: of such ones many rows are mapped at once.
    pub(crate) fn shared(kind: MetricKind, width: usize, data: Vec<f64>, dtype: DType) -> Self {
        let packs = kind == MetricKind::Dense && (1..=PACKED).contains(&width);
        let together = packs.then(|| Together { dtype, packed: Arc::default() });
        Factor { together, ..Factor::of(kind, width, data) }
    }

    fn packed(&self) -> Option<&Packed> {
        let Together { dtype, packed } = self.together.as_ref()?;
        Some(packed.get_or_init(|| match dtype {
            DType::F32 => Packed::Single(Triangles::of(&self.data, self.width)),
            _ => Packed::Double(Triangles::of(&self.data, self.width)),
        }))
    }

    /// Whether it is the identity.
    pub fn is_unit(&self) -> bool {
        self.kind == MetricKind::Unit
    }

    /// Whether it mixes coordinates.
    pub(crate) fn is_turned(&self) -> bool {
        self.kind == MetricKind::Dense
    }

    /// The same with a factor of 1 for each coordinate where it is the identity.
    pub(crate) fn explicit(&self) -> Self {
        match self.kind {
            MetricKind::Unit => {
                Factor { kind: MetricKind::Diagonal, data: Arc::new(vec![1.0; self.width]), ..self.clone() }
            }
            _ => self.clone(),
        }
    }

    /// The numbers of the map of row `row`: after [`Factor::explicit`], factors of its coordinates if it is not turned.
    pub(crate) fn row(&self, row: usize) -> &[f64] {
        let n = numbers_of(self.kind, self.width);
        let row = if self.data.len() == n { 0 } else { row };
        &self.data[row * n..(row + 1) * n]
    }

    /// `L v` of row `row`, written to `out`.
    pub fn up(&self, row: usize, v: &[f64], out: &mut [f64]) {
        match self.kind {
            MetricKind::Unit => out.copy_from_slice(v),
            MetricKind::Diagonal | MetricKind::Auto => {
                out.iter_mut().zip(self.row(row)).zip(v).for_each(|((o, l), v)| *o = l * v);
            }
            MetricKind::Dense => {
                for ((o, l), i) in out.iter_mut().zip(self.row(row).chunks_exact(self.width)).zip(1..) {
                    *o = lanes::dot(&l[..i], &v[..i]);
                }
            }
        }
    }

    /// `Lᵀ g` of row `row`, written to `out`.
    pub fn down(&self, row: usize, g: &[f64], out: &mut [f64]) {
        match self.kind {
            MetricKind::Unit | MetricKind::Diagonal | MetricKind::Auto => self.up(row, g, out),
            MetricKind::Dense => {
                out.fill(0.0);
                for ((g, l), i) in g.iter().zip(self.row(row).chunks_exact(self.width)).zip(1..) {
                    lanes::add_scaled(&mut out[..i], *g, &l[..i]);
                }
            }
        }
    }

    /// Either map of the rows `rows` of a batch, one after the other in `from` and `out`. What a row gets does not depend, to the last bit, on
    /// the rows beside it.
    pub(crate) fn rows(
        &self,
        way: Way,
        rows: impl IntoIterator<Item = usize>,
        from: &[f64],
        out: &mut [f64],
    ) {
        match (self.packed(), way) {
            (Some(Packed::Single(t)), Way::Up) => t.up.times(from, out),
            (Some(Packed::Single(t)), Way::Down) => t.down.times(from, out),
            (Some(Packed::Double(t)), Way::Up) => t.up.times(from, out),
            (Some(Packed::Double(t)), Way::Down) => t.down.times(from, out),
            (None, _) => {
                let width = self.width.max(1);
                for ((row, from), out) in
                    rows.into_iter().zip(from.chunks_exact(width)).zip(out.chunks_exact_mut(width))
                {
                    match way {
                        Way::Up => self.up(row, from, out),
                        Way::Down => self.down(row, from, out),
                    }
                }
            }
        }
    }

    /// The same map for tensors like `like` `(B, ...)`.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn frame(&self, like: &Tensor) -> Result<Frame> {
        let n = numbers_of(self.kind, self.width).max(1);
        let maps = self.data.len() / n;
        let make = |shape: Vec<usize>| -> Result<Tensor> {
            let t = Tensor::from_slice(&self.data, shape, &Device::Cpu)?.to_dtype(like.dtype())?;
            Ok(t.to_device(like.device())?)
        };
        Ok(match self.kind {
            MetricKind::Unit => Frame::Unit,
            MetricKind::Diagonal | MetricKind::Auto => {
                let mut shape = like.dims().to_vec();
                shape[0] = maps;
                Frame::Scale(make(shape)?)
            }
            MetricKind::Dense if maps == 1 => Frame::Common(make(vec![self.width, self.width])?),
            MetricKind::Dense => Frame::Rows(make(vec![maps, self.width, self.width])?),
        })
    }
}

/// Moves of some neighbouring rows of a batch, all together.
pub(crate) struct Moves {
    factor: Factor,
    /// The first of the rows.
    first: usize,
    given: Vec<f64>,
    mapped: Vec<f64>,
}

impl Moves {
    /// Of rows from `first` on, in the metric of `factor`.
    pub(crate) fn new(factor: &Factor, first: usize) -> Self {
        Moves { factor: factor.explicit(), first, given: Vec::new(), mapped: Vec::new() }
    }

    /// `x ← x + c·L v` for each of `rows`, where `of` tells `(x, c, v)` of a row, given its number in the batch.
    pub(crate) fn drift<T>(
        &mut self,
        rows: &mut [T],
        of: impl for<'r> Fn(usize, &'r mut T) -> (&'r mut [f64], f64, &'r [f64]),
    ) {
        if !self.factor.is_turned() {
            for (at, row) in (self.first..).zip(rows) {
                let (x, c, v) = of(at, row);
                lanes::add_products(x, c, self.factor.row(at), v);
            }
            return;
        }
        self.given.clear();
        for (at, row) in (self.first..).zip(rows.iter_mut()) {
            self.given.extend_from_slice(of(at, row).2);
        }
        self.mapped.resize(self.given.len(), 0.0);
        self.factor.rows(Way::Up, self.first.., &self.given, &mut self.mapped);
        for ((at, row), along) in (self.first..).zip(rows).zip(self.mapped.chunks_exact(self.factor.width)) {
            let (x, c, _) = of(at, row);
            lanes::add_scaled(x, c, along);
        }
    }

    /// `v ← v + c·Lᵀ g` for each of `rows` with its row of `grads`, where `of` tells `(v, c)`.
    pub(crate) fn kick<T>(
        &mut self,
        rows: &mut [T],
        grads: &[f64],
        of: impl for<'r> Fn(usize, &'r mut T) -> (&'r mut [f64], f64),
    ) {
        let rows = (self.first..).zip(rows);
        if !self.factor.is_turned() {
            for ((at, row), grad) in rows.zip(grads.chunks_exact(self.factor.width)) {
                let (v, c) = of(at, row);
                lanes::add_products(v, c, self.factor.row(at), grad);
            }
            return;
        }
        self.mapped.resize(grads.len(), 0.0);
        self.factor.rows(Way::Down, self.first.., grads, &mut self.mapped);
        for ((at, row), pull) in rows.zip(self.mapped.chunks_exact(self.factor.width)) {
            let (v, c) = of(at, row);
            lanes::add_scaled(v, c, pull);
        }
    }
}

/// A [`Factor`] as tensors.
pub enum Frame {
    /// The identity.
    Unit,
    /// A factor for each coordinate, `(1, ...)` or `(B, ...)`.
    Scale(Tensor),
    /// One lower triangle for all rows, `(D, D)`.
    Common(Tensor),
    /// A lower triangle for each row, `(B, D, D)`.
    Rows(Tensor),
}

impl Frame {
    /// `L v` for each row of `v` `(B, ...)`.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn up(&self, v: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Frame::Unit => v.clone(),
            Frame::Scale(s) => v.broadcast_mul(s)?,
            Frame::Common(l) => flat_rows(v)?.matmul(&l.t()?)?.reshape(v.shape())?,
            Frame::Rows(l) => l.matmul(&flat_rows(v)?.unsqueeze(2)?)?.reshape(v.shape())?,
        })
    }

    /// `Lᵀ g` for each row of `g` `(B, ...)`.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn down(&self, g: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Frame::Unit | Frame::Scale(_) => self.up(g)?,
            Frame::Common(l) => flat_rows(g)?.matmul(l)?.reshape(g.shape())?,
            Frame::Rows(l) => l.t()?.matmul(&flat_rows(g)?.unsqueeze(2)?)?.reshape(g.shape())?,
        })
    }
}
