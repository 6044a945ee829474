//! Trajectories of kicks and drifts on rows of plain numbers, where an energy has slopes of rows.

use ebm_core::{Batch, Result, RowSlopes, host};

use super::factor::Moves;
use super::integrator::Phase;
use super::places::{samples, shares, slope};
use super::{Factor, Sizes};

/// A step as shares of its size: the first and the last kick, and the drifts and kicks of the stages, of which the last kick also begins the
/// next step.
#[derive(Clone, Copy)]
pub(super) struct Split<'a> {
    pub(super) first: f64,
    pub(super) stages: &'a [(f64, f64)],
}

/// One row on its way.
struct Walker<'a> {
    x: &'a mut [f64],
    v: &'a mut [f64],
    grad: &'a mut [f64],
    energy: f64,
}

/// What [`Integrator::run`](super::Integrator::run) does by tensors, in f64, all rows of a thread together.
///
/// # Errors
/// If the energy or an operation fails.
pub(super) fn follow(
    (rows, at): (&dyn RowSlopes, &Batch),
    from: &Phase,
    (h, steps): (&Sizes, usize),
    temperature: f64,
    factor: &Factor,
    split: Split<'_>,
) -> Result<Phase> {
    let (mut x, mut v) = (host::numbers(&from.x)?, host::numbers(&from.v)?);
    let mut grad = host::numbers(&from.slope.grad)?;
    let width = (x.len() / at.len().max(1)).max(1);
    let numbers = x.chunks_exact_mut(width).zip(v.chunks_exact_mut(width)).zip(grad.chunks_exact_mut(width));
    let mut all: Vec<Walker> = numbers
        .zip(host::numbers(&from.slope.energy)?)
        .map(|(((x, v), grad), energy)| Walker { x, v, grad, energy })
        .collect();
    shares(&mut all, |first, part| {
        let kick = |row: usize, share: f64| -(share * h.at(row) / temperature);
        let mut moves = Moves::new(factor, first);
        let (mut points, mut grads) = (vec![0.0; part.len() * width], vec![0.0; part.len() * width]);
        let mut energies = vec![0.0; part.len()];
        grads.chunks_exact_mut(width).zip(part.iter()).for_each(|(g, w)| g.copy_from_slice(w.grad));
        moves.kick(part, &grads, |row, w| (&mut *w.v, kick(row, split.first)));
        for step in 0..steps {
            for (i, (drift, share)) in split.stages.iter().enumerate() {
                moves.drift(part, |row, w| (&mut *w.x, drift * h.at(row), &*w.v));
                for (w, point) in part.iter().zip(points.chunks_exact_mut(width)) {
                    point.copy_from_slice(w.x);
                }
                rows.slopes(&points, &mut energies, &mut grads)?;
                let last = step + 1 == steps && i + 1 == split.stages.len();
                let share = if last { split.first } else { *share };
                moves.kick(part, &grads, |row, w| (&mut *w.v, kick(row, share)));
            }
        }
        for ((w, grad), energy) in part.iter_mut().zip(grads.chunks_exact(width)).zip(energies) {
            w.grad.copy_from_slice(grad);
            w.energy = energy;
        }
        Ok(())
    })?;
    let energies = all.into_iter().map(|w| w.energy).collect();
    let slope = slope(energies, grad, at, from.slope.energy.dtype())?;
    Ok(Phase { x: samples(x, at)?, v: samples(v, at)?, slope, lost: None })
}
