//! A program at several temperatures at once, whose chains change places.

use std::sync::Arc;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Batch, BuildCx, ChainState, DrawRequest, Drawn, EnergyFn, Key, Result, Sampler, SamplerConfig,
    Sensitivity, Settings, StepInfo, Trail, host, plugin,
};

use crate::kit::{Cooled, Curves, Decision, LadderSettings, ladder};

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
/// With [`ReplicaExchange::adapting`] the temperatures between the ends move in a warm-up until all neighbours change places equally often, which
/// makes the way from the hottest to the coldest as short as it can be (Syed et al. 2022, algorithm 3), and are fixed from then on.
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
    adapt: bool,
}

/// Where the ladder of a warm-up is kept: temperatures, and for each pair of neighbours how many exchanges were proposed and how many chances
/// of them were missed since it last moved; then how many make it move again.
const LADDER: &str = "replica-exchange.ladder";

/// Proposals of a pair before the ladder first moves; then twice as many each time.
const FIRST: f64 = 5.0;

/// A ladder that learns.
struct Ladder {
    temperatures: Vec<f64>,
    proposed: Vec<f64>,
    missed: Vec<f64>,
    next: f64,
}

impl Ladder {
    fn new(temperatures: &[f64]) -> Self {
        let none = vec![0.0; temperatures.len() - 1];
        Ladder { temperatures: temperatures.to_vec(), proposed: none.clone(), missed: none, next: FIRST }
    }

    /// The one that is stored, if it is of as many rungs with the same ends.
    fn stored(like: &[f64], numbers: &[f64]) -> Option<Self> {
        let n = like.len();
        let (temperatures, rest) = numbers.split_at_checked(n)?;
        let (proposed, rest) = rest.split_at_checked(n - 1)?;
        let (missed, rest) = rest.split_at_checked(n - 1)?;
        let ends = |all: &[f64]| (all[0], all[n - 1]);
        let same = ends(temperatures) == ends(like);
        let [next] = *rest else { return None };
        let of = <[f64]>::to_vec;
        same.then(|| Ladder {
            temperatures: of(temperatures),
            proposed: of(proposed),
            missed: of(missed),
            next,
        })
    }

    fn numbers(&self) -> Vec<f64> {
        [&self.temperatures[..], &self.proposed, &self.missed, &[self.next]].concat()
    }

    /// Takes the mean chances of exchanges that were proposed at the pairs `(r, chance)`; moves where enough is known.
    fn learn(&mut self, chances: &[(usize, f64)]) {
        for (r, chance) in chances {
            self.proposed[*r] += 1.0;
            self.missed[*r] += 1.0 - chance;
        }
        if self.proposed.iter().all(|n| *n >= self.next) {
            let rates: Vec<f64> = self.missed.iter().zip(&self.proposed).map(|(m, n)| m / n).collect();
            let next = 2.0 * self.next;
            *self = Ladder { next, ..Ladder::new(&respaced(&self.temperatures, &rates)) };
        }
    }
}

/// The ladder of as many rungs between the same ends on which every pair would miss equally many exchanges: the sum of the rates of `missed` is
/// a length along β = 1/T that is taken to grow evenly between neighbours.
fn respaced(ladder: &[f64], missed: &[f64]) -> Vec<f64> {
    // Neighbours that always change places have some distance, too.
    let steps: Vec<f64> = missed.iter().map(|r| r.max(1e-3)).collect();
    let (n, total) = (steps.len(), steps.iter().sum::<f64>());
    let (mut k, mut before) = (0, 0.0);
    let mut new = ladder.to_vec();
    for (i, t) in new.iter_mut().enumerate().take(n).skip(1) {
        let wanted = total * i as f64 / n as f64;
        while k + 1 < n && before + steps[k] < wanted {
            before += steps[k];
            k += 1;
        }
        let (hot, cold) = (1.0 / ladder[k], 1.0 / ladder[k + 1]);
        *t = 1.0 / (hot + (wanted - before) / steps[k] * (cold - hot));
    }
    new
}

impl ReplicaExchange {
    /// `rounds` rounds of `program` on each of `temperatures`, hot first.
    ///
    /// # Errors
    /// If they are fewer than two, not positive, or do not fall.
    pub fn new(program: Box<dyn Sampler>, rounds: usize, temperatures: &[f64]) -> Result<Self> {
        let temperatures = ladder::temperatures("replica-exchange", Some(temperatures), (None, None))?;
        Ok(ReplicaExchange { program: program.into(), rounds, tail: None, temperatures, adapt: false })
    }

