//! `uniform`: equal density on a cube; the start of annealing for samples with a range.

use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Diff, EnergyConfig, EnergyFn, Forward, Result, Settings, View, plugin};

use crate::{Closed, Drawer, KnownDensity};

/// `E(x) = 0` on `[low, high]^D`, normalised over that cube.
///
/// The energy is 0 outside too, where the density is not: a sampler must keep its chains inside by itself (`range` of
/// `mala` and `hmc`).
#[derive(Clone, Debug, Settings)]
pub struct Uniform {
    /// Lower and upper bound of every coordinate.
    #[setting(default = [0.0, 1.0])]
    pub range: [f64; 2],
}

#[plugin(
    "uniform",
    summary = "equal density on a cube, energy 0: the start of annealing for samples with a range",
    source = "closed form",
    example = "range = [0.0, 1.0]"
)]
impl EnergyConfig for Uniform {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let [low, high] = self.range;
        if !(low < high && (high - low).is_finite()) {
            return Err(cx.refuse(
                "range",
                format!("is [{low}, {high}], wanted two finite numbers with the lower one first"),
            ));
        }
        let net = Cube { low, high, len: cx.sample_len() };
        Closed::build(cx, net, "uniform")
    }
}

struct Cube {
    low: f64,
    high: f64,
    len: usize,
}

impl Forward for Cube {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        x.flatten()?.sum_last()?.scale(0.0)
    }

    fn python(&self) -> Option<String> {
        Some("return 0 * x.flatten(1).sum(1)".into())
    }
}

impl KnownDensity for Cube {
    fn log_z(&self, _: &View) -> Result<f64> {
        Ok(self.len as f64 * (self.high - self.low).ln())
    }

    fn drawer(&self, _: &View) -> Result<Drawer<'_>> {
        Ok(Box::new(|s, out| {
            out.iter_mut().for_each(|o| *o = self.low + (self.high - self.low) * s.uniform())
        }))
    }

    fn mean(&self, _: &View) -> Option<Vec<f64>> {
        Some(vec![0.5 * (self.low + self.high); self.len])
    }

    fn variance(&self, _: &View) -> Option<Vec<f64>> {
        Some(vec![(self.high - self.low).powi(2) / 12.0; self.len])
    }

    fn row(&self, _: &[f64], grad: &mut [f64]) -> Option<f64> {
        grad.fill(0.0);
        Some(0.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::check_tests::{build, log_density, refusal};

    #[test]
    fn the_density_is_one_over_the_volume() {
        let e = build(&Uniform { range: [-1.0, 3.0] }, &[2]);
        // One logarithm.
        assert!((log_density(&e, &[0.0, 2.0]) + 16f64.ln()).abs() < 1e-14);
        let text = refusal(&Uniform { range: [1.0, 1.0] }, &[2]);
        assert!(text.contains("energy.range") && text.contains("lower one first"), "{text}");
    }
}
