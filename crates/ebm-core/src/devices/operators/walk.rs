//! Whole walks of row steps: by the energy itself, else by one slope and a few kernels a step.

use std::cell::Cell;

use candle_core::{DType, Tensor};

use super::recordings::{Reel, Title};
use super::{Operators, RowOps, Tape, TapeOps, operators};
use crate::{Batch, EnergyFn, Key, Result, RowProgram, RowStep, Slope, Stop, Walked};

/// Steps from which on a walk is worth a tape: one to run, one to record, one to play, and the last, which is plain.
const WORTH_A_TAPE: usize = 4;

/// A row program by [the energy's own walk](EnergyFn::walk), else by the row operators of the samples' device, recorded where
/// the device can; `None` where neither covers it, and a sampler takes its steps one by one.
///
/// # Errors
/// If the batch does not fit the energy, an operation fails, or somebody [wishes to stop](RowProgram::stop).
pub fn walk(e: &dyn EnergyFn, at: &Batch, program: &RowProgram, key: Key) -> Result<Option<Walked>> {
    if let Some(walked) = e.walk(at, program, key)? {
        return Ok(Some(walked));
    }
    match operators(at.device()).filter(|_| at.dtype() == DType::F32) {
        Some(o) => on_device(&o, e, at, program, key),
        None => Ok(None),
    }
}

fn on_device(
    o: &Operators,
    e: &dyn EnergyFn,
    at: &Batch,
    program: &RowProgram,
    key: Key,
) -> Result<Option<Walked>> {
    let Some(rows) = &o.rows else { return Ok(None) };
    let walker = Walker { energy: e, at };
    let (mut x, mut last) = (at.x.clone(), None);
    let (mut energies, mut squares) = (Vec::new(), Vec::new());
    let mut done = 0;
    if let ([rest @ .., _], Some(tapes)) = (program.steps.as_slice(), &o.tapes)
        && program.steps.len() >= WORTH_A_TAPE
        && let Some((after, energy, square)) = walker.recorded(tapes.as_ref(), rest, key, &program.stop)?
    {
        done = rest.len();
        // The logs are the tape's; they are copied below, beside those of the last step.
        (x, energies, squares) = (after, vec![energy], vec![square]);
    }
    for (k, step) in program.steps.iter().enumerate().skip(done) {
        program.stop.check()?;
        let Some(taken) = walker.step(rows.as_ref(), &x, step, key.at(k))? else { return Ok(None) };
        let Some(square) = rows.mean_square(&taken.slope.grad)? else { return Ok(None) };
        x = taken.next;
        energies.push(taken.slope.energy.unsqueeze(0)?);
        squares.push(square.unsqueeze(0)?);
        last = Some((taken.hat, taken.slope.grad));
    }
    let Some((hat, grad)) = last else { return Ok(None) };
    let (energy, grad_square) = (Tensor::cat(&energies, 0)?, Tensor::cat(&squares, 0)?);
    Ok(Some(Walked { x, hat, grad, energy, grad_square }))
}

/// Takes steps of one energy.
struct Walker<'a> {
    energy: &'a dyn EnergyFn,
    at: &'a Batch,
}

/// A step's end, and the point and slope it was taken from.
struct Taken {
    next: Tensor,
    hat: Tensor,
    slope: Slope,
}

impl Walker<'_> {
    fn slope(&self, hat: &Tensor) -> Result<Slope> {
        self.energy.slope(&self.at.with_x(hat.clone()))
    }

    /// `None` where the device has no kernels for it.
    fn step(&self, rows: &dyn RowOps, x: &Tensor, step: &RowStep, key: Key) -> Result<Option<Taken>> {
        let chains = &self.at.chains;
        let hat = if noisy(step) { rows.add_noise(x, step.noise, chains, key)? } else { Some(x.clone()) };
        let Some(hat) = hat else { return Ok(None) };
        let slope = self.slope(&hat)?;
        let next = rows.advance(step, &hat, &slope.grad, chains, key)?;
        Ok(next.map(|next| Taken { next, hat, slope }))
    }

    /// All of `steps`, the first with `key.at(0)`: the samples after them and the logs of the tape, which the next walk writes over. `None` where
    /// the device does not cover them.
    ///
    /// The first step is run, which makes whatever follows from the parameters of this moment; the others are started from a recording of an
    /// earlier walk, or from one of the second step.
    fn recorded(
        &self,
        tapes: &dyn TapeOps,
        steps: &[RowStep],
        key: Key,
        stop: &Stop,
    ) -> Result<Option<(Tensor, Tensor, Tensor)>> {
        let steps: Vec<(Key, RowStep)> = steps.iter().enumerate().map(|(k, s)| (key.at(k), *s)).collect();
        let noisy = steps.iter().any(|(_, step)| noisy(step));
        let title = || Title::of(self.energy, self.at, noisy, steps.len(), tapes.mode());
        let kept = title().and_then(|title| tapes.reels().take(&title));
        let mut reel = match kept {
            Some(reel) => {
                reel.tape.rewind(self.at, &steps)?;
                reel
            }
            None => Reel { title: None, tape: Tape::new(self.at, &steps)?, recording: None },
        };
        let Reel { title: of, tape, recording } = &mut reel;
        let covered = Cell::new(true);
        tapes.prepared(&mut || {
            let mut run = || {
                covered.set(covered.get() && self.step_on(tapes, tape, noisy)?);
                Ok(tapes.next(tape)?)
            };
            run()?;
            if !covered.get() {
                return Ok(());
            }
            // The step may have moved what the recording reads.
            let now = title();
            if !of.as_ref().zip(now.as_ref()).is_some_and(|(of, now)| of.same(now)) {
                *recording = None;
            }
            *of = now;
            if recording.is_none() {
                *recording = tapes.record(tape, &mut run)?;
            }
            (1..steps.len()).try_for_each(|_| {
                // Of steps that are played the energy hears nothing.
                stop.check()?;
                match &*recording {
                    Some(recording) => Ok(recording.play()?),
                    None => run(),
                }
            })
        })?;
        if !covered.get() {
            return Ok(None);
        }
        let (x, logs) = (tape.x.force_contiguous()?, (tape.energy.clone(), tape.grad_square.clone()));
        if reel.recording.is_some() {
            tapes.reels().put(reel);
        }
        Ok(Some((x, logs.0, logs.1)))
    }

    /// A step on a tape; false where the device has no kernels for it.
    fn step_on(&self, tapes: &dyn TapeOps, tape: &Tape, noisy: bool) -> Result<bool> {
        let hat = if noisy { tapes.add_noise(tape)? } else { Some(tape.x.clone()) };
        let Some(hat) = hat else { return Ok(false) };
        let slope = self.energy.slope(&self.at.with_x(hat.clone()).with_cond(tape.condition.clone()))?;
        Ok(tapes.log(tape, &slope.energy, &slope.grad)? && tapes.advance(tape, &hat, &slope.grad)?)
    }
}

/// Whether noise comes before the gradient.
fn noisy(step: &RowStep) -> bool {
    step.noise_first && step.noise != 0.0
}
