//! A ladder of temperatures: the energy at one of them, and a child program with its own memory on each rung.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::operators::walk;
use ebm_core::{
    Batch, BuildCx, DrawRequest, Drawn, EnergyFn, EnergySpec, Error, Key, ParamSet, Result, RowProgram,
    Sampler, Settings, Slope, ThetaGrad, Trail, Walked, WeightFn,
};

/// A ladder of temperatures as settings, to stand among those of a program by `#[setting(flatten)]`.
#[derive(Clone, Debug, Settings)]
pub struct LadderSettings {
    /// The ladder, hot first; or give hottest and rungs.
    pub temperatures: Option<Vec<f64>>,
    /// First temperature of a geometric ladder that ends at 1.
    #[setting(above = 1.0)]
    pub hottest: Option<f64>,
    /// Number of its temperatures.
    #[setting(at_least = 2, at_most = 1000)]
    pub rungs: Option<usize>,
}

impl LadderSettings {
    /// The ladder, hot first.
    ///
    /// # Errors
    /// As [`temperatures`].
    pub fn temperatures(&self, cx: &BuildCx) -> Result<Vec<f64>> {
        temperatures(cx.path(), self.temperatures.as_deref(), (self.hottest, self.rungs))
    }
}

/// `E/T` of an energy that is lent, with the energy's own parameter names.
///
/// ```
/// use ebm_core::{Batch, EnergyFn, candle::{DType, Device, Tensor}};
/// use ebm_samplers::kit::Cooled;
///
/// let e = ebm_testkit::toy::bowl(1, 6.0)?; // 3x²
/// let at = Batch::new(Tensor::ones((1, 1), DType::F64, &Device::Cpu)?)?;
/// assert_eq!(Cooled::new(&e, 2.0).energy(&at)?.to_vec1::<f64>()?, [1.5]);
/// # Ok::<(), ebm_core::Error>(())
/// ```
pub struct Cooled<'a> {
    inner: &'a dyn EnergyFn,
    /// `1/T`.
    beta: f64,
}

impl<'a> Cooled<'a> {
    /// `inner` at a temperature above 0.
    pub fn new(inner: &'a dyn EnergyFn, temperature: f64) -> Self {
        Cooled { inner, beta: 1.0 / temperature }
    }
}

impl EnergyFn for Cooled<'_> {
    fn spec(&self) -> &EnergySpec {
        self.inner.spec()
    }

    fn params(&self) -> &ParamSet {
        self.inner.params()
    }

    fn terms(&self, at: &Batch) -> Result<Tensor> {
        Ok(self.inner.terms(at)?.affine(self.beta, 0.0)?)
    }

    fn slope(&self, at: &Batch) -> Result<Slope> {
        let s = self.inner.slope(at)?;
        Ok(Slope { energy: s.energy.affine(self.beta, 0.0)?, grad: s.grad.affine(self.beta, 0.0)? })
    }

    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        let beta = self.beta;
        let mut all = self.inner.grad_theta(at, &w.borrowed().of_scaled(beta))?;
        all.terms = all.terms.affine(beta, 0.0)?;
        Ok(all)
    }

    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        let mut all = self.inner.grad_theta_slope(at, &v.affine(self.beta, 0.0)?)?;
        all.terms = all.terms.affine(self.beta, 0.0)?;
        Ok(all)
    }

    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.inner.hvp(at, &v.affine(self.beta, 0.0)?)
    }

    fn energy(&self, at: &Batch) -> Result<Tensor> {
        Ok(self.inner.energy(at)?.affine(self.beta, 0.0)?)
    }

    /// A step of size λ on `E/T` is one of size `λ/T` on `E`; so a device that recorded a step on `E` plays it at every temperature.
    fn walk(&self, at: &Batch, program: &RowProgram, key: Key) -> Result<Option<Walked>> {
        let mut own = program.clone();
        own.steps.iter_mut().for_each(|s| s.step_size *= self.beta);
        let Some(w) = walk(self.inner, at, &own, key)? else { return Ok(None) };
        Ok(Some(Walked {
            x: w.x,
            hat: w.hat,
            grad: w.grad.affine(self.beta, 0.0)?,
            energy: w.energy.affine(self.beta, 0.0)?,
            grad_square: w.grad_square.affine(self.beta * self.beta, 0.0)?,
        }))
    }
}

