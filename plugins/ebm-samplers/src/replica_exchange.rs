//! A program at several temperatures at once, whose chains change places.

use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, BuildCx, ChainState, DrawRequest, Drawn, EnergyFn, Key, Result, Sampler, SamplerConfig,
    Sensitivity, Settings, StepInfo, Trail, plugin,
};

use crate::kit::{Curves, Decision, LadderSettings, ladder};

/// Parallel tempering (Swendsen, Wang 1986; Geyer 1991): every chain has a replica on each rung of a ladder of
/// temperatures. In each round all replicas run `program` on their `E/T`; between rounds, neighbours on the
/// ladder change places with probability `min(1, exp((1/T_r − 1/T_{r+1})(E(x_r) − E(x_{r+1}))))`, even and odd pairs in
/// turn (Syed, Bouchard-Côté, Deligiannidis, Doucet 2022). If the program leaves each `exp(−E/T_r)` invariant,
/// so does all this their product, and the coldest replica, which is what is returned, has the law
/// `exp(−E/T_last)`: hot replicas cross barriers for it.
///
/// Replicas start where their chain starts, and are given up at the end. The program's own temperature
/// must be 1 (the ladder has the temperatures). What it adapts, it adapts for each rung apart. A round costs the
/// program once a rung. Exchanges depend on θ in a way that no link tells: trails end at the last one, and a KL term that
/// asks for more links than the program of a round has is refused.
///
/// Diagnostics: those of the coldest rung (probes, too), and `swapped`, the share of a chain's proposed exchanges that
/// were made; its curve is by rounds. Where it is near 0, put more rungs on the ladder.
#[derive(Clone)]
pub struct ReplicaExchange {
    program: Arc<dyn Sampler>,
    rounds: usize,
    /// A shorter program after the last round, for a number of steps that is no multiple.
    tail: Option<Arc<dyn Sampler>>,
    temperatures: Vec<f64>,
}

impl ReplicaExchange {
    /// `rounds` rounds of `program` on each of `temperatures`, hot first.
    ///
    /// # Errors
    /// If they are fewer than two, not positive, or do not fall.
    pub fn new(program: Box<dyn Sampler>, rounds: usize, temperatures: &[f64]) -> Result<Self> {
        let temperatures = ladder::temperatures("replica-exchange", Some(temperatures), (None, None))?;
        Ok(ReplicaExchange { program: program.into(), rounds, tail: None, temperatures })
    }

    /// Exchanges neighbours `r` and `r + 1` for all `r` of the parity of `round`; the shares that were, `(B,)` each.
    fn exchange(
        &self,
        replicas: &mut [Batch],
        energies: &[Tensor],
        round: usize,
        key: Key,
    ) -> Result<Vec<Tensor>> {
        let mut swapped = Vec::new();
        for r in (round % 2..replicas.len() - 1).step_by(2) {
            let colder = 1.0 / self.temperatures[r] - 1.0 / self.temperatures[r + 1];
            let log_ratio = (&energies[r] - &energies[r + 1])?.affine(colder, 0.0)?;
            let decision = Decision::draw(&log_ratio, &replicas[r].chains, key.at(r))?;
            let (hot, cold) = (&replicas[r].x, &replicas[r + 1].x);
            let (up, down) = (decision.select(cold, hot)?, decision.select(hot, cold)?);
            replicas[r] = replicas[r].with_x(up);
            replicas[r + 1] = replicas[r + 1].with_x(down);
            swapped.push(decision.accepted);
        }
        Ok(swapped)
    }
}

fn mean(all: &[Tensor]) -> Result<Option<Tensor>> {
    Ok(if all.is_empty() { None } else { Some(Tensor::stack(all, 0)?.mean(0)?) })
}

