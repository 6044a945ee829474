//! The laws of a transition: determinism, independence of batching, truth of its link.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Tensor};
use ebm_core::{Batch, ChainState, Chains, EnergyFn, Key, Link, Result, Sensitivity, Trail, Transition};

use crate::difference::relative_gap;
use crate::{Failure, Verdict, theta_gap};

/// Checks `t` on `e` from `at` (f64):
///
/// 1. the same state and key give the same bits; another key may not change shape or chains;
/// 2. the step index rises by one, chains and condition stay;
/// 3. if `independent`, two halves of a batch give what the whole gives (noise goes by chain);
/// 4. if the kernel says its link is exact, the gradient of ⟨u, x_K⟩ in θ through three steps agrees
///    with central differences to 1e−6 (a step that cuts: its own dependence on θ, which is none). What the kernel carries from
///    program to program, such as adapted step sizes, is held fixed in the differences, as it is in links;
/// 5. if it says that the parameters do not enter, no link looks at the energy, and the end does not move with θ; if it says that it
///    cuts, the end does not depend on the start either.
///
/// # Errors
/// Names the first law that fails.
pub fn check_transition(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch, independent: bool) -> Verdict {
    let name = t.name();
    Failure::unless(at.dtype() == DType::F64, || format!("{name}: check_transition needs f64 samples"))?;
    let key = Key::root(17);
    let state = t.init(e, at.clone(), key.at("init"))?;
    let (one, two) = (t.step(e, &state, key.at(0u64))?, t.step(e, &state, key.at(0u64))?);
    Failure::unless(same_bits(&one.state.at.x, &two.state.at.x)?, || {
        format!("{name}: the same state and key gave two results")
    })?;
    let next = &one.state;
    Failure::unless(next.at.x.dims() == at.x.dims() && next.at.chains == at.chains, || {
        format!("{name}: shape or chains changed: {:?} from {:?}", next.at.x.dims(), at.x.dims())
    })?;
    Failure::unless(next.at.cond.is_some() == at.cond.is_some(), || {
        format!("{name}: the condition got lost")
    })?;
    Failure::unless(next.step == state.step + 1, || {
        format!("{name}: step index went from {} to {}", state.step, next.step)
    })?;
    for (what, v) in &one.info {
        Failure::unless(v.dims() == [at.len()], || {
            format!("{name}: diagnostic `{what}` has shape {:?}, expected ({},)", v.dims(), at.len())
        })?;
    }
    if let Some(slope) = &next.cache {
        let fresh = e.slope(&next.at)?;
        let gap = relative_gap(&slope.grad, &fresh.grad)?.max(relative_gap(&slope.energy, &fresh.energy)?);
        Failure::unless(gap <= 1e-11, || format!("{name}: the cached slope is stale by {gap:.3e}"))?;
    }
    if independent {
        halves(t, e, at, key)?;
    }
    match t.sensitivity() {
        Sensitivity::Unknown(_) => Ok(()),
        Sensitivity::Exact => link(t, e, at, key),
        says => {
            let looks = one.link.looks_at_energy();
            Failure::unless(!looks, || {
                format!("{name}: says that θ does not enter, but its link has a gradient")
            })?;
            link(t, e, at, key)?;
            Failure::unless(says != Sensitivity::Cuts || forgets(t, e, at, key)?, || {
                format!("{name}: says that it cuts, but its end depends on its start")
            })
        }
    }
}

/// Whether a step from another start ends at the same place.
fn forgets(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch, key: Key) -> Result<bool> {
    let other = at.with_x(at.x.affine(1.0, 0.05)?);
    let end = |at: &Batch| -> Result<Tensor> { Ok(steps(t, e, at, key, 1)?.0.at.x) };
    Ok(relative_gap(&end(at)?, &end(&other)?)? == 0.0)
}

fn same_bits(a: &Tensor, b: &Tensor) -> Result<bool> {
    let bits = |t: &Tensor| -> Result<Vec<u64>> {
        Ok(t.flatten_all()?.to_vec1::<f64>()?.into_iter().map(f64::to_bits).collect())
    };
    Ok(bits(a)? == bits(b)?)
}

fn steps(
    t: &dyn Transition,
    e: &dyn EnergyFn,
    at: &Batch,
    key: Key,
    n: usize,
) -> Result<(ChainState, Trail)> {
    steps_holding(t, e, at, key, n, &mut Vec::new())
}

/// `n` steps. What the kernel carries is, before step `k`, what `held` has at `k`; `held` is filled where it ends.
fn steps_holding(
    t: &dyn Transition,
    e: &dyn EnergyFn,
    at: &Batch,
    key: Key,
    n: usize,
    held: &mut Vec<BTreeMap<String, Tensor>>,
) -> Result<(ChainState, Trail)> {
    let mut state = t.init(e, at.clone(), key.at("init"))?;
    state.of = n;
    let mut links = Vec::new();
    for k in 0..n {
        match held.get(k) {
            Some(known) => state.aux.extend(known.clone()),
            None => {
                let of = |name: String| Some((name.clone(), state.aux.get(&name)?.clone()));
                held.push(t.carried().into_iter().filter_map(of).collect());
            }
        }
        let s = t.step(e, &state, key.at(k))?;
        links.push(s.link);
        state = s.state;
    }
    Ok((state, Trail::of(links)))
}

fn halves(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch, key: Key) -> Verdict {
    let whole = steps(t, e, at, key, 3)?.0.at.x;
    let half = at.len() / 2;
    for (start, count) in [(0, half), (half, at.len() - half)] {
        if count == 0 {
            continue;
        }
        let part = steps(t, e, &at.narrow(start, count)?, key, 3)?.0.at.x;
        let gap = relative_gap(&part, &whole.narrow(0, start, count)?)?;
        // Only the rounding of sums inside a row may differ; three steps amplify it little.
        Failure::unless(gap <= 1e-9, || {
            format!("{}: rows {start}..{} alone deviate from the batch by {gap:.3e}", t.name(), start + count)
        })?;
    }
    Ok(())
}

fn link(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch, key: Key) -> Verdict {
    let cuts = matches!(first_link(t, e, at, key)?, Link::Cut);
    let n = if cuts { 1 } else { 3 };
    let u = Key::root(19).normal(&Chains::range(0, at.len()), at.sample_shape(), at.dtype(), at.device())?;
    let mut held = Vec::new();
    let trail = steps_holding(t, e, at, key, n, &mut held)?.1;
    let mut got: BTreeMap<String, Tensor> = BTreeMap::new();
    for d in trail.pull_back(e, &u)? {
        let mut sum = e.grad_theta_slope(&d.at, &d.v)?;
        sum.accumulate(&got, 1.0)?;
        got = sum.grads;
    }
    // A step that does not depend on θ: both sides vanish, the differences but for their rounding.
    let gap = theta_gap(e, &got, 1e-5, 1e-6, || {
        let x = steps_holding(t, e, at, key, n, &mut held)?.0.at.x;
        Ok((x * &u)?.sum_all()?.to_scalar::<f64>()?)
    })?;
    Failure::unless(gap.relative() <= 1e-6, || {
        format!(
            "{}: the link's gradient of ⟨u, x⟩ through {n} steps deviates from differences by {:.3e} in `{}`",
            t.name(),
            gap.relative(),
            gap.at
        )
    })
}

fn first_link(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch, key: Key) -> Result<Link> {
    let state = t.init(e, at.clone(), key.at("init"))?;
    Ok(t.step(e, &state, key.at(0u64))?.link)
}
