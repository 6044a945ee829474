//! The two forms of HMC of the published programs, as they stand there, mistakes included.

use ebm_core::candle::Tensor;
use ebm_core::{
    Adjust, ChainState, EnergyFn, Error, Key, Link, Result, Sensitivity, Settings, Slope, Stepped,
    Transition, host, row_mean, row_sum,
};

use crate::kit::{Decision, Sizes, rows};

/// Which trajectories and which test `hmc` makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Form {
    /// Leapfrog with half kicks at both ends and a Metropolis test: [`crate::Hmc`].
    #[default]
    Exact,
    /// The sampler of the published training program: [`PublishedHmc`].
    PublishedTraining,
    /// The sampler of the published likelihood estimate: [`PublishedHmc`].
    PublishedLikelihood,
}

/// Hamiltonian Monte Carlo as published with Du, Li, Tenenbaum, Mordatch (2021), to reproduce its numbers.
/// Neither form leaves `exp(−E/T)` invariant; for samples of a target take [`crate::Hmc`].
///
/// **Training** ([`PublishedHmc::training`]), with `g = ∇E(x)/T`:
///
/// ```text
/// v ~ 0.001·N(0, I);  v ← v − ½εg;  K times: v ← v − εg, x ← x + εv
/// ```
///
/// What differs from the exact form: both the half kick and a whole one are taken at the start, so that
/// the first kick has one and a half times its length; nothing is kicked at the end; momenta are a
/// thousandth of what they should be; there is no test. It is a descent with inertia (K slopes a step). A
/// program that differentiates the last gradient alone has the link that is returned, `dx_K = dx_{K−1} −
/// ε²·d[∇E(x_{K−1})]/T`; through the gradients before it, x depends on θ in ways that it does not tell, so
/// a KL term refuses this kernel (the published program must run without it, too). The diagnostic
/// `cosine` is `|cos(v, g)|` at the end, whose mean times 0.01 the published program adds to its loss;
/// here it is reported only.
///
/// **Likelihood** ([`PublishedHmc::likelihood`]), in `u = log(x/(1 − x + 10⁻¹⁰))` with `g` the gradient of
/// `E(sigmoid(u))/T` in `u`, for x in [0, 1]:
///
/// ```text
/// v ~ 0.1·N(0, I);  v ← v − ½εg;  K times: v ← v − εg, u ← u + εv;  v ← v − ½g
/// the old state comes back with probability min(1, exp(H_old − H_new)),  H = ½|v|² + E/T
/// ```
///
/// What differs: the first kick as above; the last one lacks its ε; momenta are a tenth of what they
/// should be; the Jacobian of the map is left out; and the test keeps the new state where it should take the
/// old one, and the other way round. Reported likelihoods rest on it, so it is here; `accepted` is 1 where
/// the *new* state was kept. `K + 1` slopes a step, one where the start's is cached.
///
/// Diagnostics: `energy` and `grad_square` (at the last gradient in training, else at the new state),
/// `cosine` or `accepted`.
#[derive(Clone, Debug)]
pub struct PublishedHmc {
    step_size: f64,
    leapfrogs: usize,
    temperature: f64,
    momentum: f64,
    in_logits: bool,
}

impl PublishedHmc {
    /// The training form: step size ε, `leapfrogs` steps K, temperature 1.
    pub fn training(step_size: f64, leapfrogs: usize) -> Self {
        PublishedHmc { step_size, leapfrogs, temperature: 1.0, momentum: 0.001, in_logits: false }
    }

    /// The likelihood form: step size ε in logits, `leapfrogs` steps K, temperature 1.
    pub fn likelihood(step_size: f64, leapfrogs: usize) -> Self {
        PublishedHmc { step_size, leapfrogs, temperature: 1.0, momentum: 0.1, in_logits: true }
    }

    /// The same at temperature T.
    #[must_use]
    pub fn at_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// `v − c·g/T`.
    fn kicked(&self, v: &Tensor, c: f64, g: &Tensor) -> Result<Tensor> {
        rows::moved(v, &Sizes::Common(-c / self.temperature), g)
    }

    fn momenta(&self, state: &ChainState, key: Key) -> Result<Tensor> {
        let at = &state.at;
        let v = key.at("momentum").normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        Ok(v.affine(self.momentum, 0.0)?)
    }

