//! How parameters begin.

use crate::Key;

/// Initial values of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform in ± this bound.
    Uniform(f64),
    /// Uniform in ±1/√fan_in: PyTorch's default for convolutions and linear layers, weights and biases.
    FanIn(usize),
    /// All the same.
    Constant(f64),
    /// A random unit vector (power iteration).
    UnitVector,
}

impl Init {
    /// `n` such values, by the stream of `key`.
    pub(super) fn values(self, n: usize, key: Key) -> Vec<f32> {
        let mut data = vec![0f32; n];
        match self {
            Init::Normal(sd) => {
                key.fill_normal(0, &mut data);
                data.iter_mut().for_each(|v| *v *= sd as f32);
            }
            Init::Uniform(bound) => uniform(key, bound, &mut data),
            Init::FanIn(fan) => uniform(key, 1.0 / (fan.max(1) as f64).sqrt(), &mut data),
            Init::Constant(c) => data.fill(c as f32),
            Init::UnitVector => {
                key.fill_normal(0, &mut data);
                let norm = data.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12);
                data.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
            }
        }
        data
    }
}

fn uniform(key: Key, bound: f64, data: &mut [f32]) {
    key.fill_uniform(0, data);
    data.iter_mut().for_each(|v| *v = ((f64::from(*v) * 2.0 - 1.0) * bound) as f32);
}
