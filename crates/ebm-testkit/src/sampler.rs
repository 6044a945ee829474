//! The laws of a program: what it owes its caller, seen from inside by a transition that keeps count.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Batch, Blind, ChainState, Chains, DrawRequest, Drawn, EnergyFn, Key, Learning, Link, Probe, Result,
    Sampler, Sensitivity, Stepped, Transition,
};

use crate::difference::{relative_gap, relative_gap_all};
use crate::{Failure, Verdict, theta_gap};

/// What the transitions of a check saw.
#[derive(Default)]
struct Seen {
    /// Step index and length of the program, of each step.
    steps: Vec<(usize, usize)>,
    /// Steps without the reference samples.
    without: usize,
    /// What each step might learn.
    learning: Vec<Learning>,
}

/// `x′ = x − 0.1∇E(x) + 0.05ε`, which counts its steps in what it carries.
struct Spy {
    seen: Arc<Mutex<Seen>>,
    blind: bool,
}

/// Name of the count.
const COUNT: &str = "spy.steps";

impl Transition for Spy {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.steps.push((state.step, state.of));
        seen.without += usize::from(state.reference.is_none());
        seen.learning.push(state.learning);
        let at = &state.at;
        let eps = key.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let slope = state.slope(e)?;
        let x = ((&at.x - slope.grad.affine(0.1, 0.0)?)? + eps.affine(0.05, 0.0)?)?;
        let mut next = state.advance(x);
        let count = match state.aux.get(COUNT) {
            Some(count) => count.affine(1.0, 1.0)?,
            None => Tensor::new(&[1f64], &Device::Cpu)?,
        };
        next.aux.insert(COUNT.into(), count);
        let link = Link::Descent { at: at.clone(), scale: 0.1, pass: None, active: None };
        Ok(Stepped::new(next, link).with("energy", slope.energy))
    }

    fn sensitivity(&self) -> Sensitivity {
        if self.blind { Sensitivity::Unknown(self.name()) } else { Sensitivity::Exact }
    }

    fn carried(&self) -> Vec<String> {
        vec![COUNT.into()]
    }

    fn name(&self) -> String {
        "spy".into()
    }
}

/// Counts the steps that it is shown.
#[derive(Default)]
struct Watch(Vec<usize>);

impl Probe for Watch {
    fn on_step(&mut self, index: usize, _: &Stepped) -> Result<()> {
        self.0.push(index);
        Ok(())
    }
}

type Memory = BTreeMap<String, Tensor>;

/// Makes the program around a transition; see [`check_sampler`].
type Build<'a> = &'a dyn Fn(Box<dyn Transition>) -> Result<Box<dyn Sampler>>;

/// Checks the program that `build` makes around a transition, on `e` from `at` (f64, at least two chains):
///
/// 1. the same key gives the same bits, and watching changes nothing but rounding; chains and condition stay;
/// 2. a probe sees each step once and in order, as many as the program says; so for other numbers of steps;
/// 3. each step knows its place in the program, sees the reference samples of the request, and what it may learn: all of it
///    in a warm-up longer than the program, nothing without one, on and on where the request names none;
/// 4. what a transition carries is there again in the next draw, none of it lost and none made up;
/// 5. if chains are independent, two halves of a batch give what the whole gives;
/// 6. the trail has as many links and rows as were asked for, and through all steps its gradient of ⟨u, x⟩ in θ agrees with
///    central differences to 1e−6, as far as the program says that it is exact;
/// 7. a transition that cannot tell how it depends on θ is named if it is reached.
///
/// A program with several transitions is checked once for each, with plain ones in the other places.
///
/// # Errors
/// Names the first law that fails.
pub fn check_sampler(build: Build<'_>, e: &dyn EnergyFn, at: &Batch) -> Verdict {
    let reached = check_reached(build, e, at)?;
    Failure::unless(reached, || "the program makes no step of this transition; give it more steps".into())
}

