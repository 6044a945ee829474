//! Sums over images: gradients of parameters, in fixed chunks that are added in order.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::late::{self, Images};
use super::layout::{Mode, Segment, segments};
use super::pack::{Packed, Theta, unpack};
use super::plan::{Call, ConvPlan, Gradients, RowWeights, THETA_CHUNK, Worker, Workspace};
use crate::pool::{Pool, Split};

/// Images whose factors of late weight gradients are kept at once, for the same reason a constant.
const KEPT: usize = 16 * THETA_CHUNK;

/// The sum of the chunks' weight gradients, added strictly in order.
struct Ordered {
    state: Mutex<(usize, Vec<f32>)>,
    turn: Condvar,
}

impl Ordered {
    fn lock(&self) -> MutexGuard<'_, (usize, Vec<f32>)> {
        // A poisoned lock means that a chunk panicked; the pool passes the panic on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `part` as it is (leaving another vector of its length) or adds it.
    fn add(&self, index: usize, part: &mut Vec<f32>) {
        let mut s = self.lock();
        while s.0 < index {
            s = self.turn.wait(s).unwrap_or_else(PoisonError::into_inner);
        }
        if index == 0 {
            std::mem::swap(&mut s.1, part);
        } else {
            s.1.iter_mut().zip(part.iter()).for_each(|(a, b)| *a += b);
        }
        self.pass(s, index);
    }

    fn pass(&self, mut s: MutexGuard<'_, (usize, Vec<f32>)>, index: usize) {
        s.0 = s.0.max(index + 1);
        drop(s);
        self.turn.notify_all();
    }
}

/// Lets the others go on if a chunk panics, or is refused its weights, before it has added its part.
struct Turn<'a> {
    of: &'a Ordered,
    added: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.added {
            self.of.pass(self.of.lock(), usize::MAX - 1);
        }
    }
}

impl ConvPlan {
    /// A call that sums over images: fixed chunks, added in order.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn theta<E: Send>(
        &self,
        mode: Mode,
        packed: &Packed,
        ws: &mut Workspace,
        pool: &Pool,
        call: Call<'_>,
        (v, weights): (Option<&[f32]>, Option<&RowWeights<'_, E>>),
        n: usize,
        terms: &mut [f32],
    ) -> Result<Gradients, E> {
        let total = Ordered { state: Mutex::new((0, vec![0.0; self.theta.each])), turn: Condvar::new() };
        let refused: Mutex<Option<(usize, E)>> = Mutex::new(None);
        let (t, part) = (self.terms_len(), THETA_CHUNK * mode.streams * self.theta.late.kept);
        let most = n.min(KEPT).div_ceil(THETA_CHUNK) * part;
        let (workers, kept, late) = ws.with_late(pool.threads(), most, self.theta.late.len());
        for first in (0..n).step_by(KEPT) {
            let end = (first + KEPT).min(n);
            let slices =
                [Split::every(&mut terms[first * t..end * t], THETA_CHUNK * t), Split::every(kept, part)];
            let chunks = (end - first).div_ceil(THETA_CHUNK);
            pool.run_split(workers, chunks, slices, |w, i, [terms, kept]| {
                let mut turn = Turn { of: &total, added: false };
                let i = first / THETA_CHUNK + i;
                let (from, to) = (i * THETA_CHUNK, ((i + 1) * THETA_CHUNK).min(n));
                let arena = w.arena(self.program(), mode, THETA_CHUNK);
                w.theta.resize(self.theta.each, 0.0);
                // Convolutions overwrite theirs with the first group.
                w.theta[..self.theta.summed].fill(0.0);
                let mut io = self.io(call, v, (from, to), terms);
                let memory = (&w.arenas[arena], &w.store);
                let run = self.run(packed, memory, to - from);
                run.ahead(&mut w.scratch, &mut io);
                let weights = match weights.map(|weights| weights(from..to, io.terms)).transpose() {
                    Ok(weights) => weights,
                    Err(e) => {
                        let mut first = refused.lock().unwrap_or_else(PoisonError::into_inner);
                        if first.as_ref().is_none_or(|(at, _)| i < *at) {
                            *first = Some((i, e));
                        }
                        return;
                    }
                };
                io.weights = weights.as_deref();
                let theta = Theta { layout: &self.theta, d: &mut w.theta, kept };
                run.back(&mut w.scratch, &mut io, Some(theta));
                total.add(i, &mut w.theta);
                turn.added = true;
            });
            if let Some((_, e)) = refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(e);
            }
            self.multiply(mode, pool, workers, end - first, kept, late, first > 0);
        }
        let sum = total.state.into_inner().unwrap_or_else(PoisonError::into_inner).1;
        Ok(unpack(self.program(), packed, &self.theta, (&sum, late), pool, call.cond.is_some()))
    }

    /// The gradients that come late, from the factors that `n` images left.
    #[allow(clippy::too_many_arguments)]
    fn multiply(
        &self,
        mode: Mode,
        pool: &Pool,
        workers: &mut [Worker],
        n: usize,
        kept: &[f32],
        out: &mut [f32],
        add: bool,
    ) {
        let layout = &self.theta.late;
        let segments = segments(self.program(), mode, THETA_CHUNK);
        let group = |step: usize| {
            let holds = |s: &&Segment| (s.from..s.to).contains(&step);
            segments.iter().find(holds).map_or(THETA_CHUNK, |s| s.group)
        };
        let st = mode.streams;
        pool.run_split(workers, layout.tasks(), [Split::at(out, &layout.cuts)], |w, i, [out]| {
            let group = group(layout.step(i));
            let parts = (0..n).step_by(THETA_CHUNK).map(|from| (from, (from + THETA_CHUNK).min(n)));
            let images = parts.flat_map(|(from, to)| {
                (from..to).step_by(group).map(move |i| Images { before: i * st, n: group.min(to - i) * st })
            });
            let images = (THETA_CHUNK * st, images);
            late::multiply(
                &self.kernels,
                &mut w.scratch.conv,
                self.program(),
                layout,
                i,
                images,
                kept,
                out,
                add,
            );
        });
    }
}
