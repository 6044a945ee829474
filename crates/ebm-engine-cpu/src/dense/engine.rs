//! The five calls on flat slices: blocks of rows that stay in cache, spread over the pool.

use std::ops::Range;
use std::sync::Arc;

use super::graph::Linear;
use super::kernels::Outer;
use super::net::{Block, Net, Work, stride_of};
use super::pack::{Buffer, Packed, pack};
use super::plan::DensePlan;
use crate::pool::{Pool, Split};

/// Rows whose activations are kept for a weight gradient at a time. A constant, so that sums over
/// rows do not depend on the number of threads.
const KEPT_ROWS: usize = 1024;

/// Runs a compiled plan: packed weights and scratch memory, reused from call to call.
pub struct Dense {
    pub(super) plan: Arc<DensePlan>,
    pub(super) packed: Vec<Packed>,
    pub(super) pool: Option<Arc<Pool>>,
    pub(super) works: Vec<Work>,
    kept: Buffer,
    kept_key: (bool, usize),
}

impl Dense {
    /// A runner on the pool of the process; weights are zero until [`Dense::load`].
    pub fn new(plan: Arc<DensePlan>) -> Dense {
        Dense {
            plan,
            packed: Vec::new(),
            pool: None,
            works: Vec::new(),
            kept: Buffer::default(),
            kept_key: (false, 0),
        }
        .prepared()
    }

    /// The same on a pool of its own.
    #[cfg(test)]
    pub fn with_pool(mut self, pool: Arc<Pool>) -> Dense {
        self.pool = Some(pool);
        self.prepared()
    }

    fn prepared(mut self) -> Dense {
        let threads = self.pool().threads();
        self.works.resize_with(threads, Work::default);
        for w in &mut self.works {
            w.scratch.ensure(self.plan.scratch);
        }
        if self.packed.is_empty() {
            let (p, b) = (vec![0.0; self.plan.param_count()], vec![0.0; self.plan.buffer_count()]);
            self.load(&p, &b);
        }
        self
    }

    pub(super) fn pool(&self) -> &Pool {
        self.pool.as_deref().unwrap_or_else(|| Pool::global())
    }

    /// The compiled plan.
    #[cfg(test)]
    pub fn plan(&self) -> &Arc<DensePlan> {
        &self.plan
    }

    /// Packs new weights: flat vectors in the order of [`DensePlan::params`] and [`DensePlan::buffers`].
    pub fn load(&mut self, params: &[f32], buffers: &[f32]) {
        assert_eq!((params.len(), buffers.len()), (self.plan.param_count(), self.plan.buffer_count()));
        pack(&self.plan.graph, self.plan.kernels, params, buffers, &mut self.packed);
    }

    /// Terms `(B, T)` of samples `x` `(B, D)`.
    pub fn terms(&mut self, x: &[f32], out: &mut [f32]) {
        let (width, count) = (self.plan.width(), self.plan.term_count());
        let batch = self.batch(x);
        assert_eq!(out.len(), batch * count, "terms");
        let pool = self.pool.clone();
        let pool = pool.as_deref().unwrap_or_else(|| Pool::global());
        let net = Net { plan: &self.plan, packed: &self.packed };
        let p = &net.plan.first;
        let rows = p.rows(batch, pool.threads());
        pool.run_split(
            &mut self.works,
            batch.div_ceil(rows),
            [Split::every(out, rows * count)],
            |w, i, [out]| {
                let mut b = w.block(p, out.len() / count, rows);
                let x = &x[i * rows * width..][..b.rows * width];
                net.plan.kernels.rows_in(x, width, b.stride, b.arena, p.input[0] * b.stride);
                net.forward(p, &mut b);
                net.terms(p, &b, out);
            },
        );
    }

    /// Energies `(B,)` and input gradients `(B, D)` of samples `x` `(B, D)`.
    pub fn slope(&mut self, x: &[f32], energy: &mut [f32], grad: &mut [f32]) {
        let (width, batch) = (self.plan.width(), self.batch(x));
        assert_eq!((energy.len(), grad.len()), (batch, batch * width), "slope");
        let pool = self.pool.clone();
        let pool = pool.as_deref().unwrap_or_else(|| Pool::global());
        let net = Net { plan: &self.plan, packed: &self.packed };
        let rows = net.plan.first.rows(batch, pool.threads());
        let parts = [Split::every(energy, rows), Split::every(grad, rows * width)];
        pool.run_split(&mut self.works, batch.div_ceil(rows), parts, |w, i, [energy, grad]| {
            let mut b = w.block(&net.plan.first, energy.len(), rows);
            net.slope(&mut b, &x[i * rows * width..][..grad.len()], energy, grad);
        });
    }