    fn train(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let eps = self.step_size;
        let mut at = state.at.clone();
        let mut slope = state.slope(e)?;
        let mut v = self.kicked(&self.momenta(state, key)?, 0.5 * eps, &slope.grad)?;
        let mut x = at.x.clone();
        for k in 0..self.leapfrogs {
            if k > 0 {
                at = at.with_x(x);
                slope = e.slope(&at)?;
            }
            v = self.kicked(&v, eps, &slope.grad)?;
            x = rows::moved(&at.x, &Sizes::Common(eps), &v)?;
        }
        let link = Link::Descent { at, scale: eps * eps / self.temperature, pass: None, active: None };
        let cosine = cosine(&v, &slope.grad)?;
        Ok(Stepped::new(state.advance(x), link)
            .with("grad_square", row_mean(&slope.grad.sqr()?)?)
            .with("energy", slope.energy)
            .with("cosine", cosine))
    }

    fn estimate(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (eps, at) = (self.step_size, &state.at);
        unit(&at.x)?;
        let here = state.slope(e)?;
        let v0 = self.momenta(state, key)?;
        let mut g = in_logits(&at.x, &here.grad)?;
        let mut v = self.kicked(&v0, 0.5 * eps, &g)?;
        let mut u = (&at.x / at.x.affine(-1.0, 1.0 + GUARD)?)?.log()?;
        let (mut x, mut there) = (at.x.clone(), here.clone());
        for _ in 0..self.leapfrogs {
            v = self.kicked(&v, eps, &g)?;
            u = rows::moved(&u, &Sizes::Common(eps), &v)?;
            x = sigmoid(&u)?;
            there = e.slope(&at.with_x(x.clone()))?;
            g = in_logits(&x, &there.grad)?;
        }
        v = self.kicked(&v, 0.5, &g)?;
        let kinetic = (row_sum(&v0.sqr()?)? - row_sum(&v.sqr()?)?)?.affine(0.5, 0.0)?;
        let fall = ((&here.energy - &there.energy)?.affine(1.0 / self.temperature, 0.0)? + kinetic)?;
        // Published: the chains that pass the test go back.
        let back = Decision::draw(&fall, &at.chains, key.at("accept"))?;
        let slope = Slope {
            energy: back.select(&here.energy, &there.energy)?,
            grad: back.select(&here.grad, &there.grad)?,
        };
        let mut next = state.advance(back.select(&at.x, &x)?);
        next.cache = Some(slope.clone());
        Ok(Stepped::new(next, Link::Cut)
            .with("grad_square", row_mean(&slope.grad.sqr()?)?)
            .with("energy", slope.energy)
            .with("accepted", back.accepted.affine(-1.0, 1.0)?))
    }
}

/// What keeps the logit of 1 finite.
const GUARD: f64 = 1e-10;

/// `|cos|` of the angle between the rows, `(B,)`; 0 where one of them vanishes.
fn cosine(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let dot = row_sum(&(a * b)?)?.abs()?;
    let norms = (row_sum(&a.sqr()?)?.sqrt()? * row_sum(&b.sqr()?)?.sqrt()?)?;
    Ok(norms.eq(0.0)?.where_cond(&dot.zeros_like()?, &(dot / &norms)?)?)
}

fn sigmoid(u: &Tensor) -> Result<Tensor> {
    Ok((u.neg()?.exp()? + 1.0)?.recip()?)
}

/// A gradient in `x = sigmoid(u)` as one in `u`: times `x(1 − x)`.
fn in_logits(x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    Ok(((x * x.affine(-1.0, 1.0)?)? * grad)?)
}

/// Refuses samples that have no logit.
fn unit(x: &Tensor) -> Result<()> {
    if x.elem_count() == 0 {
        return Ok(());
    }
    let (low, high) = (host::scalar(&x.min_all()?)?, host::scalar(&x.max_all()?)?);
    if low >= 0.0 && high <= 1.0 {
        return Ok(());
    }
    Err(Error::numeric(
        "hmc (published-likelihood)",
        0,
        format!(
            "samples are in [{low}, {high}], must be in [0, 1] to have logits; scale them, or take form = \"exact\""
        ),
    ))
}

