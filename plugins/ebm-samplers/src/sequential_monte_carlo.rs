//! `sequential-monte-carlo`: a population that is cooled, weighed and resampled on its way.

use std::collections::BTreeMap;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Batch, BuildCx, ChainState, DrawRequest, Drawn, EnergyFn, Key, Result, Sampler, SamplerConfig,
    Sensitivity, Settings, StepInfo, Trail, effective_share, furthest, host, plugin, systematic,
};

use crate::kit::rungs::Rungs;
use crate::kit::{Curves, LadderSettings, ladder};

/// Effective share of a population below which it is resampled; before the last rung it always is.
const RESAMPLE: f64 = 0.5;

/// Runs a program on `E/T` at one temperature after the other, hot to cold, and replaces chains of little weight by copies of those of much
/// (Del Moral, Doucet, Jasra 2006): between rungs a chain at x has the weight `exp(−(1/T′ − 1/T)E(x))`, and where less than half
/// of a population is effective it is resampled, systematically. [`Tempering`](crate::Tempering) keeps the shares that modes had
/// where barriers closed, with weights to mend them; here the shares themselves become right as the population grows.
///
/// Chains must start from `exp(−E/T₁)`, or forget on the first rung where they started. The program must leave each `exp(−E/T_r)` as it is, and its
/// own temperature must be 1 (the ladder has the temperatures). What it adapts, it adapts for each rung apart. The chains of a batch under the same
/// condition are a population; a population of a few is hardly better than its chains, of one exactly as good.
///
/// With [`SequentialMonteCarlo::adapting`] the temperatures between the ends are chosen by the population itself (Jasra, Stephens, Doucet, Tsagaris
/// 2011): each step goes as far as leaves the share that is asked for effective, and the last one to the end. Rungs that are left over when the
/// coldest temperature is reached are spent there.
///
/// Diagnostics, one value a population: `effective`, the least share that a step left (its curve is by steps; near 0, put more rungs on the ladder),
/// and `log_ratio`, the estimate of `log ∫exp(−E/T_last) − log ∫exp(−E/T₁)`. A copy depends on θ in a way that no link tells:
/// trails reach into the last rung and no further.
#[derive(Clone)]
pub struct SequentialMonteCarlo {
    rungs: Rungs,
    /// Share that a step is to leave effective, where temperatures are chosen on the way.
    effective: Option<f64>,
}

/// Rows under one condition, and what is known of their weights.
struct Population {
    rows: Vec<usize>,
    /// Logarithms of the weights since the population was resampled.
    logs: Vec<f64>,
    /// Logarithm of the ratio of normalisers up to there.
    ratio: f64,
    least: f64,
}

impl Population {
    /// Those of a batch.
    fn all(of: &Batch) -> Result<Vec<Self>> {
        let mut groups: BTreeMap<Vec<u64>, Vec<usize>> = BTreeMap::new();
        let given = of.cond.as_ref().map(host::numbers).transpose()?.unwrap_or_default();
        let width = given.len() / of.len().max(1);
        for row in 0..of.len() {
            let own = given[row * width..(row + 1) * width].iter().map(|c| c.to_bits());
            groups.entry(own.collect()).or_default().push(row);
        }
        let one = |rows: Vec<usize>| Population { logs: vec![0.0; rows.len()], rows, ratio: 0.0, least: 1.0 };
        Ok(groups.into_values().map(one).collect())
    }

    /// What a step of `way` in 1/T adds to the logarithms of the weights.
    fn step(&self, energies: &[f64], way: f64) -> Vec<f64> {
        self.rows.iter().map(|row| -way * energies[*row]).collect()
    }

    /// Weighs the rows by a step of `way` in 1/T; says which row is to stand at each of their places, if they are resampled.
    fn weigh(&mut self, energies: &[f64], way: f64, last: bool, key: Key) -> Result<Option<Vec<usize>>> {
        let step = self.step(energies, way);
        self.least = self.least.min(effective_share(&step));
        self.logs.iter_mut().zip(&step).for_each(|(log, step)| *log += step);
        if !last && effective_share(&self.logs) >= RESAMPLE {
            return Ok(None);
        }
        let logs = Tensor::new(self.logs.as_slice(), &Device::Cpu)?;
        self.ratio += host::scalar(&logs.log_sum_exp(0)?)? - (self.logs.len() as f64).ln();
        let taken = systematic(&self.logs, key).into_iter().map(|member| self.rows[member]).collect();
        self.logs.fill(0.0);
        Ok(Some(taken))
    }
}

impl SequentialMonteCarlo {
    /// `program` on each of `temperatures`, hot first.
    ///
    /// # Errors
    /// If they are fewer than two, not positive, or do not fall.
    pub fn new(program: Box<dyn Sampler>, temperatures: &[f64]) -> Result<Self> {
        let rungs = Rungs::new("sequential-monte-carlo", program, temperatures)?;
        Ok(SequentialMonteCarlo { rungs, effective: None })
    }

    /// The same with temperatures between the ends that each leave the share `effective`, in (0, 1), of a population.
    #[must_use]
    pub fn adapting(mut self, effective: f64) -> Self {
        self.effective = Some(effective);
        self
    }

    /// 1/T of the rung after `rung`, which is at `beta`.
    fn next(&self, rung: usize, beta: f64, populations: &[Population], energies: &[f64]) -> f64 {
        let temperatures = &self.rungs.temperatures;
        let end = 1.0 / temperatures[temperatures.len() - 1];
        match self.effective {
            // The last step goes to the end, however far that is.
            Some(effective) if rung + 2 < temperatures.len() => {
                let least = |way: f64| {
                    let shares = populations.iter().map(|p| effective_share(&p.step(energies, way)));
                    shares.fold(1.0, f64::min)
                };
                let rest = (end - beta).max(0.0);
                let way = furthest(rest, effective, least);
                if way < rest { beta + way } else { end }
            }
            _ => 1.0 / temperatures[rung + 1],
        }
    }