    /// The same with temperatures that a warm-up finds between the ends.
    #[must_use]
    pub fn adapting(mut self) -> Self {
        self.adapt = true;
        self
    }

    /// Exchanges neighbours `r` and `r + 1` for all `r` of the parity of `round`: each `r` with its decisions.
    fn exchange(
        temperatures: &[f64],
        replicas: &mut [Batch],
        energies: &[Tensor],
        round: usize,
        key: Key,
    ) -> Result<Vec<(usize, Decision)>> {
        let mut swapped = Vec::new();
        for r in (round % 2..replicas.len() - 1).step_by(2) {
            let colder = 1.0 / temperatures[r] - 1.0 / temperatures[r + 1];
            let log_ratio = (&energies[r] - &energies[r + 1])?.affine(colder, 0.0)?;
            let decision = Decision::draw(&log_ratio, &replicas[r].chains, key.at(r))?;
            let (hot, cold) = (&replicas[r].x, &replicas[r + 1].x);
            let (up, down) = (decision.select(cold, hot)?, decision.select(hot, cold)?);
            replicas[r] = replicas[r].with_x(up);
            replicas[r + 1] = replicas[r + 1].with_x(down);
            swapped.push((r, decision));
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
        let known = request.memory.get(LADDER).filter(|_| self.adapt).map(host::numbers).transpose()?;
        let known = known.and_then(|all| Ladder::stored(&self.temperatures, &all));
        let mut rungs = known.unwrap_or_else(|| Ladder::new(&self.temperatures));
        let mut replicas = vec![from.clone(); self.temperatures.len()];
        let mut drawn = Drawn::new(ChainState::new(from), Trail::default(), StepInfo::new());
        let (mut done, mut curves, mut all_swapped, mut by_round) =
            (0, Curves::default(), Vec::new(), Vec::new());
        let programs: Vec<&dyn Sampler> =
            std::iter::repeat_n(self.program.as_ref(), self.rounds).chain(self.tail.as_deref()).collect();
        for (round, program) in programs.iter().enumerate() {
            let mut energies = Vec::with_capacity(replicas.len());
            for (r, temperature) in rungs.temperatures.clone().iter().enumerate() {
                let key = key.at("round").at(round).at(r);
                let (rung, at) = ((r, *temperature), replicas[r].clone());
                drawn = if r == coldest {
                    // Only after the last exchange does a trail begin.
                    let last = round + 1 == programs.len();
                    let trail = if last { ladder::reach(*program, request.trail) } else { 0 };
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
                let key = key.at("exchange").at(round);
                let decisions = Self::exchange(&rungs.temperatures, &mut replicas, &energies, round, key)?;
                if self.adapt && request.warm_up_left(done) > 0 {
                    let chance = |(r, d): &(usize, Decision)| Ok((*r, host::scalar(&d.chance.mean_all()?)?));
                    rungs.learn(&decisions.iter().map(chance).collect::<Result<Vec<_>>>()?);
                }
                let swapped: Vec<Tensor> = decisions.into_iter().map(|(_, d)| d.accepted).collect();
                if let Some(share) = mean(&swapped)? {
                    by_round.push(share.mean_all()?);
                }
                all_swapped.extend(swapped);
            }
        }
        if self.adapt {
            let all = rungs.numbers();
            request.memory.insert(LADDER.into(), Tensor::new(all.as_slice(), &Device::Cpu)?);
        }
        (drawn.last.step, drawn.last.of) = (done, done.max(1));
        drawn.curves = curves.joined()?;
        if let Some(share) = mean(&all_swapped)? {
            drawn.info.insert("swapped", share);
            drawn.curves.insert("swapped", Tensor::stack(&by_round, 0)?);
        }
        Ok(drawn)
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        // Replicas see E/T, which knows no conditional laws.
        self.program.fits(&Cooled::new(e, 2.0))?;
        self.tail.iter().try_for_each(|t| t.fits(e))
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
            adapt: self.adapt,
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
    /// Temperatures between the ends move in a warm-up until all neighbours change places equally often.
    #[setting(default = false)]
    pub adapt_ladder: bool,
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
        let exchange = ReplicaExchange::new(program, self.rounds, &all)?;
        Ok(Box::new(if self.adapt_ladder { exchange.adapting() } else { exchange }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use ebm_core::{Blind, BuildCx, EnergyConfig};
    use ebm_energies_density::{GaussianMixture, RoundGaussian};

    use super::*;
    use crate::{Chain, Mala};

    #[test]
    fn a_ladder_is_respaced_to_equal_rates() {
        // β 0.1, 0.4, 1 with lengths 0.2 and 0.6: the middle of 0.8 is a third into the second.
        let new = respaced(&[10.0, 2.5, 1.0], &[0.2, 0.6]);
        assert!((1.0 / new[1] - (0.4 + 0.6 / 3.0)).abs() < 1e-12, "{new:?}");
        assert_eq!((new[0], new[2]), (10.0, 1.0));
        let even = respaced(&[8.0, 4.0, 2.0, 1.0], &[0.3; 3]);
        assert!(even.iter().zip([8.0, 4.0, 2.0, 1.0]).all(|(a, b)| (a / b - 1.0f64).abs() < 1e-12));
        assert!(respaced(&[8.0, 4.0, 1.0], &[0.0, 0.0]).iter().all(|t| t.is_finite()));
    }

    /// Modes of unequal width, on a ladder that begins badly spaced: rates become alike, and the weights of the modes stay exact.
    #[test]
    fn a_warm_up_makes_the_rates_alike_and_the_law_is_kept() {
        let part = |x: f64, sd: f64, weight: f64| RoundGaussian { mean: vec![x, 0.0], sd, weight };
        let config = GaussianMixture { components: vec![part(-3.0, 0.2, 0.3), part(3.0, 0.4, 0.7)] };
        let e = config
            .build(&mut BuildCx::new(&[2], ebm_core::candle::DType::F64, &Device::Cpu, Key::root(0)))
            .unwrap();
        let n = 500;
        let x =
            Tensor::new(&[-3.0f64, 0.0], &Device::Cpu).unwrap().unsqueeze(0).unwrap().repeat((n, 1)).unwrap();
        let steps =
            || Box::new(Chain::new(Box::new(Mala::new(0.02).adapting(0.6, 0.1)), 2)) as Box<dyn Sampler>;
        let ladder = [60.0, 55.0, 50.0, 45.0, 40.0, 1.0];
        let run = |adapt: bool| {
            let exchange = ReplicaExchange::new(steps(), 120, &ladder).unwrap();
            let exchange = if adapt { exchange.adapting() } else { exchange };
            let (mut blind, mut memory) = (Blind, BTreeMap::new());
            let mut request = DrawRequest::new(&mut blind, &mut memory).with_warm_up(120);
            let drawn = exchange
                .draw(e.as_ref(), Batch::new(x.clone()).unwrap(), Key::root(3), &mut request)
                .unwrap();
            (drawn, memory)
        };
        let (drawn, memory) = run(true);
        let found = Ladder::stored(&ladder, &memory[LADDER].to_vec1::<f64>().unwrap()).unwrap();
        assert!(found.temperatures.windows(2).all(|w| w[0] > w[1]), "{:?}", found.temperatures);
        let rates: Vec<f64> = found.missed.iter().zip(&found.proposed).map(|(m, n)| m / n).collect();
        assert!(rates.iter().all(|r| (0.15..0.85).contains(r)), "{rates:?} at {:?}", found.temperatures);
        let x = drawn.last.at.x.narrow(1, 0, 1).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let heavy = x.iter().filter(|x| **x > 0.0).count() as f64 / n as f64;
        // Four standard errors of 500 chains, whose last hundred exchanges forget their start.
        assert!((heavy - 0.7).abs() < 4.0 * (0.21f64 / n as f64).sqrt(), "{heavy}");
        let (still, memory) = run(false);
        assert!(!memory.contains_key(LADDER));
        let share = |d: &Drawn| d.info["swapped"].mean_all().unwrap().to_scalar::<f64>().unwrap();
        let x = still.last.at.x.narrow(1, 0, 1).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let left = x.iter().filter(|x| **x > 0.0).count() as f64 / n as f64;
        assert!(
            left < heavy,
            "the gap between 40 and 1 lets few through: {left}, {heavy}; {}",
            share(&still)
        );
    }
}
