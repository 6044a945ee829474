//! Runs instruction lists on one block of rows in one arena.

use super::kernels::{ActAt, Combine, Mode, Product};
use super::pack::{Buffer, NO_BIAS, Packed};
use super::plan::DensePlan;
use super::program::{Backward, Forward, Program, Reverse};

/// Floats of activations that should stay in the nearest caches beside the weights.
const ARENA: usize = 64 * 1024;

impl Program {
    /// Rows of a block: activations fit the cache, and every product still has full tiles.
    fn most_rows(&self) -> usize {
        (ARENA / (self.blocks * 16)).clamp(24, 96)
    }

    /// Rows a task works on: all tasks of about one size, their number a multiple of `threads`.
    pub(super) fn rows(&self, batch: usize, threads: usize) -> usize {
        let blocks = batch.div_ceil(self.most_rows()).next_multiple_of(threads.max(1));
        batch.div_ceil(blocks.max(1)).max(1)
    }
}

/// Where a block lives: an arena, its row count, and the distance of its column blocks.
pub(super) struct Block<'a> {
    pub arena: &'a mut [f32],
    pub rows: usize,
    pub stride: usize,
}

/// Distance of column blocks for blocks of `rows` rows: odd in cache lines, so that the column
/// blocks of a row do not fall into one set of the cache.
pub(super) fn stride_of(rows: usize) -> usize {
    (rows | 1) * 16
}

/// A plan with packed weights: what the threads share.
pub(super) struct Net<'a> {
    pub plan: &'a DensePlan,
    pub packed: &'a [Packed],
}

