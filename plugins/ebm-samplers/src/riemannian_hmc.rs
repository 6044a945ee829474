//! Riemannian Hamiltonian Monte Carlo: momenta by a metric of the place, through the exact Hessian-vector product.

use ebm_core::candle::{DType, Tensor};
use ebm_core::{
    Batch, BuildCx, ChainState, EnergyFn, Key, Law, Link, Result, Sensitivity, Settings, Slope, Stepped,
    Transition, TransitionConfig, flat_rows, host, per_row, plugin, row_sum,
};

use crate::kit::{AdaptSettings, Decision, Sizes, StepSize, diagnosed, outside, rows};

/// Hamiltonian Monte Carlo on the Monge metric `G(x) = I + α² g gᵀ`, `g = ∇E(x)` (Hartmann, Girolami, Klami 2022), by the generalised leapfrog
/// of Girolami, Calderhead 2011 with an exact test:
///
/// ```text
/// H = E/T + ½ log(1 + α²|g|²) + ½ pᵀG⁻¹p,   p ~ N(0, G)
/// ```
///
/// Of the metrics on a Hessian-vector product it is the one that works on batches: its inverse and determinant are closed forms of `g`,
/// and the force takes two products with the Hessian of each row. SoftAbs (Betancourt 2013) is rounder and takes the eigenvectors of the
/// whole Hessian at each place, D products and D³ operations a row. A kernel in the Monge metric goes slowly where the energy is
/// steep, which is what a funnel's neck or a curved ridge asks for. With α = 0 it is `hmc`.
///
/// The steps are implicit and solved by iteration; rows that do not converge are rejected, so that what remains is exact. Counted in slopes a
/// leapfrog step costs several times that of `hmc`.
///
/// Diagnostics: as `hmc`, and `unsolved` (1 where an iteration did not converge).
#[derive(Clone, Debug)]
pub struct RiemannianHmc {
    step: StepSize,
    leapfrogs: usize,
    alpha: f64,
    temperature: f64,
    range: Option<(f64, f64)>,
}

const STEP: &str = "riemannian-hmc.step_size";
/// Iterations of an implicit step at most.
const ITERATIONS: usize = 60;

impl RiemannianHmc {
    /// Step size ε, `leapfrogs` steps a trajectory, α of the metric, temperature 1.
    pub fn new(step_size: f64, leapfrogs: usize, alpha: f64) -> Self {
        let step = StepSize::fixed(STEP, step_size);
        RiemannianHmc { step, leapfrogs, alpha, temperature: 1.0, range: None }
    }

    fn at<'a>(&self, e: &'a dyn EnergyFn, at: Batch, slope: Slope) -> Result<Place<'a>> {
        let square = row_sum(&slope.grad.sqr()?)?;
        let length = square.affine(self.alpha * self.alpha, 1.0)?;
        Ok(Place { e, at, slope, length, alpha2: self.alpha * self.alpha, temperature: self.temperature })
    }
}

/// A place with its metric: `length = 1 + α²|g|²`, the determinant of G, `(B,)`.
struct Place<'a> {
    e: &'a dyn EnergyFn,
    at: Batch,
    slope: Slope,
    length: Tensor,
    alpha2: f64,
    temperature: f64,
}

impl Place<'_> {
    fn rows(&self, t: &Tensor, c: &Tensor) -> Result<Tensor> {
        Ok(t.broadcast_mul(&per_row(c, t)?)?)
    }

    /// `G⁻¹p = p − α² g (g·p)/length`.
    fn velocity(&self, p: &Tensor) -> Result<Tensor> {
        let along = (row_sum(&(&self.slope.grad * p)?)? / &self.length)?;
        Ok((p - self.rows(&self.slope.grad, &along.affine(self.alpha2, 0.0)?)?)?)
    }

    /// `√G z = z + g (g·z)(√length − 1)/|g|²`.
    fn momentum(&self, z: &Tensor) -> Result<Tensor> {
        // (√(1 + s) − 1)/|g|² = α²/(√(1 + s) + 1), also where g is 0.
        let factor =
            ((row_sum(&(&self.slope.grad * z)?)? * self.alpha2)? / self.length.sqrt()?.affine(1.0, 1.0)?)?;
        Ok((z + self.rows(&self.slope.grad, &factor)?)?)
    }

    /// H, `(B,)`.
    fn hamiltonian(&self, p: &Tensor) -> Result<Tensor> {
        let kinetic = row_sum(&(p * self.velocity(p)?)?)?.affine(0.5, 0.0)?;
        let potential = self.slope.energy.affine(1.0 / self.temperature, 0.0)?;
        Ok(((potential + self.length.log()?.affine(0.5, 0.0)?)? + kinetic)?)
    }

    /// `∂H/∂x = g/T + Hess·w` with `w = α² g/length·(1 + α²(g·p)²/length) − α²(g·p)/length·p`.
    fn force(&self, p: &Tensor) -> Result<Tensor> {
        let along = row_sum(&(&self.slope.grad * p)?)?;
        let over = (along.affine(self.alpha2, 0.0)? / &self.length)?;
        let of_grad = ((along * &over)?.affine(1.0, 1.0)?.affine(self.alpha2, 0.0)? / &self.length)?;
        let w = (self.rows(&self.slope.grad, &of_grad)? - self.rows(p, &over)?)?;
        let bent = self.e.hvp(&self.at, &w)?;
        Ok((self.slope.grad.affine(1.0 / self.temperature, 0.0)? + bent)?)
    }
}

