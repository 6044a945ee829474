//! The compiled plan and its five calls on flat `f32` slices.

use std::convert::Infallible;
use std::ops::Range;

use ebm_core::plan::{NetPlan, Products};

use super::arena::Buf;
use super::exec::{Io, Run};
use super::kernels::Kernels;
use super::layout::{Mode, layout};
use super::lower::lower;
use super::pack::{Packed, ThetaLayout};
use super::program::{Algorithm, Kind, Program};
use super::store::{Arena, Scratch, Store};
use crate::pool::{Pool, Split};
use crate::simd::Isa;
use crate::unsupported::{Unsupported, refuse};

/// Images whose weight gradients are summed before they meet those of others: a constant, so that
/// the result does not depend on the number of threads.
pub(super) const THETA_CHUNK: usize = 8;
/// Most images a thread holds at once.
const MAX_CHUNK: usize = 64;

/// Images that a thread takes at once, of `n > 0`: equal shares in as few rounds as memory allows.
pub(super) fn chunk_of(n: usize, pool: &Pool) -> usize {
    n.div_ceil(n.div_ceil(MAX_CHUNK).next_multiple_of(pool.threads()).min(n))
}

/// A network compiled for one instruction set. Holds no weights; see [`ConvPlan::pack`].
pub struct ConvPlan {
    program: Program,
    pub(super) kernels: Kernels,
    isa: Isa,
    pub(super) theta: ThetaLayout,
}

/// The samples of a call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Samples, a row each of the batch, in the order of the plan's input.
    pub x: &'a [f32],
    /// Condition `(B, k)`; without it label layers are left out and condition vectors are 0.
    pub cond: Option<&'a [f32]>,
}

/// Gradients by parameter name, each in the parameter's own order.
pub type Gradients = Vec<(String, Vec<f32>)>;

/// Weights `(rows, T)` of some rows of a call from their terms; asked on any thread.
pub type RowWeights<'a, E> = dyn Fn(Range<usize>, &[f32]) -> Result<Vec<f32>, E> + Sync + 'a;

/// Memory of all threads, reused between calls: a call with the shapes of an earlier one allocates
/// only its result.
#[derive(Default)]
pub struct Workspace {
    workers: Vec<Worker>,
    /// Factors of weight gradients that come late, and these gradients.
    kept: Buf,
    late: Buf,
}

/// The memory of one thread.
#[derive(Default)]
pub(super) struct Worker {
    pub scratch: Scratch,
    pub store: Store,
    pub arenas: Vec<Arena>,
    pub theta: Vec<f32>,
    /// Normals and terms of a walk.
    pub noise: Vec<f32>,
}

impl Workspace {
    #[cfg(test)]
    pub(super) fn spoil(&mut self) {
        self.workers.iter_mut().for_each(|w| w.store.spoil());
    }

    /// Images that all calls took forward.
    #[cfg(test)]
    pub(super) fn ahead(&self) -> usize {
        self.workers.iter().map(|w| w.scratch.ahead).sum()
    }

    pub(super) fn workers(&mut self, threads: usize) -> &mut [Worker] {
        while self.workers.len() < threads {
            self.workers.push(Worker::default());
        }
        &mut self.workers
    }

    /// The memory of `threads` threads, and room for so many floats of factors and of late gradients.
    pub(super) fn with_late(
        &mut self,
        threads: usize,
        kept: usize,
        late: usize,
    ) -> (&mut [Worker], &mut [f32], &mut [f32]) {
        self.workers(threads);
        self.kept.reserve(kept);
        self.late.reserve(late);
        (&mut self.workers, &mut self.kept[..kept], &mut self.late[..late])
    }
}

