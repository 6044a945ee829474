//! Everything that is asked of a program as it stands.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Autograd, Batch, Blind, Chains, Condition, Diff, DrawRequest, Drawn, EnergyFn, EnergySpec, Forward, Key,
    ParamSet, Result, Role, Sampler, Stepped, View,
};

use super::targets;
use crate::difference::relative_gap;
use crate::sampler::some_of;
use crate::{Failure, Verdict, theta_gap};

/// Checks `s` on samples of `shape`, of a net if it moves real samples, else of a linked energy that it moves:
///
/// 1. the same key gives the same bits, watched or not; chains and condition stay, to the value;
/// 2. random numbers go by key and by chain; if chains are independent, two halves of a batch give what the whole gives;
/// 3. a probe sees each step once and in order, as many as the program says, also for other numbers of steps;
/// 4. the trail has as many links as were asked for, and through all steps its gradient of ⟨u, x⟩ in θ agrees with central differences
///    to 1e−6, as far as the program says that it is exact; step sizes are fixed as after a warm-up;
/// 5. coordinates end in the box that it states.
///
/// What a program owes the transitions in it is seen by [`check_sampler`](crate::check_sampler).
///
/// # Errors
/// Names the first law that fails.
pub fn sampler(s: &dyn Sampler, shape: &[usize]) -> Verdict {
    let short = s.with_steps(s.steps().min(6));
    let s = short.as_ref();
    let name = s.name();
    if s.walks_levels() {
        let e = levelled(shape)?;
        return look(s, &e, &start(s, &e)?);
    }
    // As with transitions: a slope so steep that samples end on a clamp shows nothing.
    let mut size = 1.0;
    let sketch = targets::sketch(shape, size)?;
    if s.fits(&sketch).is_err() {
        let shapes: [&[usize]; 5] = [shape, &[4], &[2, 2], &[1, 2, 2], &[3, 2]];
        let known = targets::linked(&shapes, &|e| s.fits(e).is_ok());
        let Some((_, e)) = known.into_iter().next() else {
            return Err(Failure::new(format!(
                "{name}: moves chains of no energy that is known here; link the crate of one that it moves"
            )));
        };
        let at = Batch::new(targets::usual(e.as_ref(), 4, Key::root(7))?)?;
        return look(s, e.as_ref(), &at);
    }
    let at = start(s, &sketch)?;
    while size > 1e-6 && far(s, &targets::sketch(shape, size)?, &at)? {
        size *= 0.1;
    }
    look(s, &targets::sketch(shape, size)?, &at)
}

/// A net whose condition is a level, for programs that walk levels.
struct Levelled;
impl Forward for Levelled {
    fn terms<V: Diff>(&self, p: &View, x: &V, cond: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?.square()?.sum_last()?.times(p.get("curvature")?)?;
        match cond {
            Some(level) => x.times(&(level.sqr()? + 1.0)?.recip()?),
            None => Ok(x),
        }
    }
}

fn levelled(shape: &[usize]) -> Result<Autograd<Levelled>> {
    let one = Tensor::new(&[0.5f64], &Device::Cpu)?;
    let mut spec = EnergySpec::new(shape, &["levelled"]);
    spec.condition = Condition::Required(1);
    let params = ParamSet::new([("curvature".to_string(), one, Role::Trainable)])?;
    Ok(Autograd::new("levelled", Levelled, spec, params))
}

fn start(s: &dyn Sampler, e: &dyn EnergyFn) -> Result<Batch> {
    let chains = Chains::range(7, 4);
    let (low, high) = s.bounds().unwrap_or((0.0, 1.0));
    let u = Key::root(9).uniform(&chains, &e.spec().sample_shape, DType::F64, &Device::Cpu)?;
    let x = u.affine(0.8 * (high - low), low + 0.1 * (high - low))?;
    let cond = if s.walks_levels() { None } else { targets::condition(e, 4)? };
    Ok(Batch::new(x)?.with_chains(chains).with_cond(cond))
}

