//! `nuts-rs`: the no-U-turn sampler of the crate `nuts-rs`, one chain after the other, on any energy.
//!
#![doc = include_str!("../README.md")]

use std::collections::HashMap;
use std::fmt;

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, BuildCx, ChainState, DrawRequest, Drawn, EnergyFn, Error, Key, Link, Result, Sampler,
    SamplerConfig, Sensitivity, Settings, StepInfo, Stepped, Trail, host, plugin,
};
use nuts_rs::rand::{Rng, SeedableRng, rngs::StdRng};
use nuts_rs::{
    Chain as _, CpuLogpFunc, CpuMath, CpuMathError, DiagNutsSettings, HasDims, LogpError, Settings as _,
};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

/// No program keeps more numbers of its draws at once.
const MOST: usize = 1 << 28;

/// The no-U-turn sampler of `nuts-rs` 0.19 (PyMC developers), in double precision, with its own warm-up: step size by dual averaging and a
/// diagonal metric from draws and gradients.
///
/// Each row of a batch is a chain of its own with its own step size and metric, and rows go over the threads of the machine: the choice for a few
/// long chains on an energy whose slope costs more than its overhead, or for results that are to be compared with PyMC's. `nuts` takes all chains
/// of a batch in one slope a step and shares what the warm-up learns: the choice for many chains, for networks, and wherever a run must
/// go on from a checkpoint in the middle of a chain, for nothing of this sampler outlives a program. A program that starts without a
/// request for a warm-up spends the first half of its steps on it.
///
/// Diagnostics a step: `energy`, `step_size`, `divergent` (0 or 1), `leapfrogs` (gradients).
#[derive(Clone, Debug, Settings)]
pub struct NutsRs {
    /// Draws of a program, its warm-up among them.
    #[setting(default = 1000, at_least = 1, at_most = 10_000_000)]
    pub steps: usize,
    /// Doublings of a trajectory at most.
    #[setting(default = 10, at_least = 1, at_most = 20)]
    pub max_depth: usize,
    /// Acceptance rate at which the warm-up aims.
    #[setting(default = 0.8, above = 0.0, below = 1.0)]
    pub target_acceptance: f64,
}

/// What the chain of one row did: positions `(draws, values)` one after the other, and the numbers of each draw.
#[derive(Default)]
struct Row {
    positions: Vec<f64>,
    step_size: Vec<f64>,
    divergent: Vec<f64>,
    leapfrogs: Vec<f64>,
}

/// `−E` of one row, as `nuts-rs` asks for it.
struct LogDensity<'a> {
    energy: &'a dyn EnergyFn,
    /// The row with its condition.
    row: &'a Batch,
    values: usize,
}

/// Why there is no density at a place.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the energy or its slope is not finite")]
    NotFinite,
    #[error("{0}")]
    Energy(Error),
}

impl LogpError for Failure {
    fn is_recoverable(&self) -> bool {
        matches!(self, Failure::NotFinite)
    }
}

impl LogDensity<'_> {
    fn at(&self, position: &[f64], gradient: &mut [f64]) -> Result<f64> {
        let x = host::given(position, self.row.dtype(), self.row.device())?.reshape(self.row.x.dims())?;
        let slope = self.energy.slope(&self.row.with_x(x))?;
        let grad = host::numbers(&slope.grad.flatten_all()?)?;
        gradient.iter_mut().zip(grad).for_each(|(out, g)| *out = -g);
        Ok(-host::scalar(&host::wide(&slope.energy)?.sum_all()?)?)
    }
}

impl HasDims for LogDensity<'_> {
    fn dim_sizes(&self) -> HashMap<String, u64> {
        HashMap::from([("unconstrained_parameter".into(), self.values as u64)])
    }
}