impl Worker {
    /// Index of an arena for `chunk` images in `mode`; the store is ready for it.
    pub(super) fn arena(&mut self, p: &Program, mode: Mode, chunk: usize) -> usize {
        let fits = |a: &Arena| a.layout.mode == mode && a.layout.chunk >= chunk;
        let index = self.arenas.iter().position(fits).unwrap_or_else(|| {
            self.arenas.retain(|a| a.layout.mode != mode);
            self.arenas.push(Arena::new(p, mode, chunk, &mut self.scratch));
            self.arenas.len() - 1
        });
        self.store.enter(&self.arenas[index]);
        index
    }
}

impl ConvPlan {
    /// Compiles `plan` for the instruction set `isa`.
    ///
    /// # Errors
    /// With the reason in words if an operation, a shape or the instruction set is not covered.
    pub fn compile(plan: &NetPlan, isa: Isa) -> Result<ConvPlan, Unsupported> {
        let Some(kernels) = Kernels::of(isa) else {
            return refuse(format!("this processor has no {}", isa.name()));
        };
        if plan.products != Products::Full {
            return refuse("its convolutions round products to bfloat16, which this engine does not");
        }
        let program = lower(plan)?;
        let theta = ThetaLayout::new(&program, THETA_CHUNK);
        Ok(ConvPlan { program, kernels, isa, theta })
    }

