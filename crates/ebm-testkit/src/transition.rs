//! The laws of a transition: determinism, independence of batching, truth of its link.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Tensor};
use ebm_core::{
    Batch, ChainState, Chains, EnergyFn, Key, Learning, Link, Result, Sensitivity, Trail, Transition,
};

use crate::difference::relative_gap;
use crate::{Failure, Verdict, theta_gap};

/// Checks `t` on `e` from `at` (f64):
///
/// 1. the same state and key give the same bits; where chains are moved by random numbers, another key gives others;
/// 2. the step index rises by one, shape, chains and condition stay, to the value; coordinates end in the box that it states;
/// 3. if `independent`, two halves of a batch give what the whole gives, and chains at one place do not share their noise (it goes by
///    chain);
/// 4. if the kernel says its link is exact, the gradient of ⟨u, x_K⟩ in θ through three steps, with a gradient step before them,
///    agrees with central differences to 1e−6, or to 1e−2 of a step that works in single precision (a step that cuts: its own dependence on θ, which is none). What the kernel carries from
///    program to program, such as adapted step sizes, is held fixed in the differences, as it is in links;
/// 5. if it says that the parameters do not enter, no link looks at the energy, and its own end does not move with θ; if it says that
///    it cuts, the end does not depend on the start either;
/// 6. a step that is given as data ([`Transition::row_step`]) does just what these say.
///
/// Steps that look at reference samples are lent some.
///
/// # Errors
/// Names the first law that fails.
pub fn check_transition(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch, independent: bool) -> Verdict {
    let name = t.name();
    Failure::unless(at.dtype() == DType::F64, || format!("{name}: check_transition needs f64 samples"))?;
    let key = Key::root(17);
    let state = started(t, e, at, key)?;
    let (one, two) = (t.step(e, &state, key.at(0u64))?, t.step(e, &state, key.at(0u64))?);
    Failure::unless(same_bits(&one.state.at.x, &two.state.at.x)?, || {
        format!(
            "{name}: the same state and key gave two results; all that is random comes from the key, none from a clock or a counter"
        )
    })?;
    keys(t, e, at, independent)?;
    let next = &one.state;
    Failure::unless(next.at.x.dims() == at.x.dims() && next.at.chains == at.chains, || {
        format!("{name}: shape or chains changed: {:?} from {:?}", next.at.x.dims(), at.x.dims())
    })?;
    let kept = match (&next.at.cond, &at.cond) {
        (Some(after), Some(before)) => after.dims() == before.dims() && relative_gap(after, before)? == 0.0,
        (after, before) => after.is_none() == before.is_none(),
    };
    Failure::unless(kept, || {
        format!(
            "{name}: the condition got lost or changed; keep it with `state.advance(x)` or `at.with_x(x)`"
        )
    })?;
    Failure::unless(next.step == state.step + 1, || {
        format!("{name}: step index went from {} to {}, wanted {}", state.step, next.step, state.step + 1)
    })?;
    if let Some((low, high)) = t.bounds() {
        let all = next.at.x.flatten_all()?.to_vec1::<f64>()?;
        let out = all.iter().find(|v| !(low..=high).contains(*v));
        let began = at.x.flatten_all()?.to_vec1::<f64>()?.iter().all(|v| (low..=high).contains(v));
        Failure::unless(out.is_none() || !began, || {
            format!(
                "{name}: a coordinate ends at {:?}, but `bounds` says [{low}, {high}]",
                out.copied().unwrap_or(f64::NAN)
            )
        })?;
    }
    for (what, v) in &one.info {
        Failure::unless(v.dims() == [at.len()], || {
            format!("{name}: diagnostic `{what}` has shape {:?}, expected ({},)", v.dims(), at.len())
        })?;
    }
    if let Some(slope) = &next.cache {
        let fresh = e.slope(&next.at)?;
        let gap = relative_gap(&slope.grad, &fresh.grad)?.max(relative_gap(&slope.energy, &fresh.energy)?);
        Failure::unless(gap <= 1e-11, || {
            format!(
                "{name}: the cached slope is stale by {gap:.3e}; a cache is the slope at the new position, or none"
            )
        })?;
    }
    if independent {
        halves(t, e, at, key)?;
    }
    as_data(t, e, &state, key)?;
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
                format!(
                    "{name}: says that it cuts, but its end depends on its start; `Passes` goes through it"
                )
            })
        }
    }
}

