//! `eight-schools`: the hierarchical model by which samplers of posteriors are compared.

use std::f64::consts::TAU;
use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::host;
use ebm_core::{BuildCx, Diff, EnergyConfig, EnergyFn, Error, Forward, Result, Settings, View, plugin};

use crate::{Closed, Drawer, KnownDensity};

/// Effects of coaching in eight schools and their standard errors (Rubin 1981, table 1).
const EFFECTS: [f64; 8] = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0];
const ERRORS: [f64; 8] = [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0];
/// Deviation of the prior of μ, scale of that of τ.
const PRIOR: f64 = 5.0;

/// `y_j ~ N(θ_j, s_j²)`, `θ_j ~ N(μ, τ²)`, `μ ~ N(0, 5²)`, `τ ~` half-Cauchy(5), of the ten values `(μ, log τ, e_1, …, e_8)` with
/// `θ_j = μ + τ e_j`, or, centred, `(μ, log τ, θ_1, …, θ_8)`; the energy holds the Jacobian `−log τ`.
///
/// Given τ all else is normal, so normaliser, moments and draws are those of one integral over log τ (trapezoids, exact to rounding). The
/// centred form is a funnel: kernels that cannot follow it must say so.
#[derive(Clone, Debug, Settings)]
pub struct EightSchools {
    /// The effects θ themselves are sampled, not their standardised residuals.
    #[setting(default = false)]
    pub centred: bool,
}

#[plugin(
    "eight-schools",
    summary = "the posterior of a hierarchical normal model: mean, log-deviation and eight effects",
    source = "Rubin 1981; Gelman et al. 2013, section 5.5",
    example = "centred = false"
)]
impl EnergyConfig for EightSchools {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        if cx.sample_len() != 10 {
            let (found, path) = (cx.sample_shape(), cx.path());
            return Err(Error::shape(
                path,
                found,
                "(10,)",
                "the model has ten values: μ, log τ and eight effects",
            ));
        }
        Closed::build(cx, Posterior { centred: self.centred }, "eight-schools")
    }
}

struct Posterior {
    centred: bool,
}

/// What is known given τ.
struct Given {
    log_tau: f64,
    /// Density of log τ, up to the normaliser; in a table: probability.
    weight: f64,
    /// Mean and variance of μ.
    mu: (f64, f64),
}

/// Effect j given μ and τ is normal: mean `a + bμ`, deviation `sd`.
struct Effect {
    a: f64,
    b: f64,
    sd: f64,
}

impl Posterior {
    fn effect(&self, tau: f64, j: usize) -> Effect {
        let (y, s) = (EFFECTS[j], ERRORS[j]);
        let q = s * s + tau * tau;
        match self.centred {
            true => Effect { a: tau * tau * y / q, b: s * s / q, sd: s * tau / q.sqrt() },
            false => Effect { a: tau * y / q, b: -tau / q, sd: s / q.sqrt() },
        }
    }

    /// A lattice over log τ with probabilities, and log Z. Beyond it less than 1e−17 is left.
    fn lattice(&self) -> (Vec<Given>, f64) {
        const STEP: f64 = 0.01;
        let at = |i: i32| {
            let t = f64::from(i) * STEP;
            let tau2 = (2.0 * t).exp();
            let (mut precision, mut sum, mut log) = (1.0 / (PRIOR * PRIOR), 0.0, t);
            log -= (tau2 / (PRIOR * PRIOR)).ln_1p();
            for (y, s) in EFFECTS.iter().zip(ERRORS) {
                let q = s * s + tau2;
                precision += 1.0 / q;
                sum += y / q;
                log += 0.5 * (s * s / q * TAU).ln() - 0.5 * y * y / q;
            }
            log += 0.5 * sum * sum / precision + 0.5 * (TAU / precision).ln();
            Given { log_tau: t, weight: log, mu: (sum / precision, 1.0 / precision) }
        };
        let mut all: Vec<Given> = (-4500..1500).map(at).collect();
        let highest = all.iter().map(|g| g.weight).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = all.iter().map(|g| (g.weight - highest).exp()).sum();
        all.iter_mut().for_each(|g| g.weight = (g.weight - highest).exp() / total);
        (all, highest + (total * STEP).ln())
    }