/// What a program has learnt, held fixed.
type Memory = BTreeMap<String, Tensor>;

fn draw(s: &dyn Sampler, e: &dyn EnergyFn, at: &Batch, key: Key, trail: usize) -> Result<Drawn> {
    draw_with(s, e, at, key, (trail, &Memory::new()))
}

fn draw_with(
    s: &dyn Sampler,
    e: &dyn EnergyFn,
    at: &Batch,
    key: Key,
    (trail, learnt): (usize, &Memory),
) -> Result<Drawn> {
    let (mut blind, mut memory) = (Blind, learnt.clone());
    let lent = targets::usual(e, 6, Key::root(11))?;
    let mut request = DrawRequest::new(&mut blind, &mut memory)
        .with_trail(trail, None)
        .with_reference(Some(&lent))
        .with_warm_up(0);
    s.draw(e, at.clone(), key, &mut request)
}

fn far(s: &dyn Sampler, e: &dyn EnergyFn, at: &Batch) -> Result<bool> {
    let x = targets::numbers(&draw(s, e, at, Key::root(12), 0)?.last.at.x)?;
    let out = x.iter().filter(|v| match s.bounds() {
        Some((low, high)) => **v <= low || **v >= high,
        None => v.abs() > 20.0 || v.is_nan(),
    });
    Ok(2 * out.count() > x.len())
}

fn look(s: &dyn Sampler, e: &dyn EnergyFn, at: &Batch) -> Verdict {
    let name = s.name();
    let unless =
        |holds: bool, text: &dyn Fn() -> String| Failure::unless(holds, || format!("{name}: {}", text()));
    let key = Key::root(17);
    let one = draw(s, e, at, key, 0)?;
    let two = draw(s, e, at, key, 0)?;
    unless(relative_gap(&one.last.at.x, &two.last.at.x)? == 0.0, &|| {
        "the same key gave two results; nothing is counted or drawn outside of key, state and memory".into()
    })?;
    let end = &one.last.at;
    unless(end.chains == at.chains && end.x.dims() == at.x.dims(), &|| {
        format!("shape or chains changed: {:?} from {:?}", end.x.dims(), at.x.dims())
    })?;
    if !s.walks_levels() {
        let kept = match (&end.cond, &at.cond) {
            (Some(a), Some(b)) => a.dims() == b.dims() && relative_gap(a, b)? == 0.0,
            (a, b) => a.is_none() == b.is_none(),
        };
        unless(kept, &|| "the condition got lost or changed on the way".into())?;
    }
    if let Some((low, high)) = s.bounds() {
        let out = targets::numbers(&end.x)?.into_iter().find(|v| !(low..=high).contains(v));
        unless(out.is_none(), &|| format!("a coordinate ends at {out:?}, `bounds` says [{low}, {high}]"))?;
    }
    keys(s, e, at)?;
    for steps in [s.steps(), s.steps() + 2, 1] {
        let other = s.with_steps(steps);
        // Some programs cannot do with one step.
        let fits = other.steps() == steps || (steps == 1 && other.steps() <= 2);
        unless(fits, &|| format!("asked for {steps} steps, it says {}", other.steps()))?;
        let steps = other.steps();
        let mut seen = Vec::new();
        let mut probe = |index: usize, _: &Stepped| -> Result<()> {
            seen.push(index);
            Ok(())
        };
        let mut memory = BTreeMap::new();
        let lent = targets::usual(e, 6, Key::root(11))?;
        let mut request =
            DrawRequest::new(&mut probe, &mut memory).with_reference(Some(&lent)).with_warm_up(0);
        let watched = other.draw(e, at.clone(), key, &mut request)?.last.at.x;
        unless(seen.iter().copied().eq(0..steps), &|| {
            format!("a probe of {steps} steps saw {seen:?}; call it once after each step, from 0")
        })?;
        let gap = relative_gap(&watched, &draw(other.as_ref(), e, at, key, 0)?.last.at.x)?;
        unless(gap <= 1e-9, &|| format!("a probe that only looks changes samples by {gap:.3e}"))?;
    }
    if !s.couples_chains() {
        // Parts of a batch start with what was learnt of all of it, such as a step size that chains share.
        let mut learnt = Memory::new();
        let lent = targets::usual(e, 6, Key::root(11))?;
        s.draw(
            e,
            at.clone(),
            key,
            &mut DrawRequest::new(&mut Blind, &mut learnt).with_reference(Some(&lent)),
        )?;
        let whole = draw_with(s, e, at, key, (0, &learnt))?.last.at.x;
        for (first, count) in [(0, 1), (1, at.len() - 1)] {
            let part = draw_with(s, e, &at.narrow(first, count)?, key, (0, &learnt))?.last.at.x;
            let gap = relative_gap(&part, &whole.narrow(0, first, count)?)?;
            unless(gap <= 1e-9, &|| {
                format!(
                    "rows {first}..{} alone deviate from the batch by {gap:.3e}; noise goes by chain, and a program whose chains look at \
                     each other says so in `couples_chains`",
                    first + count
                )
            })?;
        }
    }
    trail(s, e, at, key)
}