/// How far rows are from rest in an iteration, over 1 + their size; NaN is infinite.
fn gaps(new: &Tensor, old: &Tensor) -> Result<Vec<f64>> {
    let gap = host::numbers(&flat_rows(&(new - old)?.abs()?)?.max(1)?)?;
    let size = host::numbers(&flat_rows(&new.abs()?)?.max(1)?)?;
    let over = |(gap, size): (f64, f64)| if gap.is_nan() { f64::INFINITY } else { gap / (1.0 + size) };
    Ok(gap.into_iter().zip(size).map(over).collect())
}

/// Applies `next` until nothing moves by more than `small`; marks in `lost` the rows that still do.
fn solved(
    start: Tensor,
    small: f64,
    lost: &mut [bool],
    next: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (mut at, mut left) = (start, Vec::new());
    for _ in 0..ITERATIONS {
        let new = next(&at)?;
        left = gaps(&new, &at)?;
        at = new;
        // A row that runs away is none to wait for.
        if left.iter().all(|g| *g <= small || *g > 1e6) {
            break;
        }
    }
    lost.iter_mut().zip(left).for_each(|(lost, left)| *lost |= left > small);
    Ok(at)
}

impl Transition for RiemannianHmc {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let adapted = self.step.of(state)?;
        let (at, here) = (&state.at, state.slope(e)?);
        let small = if at.dtype() == DType::F64 { 1e-10 } else { 1e-5 };
        let half = adapted.map(|h| 0.5 * h);
        let less = adapted.map(|h| -0.5 * h);
        let mut lost = vec![false; at.len()];
        let mut place = self.at(e, at.clone(), here.clone())?;
        let z = key.at("momentum").normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let mut p = place.momentum(&z)?;
        let before = place.hamiltonian(&p)?;
        for _ in 0..self.leapfrogs {
            // p½ = p − ε/2 ∂H/∂x(x, p½)
            let from = p.clone();
            p = solved(p, small, &mut lost, &mut |p| rows::moved(&from, &less, &place.force(p)?))?;
            // x′ = x + ε/2 (G⁻¹(x) + G⁻¹(x′)) p½
            let first = rows::moved(&place.at.x, &half, &place.velocity(&p)?)?;
            let guess = rows::moved(&first, &half, &place.velocity(&p)?)?;
            let reached = solved(guess, small, &mut lost, &mut |x| {
                let there = place.at.with_x(x.clone());
                let slope = e.slope(&there)?;
                rows::moved(&first, &half, &self.at(e, there, slope)?.velocity(&p)?)
            })?;
            let there = place.at.with_x(reached);
            let slope = e.slope(&there)?;
            place = self.at(e, there, slope)?;
            p = rows::moved(&p, &less, &place.force(&p)?)?;
        }
        let mut log_ratio = (before - place.hamiltonian(&p)?)?;
        if let Some(barrier) = outside(&place.at.x, self.range)? {
            log_ratio = (log_ratio + barrier)?;
        }
        let wall = |lost: &bool| if *lost { f64::NEG_INFINITY } else { 0.0 };
        let walls: Vec<f64> = lost.iter().map(wall).collect();
        let walls = host::given(&walls, log_ratio.dtype(), at.device())?;
        log_ratio = (log_ratio + walls)?;
        let decision = Decision::draw(&log_ratio, &at.chains, key.at("accept"))?;
        let chance = decision.chance.clone();
        let unsolved = crate::kit::places::numbers(lost.len(), |row| f64::from(u8::from(lost[row])))?;
        let mut stepped = decision.step(state, &here, (&place.at.x, &place.slope), Link::Cut)?;
        self.step.adapt(&mut stepped.state, &adapted, &chance)?;
        let sizes: &Sizes = &adapted;
        Ok(diagnosed(stepped, state, (&self.step, sizes), &log_ratio, &place.slope.energy)?
            .with("unsolved", unsolved))
    }

    fn law(&self) -> Law {
        Law::Invariant { temperature: self.temperature }
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.range
    }

    fn carried(&self) -> Vec<String> {
        self.step.carried()
    }

    fn name(&self) -> String {
        format!(
            "riemannian-hmc (step size {}, {} leapfrogs, alpha {})",
            self.step.initial, self.leapfrogs, self.alpha
        )
    }
}

