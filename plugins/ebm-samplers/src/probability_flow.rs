//! `probability-flow`: samples of a noise-conditioned energy, from noise down its levels.

use ebm_core::bounds::clamped;
use ebm_core::candle::Tensor;
use ebm_core::host;
use ebm_core::{
    Batch, BuildCx, ChainState, DrawRequest, Drawn, EnergyFn, Error, Key, Link, Result, Sampler,
    SamplerConfig, Sensitivity, Settings, Slope, StepInfo, Stepped, Trail, plugin,
};

/// Walks the condition of an energy, its noise level σ, from `highest` to `lowest` and then to 0.
///
/// A sample begins as its start with noise of the highest level and follows `dx/dσ = σ∇E(x | σ)`, along which the law of
/// the data with noise σ stays itself (Song et al. 2021, equation 13, in the variable σ), by Heun's or Euler's method over levels
/// that are even in σ^(1/ρ) (Karras, Aittala, Aila, Laine 2022, algorithm 1 and equation 5). With `corrections`, each level begins with as
/// many Langevin steps of `σ²·correction_size` at that level; with `method = "none"` they are all there is (annealed Langevin: Song, Ermon 2019,
/// algorithm 1). A start of pictures instead of noise, and a highest level not far above the data's own deviation, alters them.
#[derive(Clone, Debug, Settings)]
pub struct ProbabilityFlow {
    /// Number of levels; Heun's method takes two gradients at each but the last.
    #[setting(default = 20, at_least = 2, at_most = 100_000)]
    pub levels: usize,
    /// Highest noise level, far above the data's deviation.
    #[setting(default = 20.0, above = 0.0, unit = "units of the data")]
    pub highest: f64,
    /// Lowest noise level.
    #[setting(default = 0.01, above = 0.0, unit = "units of the data")]
    pub lowest: f64,
    /// ρ of the spacing of levels: the larger, the more of them are low.
    #[setting(default = 7.0, above = 0.0)]
    pub rho: f64,
    /// How the flow is followed from a level to the next.
    #[setting(default = Method::Heun)]
    pub method: Method,
    /// Langevin steps at each level.
    #[setting(default = 0, at_most = 100_000)]
    pub corrections: usize,
    /// Step size of these, in squares of the level.
    #[setting(default = 0.1, above = 0.0)]
    pub correction_size: f64,
    /// Range of the samples at the end.
    pub clamp: Option<[f64; 2]>,
}

/// How a flow is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Method {
    /// With the mean of the slopes at both ends of a step: second order.
    Heun,
    /// With the slope at its beginning.
    Euler,
    /// Not at all: samples move by corrections alone.
    None,
}

impl ProbabilityFlow {
    /// The levels from high to low.
    fn schedule(&self) -> Vec<f64> {
        let (high, low) = (self.highest.powf(1.0 / self.rho), self.lowest.powf(1.0 / self.rho));
        let last = (self.levels - 1).max(1) as f64;
        (0..self.levels).map(|k| (high + (low - high) * k as f64 / last).powf(self.rho)).collect()
    }
}

/// `x` at the noise level `level`, in the same chains.
fn under(at: &Batch, x: &Tensor, level: f64) -> Result<Batch> {
    let cond = host::given(&[level], at.dtype(), at.device())?.broadcast_as((at.len(), 1))?.contiguous()?;
    Ok(at.with_x(x.clone()).with_cond(Some(cond)))
}