/// The same of a program that may be too short to reach the transition; whether it did.
pub(crate) fn check_reached(build: Build<'_>, e: &dyn EnergyFn, at: &Batch) -> Verdict<bool> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let spy = |blind| Box::new(Spy { seen: seen.clone(), blind }) as Box<dyn Transition>;
    let s = build(spy(false))?;
    let check = Check { s: s.as_ref(), e, at, name: s.name() };
    Failure::unless(at.dtype() == DType::F64 && at.len() > 1, || {
        format!("{}: check_sampler needs two chains in f64", check.name)
    })?;
    check.bits()?;
    if seen.lock().unwrap_or_else(PoisonError::into_inner).steps.is_empty() {
        return Ok(false);
    }
    check.steps(&seen)?;
    check.memory(&seen)?;
    if !s.couples_chains() {
        check.halves()?;
    }
    check.trail()?;
    if let Sensitivity::Exact = build(spy(true))?.sensitivity(usize::MAX) {
        return Err(Failure::new(format!(
            "{}: vouches for a transition that cannot tell how it depends on θ",
            check.name
        )));
    }
    Ok(true)
}

struct Check<'a> {
    s: &'a dyn Sampler,
    e: &'a dyn EnergyFn,
    at: &'a Batch,
    name: String,
}

impl Check<'_> {
    fn unless(&self, holds: bool, text: impl FnOnce() -> String) -> Verdict {
        Failure::unless(holds, || format!("{}: {}", self.name, text()))
    }

    /// A draw of `s` with its last `trail` links of `rows` rows.
    fn draw(
        &self,
        s: &dyn Sampler,
        at: &Batch,
        probe: &mut dyn Probe,
        memory: &mut Memory,
        (trail, rows): (usize, Option<usize>),
    ) -> Result<Drawn> {
        let mut request =
            DrawRequest::new(probe, memory).with_trail(trail, rows).with_reference(Some(&self.at.x));
        s.draw(self.e, at.clone(), Key::root(17), &mut request)
    }

    fn plain(&self, at: &Batch) -> Result<Drawn> {
        self.draw(self.s, at, &mut Blind, &mut Memory::new(), (0, None))
    }

    fn bits(&self) -> Verdict {
        let (one, two) = (self.plain(self.at)?, self.plain(self.at)?);
        self.unless(relative_gap(&one.last.at.x, &two.last.at.x)? == 0.0, || {
            "the same key gave two results".into()
        })?;
        let watched = self.draw(self.s, self.at, &mut Watch::default(), &mut Memory::new(), (0, None))?;
        let gap = relative_gap(&one.last.at.x, &watched.last.at.x)?;
        self.unless(gap <= 1e-9, || format!("a probe that only looks changes samples by {gap:.3e}"))?;
        let end = &one.last.at;
        self.unless(end.chains == self.at.chains && end.x.dims() == self.at.x.dims(), || {
            format!("shape or chains changed: {:?} from {:?}", end.x.dims(), self.at.x.dims())
        })?;
        let kept = match (&end.cond, &self.at.cond) {
            (Some(a), Some(b)) => a.dims() == b.dims() && relative_gap(a, b)? == 0.0,
            (a, b) => a.is_none() == b.is_none(),
        };
        self.unless(kept, || "the condition got lost or changed".into())
    }

    fn steps(&self, seen: &Mutex<Seen>) -> Verdict {
        let clear = || std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        for steps in [self.s.steps(), self.s.steps() + 3, 1] {
            let s = self.s.with_steps(steps);
            self.unless(s.steps() == steps, || format!("asked for {steps} steps, it says {}", s.steps()))?;
            clear();
            let mut watch = Watch::default();
            self.draw(s.as_ref(), self.at, &mut watch, &mut Memory::new(), (0, None))?;
            self.unless(watch.0.iter().copied().eq(0..steps), || {
                format!("a probe of {steps} steps saw {:?}", watch.0)
            })?;
            let seen = clear();
            self.unless(seen.without == 0, || "transitions do not see the reference samples".into())?;
            self.learning(s.as_ref(), &clear)?;
            let lost = seen.steps.iter().find(|(k, of)| k >= of);
            self.unless(lost.is_none(), || format!("a step has place and length {lost:?} in its program"))?;
        }
        Ok(())
    }

    fn learning(&self, s: &dyn Sampler, clear: &dyn Fn() -> Seen) -> Verdict {
        let cases =
            [(None, Learning::Follow), (Some(0), Learning::Done), (Some(2 * s.steps()), Learning::WarmUp)];
        for (warm_up, wanted) in cases {
            let (mut blind, mut memory) = (Blind, Memory::new());
            let mut request = DrawRequest::new(&mut blind, &mut memory).with_reference(Some(&self.at.x));
            request.warm_up = warm_up;
            s.draw(self.e, self.at.clone(), Key::root(17), &mut request)?;
            let wrong = clear().learning.into_iter().find(|found| *found != wanted);
            self.unless(wrong.is_none(), || {
                format!(
                    "of {} steps with a warm-up of {warm_up:?} one was told {wrong:?}, not {wanted:?}",
                    s.steps()
                )
            })?;
        }
        Ok(())
    }

    fn memory(&self, seen: &Mutex<Seen>) -> Verdict {
        let made = || seen.lock().unwrap_or_else(PoisonError::into_inner).steps.len();
        let (mut memory, before) = (Memory::new(), made());
        for draw in 1..3 {
            self.draw(self.s, self.at, &mut Blind, &mut memory, (0, None))?;
            let mut kept = 0.0;
            for (_, t) in memory.iter().filter(|(name, _)| name.ends_with(COUNT)) {
                kept += t.to_vec1::<f64>()?[0];
            }
            let made = (made() - before) as f64;
            self.unless(kept == made, || {
                format!(
                    "after draw {draw} of {made} steps in all, {kept} are left of what a transition carries"
                )
            })?;
        }
        Ok(())
    }

    fn halves(&self) -> Verdict {
        let whole = self.plain(self.at)?.last.at.x;
        let half = self.at.len() / 2;
        for (start, count) in [(0, half), (half, self.at.len() - half)] {
            let part = self.plain(&self.at.narrow(start, count)?)?.last.at.x;
            let gap = relative_gap(&part, &whole.narrow(0, start, count)?)?;
            self.unless(gap <= 1e-9, || {
                format!("rows {start}..{} alone deviate from the batch by {gap:.3e}", start + count)
            })?;
        }
        Ok(())
    }

    fn trail(&self) -> Verdict {
        let draw = |trail, rows| self.draw(self.s, self.at, &mut Blind, &mut Memory::new(), (trail, rows));
        let all = draw(usize::MAX, None)?.trail.len();
        for n in some_of(all) {
            let found = draw(n, None)?.trail.len();
            self.unless(!self.s.sensitivity(n).is_exact() || found == n, || {
                format!("asked for {n} of {all} links, it kept {found}")
            })?;
        }
        let at = self.at;
        let u =
            Key::root(19).normal(&Chains::range(0, at.len()), at.sample_shape(), at.dtype(), at.device())?;
        let gradient = |drawn: &Drawn, u: &Tensor| -> Result<BTreeMap<String, Tensor>> {
            let mut got = BTreeMap::new();
            for d in drawn.trail.pull_back(self.e, u)? {
                let mut sum = self.e.grad_theta_slope(&d.at, &d.v)?;
                sum.accumulate(&got, 1.0)?;
                got = sum.grads;
            }
            Ok(got)
        };
        let first = u.narrow(0, 0, 1)?;
        for link in draw(usize::MAX, Some(1))?.trail.into_links() {
            if let Link::Descent { at, .. } = link {
                self.unless(at.len() == 1, || format!("a trail of one row holds {}", at.len()))?;
            }
        }
        let (gap, name) = relative_gap_all(
            &gradient(&draw(usize::MAX, Some(1))?, &first)?,
            &gradient(&draw(usize::MAX, None)?, &first)?,
        )?;
        self.unless(gap <= 1e-9, || format!("a trail of one row is another in `{name}` by {gap:.3e}"))?;
        if !self.s.sensitivity(usize::MAX).is_exact() {
            return Ok(());
        }
        let got = gradient(&draw(usize::MAX, None)?, &u)?;
        let gap = theta_gap(self.e, &got, 1e-5, 1e-6, || {
            Ok((self.plain(at)?.last.at.x * &u)?.sum_all()?.to_scalar::<f64>()?)
        })?;
        self.unless(gap.relative() <= 1e-6, || {
            format!(
                "the gradient of ⟨u, x⟩ through {all} links deviates from differences by {:.3e} in `{}`",
                gap.relative(),
                gap.at
            )
        })
    }
}

/// Some lengths of a trail of at most `all` links, both ends among them.
pub(crate) fn some_of(all: usize) -> std::collections::BTreeSet<usize> {
    [0, 1, 2, all / 2, all.saturating_sub(1), all].into_iter().filter(|n| *n <= all).collect()
}
