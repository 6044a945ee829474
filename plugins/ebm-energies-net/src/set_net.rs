//! `set-net`: a net of each point, their mean, then dense layers.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};

use crate::activation::Nonlinearity;
use crate::along::{Along, Pooling, Step};
use crate::series_net::conditional;

/// `E(x) = ρ(mean_p φ(x_p))` of a sample of points `(P, D)`: the same dense layers for each point, the mean over points, dense
/// layers of that. The energy does not depend on the order of the points.
#[derive(Clone, Debug, Settings)]
pub struct SetNet {
    /// Widths of the layers that each point goes through.
    #[setting(default = [64, 64], at_least = 1)]
    pub point: Vec<usize>,
    /// Widths of the dense layers between mean and head.
    #[setting(default = [64], at_least = 1)]
    pub hidden: Vec<usize>,
    /// Pointwise function after each layer but the head.
    #[setting(default = Nonlinearity::Swish)]
    pub activation: Nonlinearity,
    /// The condition stands beside the values that each dense layer behind the mean takes.
    #[setting(default = false)]
    pub conditional: bool,
}

#[plugin(
    "set-net",
    summary = "a net of each point of a set, their mean, dense layers: an energy that knows no order of the points",
    source = "Zaheer, Kottur, Ravanbakhsh, Poczos, Salakhutdinov, Smola 2017 (Deep Sets)",
    example = "point = [32, 32]\nhidden = [32]"
)]
impl EnergyConfig for SetNet {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let condition = conditional(cx, self.conditional, &self.hidden)?;
        if self.point.is_empty() {
            return Err(
                cx.refuse("point", "is empty: without a layer of each point only their mean would matter")
            );
        }
        let step = |&filters: &usize| Step { filters, kernel: 1, stride: 1 };
        let net = Along {
            points: true,
            steps: self.point.iter().map(step).collect(),
            pooling: Pooling::Mean,
            hidden: self.hidden.clone(),
            activation: self.activation.into(),
            condition,
        };
        net.build(cx)
    }
}