impl CpuLogpFunc for LogDensity<'_> {
    type LogpError = Failure;
    type FlowParameters = ();
    type ExpandedVector = Vec<f64>;

    fn dim(&self) -> usize {
        self.values
    }

    fn logp(&mut self, position: &[f64], gradient: &mut [f64]) -> std::result::Result<f64, Failure> {
        let density = self.at(position, gradient).map_err(Failure::Energy)?;
        match density.is_finite() && gradient.iter().all(|g| g.is_finite()) {
            true => Ok(density),
            false => Err(Failure::NotFinite),
        }
    }

    fn expand_vector<R: Rng + ?Sized>(
        &mut self,
        _: &mut R,
        array: &[f64],
    ) -> std::result::Result<Vec<f64>, CpuMathError> {
        Ok(array.to_vec())
    }
}

impl NutsRs {
    /// The chain of row `index` of `from`.
    fn chain(&self, e: &dyn EnergyFn, from: &Batch, index: usize, warm_up: usize, key: Key) -> Result<Row> {
        let row = from.rows(&[index as u32])?;
        let start = host::numbers(&row.x.flatten_all()?)?;
        let failed = |what: &str, why: &dyn fmt::Display| {
            Error::plugin("sampler `nuts-rs`", format!("{what} chain {}: {why}", from.chains.ids()[index]))
        };
        let mut settings = DiagNutsSettings {
            num_tune: warm_up as u64,
            num_draws: (self.steps - warm_up) as u64,
            maxdepth: self.max_depth as u64,
            ..DiagNutsSettings::default()
        };
        settings.adapt_options.step_size_settings.target_accept = self.target_acceptance;
        let mut rng = StdRng::seed_from_u64(key.word(from.chains.ids()[index]));
        let density = LogDensity { energy: e, row: &row, values: start.len() };
        let mut chain = settings
            .new_chain(0, CpuMath::new(density), &mut rng)
            .map_err(|why| failed("cannot make", &why))?;
        chain.set_position(&start).map_err(|why| failed("cannot start", &why))?;
        let mut done = Row::default();
        for _ in 0..self.steps {
            let (position, told) = chain.draw().map_err(|why| failed("cannot go on with", &why))?;
            done.positions.extend(position.iter());
            done.step_size.push(told.step_size);
            done.divergent.push(f64::from(u8::from(told.diverging)));
            done.leapfrogs.push(told.num_steps as f64);
        }
        Ok(done)
    }
}

impl Sampler for NutsRs {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        self.fits(e)?;
        let values: usize = from.sample_shape().iter().product();
        if self.steps.saturating_mul(values).saturating_mul(from.len()) > MOST {
            return Err(Error::config(
                "steps",
                format!(
                    "{} draws of {} chains of {values} values are more than {MOST} numbers at once",
                    self.steps,
                    from.len()
                ),
            ));
        }
        let warm_up = request.warm_up.unwrap_or(self.steps / 2).min(self.steps);
        let rows = (0..from.len()).into_par_iter();
        let done: Vec<Row> = rows.map(|i| self.chain(e, &from, i, warm_up, key)).collect::<Result<_>>()?;
        self.tell(e, from, &done, values, request)
    }

    fn sensitivity(&self, trail: usize) -> Sensitivity {
        if trail == 0 { Sensitivity::Exact } else { Sensitivity::Unknown(self.name()) }
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        Box::new(NutsRs { steps: steps.max(1), ..self.clone() })
    }

    fn name(&self) -> String {
        format!("nuts-rs ({} steps)", self.steps)
    }
}

impl NutsRs {
    /// Shows the draws of all chains step by step, as if they had gone together.
    fn tell(
        &self,
        e: &dyn EnergyFn,
        from: Batch,
        rows: &[Row],
        values: usize,
        request: &mut DrawRequest<'_>,
    ) -> Result<Drawn> {
        let mut state = ChainState::new(from.clone());
        let mut info = StepInfo::new();
        let number = |of: &dyn Fn(&Row) -> f64| -> Result<Tensor> {
            let all: Vec<f64> = rows.iter().map(of).collect();
            Ok(host::given(&all, from.dtype(), from.device())?)
        };
        let wanted = if request.probe.wants_steps() { 0 } else { self.steps - 1 };
        for k in wanted..self.steps {
            let at: Vec<f64> =
                rows.iter().flat_map(|r| r.positions[k * values..(k + 1) * values].iter().copied()).collect();
            let x = host::given(&at, from.dtype(), from.device())?.reshape(from.x.dims())?;
            state = state.advance(x);
            state.of = self.steps;
            info = StepInfo::from([
                ("energy", e.energy(&state.at)?),
                ("step_size", number(&|r| r.step_size[k])?),
                ("divergent", number(&|r| r.divergent[k])?),
                ("leapfrogs", number(&|r| r.leapfrogs[k])?),
            ]);
            let mut step = Stepped::new(state.clone(), Link::Cut);
            step.info = info.clone();
            if request.probe.wants_steps() {
                request.probe.on_step(k, &step)?;
            }
        }
        Ok(Drawn::new(state, Trail::default(), info))
    }
}

