//! The names of pointwise functions in configuration.

use ebm_core::Settings;
use ebm_core::plan::Activation;

/// A pointwise function between layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Nonlinearity {
    /// `x·sigmoid(x)`.
    #[default]
    Swish,
    /// Hyperbolic tangent.
    Tanh,
    /// `log(1 + exp x)`.
    Softplus,
    /// `max(x, 0)`: the energy's slope is then piecewise constant.
    Relu,
    /// `x` if positive, else `x/5` (IGEBM's choice of slope).
    LeakyRelu,
}

impl From<Nonlinearity> for Activation {
    fn from(n: Nonlinearity) -> Self {
        match n {
            Nonlinearity::Swish => Activation::Swish,
            Nonlinearity::Tanh => Activation::Tanh,
            Nonlinearity::Softplus => Activation::Softplus,
            Nonlinearity::Relu => Activation::Relu,
            Nonlinearity::LeakyRelu => Activation::LeakyRelu(0.2),
        }
    }
}
