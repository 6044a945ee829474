//! A whole program at one temperature after the other, from hot to cold.

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, BuildCx, ChainState, DrawRequest, Drawn, EnergyFn, Key, Result, Sampler, SamplerConfig,
    Sensitivity, Settings, StepInfo, Trail, plugin,
};

use crate::kit::rungs::Rungs;
use crate::kit::{Curves, LadderSettings, ladder};

/// Runs a program on `E/T` for each temperature of a ladder that falls (Kirkpatrick, Gelatt, Vecchi 1983): hot
/// chains cross barriers, cold ones settle. What a program is does not matter: steps, rounds, jumps.
///
/// Chains that are cooled faster than they mix keep the shares of the modes that they had where barriers
/// closed. The diagnostic `log_weight`, `Σ_r (1/T_r − 1/T_{r+1})·E(x_r)` with `x_r` the end of rung `r`, makes up for
/// it: if chains start from `exp(−E/T₁)` (or forget on the first rung where they started) and the program leaves
/// each `exp(−E/T_r)` invariant, means weighted by its exponential are those of `exp(−E/T_last)` however fast the
/// cooling was, and its mean exponential is the ratio of the two normalisers (annealed importance
/// sampling, Neal 2001).
///
/// The program's own temperature must be 1 (the ladder has the temperatures), or weights are wrong. What
/// it adapts, it adapts for each rung apart. Trails go through all rungs; probes see steps on `E/T`.
#[derive(Clone)]
pub struct Tempering(Rungs);

impl Tempering {
    /// `program` on each of `temperatures`, hot first.
    ///
    /// # Errors
    /// If they are fewer than two, not positive, or do not fall.
    pub fn new(program: Box<dyn Sampler>, temperatures: &[f64]) -> Result<Self> {
        Ok(Tempering(Rungs::new("tempering", program, temperatures)?))
    }
}

impl Sampler for Tempering {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        let mut drawn = Drawn::new(ChainState::new(from.clone()), Trail::default(), StepInfo::new());
        let mut at = from;
        let (mut done, mut links, mut curves) = (0, Vec::new(), Curves::default());
        let mut weight: Option<Tensor> = None;
        for (r, temperature) in self.0.temperatures.iter().enumerate() {
            let program = self.0.on(r);
            let trail = request.trail.saturating_sub(self.steps() - done - program.steps());
            let key = key.at("rung").at(r);
            let warm_up = self.0.warm_up(r, request);
            drawn = request.part(done, ladder::reach(program, trail), |inner| {
                inner.warm_up = warm_up;
                ladder::on_rung(program, (r, *temperature), e, at, key, inner)
            })?;
            at = drawn.last.at.clone();
            if let Some(next) = self.0.temperatures.get(r + 1) {
                let step = ladder::end_energy(e, &drawn)?.affine(1.0 / temperature - 1.0 / next, 0.0)?;
                weight = Some(match weight {
                    Some(sum) => (sum + step)?,
                    None => step,
                });
            }
            links.extend(std::mem::take(&mut drawn.trail).into_links());
            curves.add(&drawn);
            done += program.steps();
        }
        (drawn.last.step, drawn.last.of) = (done, done.max(1));
        drawn.trail = Trail::of(links);
        drawn.curves = curves.joined()?;
        drawn.info.extend(weight.map(|w| ("log_weight", w)));
        Ok(drawn)
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.0.fits(e)
    }

    fn couples_chains(&self) -> bool {
        self.0.program.couples_chains()
    }

    fn needs_reference(&self) -> bool {
        self.0.program.needs_reference()
    }

    fn sensitivity(&self, trail: usize) -> Sensitivity {
        let cold = self.0.last.steps();
        let hot = trail.saturating_sub(cold).min(self.0.program.steps());
        Sensitivity::all([self.0.last.sensitivity(trail.min(cold)), self.0.program.sensitivity(hot)])
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.0.program.bounds()
    }

    fn cools(&self) -> bool {
        true
    }

    fn steps(&self) -> usize {
        self.0.steps()
    }

    /// The same number on each rung; what is left over goes to the coldest.
    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        Box::new(Tempering(self.0.with_steps(steps)))
    }

    fn name(&self) -> String {
        format!("{} at {} temperatures in turn", self.0.program.name(), self.0.temperatures.len())
    }
}

/// Settings of `tempering`.
#[derive(Debug, Settings)]
pub struct TemperingConfig {
    /// The program of each rung, itself at temperature 1.
    pub program: Box<dyn SamplerConfig>,
    /// The ladder.
    #[setting(flatten)]
    pub ladder: LadderSettings,
}

#[plugin(
    "tempering",
    summary = "a whole program at one temperature after the other, from hot to cold",
    source = "Kirkpatrick, Gelatt, Vecchi 1983; Neal 2001",
    example = r#"hottest = 30.0
rungs = 8
program = { kind = "chain", steps = 20, transition = { kind = "mala", step_size = 0.01, target_acceptance = 0.65 } }"#
)]
impl SamplerConfig for TemperingConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        let all = self.ladder.temperatures(cx)?;
        let program = self.program.build_at("program", cx)?;
        Ok(Box::new(Tempering::new(program, &all)?))
    }
}