#[plugin(
    "nuts-rs",
    summary = "the no-U-turn sampler of the crate nuts-rs, chain by chain in double precision",
    source = "Hoffman, Gelman 2014; nuts-rs 0.19 (PyMC developers)",
    example = "steps = 40"
)]
impl SamplerConfig for NutsRs {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Chains, Keep};
    use ebm_testkit::{moments, toy};

    use super::*;

    fn start(chains: usize) -> Batch {
        let ids = Chains::range(7, chains);
        Batch::new(Key::root(1).normal(&ids, &[3], DType::F64, &Device::Cpu).unwrap())
            .unwrap()
            .with_chains(ids)
    }

    fn sampler(steps: usize) -> NutsRs {
        NutsRs { steps, max_depth: 8, target_acceptance: 0.8 }
    }

    #[test]
    fn a_bowl_has_its_moments() {
        let e = toy::bowl(3, 4.0).unwrap();
        let draws = sampler(1).draws(&e, start(4), 1500, Key::root(2)).unwrap();
        assert_eq!(draws.dims(), (4, 1500));
        let late = Keep::from(1000).after(500);
        let draws = ebm_core::Draws::of(&sampler(1), &e, start(4), late, Key::root(2)).unwrap();
        let found = moments(&draws.x.flatten_to(1).unwrap()).unwrap();
        // 4,000 draws of a normal law of deviation 1/2, nearly independent: three standard errors.
        assert!(found.mean.abs() < 0.025 && (found.variance - 0.25).abs() < 0.018, "{found:?}");
        assert!(draws.numbers("divergent").unwrap().iter().all(|d| *d == 0.0));
    }

    #[test]
    fn a_chain_does_not_depend_on_the_others_and_another_key_is_another_chain() {
        let e = toy::bowl(3, 1.0).unwrap();
        let last = |from: Batch, key: u64| {
            let (mut blind, mut memory) = (ebm_core::Blind, std::collections::BTreeMap::new());
            let mut request = DrawRequest::new(&mut blind, &mut memory);
            sampler(30)
                .draw(&e, from, Key::root(key), &mut request)
                .unwrap()
                .last
                .at
                .x
                .to_vec2::<f64>()
                .unwrap()
        };
        let all = last(start(5), 3);
        let alone = last(start(5).rows(&[3]).unwrap(), 3);
        assert_eq!(all[3], alone[0]);
        assert_ne!(all, last(start(5), 4));
    }

    #[test]
    fn what_it_cannot_do_is_said() {
        let e = toy::bowl(3, 1.0).unwrap();
        let x = Tensor::new(&[[f64::NAN, 0.0, 0.0]], &Device::Cpu).unwrap();
        let (mut blind, mut memory) = (ebm_core::Blind, std::collections::BTreeMap::new());
        let mut request = DrawRequest::new(&mut blind, &mut memory);
        let text =
            sampler(30).draw(&e, Batch::new(x).unwrap(), Key::root(0), &mut request).unwrap_err().to_string();
        assert!(text.contains("cannot start chain 0"), "{text}");
        let much = sampler(10_000_000).with_steps(MOST);
        let mut request = DrawRequest::new(&mut blind, &mut memory);
        let text = much.draw(&e, start(2), Key::root(0), &mut request).unwrap_err().to_string();
        assert!(text.contains("steps"), "{text}");
        assert!(!matches!(sampler(3).sensitivity(1), Sensitivity::Exact));
    }
}