    /// Weighs all and resamples where that is due.
    fn select(
        at: Batch,
        populations: &mut [Population],
        (energies, way): (&[f64], f64),
        last: bool,
        key: Key,
    ) -> Result<Batch> {
        let mut index: Vec<u32> = (0..at.len() as u32).collect();
        for (i, population) in populations.iter_mut().enumerate() {
            if let Some(taken) = population.weigh(energies, way, last, key.at(i))? {
                let places = population.rows.iter().zip(taken);
                places.for_each(|(place, row)| index[*place] = row as u32);
            }
        }
        // Copies go their own ways: each place keeps the random numbers of its chain.
        Ok(at.rows(&index)?.with_chains(at.chains.clone()))
    }
}

/// A number of each population for each of its rows, `(B,)`.
fn by_row(populations: &[Population], of: impl Fn(&Population) -> f64) -> Result<Tensor> {
    let mut all = vec![0.0; populations.iter().map(|p| p.rows.len()).sum()];
    populations.iter().for_each(|p| p.rows.iter().for_each(|row| all[*row] = of(p)));
    let rows = all.len();
    Ok(Tensor::from_vec(all, rows, &Device::Cpu)?)
}

impl Sampler for SequentialMonteCarlo {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        let rungs = self.rungs.temperatures.len();
        let mut populations = Population::all(&from)?;
        let mut drawn = Drawn::new(ChainState::new(from.clone()), Trail::default(), StepInfo::new());
        let (mut at, mut beta, mut done) = (from, 1.0 / self.rungs.temperatures[0], 0);
        let (mut curves, mut shares) = (Curves::default(), Vec::new());
        for r in 0..rungs {
            let (program, last) = (self.rungs.on(r), r + 1 == rungs);
            // Only after the last resampling does a trail begin.
            let trail = if last { ladder::reach(program, request.trail) } else { 0 };
            let warm_up = self.rungs.warm_up(r, request);
            drawn = request.part(done, trail, |inner| {
                inner.warm_up = warm_up;
                ladder::on_rung(program, (r, 1.0 / beta), e, at.clone(), key.at("rung").at(r), inner)
            })?;
            curves.add(&drawn);
            done += program.steps();
            at = drawn.last.at.clone();
            if !last {
                let energies = host::numbers(&ladder::end_energy(e, &drawn)?)?;
                let next = self.next(r, beta, &populations, &energies);
                let step = (energies.as_slice(), next - beta);
                let share = populations.iter().map(|p| effective_share(&p.step(step.0, step.1)));
                shares.push(share.sum::<f64>() / populations.len().max(1) as f64);
                at = Self::select(at, &mut populations, step, r + 2 == rungs, key.at("select").at(r))?;
                beta = next;
            }
        }
        (drawn.last.step, drawn.last.of) = (done, done.max(1));
        drawn.curves = curves.joined()?;
        drawn.curves.insert("effective", Tensor::new(shares.as_slice(), &Device::Cpu)?);
        drawn.info.insert("effective", by_row(&populations, |p| p.least)?);
        drawn.info.insert("log_ratio", by_row(&populations, |p| p.ratio)?);
        Ok(drawn)
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.rungs.fits(e)
    }

    fn couples_chains(&self) -> bool {
        true
    }

    fn needs_reference(&self) -> bool {
        self.rungs.program.needs_reference()
    }

    fn sensitivity(&self, trail: usize) -> Sensitivity {
        if trail <= self.rungs.last.steps() {
            self.rungs.last.sensitivity(trail)
        } else {
            Sensitivity::Unknown(self.name())
        }
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.rungs.program.bounds()
    }

    fn cools(&self) -> bool {
        true
    }

    fn steps(&self) -> usize {
        self.rungs.steps()
    }

    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        Box::new(SequentialMonteCarlo { rungs: self.rungs.with_steps(steps), effective: self.effective })
    }

    fn name(&self) -> String {
        let n = self.rungs.temperatures.len();
        format!("{} at {n} temperatures in turn with resampling", self.rungs.program.name())
    }
}

/// Settings of `sequential-monte-carlo`.
#[derive(Debug, Settings)]
pub struct SequentialMonteCarloConfig {
    /// The program of each rung, itself at temperature 1.
    pub program: Box<dyn SamplerConfig>,
    /// The ladder.
    #[setting(flatten)]
    pub ladder: LadderSettings,
    /// Temperatures between the ends are chosen on the way, so that each step leaves the share `effective`.
    #[setting(default = true)]
    pub adapt_ladder: bool,
    /// Share of a population that is effective after a step: the larger, the more rungs it takes to the end.
    #[setting(default = 0.8, above = 0.0, below = 1.0)]
    pub effective: f64,
}

#[plugin(
    "sequential-monte-carlo",
    summary = "a population at one temperature after the other, weighed and resampled on the way",
    source = "Del Moral, Doucet, Jasra 2006; Jasra, Stephens, Doucet, Tsagaris 2011",
    example = r#"hottest = 30.0
rungs = 12
program = { kind = "chain", steps = 10, transition = { kind = "mala", step_size = 0.01, target_acceptance = 0.65 } }"#
)]
impl SamplerConfig for SequentialMonteCarloConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        let all = self.ladder.temperatures(cx)?;
        let program = self.program.build_at("program", cx)?;
        let smc = SequentialMonteCarlo::new(program, &all)?;
        Ok(Box::new(if self.adapt_ladder { smc.adapting(self.effective) } else { smc }))
    }
}
