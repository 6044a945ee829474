//! Many Langevin-like steps on chunks of images, without the threads meeting in between.

use ebm_core::{Key, RowProgram};

use super::exec::Io;
use super::layout::Mode;
use super::plan::{Worker, chunk_of};
use super::{Call, ConvPlan, Packed, Workspace};
use crate::dense::{Move, RowKernels, WalkOut};
use crate::pool::{Pool, Split};
use crate::unsupported::Unsupported;

impl ConvPlan {
    /// Runs `program` from `out.x`; step `k` of chain `b` uses the normals of `key.at(k)` and `chains[b]`.
    ///
    /// Leaves off when the program is stopped; what is in `out` is then of no use.
    ///
    /// The operations of a step and their order are those of [`ebm_core::RowStep`], each rounded on its
    /// own, so the result has the bits of the plain loop over [`ConvPlan::slope`].
    ///
    /// # Errors
    /// If a slice has the wrong length.
    #[allow(clippy::too_many_arguments)]
    pub fn walk(
        &self,
        packed: &Packed,
        ws: &mut Workspace,
        pool: &Pool,
        cond: Option<&[f32]>,
        program: &RowProgram,
        key: Key,
        chains: &[u64],
        out: WalkOut<'_>,
    ) -> Result<(), Unsupported> {
        let n = self.count(&Call { x: out.x, cond })?;
        let (len, k, steps) = (self.sample_len(), self.condition_len(), program.steps.len());
        self.wanted("chains", chains.len(), n)?;
        self.wanted("x̂", out.hat.len(), n * len)?;
        self.wanted("gradient", out.grad.len(), n * len)?;
        self.wanted("energies", out.energy.len(), n * steps)?;
        self.wanted("squares", out.grad_square.len(), n * steps)?;
        if n == 0 || steps == 0 {
            out.hat.copy_from_slice(out.x);
            out.grad.fill(0.0);
            return Ok(());
        }
        let chunk = chunk_of(n, pool);
        let parts = [
            Split::every(out.x, chunk * len),
            Split::every(out.hat, chunk * len),
            Split::every(out.grad, chunk * len),
            Split::every(out.energy, chunk * steps),
            Split::every(out.grad_square, chunk * steps),
        ];
        let works = ws.workers(pool.threads());
        pool.run_split(works, n.div_ceil(chunk), parts, |w, i, [x, hat, grad, energy, square]| {
            let (from, to) = (i * chunk, ((i + 1) * chunk).min(n));
            let out = WalkOut { x, hat, grad, energy, grad_square: square };
            let cond = cond.map(|c| &c[from * k..to * k]);
            self.walk_chunk(packed, w, chunk, cond, (program, key, &chains[from..to]), out);
        });
        Ok(())
    }

    /// All steps of one chunk of chains.
    fn walk_chunk(
        &self,
        packed: &Packed,
        w: &mut Worker,
        chunk: usize,
        cond: Option<&[f32]>,
        (program, key, chains): (&RowProgram, Key, &[u64]),
        out: WalkOut<'_>,
    ) {
        let kernels = RowKernels::new(self.isa());
        let (len, t, steps) = (self.sample_len(), self.terms_len(), program.steps.len());
        let arena = w.arena(self.program(), Mode::SLOPE, chunk);
        // Room for a full chunk, so that a shorter last one allocates nothing.
        w.noise.resize(w.noise.len().max(chunk * (len + t)), 0.0);
        let Worker { scratch, store, arenas, noise, .. } = w;
        let (noise, terms) = noise.split_at_mut(chunk * len);
        let (noise, terms) = (&mut noise[..chains.len() * len], &mut terms[..chains.len() * t]);
        for (i, step) in program.steps.iter().enumerate().take_while(|_| !program.stop.is_set()) {
            if step.noise != 0.0 {
                kernels.normals(key.at(i).words(), chains, len, noise);
                if step.noise_first {
                    kernels.add_noise(out.x, step.noise as f32, noise);
                }
            }
            if i + 1 == steps {
                out.hat.copy_from_slice(out.x);
            }
            let mut io =
                Io { x: out.x, v: None, cond, weights: None, terms, grad: Some(&mut *out.grad), hvp: None };
            self.run(packed, (&arenas[arena], store), chains.len()).run(scratch, &mut io);
            for (r, g) in out.grad.chunks_exact(len).enumerate() {
                out.energy[r * steps + i] = terms[r * t..(r + 1) * t].iter().sum();
                out.grad_square[r * steps + i] = (kernels.square_sum(g) / len as f64) as f32;
            }
            kernels.advance(&Move::of(step), out.x, out.grad, noise);
        }
    }
}
