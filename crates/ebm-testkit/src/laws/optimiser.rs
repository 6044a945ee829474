//! Everything that is asked of an optimiser.

use std::collections::BTreeMap;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Optimiser, OptimiserState, ParamSet, Result, Role, Update, Updated};

use crate::difference::{largest, relative_gap, relative_gap_all};
use crate::{Failure, Verdict};

type Named = BTreeMap<String, Tensor>;

/// Checks the optimisers that `build` makes, in f64, on a matrix, a vector and a number:
///
/// 1. an update writes nothing, gives new values of the parameters that have a gradient and of no others, in their shapes, and counts;
/// 2. the same update twice gives the same bits, and another instance goes on from the moments of the first as this one does: nothing
///    is remembered elsewhere, so a run resumes;
/// 3. a factor of the gradients is that of clipping: half of it is an update by half the gradients;
/// 4. at rate 0 parameters stay, at a small rate they go against the gradient;
/// 5. the moving average is `keep·e + (1 − keep)·θ` of the new values, also of a parameter without gradient;
/// 6. gradients of 0 leave numbers finite, and rates of a schedule are finite and not negative.
///
/// # Errors
/// Names the first law that fails.
pub fn optimiser(build: &dyn Fn() -> Result<Box<dyn Optimiser>>) -> Verdict {
    let o = build()?;
    let name = o.name();
    let unless =
        |holds: bool, text: &dyn Fn() -> String| Failure::unless(holds, || format!("{name}: {}", text()));
    let start = || -> Result<ParamSet> {
        let tensor = |name: &str, shape: &[usize], at: f64| -> Result<(String, Tensor, Role)> {
            let n = shape.iter().product::<usize>();
            let v: Vec<f64> = (0..n).map(|i| at + 0.3 * ((i * i + 1) as f64).sin()).collect();
            Ok((name.into(), Tensor::from_vec(v, shape, &Device::Cpu)?, Role::Trainable))
        };
        ParamSet::new([
            tensor("matrix", &[4, 3], 1.0)?,
            tensor("vector", &[5], -1.0)?,
            tensor("still", &[2], 0.5)?,
        ])
    };
    // The gradient of a bowl, of all parameters but one.
    let grads = |p: &ParamSet| -> Result<Named> {
        let mut all = p.snapshot()?;
        all.remove("still");
        all.into_iter().map(|(n, t)| Ok((n, t.affine(1.7, 0.1)?))).collect()
    };
    let params = start()?;
    let before = params.snapshot()?;
    let g = grads(&params)?;
    let rate = Some(o.rate(0, 100)).filter(|r| *r > 0.0).unwrap_or(1e-2);
    let nothing = OptimiserState::default();
    let first = o.update(&Update::new(&params, &g, &nothing, rate))?;
    let (gap, what) = relative_gap_all(&before, &params.snapshot()?)?;
    unless(gap == 0.0, &|| {
        format!(
            "`{what}` was written in `update`, by {gap:.3e}; the trainer commits, since a step may be dropped"
        )
    })?;
    let names = |m: &Named| m.keys().cloned().collect::<Vec<_>>();
    unless(names(&first.params) == names(&g), &|| {
        format!("gave new values of {:?}, gradients were of {:?}", names(&first.params), names(&g))
    })?;
    for (n, t) in &first.params {
        unless(t.dims() == before[n].dims() && t.dtype() == before[n].dtype(), &|| {
            format!(
                "`{n}` came back as {:?} {:?}, it is {:?} {:?}",
                t.dims(),
                t.dtype(),
                before[n].dims(),
                before[n].dtype()
            )
        })?;
    }
    unless(first.state.step == 1, &|| format!("counts {} updates after the first", first.state.step))?;
    let again = o.update(&Update::new(&params, &g, &nothing, rate))?;
    let (gap, what) = apart(&first, &again)?;
    unless(gap == 0.0, &|| format!("the same update twice gave two results, {gap:.3e} apart in `{what}`"))?;
    resumes(o.as_ref(), build, &start, &grads, rate)?;

    let mut half = Update::new(&params, &g, &nothing, rate);
    half.factor = 0.5;
    let halved: Named = g.iter().map(|(n, t)| Ok((n.clone(), t.affine(0.5, 0.0)?))).collect::<Result<_>>()?;
    let by_factor = o.update(&half)?;
    let by_gradient = o.update(&Update::new(&params, &halved, &nothing, rate))?;
    let (gap, what) = apart(&by_factor, &by_gradient)?;
    unless(gap <= 1e-12, &|| {
        format!("a factor of ½ and half the gradients are {gap:.3e} apart in `{what}`; use `Update::clipped`")
    })?;
    let still = o.update(&Update::new(&params, &g, &nothing, 0.0))?;
    for (n, t) in &still.params {
        let gap = relative_gap(t, &before[n])?;
        unless(gap <= 1e-12, &|| format!("at rate 0 `{n}` moves by {gap:.3e}"))?;
    }
    let downhill = first
        .params
        .iter()
        .map(|(n, t)| Ok(((t - &before[n])? * &g[n])?.sum_all()?.to_scalar::<f64>()?))
        .sum::<Result<f64>>()?;
    unless(downhill < 0.0, &|| {
        format!(
            "the first update goes along the gradient ({downhill:.3e}), wanted against it; the sign of the update is turned"
        )
    })?;
    average(o.as_ref(), &params, &g, rate)?;
    let zeros: Named = g.iter().map(|(n, t)| Ok((n.clone(), t.zeros_like()?))).collect::<Result<_>>()?;
    let none = o.update(&Update::new(&params, &zeros, &nothing, rate))?;
    for (n, t) in none.params.iter().chain(&none.state.tensors) {
        unless(largest(t)?.is_finite(), &|| {
            format!("gradients of 0 make `{n}` infinite or NaN; add a small number to what is divided by")
        })?;
    }
    for (step, of) in [(0, 100), (50, 100), (99, 100), (100, 100), (7, 0), (500, 100)] {
        let rate = o.rate(step, of);
        unless(rate.is_finite() && rate >= 0.0, &|| format!("the rate at step {step} of {of} is {rate}"))?;
    }
    Ok(())
}

