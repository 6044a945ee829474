//! Weights in the order in which the kernels read them; made again only when parameters change.

use super::kernels::Kernels;
use super::program::{Graph, Linear, Source};

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
        let weight: &[f32] = match l.weight {
            Source::Param(i) => &params[graph.params[i].offset..][..l.outputs * n],
            Source::Buffer(i) => &buffers[graph.buffers[i].offset..][..l.outputs * n],
            Source::Ones | Source::Identity => &[],
        };
        let at = |o: usize, i: usize| match l.weight {
            Source::Ones => 1.0,
            Source::Identity => f32::from(u8::from(o == i)),
            _ => weight[o * n + i],
        };
        pack_one(l, kernels, at, p);
        p.bias.ensure(l.out_blocks() * 16);
        if let Some(b) = l.bias {
            p.bias[..l.outputs].copy_from_slice(&params[graph.params[b].offset..][..l.outputs]);
        }
    }
}

fn pack_one(l: &Linear, kernels: Kernels, at: impl Fn(usize, usize) -> f32, p: &mut Packed) {
    let padded = l.in_blocks * 16;
    // Entries for padding are zero from the start and stay so.
    if l.narrow() {
        let k = l.k().div_ceil(16) * 16;
        p.forward.ensure(l.outputs * k);
        for o in 0..l.outputs {
            for (i, place) in l.places.iter().enumerate() {
                p.forward[o * k + place] = at(o, i);
            }
        }
    } else {
        p.forward.ensure(l.k() * l.out_blocks() * 16);
        panels(kernels, l.k(), l.out_blocks(), |slot| {
            for o in 0..l.outputs {
                for (i, place) in l.places.iter().enumerate() {
                    p.forward[slot(*place, o)] = at(o, i);
                }
            }
        });
    }
    if l.narrow_back() {
        let k = l.out_blocks() * 16;
        p.backward.ensure(l.k() * k);
        for o in 0..l.outputs {
            for (i, place) in l.places.iter().enumerate() {
                p.backward[place * k + o] = at(o, i);
            }
        }
    } else {
        p.backward.ensure(l.outputs * padded);
        panels(kernels, l.outputs, l.in_blocks, |slot| {
            for o in 0..l.outputs {
                for (i, place) in l.places.iter().enumerate() {
                    p.backward[slot(o, *place)] = at(o, i);
                }
            }
        });
    }
}

/// Calls `f` with the place of entry `(k, column)` in panels as [`Kernels::product`] reads them.
fn panels(kernels: Kernels, k: usize, blocks: usize, f: impl FnOnce(&dyn Fn(usize, usize) -> usize)) {
    f(&|row, column| {
        let (start, step) = place(kernels, k, blocks, column);
        start + row * step
    });
}

/// Start and step of a column of a matrix of `k` rows and `blocks` column blocks.
pub(super) fn place(kernels: Kernels, k: usize, blocks: usize, column: usize) -> (usize, usize) {
    let wide = kernels.panel_blocks();
    let whole = blocks / wide * wide;
    let block = column / 16;
    let (first, columns) = if block < whole { (block / wide * wide, wide * 16) } else { (block, 16) };
    (first * 16 * k + column - first * 16, columns)
}
