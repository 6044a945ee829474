//! A Langevin move of rows of plain numbers, where an energy has slopes of rows.

use ebm_core::candle::{Device, Tensor};
use ebm_core::{ChainState, Key, Result, RowSlopes, Slope, host};

use crate::kit::factor::Moves;
use crate::kit::places::{samples, shares, slope};
use crate::kit::{Factor, Sizes, lanes};

/// Where a move goes, the slope there, and the logarithm of its Metropolis ratio `(B,)`.
pub(super) struct Move {
    pub(super) x: Tensor,
    pub(super) there: Slope,
    pub(super) log_ratio: Tensor,
}

/// One row on its way.
struct Walker<'a> {
    x: &'a mut [f64],
    /// The move in the coordinates of the metric, `−h Lᵀ∇E + σε`.
    step: &'a mut [f64],
    grad: &'a mut [f64],
    energy: f64,
    log_ratio: f64,
}

/// Moves the chains of `state` from their slope `here` by step sizes `h` at temperature `t` in the metric of `factor`, with the noise of the
/// key `noise`; the ratio is −∞ where a coordinate leaves `range`. What is computed is what tensor operations do, in f64.
///
/// # Errors
/// If the energy or an operation fails.
pub(super) fn propose(
    rows: &dyn RowSlopes,
    (state, here): (&ChainState, &Slope),
    (factor, h): (&Factor, &Sizes),
    (t, range): (f64, Option<(f64, f64)>),
    noise: Key,
) -> Result<Move> {
    let at = &state.at;
    let (mut x, mut grad) = (host::numbers(&at.x)?, host::numbers(&here.grad)?);
    let width = (x.len() / at.len().max(1)).max(1);
    let mut eps = vec![0f32; x.len()];
    if !eps.is_empty() {
        noise.fill_normal_rows(at.chains.ids(), width, &mut eps);
    }
    let mut steps: Vec<f64> = eps.into_iter().map(f64::from).collect();
    let numbers =
        x.chunks_exact_mut(width).zip(steps.chunks_exact_mut(width)).zip(grad.chunks_exact_mut(width));
    let mut all: Vec<Walker> = numbers
        .zip(host::numbers(&here.energy)?)
        .map(|(((x, step), grad), energy)| Walker { x, step, grad, energy, log_ratio: 0.0 })
        .collect();
    shares(&mut all, |first, part| {
        let mut moves = Moves::new(factor, first);
        let (mut points, mut grads) = (vec![0.0; part.len() * width], vec![0.0; part.len() * width]);
        let mut energies = vec![0.0; part.len()];
        for ((row, w), grad) in (first..).zip(part.iter_mut()).zip(grads.chunks_exact_mut(width)) {
            grad.copy_from_slice(w.grad);
            // log q(y|x) is −|σε|²/(4hT).
            w.log_ratio = 0.5 * lanes::dot(w.step, w.step);
            w.step.iter_mut().for_each(|e| *e *= (2.0 * h.at(row) * t).sqrt());
        }
        moves.kick(part, &grads, |row, w| (&mut *w.step, -h.at(row)));
        moves.drift(part, |_, w| (&mut *w.x, 1.0, &*w.step));
        for (w, point) in part.iter_mut().zip(points.chunks_exact_mut(width)) {
            point.copy_from_slice(w.x);
            // Back to where it came from: −|x − y + h Lᵀ∇E(y)|²/(4hT).
            w.step.iter_mut().for_each(|v| *v = -*v);
        }
        rows.slopes(&points, &mut energies, &mut grads)?;
        moves.kick(part, &grads, |row, w| (&mut *w.step, h.at(row)));
        let ends = energies.iter().zip(grads.chunks_exact(width));
        for ((row, w), (energy, grad)) in (first..).zip(part.iter_mut()).zip(ends) {
            let h = h.at(row);
            let outside = range.is_some_and(|(low, high)| w.x.iter().any(|v| *v < low || *v > high));
            w.log_ratio += (w.energy - energy) / t - lanes::dot(w.step, w.step) / (4.0 * h * t);
            if outside {
                w.log_ratio = f64::NEG_INFINITY;
            }
            w.energy = *energy;
            w.grad.copy_from_slice(grad);
        }
        Ok(())
    })?;
    let dtype = here.energy.dtype();
    let (ratios, energies): (Vec<f64>, Vec<f64>) = all.into_iter().map(|w| (w.log_ratio, w.energy)).unzip();
    let log_ratio = Tensor::from_vec(ratios, at.len(), &Device::Cpu)?.to_dtype(dtype)?;
    Ok(Move { x: samples(x, at)?, there: slope(energies, grad, at, dtype)?, log_ratio })
}
