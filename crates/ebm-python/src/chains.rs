//! Chains of any sampler on any energy, draw by draw, and what they are worth.

use ebm::core::candle::DType;
use ebm::core::{
    Batch, BuildCx, Domain, Draws, Family, Keep, Key, SamplerConfig, Stop, Stoppable, first_bad, host,
};
use ebm::eval::{Traces, summarise as summary};
use ebm::measure::MOST_RECORDED;
use ebm::model::MOST_STEPS;
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::Numbers;
use crate::configuration;
use crate::energy::Energy;
use crate::error::{detached, refused};
use crate::watched::interruptible;

/// What to do about a chain that left the finite numbers.
const CURE: &str =
    "use a smaller step size (no step of ula or langevin is ever rejected), or look at the energy there";

/// What of a chain is kept.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Kept {
    draws: usize,
    burn_in: usize,
    thinning: usize,
}

impl Kept {
    /// Refuses more draws than fit in memory, and more steps than their diagnostics do.
    fn check(&self, dims: &[usize]) -> ebm::Result<()> {
        let [chains, shape @ ..] = dims else { return Ok(()) };
        if *chains == 0 {
            return Err(ebm::Error::unfit("start", "has no rows, expected one for each chain"));
        }
        let numbers = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).and_then(|n| {
            // With the energy of each draw.
            n.checked_add(1)?.checked_mul(*chains)?.checked_mul(self.draws)
        });
        if numbers.is_none_or(|n| n > MOST_RECORDED) {
            let wanted = format!(
                "are {} of {chains} chains of shape {shape:?}, expected fewer draws or chains: at most {MOST_RECORDED} numbers are recorded",
                self.draws
            );
            return Err(ebm::Error::unfit("draws", wanted));
        }
        let steps = self.draws.checked_mul(self.thinning).and_then(|n| n.checked_add(self.burn_in));
        match steps.is_some_and(|n| n <= MOST_STEPS) {
            true => Ok(()),
            false => Err(ebm::Error::unfit(
                "draws",
                format!("need more than {MOST_STEPS} steps, expected fewer of burn_in + draws * thinning"),
            )),
        }
    }

    /// Refuses draws of which a coordinate or the energy is not finite, by the earliest.
    fn sound(&self, draws: &Draws) -> ebm::Result<()> {
        let (chains, count) = draws.dims();
        let energy = draws.stats.get("energy");
        for (what, t) in
            [Some(("a coordinate", &draws.x)), energy.map(|t| ("the energy", t))].into_iter().flatten()
        {
            if first_bad(t)?.is_none() {
                continue;
            }
            let all = host::numbers(t)?;
            let width = (all.len() / (chains * count).max(1)).max(1);
            let bad = all.iter().enumerate().filter(|(_, v)| !v.is_finite());
            let earliest =
                bad.map(|(i, v)| ((i / width) % count, (i / width) / count, v)).min_by_key(|b| (b.0, b.1));
            let Some((draw, chain, value)) = earliest else { continue };
            let step = self.burn_in + (draw + 1) * self.thinning;
            let message = format!("{what} of draw {draw} is {value:?}; {CURE}");
            return Err(ebm::core::Error::numeric(format!("chain {chain}"), step as u64, message).into());
        }
        Ok(())
    }
}

/// Refuses starts that are no states of discrete samples.
fn of_domain(at: &Batch, domain: Domain) -> ebm::Result<()> {
    let width = at.x.dims().iter().skip(1).product();
    let values = host::singles(&at.x)?;
    match domain.outside(&values, width) {
        outside if domain.is_discrete() && outside > 0 => {
            let message =
                format!("has {outside} values that are not of this energy's samples, expected {domain}");
            Err(ebm::Error::unfit("start", message))
        }
        _ => Ok(()),
    }
}