    /// `∇ₓ⟨v, ∇ₓE⟩` for each row; `x`, `v`, `out` are `(B, D)`.
    pub fn hvp(&mut self, x: &[f32], v: &[f32], out: &mut [f32]) {
        let (width, batch) = (self.plan.width(), self.batch(x));
        assert_eq!((v.len(), out.len()), (x.len(), x.len()), "hvp");
        let pool = self.pool.clone();
        let pool = pool.as_deref().unwrap_or_else(|| Pool::global());
        let net = Net { plan: &self.plan, packed: &self.packed };
        let (p, k) = (&net.plan.second, net.plan.kernels);
        let rows = p.rows(batch, pool.threads());
        let parts = [Split::every(out, rows * width)];
        pool.run_split(&mut self.works, batch.div_ceil(rows), parts, |w, i, [out]| {
            let mut b = w.block(p, out.len() / width, rows);
            for (s, from) in [x, v].into_iter().enumerate() {
                let part = &from[i * rows * width..][..out.len()];
                k.rows_in(part, width, b.stride, b.arena, p.input[s] * b.stride);
            }
            net.forward(p, &mut b);
            net.seed(p, &mut b, 1, |_, _| 1.0);
            net.backward(p, &mut b, true);
            k.rows_out(b.arena, p.input_grad[0] * b.stride, width, b.stride, out);
        });
    }

    /// `∇_θ Σ w_bt·E_t(x_b)` into `grad` (flat). `weights` sees the terms `(rows, T)` of some rows of this pass, of all `(B, T)` unless
    /// `by_row`, and returns as many numbers; `terms` receives all terms.
    ///
    /// # Errors
    /// What `weights` returns.
    pub fn grad_theta<E>(
        &mut self,
        x: &[f32],
        terms: &mut [f32],
        by_row: bool,
        mut weights: impl FnMut(Range<usize>, &[f32]) -> Result<Vec<f32>, E>,
        grad: &mut [f32],
    ) -> Result<(), E> {
        let (width, count, batch) = (self.plan.width(), self.plan.term_count(), self.batch(x));
        assert_eq!((terms.len(), grad.len()), (batch * count, self.plan.param_count()), "grad_theta");
        let all = if by_row || batch <= KEPT_ROWS {
            None
        } else {
            self.terms(x, terms);
            Some(weights(0..batch, terms)?)
        };
        for start in (0..batch).step_by(KEPT_ROWS) {
            let end = (start + KEPT_ROWS).min(batch);
            let terms = &mut terms[start * count..end * count];
            self.keep(false, &x[start * width..end * width], None, terms);
            let w = match &all {
                Some(all) => all[start * count..end * count].to_vec(),
                None => weights(start..end, terms)?,
            };
            assert_eq!(w.len(), terms.len(), "one weight a term");
            self.unwind(false, end - start, Some(&w));
            self.weight_gradient(false, end - start, start > 0, grad);
        }
        if batch == 0 {
            grad.fill(0.0);
        }
        Ok(())
    }

    /// `∇_θ Σ_b ⟨v_b, ∇ₓE(x_b)⟩` into `grad` (flat): the tangent of the energies along `v`, then its
    /// reverse pass. `terms` receives the terms `(B, T)`.
    pub fn grad_theta_slope(&mut self, x: &[f32], v: &[f32], terms: &mut [f32], grad: &mut [f32]) {
        let (width, count, batch) = (self.plan.width(), self.plan.term_count(), self.batch(x));
        assert_eq!(
            (v.len(), terms.len(), grad.len()),
            (x.len(), batch * count, self.plan.param_count()),
            "grad_theta_slope"
        );
        for start in (0..batch).step_by(KEPT_ROWS) {
            let end = (start + KEPT_ROWS).min(batch);
            let part = start * width..end * width;
            self.keep(true, &x[part.clone()], Some(&v[part]), &mut terms[start * count..end * count]);
            self.unwind(true, end - start, None);
            self.weight_gradient(true, end - start, start > 0, grad);
        }
        if batch == 0 {
            grad.fill(0.0);
        }
    }

    fn batch(&self, x: &[f32]) -> usize {
        assert!(x.len().is_multiple_of(self.plan.width()), "samples must be whole rows");
        x.len() / self.plan.width()
    }