impl Transition for PublishedHmc {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        if self.in_logits { self.estimate(e, state, key) } else { self.train(e, state, key) }
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }

    /// Logits are of values in [0, 1].
    fn bounds(&self) -> Option<(f64, f64)> {
        self.in_logits.then_some((0.0, 1.0))
    }

    fn adjusted(&self, by: Adjust) -> Option<Box<dyn Transition>> {
        let mut new = self.clone();
        new.step_size *= by.step_size;
        new.momentum *= by.noise;
        Some(Box::new(new))
    }

    fn name(&self) -> String {
        let form = if self.in_logits { "likelihood" } else { "training" };
        format!("hmc (published for {form}, step size {}, {} leapfrogs)", self.step_size, self.leapfrogs)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Batch;
    use ebm_core::candle::{DType, Device};
    use ebm_testkit::{check_transition, toy};

    use super::*;

    const LAMBDA: f64 = 3.0;

    fn start() -> Batch {
        let x = Tensor::new(&[[0.2f64, 0.7], [0.5, 0.9], [0.35, 0.1], [0.8, 0.6]], &Device::Cpu).unwrap();
        Batch::new(x).unwrap()
    }

    fn flat(t: &Tensor) -> Vec<f64> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn near(got: &[f64], want: &[f64]) {
        // Rounding of some dozens of operations on numbers below 10.
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-13), "{got:?}\n{want:?}");
    }

    /// The recursion of the specification, number by number, for E = λ|x|²/2 at temperature T.
    #[test]
    fn training_is_the_published_recursion() {
        let (eps, k, t) = (0.13, 4, 0.5);
        let key = Key::root(5);
        let at = start();
        let normals = key.at("momentum").normal(&at.chains, &[2], DType::F64, &Device::Cpu).unwrap();
        let (mut xs, mut cosines, mut squares) = (Vec::new(), Vec::new(), Vec::new());
        for (x, n) in flat(&at.x).chunks(2).zip(flat(&normals).chunks(2)) {
            let mut x = [x[0], x[1]];
            let mut v = [0.001 * n[0], 0.001 * n[1]];
            let mut g = [0.0; 2];
            for i in 0..2 {
                v[i] -= 0.5 * eps * LAMBDA * x[i] / t;
            }
            for _ in 0..k {
                for i in 0..2 {
                    g[i] = LAMBDA * x[i] / t;
                    v[i] -= eps * g[i];
                    x[i] += eps * v[i];
                }
            }
            let dot = v[0] * g[0] + v[1] * g[1];
            cosines.push(dot.abs() / (v[0].hypot(v[1]) * g[0].hypot(g[1])));
            // The diagnostic is of the energy's own gradient.
            squares.push((g[0] * g[0] + g[1] * g[1]) * t * t / 2.0);
            xs.extend(x);
        }
        let e = toy::bowl(2, LAMBDA).unwrap();
        let hmc = PublishedHmc::training(eps, k).at_temperature(t);
        let out = hmc.step(&e, &ChainState::new(at), key).unwrap();
        near(&flat(&out.state.at.x), &xs);
        near(&flat(&out.info["cosine"]), &cosines);
        near(&flat(&out.info["grad_square"]), &squares);
    }

    /// The link is the derivative through the last gradient: for E = λ|x|²/2 with x_{K−1} held, dx_K/dλ = −ε²x_{K−1}/T.
    #[test]
    fn the_link_is_that_of_the_last_gradient() {
        let (eps, t) = (0.2, 0.5);
        let e = toy::bowl(2, LAMBDA).unwrap();
        let hmc = |k| PublishedHmc::training(eps, k).at_temperature(t);
        let key = Key::root(5);
        let before = hmc(2).step(&e, &ChainState::new(start()), key).unwrap().state.at.x;
        let link = hmc(3).step(&e, &ChainState::new(start()), key).unwrap().link;
        let u = before.ones_like().unwrap();
        let demands = ebm_core::Trail::of(vec![link]).pull_back(&e, &u).unwrap();
        let got = e.grad_theta_slope(&demands[0].at, &demands[0].v).unwrap().grads;
        let want = -eps * eps / t * flat(&before).iter().sum::<f64>();
        near(&flat(&got["curvature"]), &[want]);
        assert!(!hmc(3).sensitivity().is_exact());
    }

    #[test]
    fn the_likelihood_form_is_the_published_recursion() {
        let (eps, k, t) = (0.6, 3, 0.8);
        let key = Key::root(2);
        let x = key.uniform(&ebm_core::Chains::range(0, 200), &[2], DType::F64, &Device::Cpu).unwrap();
        let at = Batch::new(x).unwrap();
        let normals = key.at("momentum").normal(&at.chains, &[2], DType::F64, &Device::Cpu).unwrap();
        let uniform = key.at("accept").uniform(&at.chains, &[], DType::F64, &Device::Cpu).unwrap();
        let (mut xs, mut kept, mut otherwise) = (Vec::new(), Vec::new(), 0);
        let s = |u: f64| 1.0 / (1.0 + (-u).exp());
        let h = |x: &[f64], v: &[f64]| {
            let square = |a: &[f64]| a.iter().map(|a| a * a).sum::<f64>();
            0.5 * square(v) + 0.5 * LAMBDA * square(x) / t
        };
        for ((old, n), r) in flat(&at.x).chunks(2).zip(flat(&normals).chunks(2)).zip(flat(&uniform)) {
            let v0: Vec<f64> = n.iter().map(|n| 0.1 * n).collect();
            let (mut u, mut v): (Vec<f64>, _) =
                (old.iter().map(|x| (x / (1.0 - x + 1e-10)).ln()).collect(), v0.clone());
            let g = |u: f64| LAMBDA * s(u) / t * s(u) * (1.0 - s(u));
            let mut last = [0.0; 2];
            for i in 0..2 {
                v[i] -= 0.5 * eps * g(u[i]);
                for _ in 0..k {
                    v[i] -= eps * g(u[i]);
                    u[i] += eps * v[i];
                }
                last[i] = 0.5 * g(u[i]);
            }
            let new: Vec<f64> = u.iter().map(|u| s(*u)).collect();
            let back_after = |kick: f64| {
                let v = [v[0] - kick * last[0], v[1] - kick * last[1]];
                (h(old, &v0) - h(&new, &v)).exp() > r
            };
            let goes_back = back_after(1.0);
            otherwise += usize::from(goes_back != back_after(eps));
            kept.push(f64::from(u8::from(!goes_back)));
            xs.extend(if goes_back { old.to_vec() } else { new });
        }
        assert!(kept.contains(&0.0) && kept.contains(&1.0), "both decisions are tested: {kept:?}");
        assert!(otherwise > 5, "with ε in the last kick some would go the other way: {otherwise}");
        let e = toy::bowl(2, LAMBDA).unwrap();
        let hmc = PublishedHmc::likelihood(eps, k).at_temperature(t);
        let out = hmc.step(&e, &ChainState::new(at), key).unwrap();
        // The guard 1e−10 in the logit moves the first gradient by as much, times factors below 100.
        let gap = flat(&out.state.at.x).iter().zip(&xs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(gap < 1e-8, "{gap}");
        near(&flat(&out.info["accepted"]), &kept);
    }

    #[test]
    fn the_laws_of_a_transition_hold() {
        let e = toy::mlp(2, 5, 2, 4).unwrap();
        check_transition(&PublishedHmc::training(0.2, 3), &e, &start(), true).unwrap();
        check_transition(&PublishedHmc::likelihood(0.2, 3), &e, &start(), true).unwrap();
    }

    /// The ends of [0, 1] have no finite logit or a far one: samples there stay numbers. Outside is an error.
    #[test]
    fn the_unit_interval_is_the_domain() {
        let e = toy::bowl(2, LAMBDA).unwrap();
        let hmc = PublishedHmc::likelihood(0.2, 3);
        let at = |x: [f64; 2]| ChainState::new(Batch::new(Tensor::new(&[x], &Device::Cpu).unwrap()).unwrap());
        let out = hmc.step(&e, &at([0.0, 1.0]), Key::root(1)).unwrap().state.at.x;
        assert!(flat(&out).iter().all(|v| (0.0..=1.0).contains(v)), "{out}");
        let text = hmc.step(&e, &at([-0.5, 1.0]), Key::root(1)).unwrap_err().to_string();
        assert!(text.contains("[-0.5, 1]") && text.contains("logits"), "{text}");
    }
}