fn keys(s: &dyn Sampler, e: &dyn EnergyFn, at: &Batch) -> Verdict {
    let first = at.narrow(0, 1)?;
    let alike = Batch::cat(&vec![&first; at.len()])?.with_chains(at.chains.clone());
    let ends = (0..6u64).map(|k| draw(s, e, &alike, Key::root(53).at(k), 0)).collect::<Result<Vec<_>>>()?;
    let own =
        |d: &Drawn, row: usize| -> Result<Vec<f64>> { targets::numbers(&d.last.at.x.narrow(0, row, 1)?) };
    let (mut by_key, mut by_chain) = (false, false);
    for end in &ends {
        by_key |= own(end, 0)? != own(&ends[0], 0)?;
        for row in 1..at.len() {
            by_chain |= own(end, row)? != own(end, 0)?;
        }
    }
    Failure::unless(by_key || !by_chain, || {
        format!(
            "{}: six keys gave the same draw, though chains differ; its random numbers come from a fixed key",
            s.name()
        )
    })?;
    Failure::unless(by_chain || !by_key || s.couples_chains(), || {
        format!(
            "{}: chains at one place make the same way under each of six keys; they share their noise",
            s.name()
        )
    })
}

fn trail(s: &dyn Sampler, e: &dyn EnergyFn, at: &Batch, key: Key) -> Verdict {
    let all = draw(s, e, at, key, usize::MAX)?.trail.len();
    for n in some_of(all) {
        let found = draw(s, e, at, key, n)?.trail.len();
        Failure::unless(!s.sensitivity(n).is_exact() || found == n, || {
            format!(
                "{}: asked for {n} of {all} links, it kept {found}; `Trail::push` keeps the last",
                s.name()
            )
        })?;
    }
    if !s.sensitivity(usize::MAX).is_exact() {
        return Ok(());
    }
    let u = targets::normal(at.sample_shape(), at.len(), Key::root(19))?;
    let mut got = BTreeMap::new();
    for d in draw(s, e, at, key, usize::MAX)?.trail.pull_back(e, &u)? {
        let mut sum = e.grad_theta_slope(&d.at, &d.v)?;
        sum.accumulate(&got, 1.0)?;
        got = sum.grads;
    }
    let gap = theta_gap(e, &got, 1e-5, 1e-6, || targets::sum(&(draw(s, e, at, key, 0)?.last.at.x * &u)?))?;
    Failure::unless(gap.relative() <= 1e-6, || {
        format!(
            "{}: the gradient of ⟨u, x⟩ through {all} links deviates from differences by {:.3e}, at `{}`; a program that says that it is \
             exact keeps the link of every step",
            s.name(),
            gap.relative(),
            gap.at
        )
    })
}