/// A state at `at`, with reference samples.
fn started(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch, key: Key) -> Result<ChainState> {
    let mut state = t.init(e, at.clone(), key.at("init"))?;
    let lent = Chains::range(1 << 20, 6);
    let drawn = e.spec().domain.uniform(&lent, at.sample_shape(), at.dtype(), at.device(), key.at("lent"))?;
    state.reference = Some(match drawn {
        Some(x) => x,
        None => key.at("lent").normal(&lent, at.sample_shape(), at.dtype(), at.device())?,
    });
    Ok(state)
}

/// Noise goes by key and by chain. Under ten keys, chains that all start at one place are looked at.
fn keys(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch, independent: bool) -> Verdict {
    let name = t.name();
    let rows = at.len();
    let alike = at.narrow(0, 1)?;
    let same = Batch::cat(&vec![&alike; rows])?.with_chains(at.chains.clone());
    let (mut by_key, mut by_chain) = (false, false);
    let mut first: Option<Tensor> = None;
    for k in 0..10u64 {
        let key = Key::root(53).at(k);
        let end = t.step(e, &started(t, e, &same, key)?, key)?.state.at.x;
        for row in 1..rows {
            by_chain |= !same_bits(&end.narrow(0, row, 1)?, &end.narrow(0, 0, 1)?)?;
        }
        match &first {
            Some(first) => by_key |= !same_bits(first, &end)?,
            None => first = Some(end),
        }
    }
    Failure::unless(by_key || !by_chain, || {
        format!(
            "{name}: ten keys gave the same step, though chains differ; its random numbers come from a fixed key: make them of the \
             `key` of `step`"
        )
    })?;
    Failure::unless(by_chain || !by_key || !independent || rows < 2, || {
        format!(
            "{name}: {rows} chains at one place make the same step under each of ten keys; they share their noise: draw it with \
             `key.normal(&at.chains, ...)`, a row for each chain"
        )
    })
}

