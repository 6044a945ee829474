//! Small energies with known answers or with every kind of derivative, in f64.

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Autograd, Chains, Diff, EnergySpec, Forward, Key, ParamSet, Result, Role, View};

/// `E = λ|x|²/2`: a Gaussian of variance 1/λ in each coordinate, with the parameter `curvature` (λ).
pub struct Bowl;

impl Forward for Bowl {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        x.flatten()?.square()?.sum_last()?.scale(0.5)?.times(p.get("curvature")?)
    }
}

/// A bowl in `dimension` coordinates with curvature λ, in f64.
///
/// # Errors
/// If a tensor cannot be made.
pub fn bowl(dimension: usize, curvature: f64) -> Result<Autograd<Bowl>> {
    let value = Tensor::new(&[curvature], &Device::Cpu)?;
    let params = ParamSet::new([("curvature".to_string(), value, Role::Trainable)])?;
    Ok(Autograd::new("bowl", Bowl, EnergySpec::new(&[dimension], &["bowl"]), params))
}

/// Two layers with `tanh` and `swish`, all terms from one linear head, plus a small bowl: smooth,
/// not convex, every parameter used.
pub struct Perceptron;

impl Forward for Perceptron {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?;
        let h = x.linear_layer(p.get("first.weight")?, Some(p.get("first.bias")?))?.tanh()?;
        let h = h.linear_layer(p.get("second.weight")?, Some(p.get("second.bias")?))?.swish()?;
        let head = h.linear_layer(p.get("head.weight")?, None)?;
        head.plus(&x.square()?.sum_last()?.scale(0.1)?)
    }
}

/// A perceptron on samples `(dimension,)` with `terms` terms, weights from `seed`, in f64.
///
/// # Errors
/// If a tensor cannot be made.
pub fn mlp(dimension: usize, hidden: usize, terms: usize, seed: u64) -> Result<Autograd<Perceptron>> {
    mlp_on(&[dimension], hidden, terms, seed)
}

/// The same on samples of any shape.
///
/// # Errors
/// If a tensor cannot be made.
pub fn mlp_on(shape: &[usize], hidden: usize, terms: usize, seed: u64) -> Result<Autograd<Perceptron>> {
    let dimension = shape.iter().product();
    let key = Key::root(seed);
    let make = |name: &str, shape: &[usize], scale: f64| -> Result<(String, Tensor, Role)> {
        let t = key.at(name).normal(&Chains::range(0, 1), shape, DType::F64, &Device::Cpu)?;
        Ok((name.to_string(), t.squeeze(0)?.affine(scale, 0.0)?, Role::Trainable))
    };
    let params = ParamSet::new([
        make("first.weight", &[hidden, dimension], 1.0)?,
        make("first.bias", &[hidden], 0.5)?,
        make("second.weight", &[hidden, hidden], 0.6)?,
        make("second.bias", &[hidden], 0.5)?,
        make("head.weight", &[terms, hidden], 0.7)?,
    ])?;
    let names: Vec<String> = (0..terms).map(|t| format!("t{t}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(Autograd::new("mlp", Perceptron, EnergySpec::new(shape, &names), params))
}
