//! Chains of any sampler on any energy, draw by draw, and what they are worth.

use ebm::core::candle::DType;
use ebm::core::{Batch, BuildCx, Draws, Family, Keep, Key, SamplerConfig, Stop, Stoppable};
use ebm::eval::{Traces, summarise as summary};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::Numbers;
use crate::configuration;
use crate::energy::Energy;
use crate::error::{detached, refused};
use crate::watched::interruptible;

/// What of a chain is kept.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Kept {
    draws: usize,
    burn_in: usize,
    thinning: usize,
}

/// Runs the sampler `sampler` (JSON) as chains from `start` `(chains, ...)`: draws `(chains, draws, ...)` and statistics
/// `(chains, draws)` by name.
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
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyDict>)> {
    let source = configuration::sampler(sampler)?;
    let start = Numbers::read(start, "start")?;
    let condition = condition.map(|c| Numbers::read(c, "condition")).transpose()?;
    let stop = Stop::default();
    let drawn = interruptible(py, &stop, || {
        let spec = energy.inner.spec();
        let config: Box<dyn SamplerConfig> = source.read_part("sampler", Family::Sampler)?;
        let key = Key::root(seed);
        let cx = BuildCx::new(&spec.sample_shape, energy.dtype, &energy.device, key.at("sampler"));
        let mut cx = cx.with_domain(spec.domain, None).with_path("sampler");
        let sampler = config.build(&mut cx).map_err(|e| source.place(e))?;
        sampler.fits(energy.inner.as_ref())?;
        ebm::measure::draws_all_along(sampler.as_ref(), "the sampler")?;
        let tensor = |n: Numbers| n.tensor(energy.dtype, &energy.device);
        let start = Batch::new(tensor(start)?)?.with_cond(condition.map(tensor).transpose()?);
        spec.check("start", &start)?;
        let keep = Keep::from(kept.draws).after(kept.burn_in).every(kept.thinning);
        let draws = Draws::of(
            sampler.as_ref(),
            &Stoppable::new(energy.inner.as_ref(), &stop),
            start,
            keep,
            key.at("chains"),
        )?;
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
    Ok((x.array(py)?, stats))
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
