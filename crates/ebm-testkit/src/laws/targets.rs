//! Energies and samples that the laws are tried on: small ones with exact draws, and a net with few parameters on any shape.

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::catalogue::{Family, components};
use ebm_core::{
    Autograd, Batch, BuildCx, Chains, Condition, Diff, Domain, EnergyConfig, EnergyFn, EnergySpec, Forward,
    Key, ParamSet, Result, Role, View,
};

/// Sum of all entries.
pub(crate) fn sum(t: &Tensor) -> Result<f64> {
    Ok(t.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?)
}

/// All entries.
pub(crate) fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// The mean of `values`, and how many standard errors it is from 0.
pub(crate) fn z_of(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let z = mean / (variance / n).sqrt();
    (mean, if mean == 0.0 { 0.0 } else { z })
}

/// `rows` samples of the domain of `e`, near 0 where it is real, in f64.
pub(crate) fn usual(e: &dyn EnergyFn, rows: usize, key: Key) -> Result<Tensor> {
    let (spec, chains) = (e.spec(), Chains::range(0, rows));
    let drawn = spec.domain.uniform(&chains, &spec.sample_shape, DType::F64, &Device::Cpu, key)?;
    match drawn {
        Some(x) if spec.domain != Domain::Real => Ok(x),
        _ => normal(&spec.sample_shape, rows, key),
    }
}

/// Standard normal samples `(rows, ...)` in f64.
pub(crate) fn normal(shape: &[usize], rows: usize, key: Key) -> Result<Tensor> {
    key.normal(&Chains::range(0, rows), shape, DType::F64, &Device::Cpu)
}

/// A condition for each of `rows` rows, positive and adding up to one where it is longer than one; `None` if `e` takes none.
pub(crate) fn condition(e: &dyn EnergyFn, rows: usize) -> Result<Option<Tensor>> {
    let Some(n) = e.spec().condition.length() else { return Ok(None) };
    let u =
        Key::root(31).uniform(&Chains::range(0, rows), &[n], DType::F64, &Device::Cpu)?.affine(0.8, 0.1)?;
    Ok(Some(if n > 1 { u.broadcast_div(&u.sum_keepdim(1)?)? } else { u }))
}

/// Two layers whose wide first weight is a buffer, so that few parameters are to be differenced on samples of any size; three
/// conditions, which it may go without.
pub(crate) struct Sketch;

impl Forward for Sketch {
    fn terms<V: Diff>(&self, p: &View, x: &V, cond: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?;
        let mut h = x.linear_layer(p.get("first.weight")?, Some(p.get("first.bias")?))?;
        if let Some(cond) = cond {
            h = h.shift(&cond.matmul(p.get("condition")?)?)?;
        }
        h.tanh()?.linear_layer(p.get("head.weight")?, None)
    }
}

/// Hidden units of a sketch.
const HIDDEN: usize = 4;

/// A sketch on samples of `shape` whose slope is about `size`.
pub(crate) fn sketch(shape: &[usize], size: f64) -> Result<Autograd<Sketch>> {
    sketch_as(shape, size, DType::F64)
}

/// The same with parameters of this number type.
pub(crate) fn sketch_as(shape: &[usize], size: f64, dtype: DType) -> Result<Autograd<Sketch>> {
    let dimension: usize = shape.iter().product();
    let make = |name: &str, dims: &[usize], scale: f64, role: Role| -> Result<(String, Tensor, Role)> {
        let t = Key::root(61).at(name).normal(&Chains::range(0, 1), dims, dtype, &Device::Cpu)?;
        Ok((name.to_string(), t.squeeze(0)?.affine(scale, 0.0)?, role))
    };
    let params = ParamSet::new([
        make("first.weight", &[HIDDEN, dimension], 1.5 / (dimension as f64).sqrt(), Role::Buffer)?,
        make("first.bias", &[HIDDEN], 0.5, Role::Trainable)?,
        make("condition", &[3, HIDDEN], 1.0, Role::Trainable)?,
        make("head.weight", &[2, HIDDEN], size, Role::Trainable)?,
    ])?;
    let mut spec = EnergySpec::new(shape, &["one", "two"]);
    spec.condition = Condition::Optional(3);
    Ok(Autograd::new("sketch", Sketch, spec, params))
}