    /// Packs the weights that `lookup` gives for each parameter and buffer name of the plan. To be
    /// repeated whenever they change.
    ///
    /// # Errors
    /// If a name is missing or has another number of entries.
    pub fn pack<'a>(
        &self,
        pool: &Pool,
        lookup: impl FnMut(&str) -> Option<&'a [f32]>,
    ) -> Result<Packed, Unsupported> {
        let mut packed = Packed::empty(&self.program);
        self.repack(&mut packed, pool, lookup)?;
        Ok(packed)
    }

    /// Packs new weights into the memory of `packed`, which must come from this plan.
    ///
    /// # Errors
    /// As [`ConvPlan::pack`].
    pub fn repack<'a>(
        &self,
        packed: &mut Packed,
        pool: &Pool,
        lookup: impl FnMut(&str) -> Option<&'a [f32]>,
    ) -> Result<(), Unsupported> {
        if packed.raw.len() != self.program.params.len() {
            return refuse("the packed weights belong to another plan");
        }
        packed.fill(&self.program, &self.kernels, pool, lookup)
    }

    /// Names, numbers of entries, and whether the plan trains them.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, usize, bool)> {
        self.program.params.iter().map(|p| (p.name.as_str(), p.len, p.trainable))
    }

    /// Length of the condition vector; 0 without label layers.
    pub fn condition_len(&self) -> usize {
        self.program.condition
    }

    /// Number of terms `T`.
    pub fn terms_len(&self) -> usize {
        self.program.terms.len()
    }

    /// Entries of one sample.
    pub fn sample_len(&self) -> usize {
        self.program.sample_len
    }

    /// Convolutions whose weight gradients come late.
    #[cfg(test)]
    pub(super) fn late(&self) -> usize {
        self.theta.late.all.len()
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    pub(super) fn count(&self, call: &Call<'_>) -> Result<usize, Unsupported> {
        let (len, k) = (self.program.sample_len, self.program.condition);
        let n = call.x.len() / len;
        if n * len != call.x.len() {
            return refuse(format!("the samples have {} entries, not a multiple of {len}", call.x.len()));
        }
        match call.cond {
            Some(c) if k == 0 || c.len() != n * k => {
                refuse(format!("the condition has {} entries, wanted {n} × {k}", c.len()))
            }
            _ => Ok(n),
        }
    }

    /// Terms `(B, T)` into `out`.
    ///
    /// # Errors
    /// If a slice has the wrong length.
    pub fn terms(
        &self,
        packed: &Packed,
        ws: &mut Workspace,
        pool: &Pool,
        call: Call<'_>,
        out: &mut [f32],
    ) -> Result<(), Unsupported> {
        let n = self.count(&call)?;
        self.wanted("terms", out.len(), n * self.terms_len())?;
        self.rows(Mode::TERMS, packed, ws, pool, (call, None), n, [out, &mut [], &mut []]);
        Ok(())
    }

    /// Terms `(B, T)` and the input gradient of their sum, weights frozen.
    ///
    /// # Errors
    /// If a slice has the wrong length.
    pub fn slope(
        &self,
        packed: &Packed,
        ws: &mut Workspace,
        pool: &Pool,
        call: Call<'_>,
        terms: &mut [f32],
        grad: &mut [f32],
    ) -> Result<(), Unsupported> {
        let n = self.count(&call)?;
        self.wanted("terms", terms.len(), n * self.terms_len())?;
        self.wanted("gradient", grad.len(), call.x.len())?;
        self.rows(Mode::SLOPE, packed, ws, pool, (call, None), n, [terms, grad, &mut []]);
        Ok(())
    }

    /// `∇ₓ⟨v, ∇ₓE⟩` into `out`; `v` and `out` have the shape of the samples.
    ///
    /// # Errors
    /// If a slice has the wrong length.
    pub fn hvp(
        &self,
        packed: &Packed,
        ws: &mut Workspace,
        pool: &Pool,
        call: Call<'_>,
        v: &[f32],
        out: &mut [f32],
    ) -> Result<(), Unsupported> {
        let n = self.count(&call)?;
        self.wanted("v", v.len(), call.x.len())?;
        self.wanted("result", out.len(), call.x.len())?;
        let mut terms = vec![0.0; n * self.terms_len()];
        self.rows(Mode::HVP, packed, ws, pool, (call, Some(v)), n, [&mut terms, &mut [], out]);
        Ok(())
    }

    /// `∇_θ Σ w_bt·E_t(x_b)` for weights `(B, T)`, and the terms of the pass. There is one pass: `weights` is asked for those of a part of the
    /// batch as soon as its terms are known.
    ///
    /// # Errors
    /// If a slice has the wrong length; inside, what `weights` returns for the first part that it refuses.
    pub fn grad_theta<E: Send>(
        &self,
        packed: &Packed,
        ws: &mut Workspace,
        pool: &Pool,
        call: Call<'_>,
        weights: &RowWeights<'_, E>,
        terms: &mut [f32],
    ) -> Result<Result<Gradients, E>, Unsupported> {
        let n = self.count(&call)?;
        self.wanted("terms", terms.len(), n * self.terms_len())?;
        Ok(self.theta(Mode::THETA, packed, ws, pool, call, (None, Some(weights)), n, terms))
    }

    /// `∇_θ Σ_b ⟨v_b, ∇ₓE(x_b)⟩`, exact; `v` has the shape of the samples.
    ///
    /// # Errors
    /// If a slice has the wrong length.
    pub fn grad_theta_slope(
        &self,
        packed: &Packed,
        ws: &mut Workspace,
        pool: &Pool,
        call: Call<'_>,
        v: &[f32],
        terms: &mut [f32],
    ) -> Result<Gradients, Unsupported> {
        let n = self.count(&call)?;
        self.wanted("v", v.len(), call.x.len())?;
        self.wanted("terms", terms.len(), n * self.terms_len())?;
        let Ok(grads) =
            self.theta::<Infallible>(Mode::MIXED, packed, ws, pool, call, (Some(v), None), n, terms);
        Ok(grads)
    }

    pub(super) fn wanted(&self, what: &str, found: usize, wanted: usize) -> Result<(), Unsupported> {
        if found == wanted {
            return Ok(());
        }
        refuse(format!("{what}: found {found} entries, wanted {wanted}"))
    }

    /// A call whose outputs belong to single images: any split gives the same bits.
    #[allow(clippy::too_many_arguments)]
    fn rows(
        &self,
        mode: Mode,
        packed: &Packed,
        ws: &mut Workspace,
        pool: &Pool,
        (call, v): (Call<'_>, Option<&[f32]>),
        n: usize,
        [terms, grad, hvp]: [&mut [f32]; 3],
    ) {
        if n == 0 {
            return;
        }
        let chunk = chunk_of(n, pool);
        let (len, t) = (self.program.sample_len, self.terms_len());
        let (has_grad, has_hvp) = (!grad.is_empty(), !hvp.is_empty());
        let slices =
            [Split::every(terms, chunk * t), Split::every(grad, chunk * len), Split::every(hvp, chunk * len)];
        pool.run_split(ws.workers(pool.threads()), n.div_ceil(chunk), slices, |w, i, [terms, grad, hvp]| {
            let (from, to) = (i * chunk, ((i + 1) * chunk).min(n));
            let arena = w.arena(&self.program, mode, chunk);
            let mut io = self.io(call, v, (from, to), terms);
            io.grad = has_grad.then_some(grad);
            io.hvp = has_hvp.then_some(hvp);
            self.run(packed, (&w.arenas[arena], &w.store), to - from).run(&mut w.scratch, &mut io);
        });
    }

    pub(super) fn run<'a>(
        &'a self,
        packed: &'a Packed,
        (arena, store): (&'a Arena, &'a Store),
        n: usize,
    ) -> Run<'a> {
        Run { p: &self.program, packed, k: &self.kernels, arena, store, n }
    }

    pub(super) fn io<'a>(
        &self,
        call: Call<'a>,
        v: Option<&'a [f32]>,
        (from, to): (usize, usize),
        terms: &'a mut [f32],
    ) -> Io<'a> {
        let (len, k) = (self.program.sample_len, self.program.condition);
        Io {
            x: &call.x[from * len..to * len],
            v: v.map(|v| &v[from * len..to * len]),
            cond: call.cond.map(|c| &c[from * k..to * k]),
            weights: None,
            terms,
            grad: None,
            hvp: None,
        }
    }

    /// What was chosen for each layer, and the memory of a slope of `batch` images on one thread.
    pub fn describe(&self, batch: usize) -> String {
        use std::fmt::Write;
        let p = &self.program;
        let plan = layout(p, Mode::SLOPE, batch.clamp(1, MAX_CHUNK));
        let mut out = format!("cpu engine, {}\n", self.isa.name());
        for seg in &plan.segments {
            let _ = writeln!(out, "  groups of {}:", seg.group);
            for step in &p.steps[seg.from..seg.to] {
                let v = &p.values[step.out];
                let what = match &step.kind {
                    Kind::Conv(c) => {
                        let algorithm = match c.algorithm {
                            Algorithm::Winograd(np) => format!("winograd F({0}×{0})", np - 2),
                            Algorithm::Patches => "patches".into(),
                            Algorithm::Sample => "patches of the sample".into(),
                            Algorithm::Boxes => "box sums (convolution and pooling in one)".into(),
                            Algorithm::Strided { boxes: false } => "winograd of stride 2".into(),
                            Algorithm::Strided { boxes: true } => {
                                "winograd of box sums (convolution and pooling in one)".into()
                            }
                        };
                        let dropped = if c.bias_dropped { ", bias without effect" } else { "" };
                        let (high, wide) = (c.rows().0, c.kernel);
                        format!("{high}×{wide} {}→{} by {algorithm}{dropped}", c.cin, c.cout)
                    }
                    Kind::Affine(a) => {
                        let mut parts = Vec::new();
                        if let Some(n) = &a.norm {
                            parts.push(format!("norm of {} groups", n.groups));
                        }
                        if a.label.is_some() {
                            parts.push("label affine".into());
                        }
                        if a.act.0 != 0 {
                            parts.push("activation".into());
                        }
                        if a.residual {
                            parts.push("residual".into());
                        }
                        parts.join(" + ")
                    }
                    other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_lowercase(),
                };
                let _ = writeln!(out, "    {:<32} ({}, {}, {})  {what}", step.name, v.c, v.h, v.w);
            }
        }
        let bytes: usize = plan.buffers.iter().map(|g| g.len() * 4).sum();
        let _ = writeln!(out, "  tensors of {} images: {} KiB", plan.chunk, bytes >> 10);
        out
    }
}