impl Sampler for ProbabilityFlow {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        if e.spec().condition.length() != Some(1) {
            return Err(Error::capability(
                "sampler `probability-flow`",
                "an energy whose condition is the noise level",
                "the energy",
                "use it on a `noise-conditioned` energy, under no condition",
            ));
        }
        let slope = |x: &Tensor, level: f64| -> Result<Slope> { e.slope(&under(&from, x, level)?) };
        let normal = |key: Key| key.normal(&from.chains, from.sample_shape(), from.dtype(), from.x.device());
        let levels = self.schedule();
        let mut x = (&from.x + normal(key.at("start"))?.affine(self.highest, 0.0)?)?;
        let mut state = ChainState::new(from.clone());
        let (mut curve, mut info) = (Vec::new(), StepInfo::new());
        for (k, &level) in levels.iter().enumerate() {
            let size = self.correction_size * level * level;
            for i in 0..self.corrections {
                let noise = normal(key.at("correction").at(k).at(i))?.affine((2.0 * size).sqrt(), 0.0)?;
                x = ((&x - slope(&x, level)?.grad.affine(size, 0.0)?)? + noise)?;
            }
            let here = slope(&x, level)?;
            let next = levels.get(k + 1).copied().unwrap_or(0.0);
            if self.method != Method::None {
                let by = next - level;
                let along = here.grad.affine(level, 0.0)?;
                let end = (&x + along.affine(by, 0.0)?)?;
                // At the end of all there is no slope: no level is 0.
                x = if self.method == Method::Heun && next > 0.0 {
                    let there = slope(&end, next)?.grad.affine(next, 0.0)?;
                    (&x + (along + there)?.affine(0.5 * by, 0.0)?)?
                } else {
                    end
                };
            }
            curve.push(here.energy.mean_all()?);
            info = StepInfo::from([("energy", here.energy)]);
            if let (Some([low, high]), true) = (self.clamp, k + 1 == levels.len()) {
                x = clamped(&x, low, high)?;
            }
            state = state.advance(x.clone());
            state.of = levels.len();
            let mut step = Stepped::new(state.clone(), Link::Cut);
            step.info = info.clone();
            request.probe.on_step(k, &step)?;
        }
        let mut drawn = Drawn::new(state, Trail::default(), info);
        drawn.curves.insert("energy", Tensor::stack(&curve, 0)?);
        Ok(drawn)
    }

    fn sensitivity(&self, trail: usize) -> Sensitivity {
        if trail == 0 { Sensitivity::Exact } else { Sensitivity::Unknown(self.name()) }
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.clamp.map(|[low, high]| (low, high))
    }

    fn walks_levels(&self) -> bool {
        true
    }

    fn steps(&self) -> usize {
        self.levels
    }

    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        Box::new(ProbabilityFlow { levels: steps.max(2), ..self.clone() })
    }

    fn name(&self) -> String {
        format!("probability-flow over {} levels", self.levels)
    }
}

#[plugin(
    "probability-flow",
    summary = "from noise down the levels of a noise-conditioned energy: Heun, Euler or annealed Langevin",
    source = "Song et al. 2021; Karras, Aittala, Aila, Laine 2022, algorithm 1; Song, Ermon 2019",
    example = "levels = 20\nhighest = 20.0\nlowest = 0.01"
)]
impl SamplerConfig for ProbabilityFlow {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        if self.lowest >= self.highest {
            let message = format!("is {}, must be below `highest`, {}", self.lowest, self.highest);
            return Err(cx.refuse("lowest", message));
        }
        cx.interval("clamp", self.clamp)?;
        if self.method == Method::None && self.corrections == 0 {
            let message = "is 0 where `method` is \"none\", so nothing would move a sample; give at least 1";
            return Err(cx.refuse("corrections", message));
        }
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use ebm_core::candle::{DType, Device};
    use ebm_core::{Autograd, Blind, Chains, Condition, Diff, EnergySpec, Forward, ParamSet, View, per_row};
    use ebm_testkit::{check_variance, toy};

    use super::*;

    /// Normal data of deviation 1/2 with noise: `x²/2(σ² + 1/4)`.
    struct Noisy;

    impl Forward for Noisy {
        fn terms<V: Diff>(&self, _: &View, x: &V, cond: Option<&Tensor>) -> Result<V> {
            let precision = cond.unwrap().sqr()?.affine(1.0, 0.25)?.recip()?;
            let x = x.square()?.times(&per_row(&precision.squeeze(1)?, x.value())?)?;
            x.sum_last()?.scale(0.5)
        }
    }