    /// Forward pass of up to [`KEPT_ROWS`] rows whose activations stay in `kept`.
    fn keep(&mut self, dual: bool, x: &[f32], v: Option<&[f32]>, terms: &mut [f32]) {
        let (width, batch) = (self.plan.width(), self.batch(x));
        let pool = self.pool.clone();
        let pool = pool.as_deref().unwrap_or_else(|| Pool::global());
        let net = Net { plan: &self.plan, packed: &self.packed };
        let p = if dual { &net.plan.second } else { &net.plan.first };
        let (k, count) = (net.plan.kernels, net.plan.term_count());
        let rows = p.rows(batch, pool.threads());
        let stride = stride_of(rows);
        let size = p.blocks * stride;
        let tasks = batch.div_ceil(rows);
        self.kept.ensure(size * tasks);
        if self.kept_key != (dual, rows) {
            self.kept.fill(0.0);
            self.kept_key = (dual, rows);
        }
        let parts = [Split::every(&mut self.kept, size), Split::every(terms, rows * count)];
        pool.run_split(&mut self.works, tasks, parts, |_, i, [arena, terms]| {
            let mut b = Block { arena, rows: terms.len() / count, stride };
            let part = i * rows * width..(i * rows + b.rows) * width;
            k.rows_in(&x[part.clone()], width, stride, b.arena, p.input[0] * stride);
            if let Some(v) = v {
                k.rows_in(&v[part], width, stride, b.arena, p.input[1] * stride);
            }
            net.forward(p, &mut b);
            net.terms(p, &b, terms);
        });
    }

    /// Reverse pass of the kept rows, seeded with weights `(B, T)` or, for tangents, with ones.
    fn unwind(&mut self, dual: bool, batch: usize, weights: Option<&[f32]>) {
        let pool = self.pool.clone();
        let pool = pool.as_deref().unwrap_or_else(|| Pool::global());
        let net = Net { plan: &self.plan, packed: &self.packed };
        let p = if dual { &net.plan.second } else { &net.plan.first };
        let count = net.plan.term_count();
        let rows = p.rows(batch, pool.threads());
        let stride = stride_of(rows);
        let parts = [Split::every(&mut self.kept, p.blocks * stride)];
        pool.run_split(&mut self.works, batch.div_ceil(rows), parts, |_, i, [arena]| {
            let mut b = Block { arena, rows: rows.min(batch - i * rows), stride };
            let seed = |r: usize, t: usize| weights.map_or(1.0, |w| w[(i * rows + r) * count + t]);
            net.seed(p, &mut b, usize::from(dual), seed);
            net.backward(p, &mut b, false);
        });
    }

    /// Sums over the kept rows, each thread on its own part of the parameters, rows in order: the
    /// result does not depend on how many threads there are.
    fn weight_gradient(&mut self, dual: bool, batch: usize, add: bool, grad: &mut [f32]) {
        let pool = self.pool.clone();
        let pool = pool.as_deref().unwrap_or_else(|| Pool::global());
        let plan = &*self.plan;
        let p = if dual { &plan.second } else { &plan.first };
        let k = plan.kernels;
        let rows = p.rows(batch, pool.threads());
        let stride = stride_of(rows);
        let kept = &*self.kept;
        let blocks = || kept.chunks_exact(p.blocks * stride).take(batch.div_ceil(rows)).enumerate();
        let rows_of = |i: usize| rows.min(batch - i * rows);
        pool.run_split(&mut self.works, plan.tasks.len(), [Split::at(grad, &plan.cuts)], |w, i, [out]| {
            let task = plan.tasks[i];
            let l = &plan.graph.linears[task.linear];
            let Some(at) = p.weights.iter().find(|w| w.linear == task.linear) else { return };
            if task.bias {
                let sums = &mut w.scratch[..l.out_blocks() * 16];
                sums.fill(0.0);
                if add {
                    sums[..task.count].copy_from_slice(out);
                }
                // A shift has no tangent, so only the values' stream counts.
                for (i, arena) in blocks() {
                    k.column_sums(rows_of(i), stride, arena, at.delta[0] * stride, l.out_blocks(), sums);
                }
                out.copy_from_slice(&sums[..task.count]);
                return;
            }
            let (padded, n) = (l.in_blocks * 16, l.places.len());
            let sums = &mut w.scratch[..task.count * padded];
            sums.fill(0.0);
            if add {
                each_weight(l, task.count, |s, o| sums[s] = out[o]);
            }
            let streams = if dual { 2 } else { 1 };
            for s in 0..streams {
                for (i, arena) in blocks() {
                    let outer = Outer {
                        rows: rows_of(i),
                        stride,
                        delta: at.delta[s] * stride,
                        a: at.src[s] * stride,
                        in_blocks: l.in_blocks,
                        first: task.first,
                        count: task.count,
                    };
                    k.outer(outer, arena, sums);
                }
            }
            if padded == n {
                out.copy_from_slice(sums);
            } else {
                each_weight(l, task.count, |s, o| out[o] = sums[s]);
            }
        });
    }
}

/// Pairs of places in padded and in dense rows of a weight matrix.
fn each_weight(l: &Linear, rows: usize, mut f: impl FnMut(usize, usize)) {
    let (padded, n) = (l.in_blocks * 16, l.places.len());
    for r in 0..rows {
        for (i, place) in l.places.iter().enumerate() {
            f(r * padded + place, r * n + i);
        }
    }
}
