//! Deterministic samplers: the flow of a gradient field, by steps of fixed size or of a size that holds an error.

use ebm_core::candle::Tensor;
use ebm_core::{
    Adjust, BuildCx, ChainState, EnergyFn, Key, Link, Result, RowStep, Sensitivity, Settings, Stepped,
    Transition, TransitionConfig, host, plugin, row_mean,
};

use crate::kit::places::{Places, numbers, samples};

/// How a flow is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum FlowMethod {
    /// One slope a step, error of order h.
    Euler,
    /// Two slopes a step (the mean of the ends), error of order h².
    #[default]
    Heun,
    /// Bogacki–Shampine 3(2): steps inside of a step, three slopes each, whose error is held to `tolerance` row by row.
    Adaptive,
}

/// The flow `dx/dt = −∇E(x)` over a time `step_size`: what a field that was matched (flow, energy or equilibrium matching) is sampled by, and
/// plain descent. Nothing is random; the law of what comes out is that of what goes in, carried along.
///
/// Euler's step states its link exactly; the others depend on θ through several slopes, which one link cannot tell.
///
/// Diagnostics: `energy` and `grad_square` where the step began; `slopes`, how many it took.
#[derive(Clone, Debug, Settings)]
pub struct GradientFlow {
    /// Time of a step.
    #[setting(above = 0.0)]
    pub step_size: f64,
    /// How the flow is followed.
    #[setting(default = FlowMethod::Heun)]
    pub method: FlowMethod,
    /// Error of an adaptive step, in each coordinate over 1 + its size.
    #[setting(default = 1e-4, above = 0.0)]
    pub tolerance: f64,
}

/// Steps within one adaptive step at most: where it is too stiff for them, the rest is done in one.
const MOST: usize = 1000;

impl GradientFlow {
    /// A row at a time with its own steps: Bogacki, Shampine 1989; the controller is the usual one of order 3.
    fn adaptive(&self, e: &dyn EnergyFn, state: &ChainState, grad: &Tensor) -> Result<(Tensor, Vec<usize>)> {
        let (at, n) = (&state.at, state.at.len());
        let (mut xs, mut first) = (host::numbers(&at.x)?, host::numbers(grad)?);
        let width = xs.len() / n.max(1);
        let mut places = Places::new(e, at);
        let (mut left, mut h) = (vec![self.step_size; n], vec![self.step_size; n]);
        let mut taken = vec![1; n];
        for round in 0..MOST {
            let rows: Vec<usize> = (0..n).filter(|row| left[*row] > 0.0).collect();
            if rows.is_empty() {
                break;
            }
            rows.iter().for_each(|row| h[*row] = h[*row].min(left[*row]));
            if round + 1 == MOST {
                rows.iter().for_each(|row| h[*row] = left[*row]);
            }
            // x − h Σ cₛ gₛ for all of these rows; gₛ of row k of them stands at k·width.
            let picked: Vec<f64> =
                rows.iter().flat_map(|row| first[row * width..(row + 1) * width].to_vec()).collect();
            let reach = |slopes: &[(f64, &[f64])]| -> Vec<f64> {
                let coordinate = |i: usize| {
                    let (row, c) = (rows[i / width], i % width);
                    xs[row * width + c] - h[row] * slopes.iter().map(|(share, g)| share * g[i]).sum::<f64>()
                };
                (0..rows.len() * width).map(coordinate).collect()
            };
            let second = places.slopes(&rows, reach(&[(0.5, &picked)]))?.1;
            let third = places.slopes(&rows, reach(&[(0.75, &second)]))?.1;
            let shares = [2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0];
            let ends = reach(&[(shares[0], &picked), (shares[1], &second), (shares[2], &third)]);
            let fourth = places.slopes(&rows, ends.clone())?.1;
            for (k, row) in rows.into_iter().enumerate() {
                let of = k * width..(k + 1) * width;
                let error = |i: usize| {
                    let gap = shares[0] - 7.0 / 24.0;
                    let parts =
                        gap * picked[i] + (shares[1] - 0.25) * second[i] + (shares[2] - 1.0 / 3.0) * third[i];
                    h[row] * (parts - fourth[i] / 8.0).abs() / (1.0 + ends[i].abs())
                };
                let error = of
                    .clone()
                    .map(error)
                    .fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) });
                taken[row] += 3;
                let ratio = error / self.tolerance;
                if ratio <= 1.0 || round + 1 == MOST {
                    left[row] -= h[row];
                    // What rounding leaves is no step.
                    left[row] = if left[row] < 1e-12 * self.step_size { 0.0 } else { left[row] };
                    xs[row * width..(row + 1) * width].copy_from_slice(&ends[of.clone()]);
                    first[row * width..(row + 1) * width].copy_from_slice(&fourth[of]);
                }
                h[row] *= (0.9 * ratio.max(1e-12).powf(-1.0 / 3.0)).clamp(0.2, 5.0);
            }
        }
        Ok((samples(xs, at)?, taken))
    }
}