/// The program on rung `rung`, at `temperature`. What it keeps in memory stands there as `rung<r>/name`, so
/// that each rung learns its own step sizes; reference samples are shown to all rungs.
///
/// Trail, cached slope, and the energies and gradients among the diagnostics come back as those of `e`
/// itself; only the probe sees steps as they were made, on `E/T`.
///
/// # Errors
/// If the program fails.
pub fn on_rung(
    program: &dyn Sampler,
    (rung, temperature): (usize, f64),
    e: &dyn EnergyFn,
    at: Batch,
    key: Key,
    request: &mut DrawRequest<'_>,
) -> Result<Drawn> {
    let cooled = Cooled::new(e, temperature);
    let mut drawn = request.scoped(&format!("rung{rung}"), |own| program.draw(&cooled, at, key, own))?;
    let links = std::mem::take(&mut drawn.trail).into_links();
    drawn.trail = Trail::of(links.into_iter().map(|link| link.scaled(cooled.beta)).collect());
    if let Some(slope) = &mut drawn.last.cache {
        slope.energy = slope.energy.affine(temperature, 0.0)?;
        slope.grad = slope.grad.affine(temperature, 0.0)?;
    }
    for all in [&mut drawn.info, &mut drawn.curves] {
        for (name, power) in [("energy", 1), ("grad_square", 2)] {
            if let Some(t) = all.get_mut(name) {
                *t = t.affine(temperature.powi(power), 0.0)?;
            }
        }
    }
    Ok(drawn)
}

/// The trail that `program` is to keep where `trail` steps are asked for: all of it are more links than its steps, where something
/// stands between them that looks at the energy, too.
pub fn reach(program: &dyn Sampler, trail: usize) -> usize {
    if trail >= program.steps() { usize::MAX } else { trail }
}

/// Energies at the end of a program, `(B,)`: from its last slope where it left one.
///
/// # Errors
/// If the energy fails.
pub fn end_energy(e: &dyn EnergyFn, drawn: &Drawn) -> Result<Tensor> {
    match &drawn.last.cache {
        Some(slope) => Ok(slope.energy.clone()),
        None => e.energy(&drawn.last.at),
    }
}

/// Curves of several programs one after the other.
#[derive(Default)]
pub struct Curves(BTreeMap<&'static str, Vec<Tensor>>);

impl Curves {
    /// Appends those of the next program.
    pub fn add(&mut self, drawn: &Drawn) {
        for (name, c) in &drawn.curves {
            self.0.entry(name).or_default().push(c.clone());
        }
    }

    /// `(K,)` for each diagnostic, K the steps of all programs that have it.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn joined(self) -> Result<BTreeMap<&'static str, Tensor>> {
        self.0.into_iter().map(|(name, c)| Ok((name, Tensor::cat(&c, 0)?))).collect()
    }
}