/// A law with exact draws: samples of one shape, and the energy times a temperature.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) energy: Arc<dyn EnergyFn>,
    draw: Box<Draw>,
}

type Draw = dyn Fn(&Chains, Key) -> Result<Tensor>;

impl Target {
    /// Exact draws of exp(−E/T).
    pub(crate) fn draw(&self, chains: &Chains, key: Key) -> Result<Tensor> {
        (self.draw)(chains, key)
    }
}

/// `E = T Σ (s x + exp(−s x))`: independent Gumbel laws, skewed, of width 1/s.
struct Skewed {
    s: f64,
    temperature: f64,
}

impl Forward for Skewed {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let y = x.flatten()?.scale(self.s)?;
        y.plus(&y.scale(-1.0)?.exp()?)?.sum_last()?.scale(self.temperature)
    }
}

/// `E = T Σ s² k x²/2` with k = 1 and 9 in turn.
struct Uneven {
    s: f64,
    temperature: f64,
}

/// Square roots of the precisions of an uneven Gaussian law.
fn roots(dimension: usize) -> Vec<f64> {
    (0..dimension).map(|i| if i % 2 == 0 { 1.0 } else { 3.0 }).collect()
}

impl Forward for Uneven {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?;
        let n = x.value().dims()[1];
        let roots = Tensor::from_vec(roots(n), (1, n), x.value().device())?.to_dtype(x.value().dtype())?;
        x.times(&roots)?.scale(self.s)?.square()?.sum_last()?.scale(0.5 * self.temperature)
    }
}

/// `E = T s² |L x|²/2` with neighbours in pairs of correlation 0.8.
struct Leaning {
    s: f64,
    temperature: f64,
}

/// Correlation of neighbours.
const LEAN: f64 = 0.8;

/// The matrix `(n, n)` by whose product independent normal numbers lean, or that undoes it.
fn lean(n: usize, undo: bool) -> Vec<f64> {
    let rest = (1.0 - LEAN * LEAN).sqrt();
    let mut m = vec![0.0; n * n];
    for i in 0..n {
        let second = i % 2 == 1;
        m[i * n + i] = match (second, undo) {
            (false, _) => 1.0,
            (true, false) => rest,
            (true, true) => 1.0 / rest,
        };
        if second {
            m[(i - 1) * n + i] = if undo { -LEAN / rest } else { LEAN };
        }
    }
    m
}

impl Forward for Leaning {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?;
        let (n, at) = (x.value().dims()[1], x.value());
        let m = Tensor::from_vec(lean(n, true), (n, n), at.device())?.to_dtype(at.dtype())?;
        x.matmul(&m)?.scale(self.s)?.square()?.sum_last()?.scale(0.5 * self.temperature)
    }
}

/// Most coordinates of a law whose matrix is made.
const LEANING: usize = 64;

/// Laws of real samples of `shape` and of width about `1/s` at temperature `temperature`.
pub(crate) fn real(shape: &[usize], s: f64, temperature: f64) -> Vec<Target> {
    let spec = |name: &str| EnergySpec::new(shape, &[name]);
    let dims = shape.to_vec();
    let skewed = move |chains: &Chains, key: Key| -> Result<Tensor> {
        let u = key.uniform(chains, &dims, DType::F64, &Device::Cpu)?.clamp(1e-12, 1.0 - 1e-12)?;
        // The quantile −log(−log u) of the Gumbel law.
        Ok(u.log()?.neg()?.log()?.affine(-1.0 / s, 0.0)?)
    };
    let dims = shape.to_vec();
    let uneven = move |chains: &Chains, key: Key| -> Result<Tensor> {
        let n = key.normal(chains, &dims, DType::F64, &Device::Cpu)?;
        let widths = roots(dims.iter().product()).into_iter().map(|r| 1.0 / (s * r)).collect::<Vec<f64>>();
        Ok(n.broadcast_mul(&Tensor::from_vec(widths, dims.as_slice(), &Device::Cpu)?)?)
    };
    let none = ParamSet::default;
    let dims = shape.to_vec();
    let leaning = move |chains: &Chains, key: Key| -> Result<Tensor> {
        let n: usize = dims.iter().product();
        let flat = key.normal(chains, &[n], DType::F64, &Device::Cpu)?.affine(1.0 / s, 0.0)?;
        let x = flat.matmul(&Tensor::from_vec(lean(n, false), (n, n), &Device::Cpu)?)?;
        let mut all = vec![chains.len()];
        all.extend_from_slice(&dims);
        Ok(x.reshape(all)?)
    };
    let small = (2..=LEANING).contains(&shape.iter().product());
    let third = small.then(|| Target {
        name: "a Gaussian law of neighbours that go together".into(),
        energy: Arc::new(Autograd::new("leaning", Leaning { s, temperature }, spec("leaning"), none())),
        draw: Box::new(leaning),
    });
    let mut all = vec![
        Target {
            name: "a skewed law".into(),
            energy: Arc::new(Autograd::new("skewed", Skewed { s, temperature }, spec("skewed"), none())),
            draw: Box::new(skewed),
        },
        Target {
            name: "a Gaussian law of unequal widths".into(),
            energy: Arc::new(Autograd::new("uneven", Uneven { s, temperature }, spec("uneven"), none())),
            draw: Box::new(uneven),
        },
    ];
    all.extend(third);
    all
}