fn apart(a: &Updated, b: &Updated) -> Result<(f64, String)> {
    let (p, s) =
        (relative_gap_all(&a.params, &b.params)?, relative_gap_all(&a.state.tensors, &b.state.tensors)?);
    Ok(if p.0 >= s.0 { p } else { s })
}

fn resumes(
    o: &dyn Optimiser,
    build: &dyn Fn() -> Result<Box<dyn Optimiser>>,
    start: &dyn Fn() -> Result<ParamSet>,
    grads: &dyn Fn(&ParamSet) -> Result<Named>,
    rate: f64,
) -> Verdict {
    let go =
        |o: &dyn Optimiser, p: &ParamSet, mut state: OptimiserState, n: usize| -> Result<OptimiserState> {
            for _ in 0..n {
                let new = o.update(&Update::new(p, &grads(p)?, &state, rate))?;
                for (name, t) in &new.params {
                    p.set(name, t)?;
                }
                state = new.state;
            }
            Ok(state)
        };
    let straight = start()?;
    go(o, &straight, OptimiserState::default(), 6)?;
    let stopped = start()?;
    let state = go(build()?.as_ref(), &stopped, OptimiserState::default(), 3)?;
    // A checkpoint holds the count and the tensors, and nothing else.
    let read = OptimiserState { step: state.step, tensors: state.tensors };
    go(build()?.as_ref(), &stopped, read, 3)?;
    let (gap, what) = relative_gap_all(&straight.snapshot()?, &stopped.snapshot()?)?;
    Failure::unless(gap == 0.0, || {
        format!(
            "{}: three updates, a checkpoint and three more by a new instance are {gap:.3e} from six in `{what}`; all that is remembered \
             stands in `OptimiserState`",
            o.name()
        )
    })
}

fn average(o: &dyn Optimiser, params: &ParamSet, g: &Named, rate: f64) -> Verdict {
    let (keep, nothing) = (0.75, OptimiserState::default());
    let old: Named =
        params.snapshot()?.into_iter().map(|(n, t)| Ok((n, t.affine(0.0, 2.0)?))).collect::<Result<_>>()?;
    let mut u = Update::new(params, g, &nothing, rate);
    u.average = Some((&old, keep));
    let made = o.update(&u)?;
    let Some(found) = made.average else {
        return Err(Failure::new(format!(
            "{}: gave no moving average, although one was asked for; end with `Update::done`",
            o.name()
        )));
    };
    let plain = Update::new(params, g, &nothing, rate);
    let new = o.update(&plain)?.params;
    let mut wanted = Named::new();
    for (n, e) in &old {
        let theta = new.get(n).or_else(|| params.get(n));
        if let Some(theta) = theta {
            wanted.insert(n.clone(), (e.affine(keep, 0.0)? + theta.affine(1.0 - keep, 0.0)?)?);
        }
    }
    let (gap, what) = relative_gap_all(&found, &wanted)?;
    Failure::unless(gap <= 1e-12, || {
        format!(
            "{}: the moving average of `{what}` is {gap:.3e} from keep·e + (1 − keep)·θ of the new values",
            o.name()
        )
    })
}