/// A ladder as configured: by its numbers, or geometric from `hottest` down to 1 in `rungs` rungs; hot first. `path` is
/// where it is configured, for messages.
///
/// # Errors
/// If both or neither are given, or the numbers are fewer than two, not positive, or do not fall.
pub fn temperatures(
    path: &str,
    given: Option<&[f64]>,
    (hottest, rungs): (Option<f64>, Option<usize>),
) -> Result<Vec<f64>> {
    let all = match (given, hottest, rungs) {
        (Some(all), None, None) => all.to_vec(),
        (None, Some(hot), Some(n)) if n >= 2 => {
            let all = (0..n).map(|r| hot.powf((n - 1 - r) as f64 / (n - 1) as f64));
            all.collect()
        }
        (None, Some(_), Some(n)) => {
            return Err(Error::config(format!("{path}.rungs"), format!("is {n}, must be at least 2")));
        }
        _ => {
            return Err(Error::config(
                path,
                "needs a ladder: give `temperatures`, hot first, or `hottest` and `rungs`, not both",
            ));
        }
    };
    let falling = all.windows(2).all(|w| w[0] > w[1]);
    if all.len() < 2 || !falling || !all.iter().all(|t| *t > 0.0 && t.is_finite()) {
        return Err(Error::config(
            format!("{path}.temperatures"),
            format!("is {all:?}, must be two or more positive numbers that fall, such as [10.0, 3.0, 1.0]"),
        ));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Blind, Chains};
    use ebm_testkit::{check_energy, relative_gap, toy};

    use super::*;
    use crate::{Chain, Langevin, Mala};

    fn at() -> Batch {
        let x = Key::root(8).normal(&Chains::range(0, 5), &[3], DType::F64, &Device::Cpu).unwrap();
        Batch::new(x).unwrap()
    }

    #[test]
    fn a_cooled_energy_keeps_the_laws_of_an_energy() {
        check_energy(&Cooled::new(&toy::mlp(3, 5, 2, 4).unwrap(), 2.5), &at()).unwrap();
    }

    /// A Langevin step on E/T is one with λ/T on E: so are trail and diagnostics. Adapted step sizes stay on their rung.
    #[test]
    fn a_rung_speaks_of_the_energy_itself() {
        let e = toy::mlp(3, 5, 2, 4).unwrap();
        let draw =
            |t: Box<dyn ebm_core::Transition>, temperature: Option<f64>, memory: &mut BTreeMap<_, _>| {
                let mut blind = Blind;
                let mut request = DrawRequest::new(&mut blind, memory).with_trail(9, None);
                let chain = Chain::new(t, 3);
                match temperature {
                    None => chain.draw(&e, at(), Key::root(1), &mut request),
                    Some(t) => on_rung(&chain, (4, t), &e, at(), Key::root(1), &mut request),
                }
                .unwrap()
            };
        let mut memory = BTreeMap::new();
        let a = draw(Box::new(Langevin::new(0.4, 0.3)), Some(4.0), &mut memory);
        let b = draw(Box::new(Langevin::new(0.1, 0.3)), None, &mut memory);
        let u = at().x;
        let pulled = |d: &Drawn| d.trail.pull_back(&e, &u).unwrap().iter().map(|d| d.v.clone()).collect();
        let (va, vb): (Vec<Tensor>, Vec<Tensor>) = (pulled(&a), pulled(&b));
        let pairs = va.iter().zip(&vb).chain([(&a.last.at.x, &b.last.at.x)]);
        for (p, q) in
            pairs.chain(a.info.values().zip(b.info.values())).chain(a.curves.values().zip(b.curves.values()))
        {
            // Powers of two scale without rounding, products of three numbers may round twice.
            assert!(relative_gap(p, q).unwrap() < 1e-13);
        }
        let drawn = draw(Box::new(Mala::new(0.1).adapting(0.6, 0.2)), Some(4.0), &mut memory);
        let fresh = e.slope(&drawn.last.at).unwrap();
        assert!(relative_gap(&drawn.last.cache.clone().unwrap().grad, &fresh.grad).unwrap() < 1e-13);
        assert!(relative_gap(&end_energy(&e, &drawn).unwrap(), &fresh.energy).unwrap() < 1e-13);
        assert_eq!(memory.keys().collect::<Vec<_>>(), ["rung4/mala.step_size"]);
    }

    #[test]
    fn ladders_are_checked() {
        let near = |a: Vec<f64>, b: &[f64]| a.iter().zip(b).all(|(a, b)| (a / b - 1.0).abs() < 1e-15);
        assert!(near(temperatures("t", None, (Some(16.0), Some(3))).unwrap(), &[16.0, 4.0, 1.0]));
        assert_eq!(temperatures("t", Some(&[9.0, 1.0]), (None, None)).unwrap(), [9.0, 1.0]);
        for (given, range, word) in [
            (Some(&[1.0, 9.0][..]), (None, None), "fall"),
            (Some(&[1.0][..]), (None, None), "two or more"),
            (None, (Some(0.5), Some(3)), "fall"),
            (None, (Some(5.0), Some(1)), "rungs"),
            (None, (Some(5.0), None), "hottest"),
            (Some(&[2.0, 1.0][..]), (Some(5.0), Some(3)), "not both"),
        ] {
            let text = temperatures("t", given, range).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}