/// Most states of a discrete law that are listed.
const STATES: usize = 4096;

/// The exact law of a discrete energy, by listing its states, if they are few.
pub(crate) fn listed(name: &str, energy: Arc<dyn EnergyFn>, temperature: f64) -> Result<Option<Target>> {
    let spec = energy.spec().clone();
    let len: usize = spec.sample_shape.iter().product();
    let (Some(k), true) = (spec.domain.states(), len > 0) else { return Ok(None) };
    let wide = if let Domain::Categorical(_) = spec.domain { k } else { 1 };
    let sites = len / wide;
    let Some(count) = (0..sites).try_fold(1usize, |n, _| n.checked_mul(k)).filter(|n| *n <= STATES) else {
        return Ok(None);
    };
    let mut states = Vec::with_capacity(count * len);
    for state in 0..count {
        let mut rest = state;
        for _ in 0..sites {
            let own = rest % k;
            rest /= k;
            match spec.domain {
                Domain::Spins => states.push(2.0 * own as f64 - 1.0),
                Domain::Categorical(_) => states.extend((0..k).map(|j| f64::from(u8::from(j == own)))),
                _ => states.push(own as f64),
            }
        }
    }
    let mut dims = vec![count];
    dims.extend_from_slice(&spec.sample_shape);
    let all = Tensor::from_vec(states, dims, &Device::Cpu)?;
    let energies = numbers(&energy.energy(&Batch::new(all.clone())?)?)?;
    let least = energies.iter().copied().fold(f64::INFINITY, f64::min);
    let mut total = 0.0;
    let sums: Vec<f64> = energies
        .iter()
        .map(|e| {
            total += (-(e - least) / temperature).exp();
            total
        })
        .collect();
    let draw = move |chains: &Chains, key: Key| -> Result<Tensor> {
        let u = key.uniform(chains, &[], DType::F64, &Device::Cpu)?.to_vec1::<f64>()?;
        let pick = |u: f64| sums.partition_point(|s| *s < u * total).min(sums.len() - 1) as u32;
        let index: Vec<u32> = u.into_iter().map(pick).collect();
        Ok(all.index_select(&Tensor::new(index.as_slice(), &Device::Cpu)?, 0)?)
    };
    Ok(Some(Target { name: format!("the law of `{name}`"), energy, draw: Box::new(draw) }))
}

/// The linked energies whose examples build on samples of one of `shapes` and that `fits` takes.
pub(crate) fn linked(
    shapes: &[&[usize]],
    fits: &dyn Fn(&dyn EnergyFn) -> bool,
) -> Vec<(String, Arc<dyn EnergyFn>)> {
    let mut found = Vec::new();
    for c in components().into_iter().filter(|c| c.family == Family::Energy) {
        let Ok(table) = crate::component::example(c) else { continue };
        let Ok(config) = toml::Value::Table(table).try_into::<Box<dyn EnergyConfig>>() else { continue };
        let built = shapes.iter().find_map(|shape| {
            let e = config.build(&mut BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(1))).ok()?;
            fits(e.as_ref()).then_some(e)
        });
        found.extend(built.map(|e| (c.kind.to_string(), e)));
    }
    found
}