impl Sampler for ReplicaExchange {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        let coldest = self.temperatures.len() - 1;
        let mut replicas = vec![from.clone(); self.temperatures.len()];
        let mut drawn = Drawn::new(ChainState::new(from), Trail::default(), StepInfo::new());
        let (mut done, mut curves, mut all_swapped, mut by_round) =
            (0, Curves::default(), Vec::new(), Vec::new());
        let programs: Vec<&dyn Sampler> =
            std::iter::repeat_n(self.program.as_ref(), self.rounds).chain(self.tail.as_deref()).collect();
        for (round, program) in programs.iter().enumerate() {
            let mut energies = Vec::with_capacity(replicas.len());
            for (r, temperature) in self.temperatures.iter().enumerate() {
                let key = key.at("round").at(round).at(r);
                let (rung, at) = ((r, *temperature), replicas[r].clone());
                drawn = if r == coldest {
                    // Only after the last exchange does a trail begin.
                    let last = round + 1 == programs.len();
                    let trail = if last { request.trail.min(program.steps()) } else { 0 };
                    request.part(done, trail, |inner| ladder::on_rung(*program, rung, e, at, key, inner))?
                } else {
                    request.unseen(done, |inner| ladder::on_rung(*program, rung, e, at, key, inner))?
                };
                replicas[r] = drawn.last.at.clone();
                if round + 1 < programs.len() {
                    energies.push(ladder::end_energy(e, &drawn)?);
                }
            }
            curves.add(&drawn);
            done += program.steps();
            if round + 1 < programs.len() {
                let swapped = self.exchange(&mut replicas, &energies, round, key.at("exchange").at(round))?;
                if let Some(share) = mean(&swapped)? {
                    by_round.push(share.mean_all()?);
                }
                all_swapped.extend(swapped);
            }
        }
        (drawn.last.step, drawn.last.of) = (done, done.max(1));
        drawn.curves = curves.joined()?;
        if let Some(share) = mean(&all_swapped)? {
            drawn.info.insert("swapped", share);
            drawn.curves.insert("swapped", Tensor::stack(&by_round, 0)?);
        }
        Ok(drawn)
    }

    fn couples_chains(&self) -> bool {
        self.program.couples_chains() || self.tail.as_ref().is_some_and(|t| t.couples_chains())
    }

    fn needs_reference(&self) -> bool {
        self.program.needs_reference() || self.tail.as_ref().is_some_and(|t| t.needs_reference())
    }

    fn sensitivity(&self, trail: usize) -> Sensitivity {
        let last = self.tail.as_ref().unwrap_or(&self.program);
        let alone = self.rounds + usize::from(self.tail.is_some()) <= 1;
        if trail <= last.steps() || alone {
            last.sensitivity(trail)
        } else {
            Sensitivity::Unknown(self.name())
        }
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.program.bounds()
    }

    /// Steps of the coldest replica.
    fn steps(&self) -> usize {
        let tail = self.tail.as_ref().map_or(0, |t| t.steps());
        self.rounds.saturating_mul(self.program.steps()).saturating_add(tail)
    }

    /// As many whole rounds as fit, then a shorter one.
    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        let each = self.program.steps().max(1);
        let rest = steps % each;
        Box::new(ReplicaExchange {
            program: self.program.clone(),
            rounds: steps / each,
            tail: (rest > 0).then(|| self.program.with_steps(rest).into()),
            temperatures: self.temperatures.clone(),
        })
    }

    fn name(&self) -> String {
        let n = self.temperatures.len();
        format!("{} rounds of {} at {n} temperatures with exchange", self.rounds, self.program.name())
    }
}

/// Settings of `replica-exchange`.
#[derive(Debug, Settings)]
pub struct ReplicaExchangeConfig {
    /// The program of a round on each rung, itself at temperature 1.
    pub program: Box<dyn SamplerConfig>,
    /// Number of rounds; exchanges are proposed between them.
    #[setting(at_least = 1, at_most = 1e6)]
    pub rounds: usize,
    /// The ladder.
    #[setting(flatten)]
    pub ladder: LadderSettings,
}

#[plugin(
    "replica-exchange",
    summary = "a program at several temperatures at once, whose chains change places (parallel tempering)",
    source = "Swendsen, Wang 1986; Geyer 1991; Syed, Bouchard-Côté, Deligiannidis, Doucet 2022",
    example = r#"rounds = 40
hottest = 30.0
rungs = 5
program = { kind = "chain", steps = 5, transition = { kind = "mala", step_size = 0.01, target_acceptance = 0.65 } }"#
)]
impl SamplerConfig for ReplicaExchangeConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        let all = self.ladder.temperatures(cx)?;
        let program = self.program.build_at("program", cx)?;
        Ok(Box::new(ReplicaExchange::new(program, self.rounds, &all)?))
    }
}
