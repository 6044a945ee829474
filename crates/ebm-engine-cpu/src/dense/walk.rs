//! Many Langevin-like steps on blocks of rows, without the threads meeting in between.

use ebm_core::{Key, RowProgram, RowStep};

use super::engine::Dense;
use super::net::{Net, Work};
use super::plain::Move;
use crate::pool::{Pool, Split};

/// Where a walk of `K` steps of `B` chains of `D` numbers writes.
pub struct WalkOut<'a> {
    /// The chains, `(B, D)`: starts on entry, last samples on return.
    pub x: &'a mut [f32],
    /// The point at which the last gradient was taken, `(B, D)`.
    pub hat: &'a mut [f32],
    /// The last gradient `∇E(x̂)`, `(B, D)`.
    pub grad: &'a mut [f32],
    /// Energies at x̂ of each step, `(B, K)`.
    pub energy: &'a mut [f32],
    /// Mean square of the gradient's entries at each step, `(B, K)`.
    pub grad_square: &'a mut [f32],
}

impl Move {
    /// The numbers of `step` in the samples' dtype.
    pub(crate) fn of(step: &RowStep) -> Move {
        let (lo, hi) = step.clamp.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        Move {
            step_size: step.step_size as f32,
            limit: step.move_limit.unwrap_or(f64::INFINITY) as f32,
            noise_after: (!step.noise_first && step.noise != 0.0).then_some(step.noise as f32),
            clamp: (lo as f32, hi as f32),
        }
    }
}

impl Dense {
    /// Runs `program`; step `k` of chain `b` uses the normals of `key.at(k)` and `chains[b]`.
    ///
    /// Leaves off when the program is stopped; what is in `out` is then of no use.
    ///
    /// The operations of a step and their order are those of [`RowStep`], each rounded on its own,
    /// so the result has the bits of the plain loop over [`Dense::slope`].
    pub fn walk(&mut self, program: &RowProgram, key: Key, chains: &[u64], out: WalkOut<'_>) {
        let (width, batch, steps) = (self.plan.width(), chains.len(), program.steps.len());
        assert_eq!(
            (out.x.len(), out.hat.len(), out.grad.len(), out.energy.len(), out.grad_square.len()),
            (batch * width, batch * width, batch * width, batch * steps, batch * steps),
            "walk: {batch} chains of {width}, {steps} steps"
        );
        if steps == 0 || batch == 0 {
            out.hat.copy_from_slice(out.x);
            out.grad.fill(0.0);
            return;
        }
        let pool = self.pool.clone();
        let pool = pool.as_deref().unwrap_or_else(|| Pool::global());
        let net = Net { plan: &self.plan, packed: &self.packed };
        let rows = net.plan.first.rows(batch, pool.threads());
        let parts = [
            Split::every(out.x, rows * width),
            Split::every(out.hat, rows * width),
            Split::every(out.grad, rows * width),
            Split::every(out.energy, rows * steps),
            Split::every(out.grad_square, rows * steps),
        ];
        pool.run_split(
            &mut self.works,
            batch.div_ceil(rows),
            parts,
            |w, i, [x, hat, grad, energy, square]| {
                let chains = &chains[i * rows..][..x.len() / width];
                let out = WalkOut { x, hat, grad, energy, grad_square: square };
                block(&net, w, program, key, chains, rows, out);
            },
        );
    }
}

/// All steps of one block of chains.
fn block(
    net: &Net<'_>,
    work: &mut Work,
    program: &RowProgram,
    key: Key,
    chains: &[u64],
    rows: usize,
    out: WalkOut<'_>,
) {
    let (k, width, steps) = (net.plan.kernels, net.plan.width(), program.steps.len());
    let (n, len) = (chains.len(), out.x.len());
    work.noise.ensure(rows * (width + 1));
    // Taken out so that the arena can be borrowed beside it.
    let mut scratch = std::mem::take(&mut work.noise);
    let (noise, energies) = scratch.split_at_mut(rows * width);
    let (noise, energies) = (&mut noise[..len], &mut energies[..n]);
    let mut b = work.block(&net.plan.first, n, rows);
    for (i, step) in program.steps.iter().enumerate().take_while(|_| !program.stop.is_set()) {
        let last = i + 1 == steps;
        if step.noise != 0.0 {
            k.normals(key.at(i).words(), chains, width, noise);
            if step.noise_first {
                k.add_noise(out.x, step.noise as f32, noise);
            }
        }
        if last {
            out.hat.copy_from_slice(out.x);
        }
        net.slope(&mut b, out.x, energies, out.grad);
        for (r, g) in out.grad.chunks_exact(width).enumerate() {
            out.energy[r * steps + i] = energies[r];
            out.grad_square[r * steps + i] = (k.square_sum(g) / width as f64) as f32;
        }
        k.advance(&Move::of(step), out.x, out.grad, noise);
    }
    work.noise = scratch;
}
