//! Integrators of Hamiltonian dynamics: how a trajectory is followed.

use ebm_core::candle::Tensor;
use ebm_core::{Batch, EnergyFn, Result, Settings, Slope, flat_rows};

use super::places::row_slopes;
use super::trajectory::{Split, follow};
use super::{Factor, Frame, Sizes, rows};

/// A map of phase space that keeps volumes, comes back when the momentum is turned, and keeps `E/T + |v|²/2` up to an error of its step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Integrator {
    /// Half a kick, a drift, half a kick: one slope a step, error of order h², stable for hω < 2.
    #[default]
    Leapfrog,
    /// Kicks of λ, 1 − 2λ and λ with half a drift between, λ = 0.1932: two slopes a step, a tenth of the error of two leapfrogs of
    /// half the length (McLachlan 1995; Blanes, Casas, Sanz-Serna 2014).
    MinimalNorm,
    /// `(x′, v′)` by the slope halfway between: stable for every h on a Gaussian, solved by iteration, a slope for each; rows that do
    /// not converge (hω > 2) are rejected.
    ImplicitMidpoint,
}

/// λ of the two-stage integrator of minimal error norm (McLachlan 1995, section 5).
const LAMBDA: f64 = 0.193_183_327_503_783_6;
/// Iterations of the implicit midpoint at most.
const ITERATIONS: usize = 100;

/// A place in phase space.
pub struct Phase {
    /// Positions, `(B, ...)`.
    pub x: Tensor,
    /// Momenta in the coordinates of the metric, `(B, ...)`.
    pub v: Tensor,
    /// The slope at the positions.
    pub slope: Slope,
    /// −∞ where the integrator failed, else 0, `(B,)`; none if it cannot.
    pub lost: Option<Tensor>,
}

impl Integrator {
    /// `steps` steps of size `h` (one a row) of `E/T + |v|²/2` from `from`, in the metric of `frame`; `at` is the batch it belongs to.
    ///
    /// # Errors
    /// If the energy or an operation fails.
    pub fn run(
        self,
        (e, at): (&dyn EnergyFn, &Batch),
        from: Phase,
        (h, steps): (&Sizes, usize),
        temperature: f64,
        frame: &Frame,
    ) -> Result<Phase> {
        let dynamics = Dynamics { e, at, h, temperature, frame };
        match self.split() {
            Some(split) => dynamics.split(from, steps, split),
            None => dynamics.midpoints(from, steps),
        }
    }

    /// The same in the metric of `factor`, by slopes of rows where the energy has them.
    ///
    /// # Errors
    /// If the energy or an operation fails.
    pub(crate) fn follow(
        self,
        (e, at): (&dyn EnergyFn, &Batch),
        from: Phase,
        (h, steps): (&Sizes, usize),
        temperature: f64,
        factor: &Factor,
    ) -> Result<Phase> {
        if let Some(split) = self.split().filter(|_| steps > 0)
            && let Some(rows) = row_slopes(e, at)?
        {
            return follow((rows.as_ref(), at), &from, (h, steps), temperature, factor, split);
        }
        self.run((e, at), from, (h, steps), temperature, &factor.frame(&at.x)?)
    }

    /// Its kicks and drifts, if it is made of them.
    fn split(self) -> Option<Split<'static>> {
        const MINIMAL_NORM: [(f64, f64); 2] = [(0.5, 1.0 - 2.0 * LAMBDA), (0.5, 2.0 * LAMBDA)];
        match self {
            Integrator::Leapfrog => Some(Split { first: 0.5, stages: &[(1.0, 1.0)] }),
            Integrator::MinimalNorm => Some(Split { first: LAMBDA, stages: &MINIMAL_NORM }),
            Integrator::ImplicitMidpoint => None,
        }
    }
}

struct Dynamics<'a> {
    e: &'a dyn EnergyFn,
    at: &'a Batch,
    h: &'a Sizes,
    temperature: f64,
    frame: &'a Frame,
}