    /// Means, and means of squares, of each value.
    fn moments(&self) -> (Vec<f64>, Vec<f64>) {
        let (mut first, mut second) = (vec![0.0; 10], vec![0.0; 10]);
        for g in self.lattice().0 {
            let mut add = |i: usize, mean: f64, variance: f64| {
                first[i] += g.weight * mean;
                second[i] += g.weight * (mean * mean + variance);
            };
            add(0, g.mu.0, g.mu.1);
            add(1, g.log_tau, 0.0);
            for j in 0..8 {
                let e = self.effect(g.log_tau.exp(), j);
                add(2 + j, e.a + e.b * g.mu.0, e.b * e.b * g.mu.1 + e.sd * e.sd);
            }
        }
        (first, second)
    }
}

impl Forward for Posterior {
    fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?;
        let (mu, t) = (x.linear(|t| t.narrow(1, 0, 1))?, x.linear(|t| t.narrow(1, 1, 1))?);
        let effects = x.linear(|t| t.narrow(1, 2, 8))?;
        let wide = |v: &V| v.linear(|t| t.repeat((1, 8)));
        let tau = t.exp()?;
        let (theta, residual) = match self.centred {
            true => {
                let residual = effects.minus(&wide(&mu)?)?.mul(&wide(&t.scale(-1.0)?.exp()?)?)?;
                (effects, residual)
            }
            false => (wide(&mu)?.plus(&wide(&tau)?.mul(&effects)?)?, effects),
        };
        let like = x.value();
        let row = |v: [f64; 8]| host::given(&v, like.dtype(), like.device())?.unsqueeze(0);
        let gap = theta.shift(&row(EFFECTS.map(|y| -y))?.broadcast_as(theta.value().shape())?)?;
        let gap = gap.times(&row(ERRORS.map(|s| 1.0 / s))?)?;
        let e =
            gap.square()?.plus(&residual.square()?)?.sum_last()?.plus(&mu.scale(1.0 / PRIOR)?.square()?)?;
        // log(1 + (τ/5)²) as a function of log τ.
        let twice = t.scale(2.0)?;
        let two_logs = host::given(&[-2.0 * PRIOR.ln()], like.dtype(), like.device())?;
        let cauchy = twice.shift(&two_logs.broadcast_as(twice.value().shape())?)?.softplus()?;
        let jacobian = t.scale(if self.centred { 7.0 } else { -1.0 })?;
        e.scale(0.5)?.plus(&cauchy)?.plus(&jacobian)
    }

    fn python(&self) -> Option<String> {
        let of_effects = match self.centred {
            true => "theta, residual, jacobian = effects, (effects - mu) * (-t).exp(), 7 * t",
            false => "theta, residual, jacobian = mu + t.exp() * effects, effects, -t",
        };
        Some(format!(
            "x = x.flatten(1)\n\
             mu, t, effects = x[:, :1], x[:, 1:2], x[:, 2:]\n\
             {of_effects}\n\
             gap = (theta - x.new_tensor({EFFECTS:?})) / x.new_tensor({ERRORS:?})\n\
             e = gap.square().sum(1) + residual.square().sum(1) + (mu / {PRIOR:?}).square().squeeze(1)\n\
             cauchy = F.softplus(2 * t - 2 * math.log({PRIOR:?}))\n\
             return 0.5 * e + (cauchy + jacobian).squeeze(1)"
        ))
    }
}

impl KnownDensity for Posterior {
    fn log_z(&self, _: &View) -> Result<f64> {
        Ok(self.lattice().1)
    }

