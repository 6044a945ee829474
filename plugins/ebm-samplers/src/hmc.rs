//! Hamiltonian Monte Carlo: leapfrog trajectories with an exact accept test.

use ebm_core::{
    Adjust, BuildCx, ChainState, EnergyFn, Key, Law, Link, Result, Sensitivity, Settings, Stepped,
    Transition, TransitionConfig, plugin,
};

use crate::hmc_published::{Form, PublishedHmc};
use crate::kit::rows::End;
use crate::kit::rows::sums::hamiltonian_ratio;
use crate::kit::{
    AdaptSettings, Decision, Integrator, MetricKind, Phase, StepSize, Tuning, diagnosed, outside,
};

/// `L` leapfrog steps of size ε of `H = E(x)/T + |v|²/2` from a fresh `v ~ N(0, I)`, taken with
/// probability `min(1, exp(−ΔH))` (Duane, Kennedy, Pendleton, Roweth 1987; Neal 2011). Leaves
/// `exp(−E/T)` invariant for every ε and L. `L` slopes a step; the end's is cached.
///
/// Of other integrators ([`Integrator`]) a step takes two slopes or more. In a metric `L Lᵀ` ([`MetricKind`]) trajectories are those
/// of `y = L⁻¹x`.
///
/// Other forms that were published are in [`crate::PublishedHmc`].
///
/// With L = 1 this is [`crate::Mala`] with h = ε²/(2T). Jitter makes ε of each step uniform in
/// ε(1 ± jitter), common to all chains, which breaks up periodic orbits.
///
/// The result depends on θ through the whole trajectory, which one link cannot tell: a KL term
/// refuses this kernel.
///
/// Diagnostics: `energy` and `grad_square` at the new state, `accepted`; in measures also `divergent` and `at_limit`.
#[derive(Clone, Debug)]
pub struct Hmc {
    tuning: Tuning,
    integrator: Integrator,
    leapfrogs: usize,
    temperature: f64,
    jitter: f64,
    range: Option<(f64, f64)>,
    factor: f64,
}

const STEP: &str = "hmc.step_size";

impl Hmc {
    /// Step size ε, `leapfrogs` steps a trajectory, temperature 1.
    pub fn new(step_size: f64, leapfrogs: usize) -> Self {
        Hmc {
            tuning: StepSize::fixed(STEP, step_size).into(),
            integrator: Integrator::Leapfrog,
            leapfrogs,
            temperature: 1.0,
            jitter: 0.0,
            range: None,
            factor: 1.0,
        }
    }

    /// The same at temperature T.
    #[must_use]
    pub fn at_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// The same with a random step size in ε(1 ± jitter).
    #[must_use]
    pub fn jittered(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// The same with the step size moving towards acceptance `target`, by `rate` in its logarithm a step.
    #[must_use]
    pub fn adapting(mut self, target: f64, rate: f64) -> Self {
        self.tuning = StepSize::configured(STEP, self.tuning.step.initial, Some(target), rate, None).into();
        self
    }

    /// After [`Hmc::adapting`]: the same in a metric that a warm-up learns.
    #[must_use]
    pub fn in_metric(mut self, kind: MetricKind) -> Self {
        self.tuning = self.tuning.in_metric(kind);
        self
    }

    /// The same with another integrator.
    #[must_use]
    pub fn integrated(mut self, by: Integrator) -> Self {
        self.integrator = by;
        self
    }

    /// After [`Hmc::adapting`]: each chain has a step size of its own, as with [`crate::Mala::per_chain`].
    #[must_use]
    pub fn per_chain(mut self) -> Self {
        self.tuning.step.per_chain = true;
        self.tuning.metric.per_chain = true;
        self
    }
}

impl Transition for Hmc {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (at, here) = (&state.at, state.slope(e)?);
        let same = (|h| h, |h| h);
        let tuned = self.tuning.of((e, key.at("search")), state, &here, self.temperature, same)?;
        let wobble = 1.0 + self.jitter * (2.0 * key.at("jitter").uniform_at(0) - 1.0);
        let h = tuned.sizes.map(|h| h * self.factor * wobble);
        let v0 = key.at("momentum").normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let start = Phase { x: at.x.clone(), v: v0.clone(), slope: here.clone(), lost: None };
        let end =
            self.integrator.follow((e, at), start, (&h, self.leapfrogs), self.temperature, &tuned.factor)?;
        let ends = [(&at.x, &here.energy, &v0), (&end.x, &end.slope.energy, &end.v)];
        let [from, to] = ends.map(|(x, energy, grad)| End { x, energy, grad });
        let mut log_ratio = hamiltonian_ratio(from, to, self.temperature)?;
        if let Some(barrier) = outside(&end.x, self.range)? {
            log_ratio = (log_ratio + barrier)?;
        }
        if let Some(lost) = &end.lost {
            log_ratio = (log_ratio + lost)?;
        }
        let decision = Decision::draw(&log_ratio, &at.chains, key.at("accept"))?;
        let chance = decision.chance.clone();
        let mut stepped = decision.step(state, &here, (&end.x, &end.slope), Link::Cut)?;
        self.tuning.learn(&mut stepped.state, &tuned, &chance)?;
        diagnosed(stepped, state, (&self.tuning.step, &tuned.sizes), &log_ratio, &end.slope.energy)
    }

    fn law(&self) -> Law {
        Law::Reversible { temperature: self.temperature }
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.range
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        let mut new = self.clone();
        new.factor *= by.step_size;
        new.temperature *= by.noise * by.noise;
        Some(Box::new(new))
    }

    fn carried(&self) -> Vec<String> {
        self.tuning.carried()
    }

    fn name(&self) -> String {
        format!("hmc (step size {}, {} leapfrogs)", self.tuning.step.initial, self.leapfrogs)
    }
}

