//! Unadjusted Langevin in a metric that a warm-up learns.

use ebm_core::{
    Adjust, BuildCx, ChainState, EnergyFn, Key, Link, Result, Sensitivity, Settings, Stepped, Transition,
    TransitionConfig, plugin, row_mean,
};

use crate::kit::{Frame, Metric, MetricKind};

/// `x′ = x − h C∇E(x) + √(2hT)·L ε` with `C = L Lᵀ` the covariance of the target as a warm-up finds it (Roberts, Stramer 2002, with a constant
/// metric): all directions forget at one rate, and h is of order 1 whatever their widths. Its bias on a Gaussian is that of `ula`
/// in round coordinates, `1/(1 − h/2)` of the variance. With an accept test it is `mala` with `metric`.
///
/// Where nothing was learnt (training, no warm-up) C is the identity. Unlike a preconditioner that follows the gradients (Li, Chen, Carlson,
/// Carin 2016) it stands still once it is learnt, so that the chains have a law.
///
/// Diagnostics: `energy` and `grad_square` where the gradient was taken.
#[derive(Clone, Debug, Settings)]
pub struct PreconditionedLangevin {
    /// Step size h in the metric; stable below 2.
    #[setting(above = 0.0)]
    pub step_size: f64,
    /// Coordinates in which steps are taken, as a warm-up learns them.
    #[setting(default = MetricKind::Diagonal)]
    pub metric: MetricKind,
    /// T of the target exp(-E/T).
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
}

impl PreconditionedLangevin {
    fn learnt(&self) -> Metric {
        Metric::new(self.metric, false, "preconditioned-langevin.metric".into())
    }
}

impl Transition for PreconditionedLangevin {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (at, h) = (&state.at, self.step_size);
        let metric = self.learnt();
        let frame = metric.of(state)?.frame(&at.x)?;
        let here = state.slope(e)?;
        let eps = key.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let noise = eps.affine((2.0 * h * self.temperature).sqrt(), 0.0)?;
        let moved = (noise - frame.down(&here.grad)?.affine(h, 0.0)?)?;
        let x = (&at.x + frame.up(&moved)?)?;
        let link = match &frame {
            Frame::Unit => Link::Descent { at: at.clone(), scale: h, pass: None, active: None },
            Frame::Scale(s) => {
                let active = s.sqr()?.broadcast_as(at.x.shape())?.contiguous()?;
                Link::Descent { at: at.clone(), scale: h, pass: None, active: Some(active) }
            }
            _ => Link::Cut,
        };
        let mut next = state.advance(x);
        metric.learn(&mut next)?;
        Ok(Stepped::new(next, link)
            .with("grad_square", row_mean(&here.grad.sqr()?)?)
            .with("energy", here.energy))
    }

    fn sensitivity(&self) -> Sensitivity {
        // One number a coordinate cannot tell a move that mixes them.
        match self.metric.mixes() {
            true => Sensitivity::Unknown(self.name()),
            false => Sensitivity::Exact,
        }
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        let mut new = self.clone();
        new.step_size *= by.step_size;
        new.temperature *= by.noise * by.noise;
        Some(Box::new(new))
    }

    fn carried(&self) -> Vec<String> {
        self.learnt().carried()
    }

    fn name(&self) -> String {
        format!("preconditioned-langevin (step size {}, metric {:?})", self.step_size, self.metric)
            .to_lowercase()
    }
}

#[plugin(
    "preconditioned-langevin",
    summary = "Langevin without a test in the metric that a warm-up learns: one step size for directions of all widths",
    source = "Roberts, Stramer 2002",
    example = "step_size = 0.1\nmetric = \"diagonal\""
)]
impl TransitionConfig for PreconditionedLangevin {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device, Tensor};
    use ebm_core::{Batch, Chains, Draws, EnergyConfig, Keep};
    use ebm_energies_density::Gaussian;
    use ebm_testkit::{check_transition, toy};

    use super::*;
    use crate::Chain;

    /// Deviations 10 and 0.1 with one step size; the variance is wider by 1/(1 − h/2), as in round coordinates.
    #[test]
    fn widths_of_a_hundred_to_one_have_one_step_size() {
        let config = Gaussian { variances: Some(vec![100.0, 0.01]), ..Gaussian::default() };
        let e = config.build(&mut BuildCx::new(&[2], DType::F64, &Device::Cpu, Key::root(0))).unwrap();
        for (metric, within) in [(MetricKind::Diagonal, 0.12), (MetricKind::Dense, 0.12)] {
            // A start that is not too far: nothing is known of the metric in the first window.
            let start = Batch::new(Tensor::zeros((64, 2), DType::F64, &Device::Cpu).unwrap()).unwrap();
            let kernel = PreconditionedLangevin { step_size: 0.019, metric, temperature: 1.0 };
            let keep = Keep::from(600).after(1000);
            let draws =
                Draws::of(&Chain::new(Box::new(kernel), 1), e.as_ref(), start, keep, Key::root(2)).unwrap();
            for (i, v) in [(0, 100.0), (1, 0.01)] {
                let x = draws.coordinate(i).unwrap();
                let found = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 / v * (1.0 - 0.019 / 2.0);
                // 64 chains of 600 steps that forget at 0.019 a step: 700 effective squares, an error of 5 %.
                assert!((found - 1.0).abs() < within + 0.08, "{metric:?} {i}: {found}");
            }
        }
    }

    #[test]
    fn the_laws_of_a_transition_hold() {
        let e = toy::mlp(3, 5, 2, 4).unwrap();
        let x = Key::root(8).normal(&Chains::range(0, 5), &[3], DType::F64, &Device::Cpu).unwrap();
        let kernel =
            PreconditionedLangevin { step_size: 0.2, metric: MetricKind::Diagonal, temperature: 0.7 };
        check_transition(&kernel, &e, &Batch::new(x).unwrap(), true).unwrap();
    }
}