/// Settings of `riemannian-hmc`.
#[derive(Debug, Clone, Settings)]
pub struct RiemannianHmcConfig {
    /// Step size, or its start if it adapts.
    #[setting(above = 0.0)]
    pub step_size: f64,
    /// Steps of a trajectory.
    #[setting(at_least = 1, at_most = 1e4)]
    pub leapfrogs: usize,
    /// α of the metric: how much steep places slow the chains down; 0 is `hmc`.
    #[setting(default = 1.0, at_least = 0.0)]
    pub alpha: f64,
    /// T of the target exp(-E/T).
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
    /// Box outside of which trajectories are rejected.
    pub range: Option<[f64; 2]>,
    /// How the step size moves.
    #[setting(flatten)]
    pub adapt: AdaptSettings,
}

#[plugin(
    "riemannian-hmc",
    summary = "Hamiltonian trajectories in a metric of the place (Monge), by exact Hessian-vector products",
    source = "Girolami, Calderhead 2011; Hartmann, Girolami, Klami 2022 (arXiv 2202.00755)",
    example = "step_size = 0.1\nleapfrogs = 5\nalpha = 1.0\ntarget_acceptance = 0.8"
)]
impl TransitionConfig for RiemannianHmcConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        if self.adapt.metric != crate::kit::MetricKind::Unit {
            return Err(cx.refuse(
                "metric",
                "belongs to kernels in a constant metric; here it is that of the place: leave it out",
            ));
        }
        Ok(Box::new(RiemannianHmc {
            step: self.adapt.step_size(cx, STEP, self.step_size)?,
            leapfrogs: self.leapfrogs,
            alpha: self.alpha,
            temperature: self.temperature,
            range: cx.interval("range", self.range)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use ebm_core::candle::Device;
    use ebm_core::{Chains, EnergyConfig};
    use ebm_energies_density::Banana;
    use ebm_testkit::{check_transition, relative_gap, toy};

    use super::*;

    fn banana() -> Arc<dyn EnergyFn> {
        let config = Banana { sd: 1.5, bend: 0.5 };
        config.build(&mut BuildCx::new(&[2], DType::F64, &Device::Cpu, Key::root(0))).unwrap()
    }

    fn place(kernel: &RiemannianHmc, e: &dyn EnergyFn, x: Tensor) -> (Tensor, Batch, Slope) {
        let at = Batch::new(x).unwrap();
        let slope = e.slope(&at).unwrap();
        let z = Key::root(4).normal(&at.chains, &[2], DType::F64, &Device::Cpu).unwrap();
        let p = kernel.at(e, at.clone(), slope.clone()).unwrap().momentum(&z).unwrap();
        (p, at, slope)
    }

    /// The force against central differences of H, the velocity against those in the momentum.
    #[test]
    fn force_and_velocity_are_the_derivatives_of_the_hamiltonian() {
        let (kernel, e) = (RiemannianHmc { temperature: 0.7, ..RiemannianHmc::new(0.1, 1, 0.8) }, banana());
        let x = Key::root(3).normal(&Chains::range(0, 6), &[2], DType::F64, &Device::Cpu).unwrap();
        let (p, at, slope) = place(&kernel, e.as_ref(), x);
        let h = |x: &Tensor, p: &Tensor| {
            let at = at.with_x(x.clone());
            let slope = e.slope(&at).unwrap();
            kernel.at(e.as_ref(), at, slope).unwrap().hamiltonian(p).unwrap()
        };
        let here = kernel.at(e.as_ref(), at.clone(), slope).unwrap();
        let (force, velocity) = (here.force(&p).unwrap(), here.velocity(&p).unwrap());
        let step = 1e-5;
        for i in 0..2 {
            let one: Vec<f64> = (0..2).map(|k| if k == i { step } else { 0.0 }).collect();
            let along = Tensor::new(&[[one[0], one[1]]], &Device::Cpu).unwrap();
            let (up, down) = (at.x.broadcast_add(&along).unwrap(), at.x.broadcast_sub(&along).unwrap());
            let want = ((h(&up, &p) - h(&down, &p)).unwrap() / (2.0 * step)).unwrap();
            let got = force.narrow(1, i, 1).unwrap().squeeze(1).unwrap();
            // h² times third derivatives of order 10.
            assert!(relative_gap(&got, &want).unwrap() < 1e-7);
            let (up, down) = (p.broadcast_add(&along).unwrap(), p.broadcast_sub(&along).unwrap());
            let want = ((h(&at.x, &up) - h(&at.x, &down)).unwrap() / (2.0 * step)).unwrap();
            let got = velocity.narrow(1, i, 1).unwrap().squeeze(1).unwrap();
            assert!(relative_gap(&got, &want).unwrap() < 1e-7);
        }
    }

    /// Momenta have the covariance G: pᵀG⁻¹p is z·z.
    #[test]
    fn momenta_have_the_metric_as_covariance() {
        let (kernel, e) = (RiemannianHmc::new(0.1, 1, 1.3), banana());
        let x = Key::root(3).normal(&Chains::range(0, 6), &[2], DType::F64, &Device::Cpu).unwrap();
        let (p, at, slope) = place(&kernel, e.as_ref(), x);
        let z = Key::root(4).normal(&at.chains, &[2], DType::F64, &Device::Cpu).unwrap();
        let velocity = kernel.at(e.as_ref(), at, slope).unwrap().velocity(&p).unwrap();
        let (a, b) = (row_sum(&(p * velocity).unwrap()).unwrap(), row_sum(&z.sqr().unwrap()).unwrap());
        assert!(relative_gap(&a, &b).unwrap() < 1e-12);
    }

    /// Exact draws stay exact at a step where a third of the trajectories is rejected: a wrong determinant or force shows at once.
    #[test]
    fn exact_draws_stay_exact() {
        let (n, e) = (4000, banana());
        let start = e.density().unwrap().draw(&Chains::range(0, n), Key::root(5)).unwrap();
        let kernel = RiemannianHmc::new(0.5, 3, 0.7);
        let (mut state, mut taken) = (ChainState::new(Batch::new(start).unwrap()), 0.0);
        for k in 0..4u64 {
            let stepped = kernel.step(e.as_ref(), &state, Key::root(6).at(k)).unwrap();
            taken += stepped.info["accepted"].mean_all().unwrap().to_scalar::<f64>().unwrap() / 4.0;
            state = stepped.state;
        }
        assert!((0.3..0.97).contains(&taken), "{taken}");
        let x = state.at.x.to_vec2::<f64>().unwrap();
        let second = |x: &[f64]| x[1] - 0.5 * (x[0] * x[0] - 2.25);
        for (name, want, f) in [
            ("x²", 2.25, &(|x: &[f64]| x[0] * x[0]) as &dyn Fn(&[f64]) -> f64),
            ("y", 0.0, &|x: &[f64]| second(x)),
            ("y²", 1.0, &|x: &[f64]| second(x).powi(2)),
            ("x²y²", 2.25, &|x: &[f64]| (x[0] * second(x)).powi(2)),
        ] {
            let all: Vec<f64> = x.iter().map(|x| f(x)).collect();
            let mean = all.iter().sum::<f64>() / n as f64;
            let sd = (all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
            assert!((mean - want).abs() < 4.0 * sd / (n as f64).sqrt(), "{name}: {mean} wants {want}");
        }
    }

    #[test]
    fn rows_do_not_meet() {
        let e = toy::mlp(3, 5, 2, 4).unwrap();
        let x = Key::root(8).normal(&Chains::range(0, 5), &[3], DType::F64, &Device::Cpu).unwrap();
        check_transition(&RiemannianHmc::new(0.2, 2, 0.5), &e, &Batch::new(x).unwrap(), true).unwrap();
    }

    /// Without curvature of the metric it is `hmc`, number by number.
    #[test]
    fn without_alpha_it_is_hmc() {
        let e = toy::mlp(3, 5, 1, 2).unwrap();
        let x = Key::root(8).normal(&Chains::range(0, 20), &[3], DType::F64, &Device::Cpu).unwrap();
        let state = ChainState::new(Batch::new(x).unwrap());
        let a = RiemannianHmc::new(0.3, 4, 0.0).step(&e, &state, Key::root(1)).unwrap();
        let b = crate::Hmc::new(0.3, 4).step(&e, &state, Key::root(1)).unwrap();
        assert!(relative_gap(&a.state.at.x, &b.state.at.x).unwrap() < 1e-11);
    }
}