impl Dynamics<'_> {
    fn kick(&self, v: &Tensor, slope: &Slope, share: f64) -> Result<Tensor> {
        let h = self.h.map(|h| -(share * h / self.temperature));
        rows::moved(v, &h, &self.frame.down(&slope.grad)?)
    }

    fn drift(&self, x: &Tensor, v: &Tensor, share: f64) -> Result<Tensor> {
        let h = if share == 1.0 { self.h.clone() } else { self.h.map(|h| share * h) };
        rows::moved(x, &h, &self.frame.up(v)?)
    }

    /// Kicks and drifts in turn.
    fn split(&self, from: Phase, steps: usize, Split { first, stages }: Split<'_>) -> Result<Phase> {
        let (mut x, mut slope) = (from.x, from.slope);
        let mut v = self.kick(&from.v, &slope, first)?;
        for step in 0..steps {
            for (i, (drift, kick)) in stages.iter().enumerate() {
                x = self.drift(&x, &v, *drift)?;
                slope = self.e.slope(&self.at.with_x(x.clone()))?;
                let last = step + 1 == steps && i + 1 == stages.len();
                v = self.kick(&v, &slope, if last { first } else { *kick })?;
            }
        }
        Ok(Phase { x, v, slope, lost: None })
    }

    /// Steps of the implicit midpoint rule.
    fn midpoints(&self, from: Phase, steps: usize) -> Result<Phase> {
        let (mut x, mut v, mut slope) = (from.x, from.v, from.slope);
        let small = match x.dtype() {
            ebm_core::candle::DType::F64 => 1e-12,
            _ => 1e-6,
        };
        let mut lost = slope.energy.zeros_like()?;
        for _ in 0..steps {
            // The middle is half a drift by the momentum in the middle, which is half a kick by the slope there.
            let mut middle = self.drift(&x, &self.kick(&v, &slope, 0.5)?, 0.5)?;
            let mut half = v.clone();
            let mut gap = None;
            for _ in 0..ITERATIONS {
                let there = self.e.slope(&self.at.with_x(middle.clone()))?;
                half = self.kick(&v, &there, 0.5)?;
                let next = self.drift(&x, &half, 0.5)?;
                let moved = flat_rows(&(&next - &middle)?.abs()?)?.max(1)?;
                let size = flat_rows(&next.abs()?)?.max(1)?;
                let relative = (moved / (size + 1.0)?)?;
                middle = next;
                let all = ebm_core::host::numbers(&relative)?;
                gap = Some(relative);
                // NaN is no row to wait for.
                if all.iter().all(|g| *g <= small || g.is_nan()) {
                    break;
                }
            }
            if let Some(gap) = gap {
                // What still moves by a thousand times the tolerance has not converged; comparisons with NaN are false.
                let zero = gap.zeros_like()?;
                let kept = gap.le(1e3 * small)?;
                lost = (lost + kept.where_cond(&zero, &(&zero - f64::INFINITY)?)?)?;
            }
            x = (middle.affine(2.0, 0.0)? - x)?;
            v = (half.affine(2.0, 0.0)? - v)?;
            slope = self.e.slope(&self.at.with_x(x.clone()))?;
        }
        Ok(Phase { x, v, slope, lost: Some(lost) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Chains, Key, row_sum};
    use ebm_testkit::{check_variance, relative_gap, run, toy};

    use super::*;
    use crate::Hmc;

    const ALL: [Integrator; 3] =
        [Integrator::Leapfrog, Integrator::MinimalNorm, Integrator::ImplicitMidpoint];

    fn start(n: usize, d: usize) -> (Batch, Tensor) {
        let draw =
            |k: u64| Key::root(k).normal(&Chains::range(0, n), &[d], DType::F64, &Device::Cpu).unwrap();
        (Batch::new(draw(1)).unwrap(), draw(2))
    }

    fn follow(by: Integrator, e: &dyn EnergyFn, at: &Batch, v: &Tensor, h: f64, steps: usize) -> Phase {
        let slope = e.slope(at).unwrap();
        let from = Phase { x: at.x.clone(), v: v.clone(), slope, lost: None };
        by.run((e, at), from, (&Sizes::Common(h), steps), 0.7, &Frame::Unit).unwrap()
    }

    /// Largest change of E/T + |v|²/2.
    fn error(e: &dyn EnergyFn, at: &Batch, v: &Tensor, end: &Phase) -> f64 {
        let total = |energy: &Tensor, v: &Tensor| {
            (energy.affine(1.0 / 0.7, 0.0).unwrap() + row_sum(&v.sqr().unwrap()).unwrap() * 0.5).unwrap()
        };
        let gap = (total(&end.slope.energy, &end.v) - total(&e.energy(at).unwrap(), v)).unwrap();
        gap.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap()
    }

    #[test]
    fn trajectories_come_back_when_the_momentum_is_turned() {
        let e = toy::mlp(3, 6, 1, 2).unwrap();
        let (at, v) = start(6, 3);
        for by in ALL {
            let end = follow(by, &e, &at, &v, 0.3, 5);
            let there = at.with_x(end.x.clone());
            let back = follow(by, &e, &there, &end.v.neg().unwrap(), 0.3, 5);
            assert!(relative_gap(&back.x, &at.x).unwrap() < 1e-10, "{by:?}");
            assert!(relative_gap(&back.v, &v.neg().unwrap()).unwrap() < 1e-10, "{by:?}");
            assert!(relative_gap(&end.x, &at.x).unwrap() > 0.1, "{by:?}");
        }
    }

    /// All are of second order; for as many slopes the two-stage one errs least.
    #[test]
    fn errors_fall_with_the_square_of_the_step() {
        let e = toy::mlp(3, 6, 1, 2).unwrap();
        let (at, v) = start(6, 3);
        let of = |by, h: f64| error(&e, &at, &v, &follow(by, &e, &at, &v, h, (1.2 / h) as usize));
        for by in ALL {
            let ratio = of(by, 0.04) / of(by, 0.02);
            assert!((3.4..4.6).contains(&ratio), "{by:?}: {ratio}");
        }
        let (two, leapfrog) = (of(Integrator::MinimalNorm, 0.04), of(Integrator::Leapfrog, 0.02));
        assert!(two < 0.35 * leapfrog, "{two} {leapfrog}");
    }

    /// The midpoint keeps a quadratic energy at any step that its iteration solves, h²λ/T < 4; others are marked.
    #[test]
    fn the_midpoint_keeps_quadratic_energies_and_tells_what_it_cannot_solve() {
        let e = toy::bowl(3, 1.0).unwrap();
        let (at, v) = start(6, 3);
        let end = follow(Integrator::ImplicitMidpoint, &e, &at, &v, 1.3, 4);
        assert!(error(&e, &at, &v, &end) < 1e-9);
        assert_eq!(end.lost.unwrap().to_vec1::<f64>().unwrap(), [0.0; 6]);
        assert!(error(&e, &at, &v, &follow(Integrator::Leapfrog, &e, &at, &v, 1.3, 4)) > 0.1);
        let lost = follow(Integrator::ImplicitMidpoint, &e, &at, &v, 3.0, 1).lost.unwrap();
        assert_eq!(lost.to_vec1::<f64>().unwrap(), [f64::NEG_INFINITY; 6]);
    }

    #[test]
    fn every_integrator_keeps_the_target() {
        for by in ALL {
            let hmc = Hmc::new(0.9, 3).jittered(0.2).integrated(by);
            let x = run(&hmc, &toy::bowl(1, 2.0).unwrap(), 6_000, 20, Key::root(3)).unwrap().at.x;
            check_variance(&x, 0.5, 4.0).unwrap();
        }
    }
}