impl Net<'_> {
    /// Runs the forward pass of `program` on what stands in the input buffers.
    pub fn forward(&self, program: &Program, b: &mut Block<'_>) {
        let k = self.plan.kernels;
        let streams = if program.dual { 2 } else { 1 };
        let (rows, stride) = (b.rows, b.stride);
        for step in &program.forward {
            match step {
                Forward::Linear { linear, src, dst } => {
                    let (l, w) = (&self.plan.graph.linears[*linear], &self.packed[*linear]);
                    for s in 0..streams {
                        let p = Product {
                            rows,
                            stride,
                            a: src[s] * stride,
                            k: l.k(),
                            c: dst[s] * stride,
                            blocks: l.out_blocks(),
                            mode: Mode::Write,
                        };
                        // A tangent passes the map without its shift.
                        let bias = (s == 0).then_some(&*w.bias);
                        if l.narrow() {
                            k.narrow(p, l.outputs, b.arena, &w.forward, bias.unwrap_or(&NO_BIAS));
                        } else {
                            k.product(p, b.arena, &w.forward, bias);
                        }
                    }
                }
                Forward::Act { act, blocks, z, a, d, tangent } => k.activate(
                    ActAt {
                        rows,
                        stride,
                        blocks: *blocks,
                        z: z * stride,
                        a: a * stride,
                        d: d * stride,
                        tangent: tangent.map(|(z, a, e)| (z * stride, a * stride, e * stride)),
                    },
                    *act,
                    b.arena,
                ),
                Forward::Sum { blocks, a, b: other, dst } => {
                    for s in 0..streams {
                        let to = dst[s] * stride;
                        let copy = Combine { to, ..pass(rows, stride, *blocks, a[s] * stride) };
                        k.combine(copy, b.arena);
                        let add =
                            Combine { to, mode: Mode::Add, ..pass(rows, stride, *blocks, other[s] * stride) };
                        k.combine(add, b.arena);
                    }
                }
                Forward::Copy { blocks, src, dst } => {
                    for s in 0..streams {
                        let to = dst[s] * stride;
                        k.combine(Combine { to, ..pass(rows, stride, *blocks, src[s] * stride) }, b.arena);
                    }
                }
            }
        }
    }

    /// Runs the reverse pass from seeded terms; without `input`, only what trainable parameters need.
    pub fn backward(&self, program: &Program, b: &mut Block<'_>, input: bool) {
        for step in program.backward.iter().filter(|s| input || s.trained) {
            self.reverse(program.dual, step, b);
        }
    }

    fn reverse(&self, dual: bool, step: &Backward, b: &mut Block<'_>) {
        let k = self.plan.kernels;
        let (rows, stride) = (b.rows, b.stride);
        let streams = if dual { 2 } else { 1 };
        let (g, to) = (step.g.map(|g| g * stride), step.to.map(|t| t * stride));
        match step.what {
            Reverse::Linear { linear } => {
                let (l, w) = (&self.plan.graph.linears[linear], &self.packed[linear]);
                for s in 0..streams {
                    let p = Product {
                        rows,
                        stride,
                        a: g[s],
                        k: l.outputs,
                        c: to[s],
                        blocks: l.in_blocks,
                        mode: step.mode,
                    };
                    if l.narrow_back() {
                        k.narrow(p, l.k(), b.arena, &w.backward, &NO_BIAS);
                    } else {
                        k.product(p, b.arena, &w.backward, None);
                    }
                }
            }
            Reverse::Act { blocks, d, e } => {
                let (d, e) = (d * stride, e * stride);
                let uv = dual.then_some((g[1], e));
                let first =
                    Combine { rows, stride, blocks, x: g[0], y: Some(d), uv, to: to[0], mode: step.mode };
                k.combine(first, b.arena);
                if dual {
                    let x = Combine { x: g[1], to: to[1], uv: None, ..first };
                    k.combine(x, b.arena);
                }
            }
            Reverse::Copy { blocks } => {
                for s in 0..streams {
                    k.combine(
                        Combine { to: to[s], mode: step.mode, ..pass(rows, stride, blocks, g[s]) },
                        b.arena,
                    );
                }
            }
        }
    }

    /// Seeds the gradients of the terms: `seed(row, term)` in `stream`, zero in all other places.
    pub fn seed(
        &self,
        program: &Program,
        b: &mut Block<'_>,
        stream: usize,
        seed: impl Fn(usize, usize) -> f32,
    ) {
        for (t, (_, grad, mode)) in program.terms.iter().enumerate() {
            for r in 0..b.rows {
                let at = |s: usize| grad[s] * b.stride + r * 16;
                if *mode == Mode::Write {
                    b.arena[at(0)..][..16].fill(0.0);
                    b.arena[at(1)..][..16].fill(0.0);
                }
                b.arena[at(stream)] += seed(r, t);
            }
        }
    }

    /// Energies of the block's rows: the sum of the terms.
    pub fn energies(&self, program: &Program, b: &Block<'_>, out: &mut [f32]) {
        for (r, e) in out.iter_mut().enumerate() {
            *e = program.terms.iter().map(|(v, _, _)| b.arena[v[0] * b.stride + r * 16]).sum();
        }
    }

    pub fn terms(&self, program: &Program, b: &Block<'_>, out: &mut [f32]) {
        let n = program.terms.len();
        for (r, row) in out.chunks_exact_mut(n).enumerate() {
            for (o, (v, _, _)) in row.iter_mut().zip(&program.terms) {
                *o = b.arena[v[0] * b.stride + r * 16];
            }
        }
    }

    /// Energies and input gradients of rows `x`.
    pub fn slope(&self, b: &mut Block<'_>, x: &[f32], energy: &mut [f32], grad: &mut [f32]) {
        let (p, k, width) = (&self.plan.first, self.plan.kernels, self.plan.width());
        k.rows_in(x, width, b.stride, b.arena, p.input[0] * b.stride);
        self.forward(p, b);
        self.energies(p, b, energy);
        self.seed(p, b, 0, |_, _| 1.0);
        self.backward(p, b, true);
        k.rows_out(b.arena, p.input_grad[0] * b.stride, width, b.stride, grad);
    }
}

/// A copy of a buffer, to be completed with its target.
fn pass(rows: usize, stride: usize, blocks: usize, x: usize) -> Combine {
    Combine { rows, stride, blocks, x, y: None, uv: None, to: x, mode: Mode::Write }
}

/// Scratch of one thread.
#[derive(Default)]
pub(super) struct Work {
    pub arena: Buffer,
    /// The block geometry the arena was last zeroed for; padding must be zero.
    key: (bool, usize),
    pub scratch: Buffer,
    pub noise: Buffer,
}

impl Work {
    /// An arena for blocks of `rows` rows of `program`.
    pub fn block(&mut self, program: &Program, rows: usize, of: usize) -> Block<'_> {
        let stride = stride_of(of);
        let len = program.blocks * stride;
        self.arena.ensure(len);
        if self.key != (program.dual, of) {
            // Another layout: what was a value may now be padding.
            self.arena.fill(0.0);
            self.key = (program.dual, of);
        }
        Block { arena: &mut self.arena[..len], rows, stride }
    }
}