    fn energy() -> impl EnergyFn {
        let mut spec = EnergySpec::new(&[1], &["e"]);
        spec.condition = Condition::Required(1);
        Autograd::new("noisy", Noisy, spec, ParamSet::default())
    }

    fn flow(method: Method, corrections: usize) -> ProbabilityFlow {
        ProbabilityFlow { method, corrections, ..ProbabilityFlow::default() }
    }

    fn ends(flow: &ProbabilityFlow, n: usize, key: u64) -> Result<Drawn> {
        let at = Batch::new(Tensor::zeros((n, 1), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let (mut blind, mut memory) = (Blind, BTreeMap::new());
        flow.draw(&energy(), at, Key::root(key), &mut DrawRequest::new(&mut blind, &mut memory))
    }

    /// The flow of normal data is linear: x shrinks as √(σ² + d²).
    #[test]
    fn heun_is_of_second_order_along_the_flow_of_normal_data_and_euler_of_first() {
        let start = Key::root(3).at("start").normal(&Chains::range(0, 50), &[1], DType::F64, &Device::Cpu);
        let start = start.unwrap().affine(20.0 * 0.5 / (400.0f64 + 0.25).sqrt(), 0.0).unwrap();
        let off = |method, levels| {
            let flow = ProbabilityFlow { levels, ..flow(method, 0) };
            let end = ends(&flow, 50, 3).unwrap().last.at.x;
            let gap = (end / &start).unwrap().affine(1.0, -1.0).unwrap().abs().unwrap();
            gap.max_all().unwrap().to_scalar::<f64>().unwrap()
        };
        let gain = |method| off(method, 20) / off(method, 80);
        let (heun, euler) = (gain(Method::Heun), gain(Method::Euler));
        // Four times the levels: 16 and 4 times as near, but for the last step of both, which leaves 2e-4.
        assert!((8.0..24.0).contains(&heun) && (3.0..6.0).contains(&euler), "{heun} {euler}");
        assert!(off(Method::Heun, 20) < 0.03);
    }

    #[test]
    fn corrections_alone_are_annealed_langevin() {
        let alone = ProbabilityFlow { levels: 60, correction_size: 0.5, ..flow(Method::None, 10) };
        let x = ends(&alone, 4000, 1).unwrap().last.at.x;
        // Steps at the last levels are too small to move anything: what is left is the law at a level of about 0.1.
        let v = x.sqr().unwrap().mean_all().unwrap().to_scalar::<f64>().unwrap();
        assert!((0.23..0.32).contains(&v), "{v}");
        // With the flow between levels it is that of the data.
        let both = ProbabilityFlow { levels: 60, ..flow(Method::Heun, 2) };
        check_variance(&ends(&both, 4000, 1).unwrap().last.at.x, 0.25, 4.0).unwrap();
    }

    #[test]
    fn the_condition_of_the_chains_is_as_it_was_and_samples_are_in_their_range() {
        let flow = ProbabilityFlow { clamp: Some([-0.2, 0.3]), ..flow(Method::Heun, 0) };
        let drawn = ends(&flow, 40, 2).unwrap();
        let x = drawn.last.at.x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert!(x.iter().all(|v| (-0.2..=0.3).contains(v)) && x.contains(&0.3));
        assert!(drawn.last.at.cond.is_none() && drawn.curves["energy"].dims() == [20]);
    }

    #[test]
    fn an_energy_without_a_level_is_refused() {
        let at = Batch::new(Tensor::zeros((2, 1), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let (mut blind, mut memory) = (Blind, BTreeMap::new());
        let mut request = DrawRequest::new(&mut blind, &mut memory);
        let e = toy::bowl(1, 1.0).unwrap();
        let text = flow(Method::Heun, 0).draw(&e, at, Key::root(0), &mut request).unwrap_err().to_string();
        assert!(text.contains("noise level") && text.contains("noise-conditioned"), "{text}");
    }
}