/// What a step says of itself as data is what it does.
fn as_data(t: &dyn Transition, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Verdict {
    let Some(step) = t.row_step(state.step, state.of) else { return Ok(()) };
    let key = key.at(0u64);
    let at = &state.at;
    let noise = step.noise_of(at, key)?;
    let (hat, after) = match (step.noise_first, noise) {
        (true, Some(n)) => (at.with_x((&at.x + n)?), None),
        (_, n) => (at.clone(), n),
    };
    let want = step.end(&hat, &e.slope(&hat)?.grad, after.as_ref())?.0;
    let gap = relative_gap(&t.step(e, state, key)?.state.at.x, &want)?;
    Failure::unless(gap <= 1e-12, || {
        format!(
            "{}: a step is {gap:.3e} from what `row_step` says of it ({step:?}); an engine would run another program",
            t.name()
        )
    })
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
    let mut state = started(t, e, at, key)?;
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
    // What was learnt of all chains so far, such as a step size that they share, is what every part starts with.
    let learnt = t.step(e, &started(t, e, at, key)?, key.at("learn"))?.state.aux;
    let own = |name: String| Some((name.clone(), learnt.get(&name)?.clone()));
    let carried: BTreeMap<String, Tensor> = t.carried().into_iter().filter_map(own).collect();
    let end = |at: &Batch| -> Result<Tensor> {
        let mut state = started(t, e, at, key)?;
        state.aux.extend(carried.clone());
        (state.of, state.learning) = (3, Learning::Done);
        for k in 0..3usize {
            state = t.step(e, &state, key.at(k))?.state;
        }
        Ok(state.at.x)
    };
    let whole = end(at)?;
    let half = at.len() / 2;
    for (start, count) in [(0, half), (half, at.len() - half)] {
        if count == 0 {
            continue;
        }
        let part = end(&at.narrow(start, count)?)?;
        let gap = relative_gap(&part, &whole.narrow(0, start, count)?)?;
        // Only the rounding of sums inside a row may differ; three steps amplify it little.
        Failure::unless(gap <= 1e-9, || {
            format!(
                "{}: rows {start}..{} alone deviate from the batch by {gap:.3e}; noise goes by chain (`at.chains`) and not by row, and \
                 a step whose chains look at each other says so in `couples_chains`",
                t.name(),
                start + count
            )
        })?;
    }
    Ok(())
}

/// A gradient step `x′ = x − 0.2 ∇E(x)` before the links that are checked, so that a link through which a gradient goes changed
/// (half of it, turned) is seen although it has none of its own.
const BEFORE: f64 = 0.2;

fn before(e: &dyn EnergyFn, at: &Batch) -> Result<(Batch, Link)> {
    let x = (&at.x - e.slope(at)?.grad.affine(BEFORE, 0.0)?)?;
    Ok((at.with_x(x), Link::Descent { at: at.clone(), scale: BEFORE, pass: None, active: None }))
}

fn link(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch, key: Key) -> Verdict {
    // Of samples that are no real numbers there is no gradient step.
    let real = !e.spec().domain.is_discrete();
    let cuts = matches!(first_link(t, e, at, key)?, Link::Cut);
    let n = if cuts { 1 } else { 3 };
    let u = Key::root(19).normal(&Chains::range(0, at.len()), at.sample_shape(), at.dtype(), at.device())?;
    let mut held = Vec::new();
    let (start, first) = if real { before(e, at)? } else { (at.clone(), Link::Identity) };
    let links = steps_holding(t, e, &start, key, n, &mut held)?.1.into_links();
    let trail = Trail::of(std::iter::once(first).chain(links).collect());
    let mut got: BTreeMap<String, Tensor> = BTreeMap::new();
    for d in trail.pull_back(e, &u)? {
        let mut sum = e.grad_theta_slope(&d.at, &d.v)?;
        sum.accumulate(&got, 1.0)?;
        got = sum.grads;
    }
    // Pictures are changed in single precision: what differs by 1e−7 of one is lost there, and clips lie between larger steps.
    let (h, tolerance) =
        if single(&steps(t, e, &start, key, 1)?.0.at.x)? { (1e-2, 1e-2) } else { (1e-5, 1e-6) };
    // A step that does not depend on θ: both sides vanish, the differences but for their rounding.
    let gap = theta_gap(e, &got, h, tolerance, || {
        let start = if real { before(e, at)?.0 } else { at.clone() };
        let x = steps_holding(t, e, &start, key, n, &mut held)?.0.at.x;
        Ok((x * &u)?.sum_all()?.to_scalar::<f64>()?)
    })?;
    Failure::unless(gap.relative() <= tolerance, || {
        format!(
            "{}: the link's gradient of ⟨u, x⟩ through a gradient step and {n} steps deviates from differences by {:.3e}, at `{}`; say \
             what becomes of dx: `Descent` for a gradient step with its clamp in `pass`, `Identity` only for what adds a constant, \
             `Link::linear` for a map of the position, `Cut` where nothing goes through",
            t.name(),
            gap.relative(),
            gap.at
        )
    })
}

/// Whether all numbers went through single precision.
fn single(x: &Tensor) -> Result<bool> {
    let all = x.flatten_all()?.to_vec1::<f64>()?;
    Ok(all.iter().all(|v| f64::from(*v as f32).to_bits() == v.to_bits()))
}

fn first_link(t: &dyn Transition, e: &dyn EnergyFn, at: &Batch, key: Key) -> Result<Link> {
    Ok(t.step(e, &started(t, e, at, key)?, key.at(0u64))?.link)
}