/// Runs the sampler `sampler` (JSON) as chains from `start` `(chains, ...)`: draws `(chains, draws, ...)` and statistics
/// `(chains, draws)` by name, and what is to be said of an energy that is a function of Python.
#[pyfunction]
#[pyo3(signature = (energy, sampler, start, kept, seed, condition=None))]
pub(crate) fn chains<'py>(
    py: Python<'py>,
    energy: &Energy,
    sampler: &str,
    start: &Bound<'py, PyAny>,
    kept: Kept,
    seed: u64,
    condition: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyDict>, Option<String>)> {
    let source = configuration::sampler(sampler)?;
    let start = Numbers::read(start, "start")?;
    let condition = condition.map(|c| Numbers::read(c, "condition")).transpose()?;
    // What it returned to other calls is not of these chains.
    let remark = || energy.function.as_ref().and_then(|f| f.remark());
    remark();
    let stop = Stop::default();
    let drawn = interruptible(py, &stop, || {
        kept.check(start.dims())?;
        start.finite_as(energy.dtype, "start")?;
        let spec = energy.inner.spec();
        let config: Box<dyn SamplerConfig> = source.read_part("sampler", Family::Sampler)?;
        let key = Key::root(seed);
        let cx = BuildCx::new(&spec.sample_shape, energy.dtype, &energy.device, key.at("sampler"));
        let mut cx = cx.with_domain(spec.domain, None).with_path("sampler");
        let sampler = config.build(&mut cx).map_err(|e| source.place(e))?;
        sampler.fits(energy.inner.as_ref())?;
        ebm::measure::draws_all_along(sampler.as_ref(), "the sampler")?;
        let tensor = |n: Numbers| n.tensor(energy.dtype, &energy.device);
        let at = Batch::new(tensor(start)?)?.with_cond(condition.map(tensor).transpose()?);
        spec.check("start", &at)?;
        of_domain(&at, spec.domain)?;
        let keep = Keep::from(kept.draws).after(kept.burn_in).every(kept.thinning);
        let draws = Draws::of(
            sampler.as_ref(),
            &Stoppable::new(energy.inner.as_ref(), &stop),
            at,
            keep,
            key.at("chains"),
        )?;
        kept.sound(&draws)?;
        let stats = draws.stats.iter().map(|(name, t)| {
            let t = t.to_dtype(DType::F64).map_err(ebm::core::Error::from)?;
            Ok((*name, Numbers::of(&t)?))
        });
        Ok((Numbers::of(&draws.x)?, stats.collect::<ebm::core::Result<Vec<_>>>()?))
    });
    let (x, numbers) = drawn?;
    let stats = PyDict::new(py);
    for (name, t) in numbers {
        stats.set_item(name, t.array(py)?)?;
    }
    Ok((x.array(py)?, stats, remark()))
}

/// What `f` says of a scalar.
type Figure = (&'static str, fn(&ebm::eval::ChainSummary) -> f64);

/// Figures of each scalar of draws `(chains, draws, scalars)`: arrays `(scalars,)` by name.
#[pyfunction]
pub(crate) fn summarise<'py>(py: Python<'py>, draws: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let draws = Numbers::read(draws, "draws")?;
    let [m, n, d] = *draws.dims() else {
        return Err(refused(format!("draws: found shape {:?}, wanted (chains, draws, ...)", draws.dims())));
    };
    let values = draws.doubles();
    let found = detached(py, || {
        let mut trace = vec![0.0; m * n];
        let mut all = Vec::with_capacity(d);
        for i in 0..d {
            trace.iter_mut().zip(values.iter().skip(i).step_by(d.max(1))).for_each(|(t, v)| *t = *v);
            all.push(summary(Traces::new(&trace, m, n)?));
        }
        Ok(all)
    })?;
    let figures: [Figure; 5] = [
        ("mean", |s| s.mean),
        ("mcse", |s| s.mcse),
        ("ess_bulk", |s| s.ess_bulk),
        ("ess_tail", |s| s.ess_tail),
        ("rhat", |s| s.rhat),
    ];
    let all = PyDict::new(py);
    for (name, figure) in figures {
        all.set_item(name, PyArray1::from_iter(py, found.iter().map(figure)))?;
    }
    Ok(all)
}