    fn drawer(&self, _: &View) -> Result<Drawer<'_>> {
        let lattice = self.lattice().0;
        let mut sum = 0.0;
        let running: Vec<f64> = lattice
            .iter()
            .map(|g| {
                sum += g.weight;
                sum
            })
            .collect();
        Ok(Box::new(move |s, out| {
            let [mu, log_tau, effects @ ..] = out else { return };
            let u = s.uniform() * sum;
            let i = running.partition_point(|r| *r <= u).clamp(1, running.len() - 1);
            // Between the two points of the lattice, as if its density were even there.
            let share = (u - running[i - 1]) / (running[i] - running[i - 1]);
            let (a, b) = (&lattice[i - 1], &lattice[i]);
            let mix = |f: fn(&Given) -> f64| f(a) + share * (f(b) - f(a));
            *log_tau = mix(|g| g.log_tau) - 0.5 * (b.log_tau - a.log_tau);
            *mu = mix(|g| g.mu.0) + mix(|g| g.mu.1).sqrt() * s.normal();
            for (j, o) in effects.iter_mut().enumerate() {
                let e = self.effect(log_tau.exp(), j);
                *o = e.a + e.b * *mu + e.sd * s.normal();
            }
        }))
    }

    fn mean(&self, _: &View) -> Option<Vec<f64>> {
        Some(self.moments().0)
    }

    fn variance(&self, _: &View) -> Option<Vec<f64>> {
        let (first, second) = self.moments();
        Some(first.iter().zip(second).map(|(m, s)| s - m * m).collect())
    }

    fn row(&self, x: &[f64], grad: &mut [f64]) -> Option<f64> {
        let ([mu, t, effects @ ..], [dmu, dt, others @ ..]) = (x, grad) else { return None };
        let tau = t.exp();
        let ratio = tau / PRIOR * (tau / PRIOR);
        let mut e = 0.5 * mu * mu / (PRIOR * PRIOR) + ratio.ln_1p();
        (*dmu, *dt) = (mu / (PRIOR * PRIOR), 2.0 * ratio / (1.0 + ratio));
        let log = if self.centred { 7.0 } else { -1.0 };
        e += log * t;
        *dt += log;
        for ((v, dv), (y, s)) in effects.iter().zip(others).zip(EFFECTS.iter().zip(ERRORS)) {
            let (theta, residual) = if self.centred { (*v, (v - mu) / tau) } else { (mu + tau * v, *v) };
            let gap = (theta - y) / (s * s);
            e += 0.5 * gap * (theta - y) + 0.5 * residual * residual;
            if self.centred {
                *dv = gap + residual / tau;
                *dmu -= residual / tau;
                *dt -= residual * residual;
            } else {
                *dv = gap * tau + residual;
                *dmu += gap;
                *dt += gap * tau * v;
            }
        }
        Some(e)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::check_tests::{build, energy, refusal};

    #[test]
    fn the_energy_is_the_sum_by_hand() {
        let e = build(&EightSchools::default(), &[10]);
        // μ = 2, τ = 1, all residuals 1: every effect is 3.
        let x = [2.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        let gaps: f64 = EFFECTS.iter().zip(ERRORS).map(|(y, s)| ((y - 3.0) / s).powi(2)).sum();
        let want = 0.5 * gaps + 4.0 + 0.5 * 0.16 + 0.04f64.ln_1p();
        assert!((energy(&e, &x) - want).abs() < 1e-13);
        let x = [2.0, 0.5, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0];
        let want = 0.5 * gaps + 4.0 * (-1.0f64).exp() + 0.08 + (0.04 * 1f64.exp()).ln_1p() + 3.5;
        assert!((energy(&build(&EightSchools { centred: true }, &[10]), &x) - want).abs() < 1e-13);
    }

    /// Means of another program (blackjax 1.7.1, 160,000 draws of NUTS in f64) with their Monte Carlo errors: of μ, and of θ_1 and θ_8.
    #[test]
    fn moments_are_those_of_long_chains() {
        let e = build(&EightSchools { centred: true }, &[10]);
        let (mean, variance) =
            (e.density().unwrap().mean().unwrap(), e.density().unwrap().variance().unwrap());
        for (i, want, error, sd) in
            [(0, 4.4047, 0.0082, 3.3207), (2, 6.1997, 0.014, 5.5953), (9, 4.8582, 0.0123, 5.2761)]
        {
            assert!((mean[i] - want).abs() < 4.0 * error, "{i}: {} against {want}", mean[i]);
            // The error of a deviation is about 0.7 of that of the mean, more with heavy tails.
            assert!(
                (variance[i].sqrt() - sd).abs() < 6.0 * error,
                "{i}: {} against {sd}",
                variance[i].sqrt()
            );
        }
    }

    /// θ = μ + τe has the Jacobian τ⁸, which the centred energy holds.
    #[test]
    fn both_forms_have_one_normaliser_and_mean() {
        let [a, b] = [false, true].map(|centred| Posterior { centred });
        assert!((a.lattice().1 - b.lattice().1).abs() < 1e-12);
        let ((a, _), (b, _)) = (a.moments(), b.moments());
        assert!((a[0] - b[0]).abs() < 1e-12 && (a[1] - b[1]).abs() < 1e-12);
    }

    #[test]
    fn another_number_of_values_is_refused() {
        assert!(refusal(&EightSchools::default(), &[9]).contains("ten values"));
    }
}