/// Settings of `hmc`.
#[derive(Debug, Clone, Settings)]
pub struct HmcConfig {
    /// Step size, or its start if it adapts.
    #[setting(above = 0.0)]
    pub step_size: f64,
    /// Steps of a trajectory.
    #[setting(at_least = 1, at_most = 1e5)]
    pub leapfrogs: usize,
    /// T of the target exp(-E/T).
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
    /// The step size of each trajectory is uniform in ±this share.
    #[setting(default = 0.0, at_least = 0.0, below = 1.0)]
    pub jitter: f64,
    /// Box outside of which trajectories are rejected.
    pub range: Option<[f64; 2]>,
    /// How the step size moves, and in which metric.
    #[setting(flatten)]
    pub adapt: AdaptSettings,
    /// How a trajectory is followed.
    #[setting(default = Integrator::Leapfrog)]
    pub integrator: Integrator,
    /// The exact one, or one of the published programs' (neither keeps the target), to reproduce their numbers.
    #[setting(default = Form::Exact)]
    pub form: Form,
}

impl HmcConfig {
    /// A published form; it has no setting but step size, leapfrogs and temperature.
    fn published(&self, cx: &BuildCx, form: PublishedHmc) -> Result<Box<dyn Transition>> {
        let others = [
            ("target_acceptance", self.adapt.target_acceptance.is_some()),
            ("per_chain", self.adapt.per_chain),
            ("range", self.range.is_some()),
            ("step_limits", self.adapt.step_limits.is_some()),
            ("jitter", self.jitter != 0.0),
            ("metric", self.adapt.metric != MetricKind::Unit),
            ("integrator", self.integrator != Integrator::Leapfrog),
        ];
        if let Some((name, _)) = others.into_iter().find(|(_, given)| *given) {
            let message = "belongs to form = \"exact\"; the published forms have none: leave it out";
            return Err(cx.refuse(name, message));
        }
        Ok(Box::new(form.at_temperature(self.temperature)))
    }
}

#[plugin(
    "hmc",
    summary = "leapfrog trajectories with a Metropolis test; the published forms on request",
    source = "Duane, Kennedy, Pendleton, Roweth 1987; Neal 2011; Du, Li, Tenenbaum, Mordatch 2021, published programs",
    example = "step_size = 0.1\nleapfrogs = 5\ntarget_acceptance = 0.8"
)]
impl TransitionConfig for HmcConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let (h, steps) = (self.step_size, self.leapfrogs);
        match self.form {
            Form::Exact => {}
            Form::PublishedTraining => return self.published(cx, PublishedHmc::training(h, steps)),
            Form::PublishedLikelihood => {
                return self.published(cx, PublishedHmc::likelihood(h, steps));
            }
        }
        Ok(Box::new(Hmc {
            tuning: self.adapt.tuning(cx, STEP, h)?,
            integrator: self.integrator,
            leapfrogs: self.leapfrogs,
            temperature: self.temperature,
            jitter: self.jitter,
            range: cx.interval("range", self.range)?,
            factor: 1.0,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_testkit::{check_transition, check_variance, moments, relative_gap, run, toy};

    use super::*;
    use crate::Mala;

    /// ε²λ = 2: far too coarse without the test, exact with it.
    #[test]
    fn the_variance_is_that_of_the_target() {
        let (lambda, t) = (2.0, 0.5);
        let hmc = Hmc::new(1.0, 3).at_temperature(t).jittered(0.2);
        let x = run(&hmc, &toy::bowl(1, lambda).unwrap(), 8_000, 25, Key::root(3)).unwrap().at.x;
        check_variance(&x, t / lambda, 4.0).unwrap();
    }

    #[test]
    fn one_leapfrog_is_mala() {
        // Same proposal law: with equal normals both propose x − ε²/2 ∇E + ε v.
        let e = toy::mlp(3, 6, 1, 2).unwrap();
        let a = run(&Hmc::new(0.4, 1), &e, 4000, 15, Key::root(3)).unwrap().at.x;
        let b = run(&Mala::new(0.08), &e, 4000, 15, Key::root(4)).unwrap().at.x;
        let (a, b) = (moments(&a).unwrap(), moments(&b).unwrap());
        // Four standard errors of a mean and of a variance (kurtosis near 3) over 12,000 numbers each.
        let se = (a.variance * 2.0 / 12_000.0).sqrt();
        assert!((a.mean - b.mean).abs() < 4.0 * se, "{a:?} {b:?}");
        assert!((a.variance / b.variance - 1.0).abs() < 4.0 * 2.0 / 12_000f64.sqrt(), "{a:?} {b:?}");
    }

    #[test]
    fn long_fine_trajectories_keep_the_energy() {
        let e = toy::mlp(3, 6, 2, 2).unwrap();
        let mut state = run(&Hmc::new(0.01, 20), &e, 50, 1, Key::root(1)).unwrap();
        for k in 0..5u64 {
            let s = Hmc::new(0.01, 20).step(&e, &state, Key::root(2).at(k)).unwrap();
            let taken = s.info["accepted"].mean_all().unwrap().to_scalar::<f64>().unwrap();
            // The error of H is O(ε²) = 1e−4: all but every ten-thousandth are taken.
            assert!(taken > 0.95, "{taken}");
            assert!(relative_gap(&s.state.at.x, &state.at.x).unwrap() > 0.0);
            state = s.state;
        }
    }

    #[test]
    fn rows_do_not_meet() {
        let e = toy::mlp(3, 5, 2, 4).unwrap();
        let at = run(&Hmc::new(0.3, 2), &e, 5, 2, Key::root(5)).unwrap().at;
        check_transition(&Hmc::new(0.3, 3).jittered(0.1), &e, &at, true).unwrap();
    }
}
