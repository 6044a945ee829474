//! Weights in the order in which the kernels read them; made again only when parameters change.

use super::graph::{Graph, Linear, Source};
use super::kernels::Kernels;

/// Floats that begin on a cache line, so that no vector load straddles two.
#[derive(Default)]
pub(super) struct Buffer {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    pub fn zeros(len: usize) -> Buffer {
        let data = vec![0f32; len + 16];
        // A platform that cannot say gives usize::MAX: then any start is as good.
        let start = data.as_ptr().align_offset(64).min(16);
        Buffer { data, start, len }
    }

    /// Grows to at least `len` floats, all zero if it had to grow.
    pub fn ensure(&mut self, len: usize) {
        if self.len < len {
            *self = Buffer::zeros(len);
        }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.data[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..self.start + self.len]
    }
}

/// One linear map, packed for both passes.
#[derive(Default)]
pub(super) struct Packed {
    pub forward: Buffer,
    pub backward: Buffer,
    /// Padded to whole blocks, zeros without a bias.
    pub bias: Buffer,
}

/// Four zeros: the bias of dot products in the reverse pass.
pub(super) const NO_BIAS: [f32; 4] = [0.0; 4];

/// Packs every linear map of `graph`; `out` is filled in place if it has been filled before.
pub(super) fn pack(graph: &Graph, kernels: Kernels, params: &[f32], buffers: &[f32], out: &mut Vec<Packed>) {
    out.resize_with(graph.linears.len(), Packed::default);
    for (l, p) in graph.linears.iter().zip(out) {
        let n = l.places.len();
        match l.weight {
            Source::Param(i) => pack_one(l, kernels, &params[graph.params[i].offset..][..l.outputs * n], p),
            Source::Buffer(i) => {
                pack_one(l, kernels, &buffers[graph.buffers[i].offset..][..l.outputs * n], p)
            }
            // Constants are packed once: a bias always has length, so it tells whether that was done.
            Source::Ones if p.bias.is_empty() => pack_one(l, kernels, &vec![1.0; n], p),
            Source::Identity if p.bias.is_empty() => {
                let identity: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(i % (n + 1) == 0))).collect();
                pack_one(l, kernels, &identity, p);
            }
            Source::Ones | Source::Identity => {}
        }
        p.bias.ensure(l.out_blocks() * 16);
        if let Some(b) = l.bias {
            p.bias[..l.outputs].copy_from_slice(&params[graph.params[b].offset..][..l.outputs]);
        }
    }
}

/// `weight` is `(outputs, inputs)` row-major. Entries for padding are zero from the start and stay so.
fn pack_one(l: &Linear, kernels: Kernels, weight: &[f32], p: &mut Packed) {
    let n = l.places.len();
    let rows = || weight.chunks_exact(n).enumerate();
    // Forward: columns are outputs.
    if l.narrow() {
        let k = l.k().div_ceil(16) * 16;
        p.forward.ensure(l.outputs * k);
        for (o, row) in rows() {
            for (place, w) in l.places.iter().zip(row) {
                p.forward[o * k + place] = *w;
            }
        }
    } else {
        let (k, blocks) = (l.k(), l.out_blocks());
        p.forward.ensure(k * blocks * 16);
        let mut first = 0;
        while first < l.outputs {
            // A whole panel at a time, so that writes are contiguous.
            let (start, columns) = place(kernels, k, blocks, first);
            let count = columns.min(l.outputs - first);
            for (i, place) in l.places.iter().enumerate() {
                let line = &mut p.forward[start + place * columns..][..count];
                for (o, v) in line.iter_mut().enumerate() {
                    *v = weight[(first + o) * n + i];
                }
            }
            first += columns;
        }
    }
    // Backward: columns are places of inputs.
    if l.narrow_back() {
        let k = l.out_blocks() * 16;
        p.backward.ensure(l.k() * k);
        for (o, row) in rows() {
            for (place, w) in l.places.iter().zip(row) {
                p.backward[place * k + o] = *w;
            }
        }
    } else {
        p.backward.ensure(l.outputs * l.in_blocks * 16);
        let mut i = 0;
        while i < n {
            // Coordinates that stand side by side in one block are copied together.
            let at = l.places[i];
            let run = (1..(16 - at % 16).min(n - i)).take_while(|j| l.places[i + j] == at + j).count() + 1;
            let (start, columns) = place(kernels, l.outputs, l.in_blocks, at);
            for (o, row) in rows() {
                p.backward[start + o * columns..][..run].copy_from_slice(&row[i..i + run]);
            }
            i += run;
        }
    }
}

/// Start and step of a column of a matrix of `k` rows and `blocks` column blocks.
pub(super) fn place(kernels: Kernels, k: usize, blocks: usize, column: usize) -> (usize, usize) {
    let wide = kernels.panel_blocks();
    let whole = blocks / wide * wide;
    let block = column / 16;
    let (first, columns) = if block < whole { (block / wide * wide, wide * 16) } else { (block, 16) };
    (first * 16 * k + column - first * 16, columns)
}