impl Transition for GradientFlow {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, _: Key) -> Result<Stepped> {
        let (at, h) = (&state.at, self.step_size);
        let here = state.slope(e)?;
        let euler = (&at.x - here.grad.affine(h, 0.0)?)?;
        let (x, link, slopes) = match self.method {
            FlowMethod::Euler => {
                let link = Link::Descent { at: at.clone(), scale: h, pass: None, active: None };
                (euler, link, vec![1; at.len()])
            }
            FlowMethod::Heun => {
                let there = e.slope(&at.with_x(euler))?.grad;
                let x = (&at.x - (&here.grad + there)?.affine(0.5 * h, 0.0)?)?;
                (x, Link::Cut, vec![2; at.len()])
            }
            FlowMethod::Adaptive => {
                let (x, slopes) = self.adaptive(e, state, &here.grad)?;
                (x, Link::Cut, slopes)
            }
        };
        Ok(Stepped::new(state.advance(x), link)
            .with("grad_square", row_mean(&here.grad.sqr()?)?)
            .with("energy", here.energy)
            .with("slopes", numbers(at.len(), |row| slopes[row] as f64)?))
    }

    fn sensitivity(&self) -> Sensitivity {
        match self.method {
            FlowMethod::Euler => Sensitivity::Exact,
            _ => Sensitivity::Unknown(self.name()),
        }
    }

    fn row_step(&self, _: usize, _: usize) -> Option<RowStep> {
        (self.method == FlowMethod::Euler).then_some(RowStep {
            step_size: self.step_size,
            noise: 0.0,
            noise_first: false,
            clamp: None,
            move_limit: None,
        })
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        Some(Box::new(GradientFlow { step_size: self.step_size * by.step_size, ..self.clone() }))
    }

    fn name(&self) -> String {
        format!("gradient-flow ({:?}, step size {})", self.method, self.step_size).to_lowercase()
    }
}

#[plugin(
    "gradient-flow",
    summary = "the flow of the gradient field without noise: Euler, Heun or an adaptive Runge–Kutta method",
    source = "Heun 1900; Bogacki, Shampine 1989",
    example = "step_size = 0.05\nmethod = \"heun\""
)]
impl TransitionConfig for GradientFlow {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Batch, Chains};
    use ebm_testkit::{check_transition, toy};

    use super::*;

    fn flow(method: FlowMethod, step_size: f64) -> GradientFlow {
        GradientFlow { step_size, method, tolerance: 1e-8 }
    }

    /// On a bowl of curvature 3 the flow is e^{−3t}: errors fall as h, h², and to the tolerance.
    #[test]
    fn a_bowl_is_left_as_the_exponential_says() {
        let e = toy::bowl(2, 3.0).unwrap();
        let at = Batch::new(Tensor::new(&[[1.0f64, -2.0], [0.5, 4.0]], &Device::Cpu).unwrap()).unwrap();
        let want = (-3.0f64).exp();
        let error = |method: FlowMethod, steps: usize| {
            let kernel = flow(method, 1.0 / steps as f64);
            let mut state = ChainState::new(at.clone());
            for _ in 0..steps {
                state = kernel.step(&e, &state, Key::root(0)).unwrap().state;
            }
            let x = state.at.x.to_vec2::<f64>().unwrap();
            ((x[0][0] - want).abs().max((x[1][1] / 4.0 - want).abs()), ())
        };
        let (a, b) = (error(FlowMethod::Euler, 50).0, error(FlowMethod::Euler, 100).0);
        assert!((a / b - 2.0).abs() < 0.1, "{a} {b}");
        let (a, b) = (error(FlowMethod::Heun, 50).0, error(FlowMethod::Heun, 100).0);
        assert!((a / b - 4.0).abs() < 0.2, "{a} {b}");
        // Errors of 1e−8 a step, of some tens of steps that damp them.
        let one = error(FlowMethod::Adaptive, 1).0;
        assert!(one < 1e-7, "{one}");
        let slopes =
            flow(FlowMethod::Adaptive, 1.0).step(&e, &ChainState::new(at.clone()), Key::root(0)).unwrap();
        let slopes = slopes.info["slopes"].to_vec1::<f64>().unwrap();
        assert!(slopes.iter().all(|s| (10.0..2000.0).contains(s)), "{slopes:?}");
    }

    #[test]
    fn rows_take_steps_of_their_own() {
        let e = toy::mlp(3, 5, 2, 4).unwrap();
        let x = Key::root(8).normal(&Chains::range(0, 5), &[3], DType::F64, &Device::Cpu).unwrap();
        let at = Batch::new(x).unwrap();
        for method in [FlowMethod::Euler, FlowMethod::Heun, FlowMethod::Adaptive] {
            check_transition(&flow(method, 0.4), &e, &at, true).unwrap();
        }
    }

    /// An energy that is no number does not hold the program up.
    #[test]
    fn what_cannot_be_followed_ends() {
        let e = ebm_core::Opaque::new("half-line", &[1], ebm_core::ParamSet::default(), |_, x, _| {
            Ok((x + x.log()?)?)
        });
        let at = Batch::new(Tensor::new(&[[0.1f64], [5.0]], &Device::Cpu).unwrap()).unwrap();
        let out = flow(FlowMethod::Adaptive, 2.0).step(&e, &ChainState::new(at), Key::root(0)).unwrap();
        let x = out.state.at.x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert!(x[0].is_nan() || x[0] <= 0.0, "it flows into its pole: {x:?}");
        assert!(x[1] > 1.0 && x[1] < 5.0);
    }
}
