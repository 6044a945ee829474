//! Gradients of weights that are larger than the factors they are products of: the factors of many images are kept, and multiplied once.
//!
//! A wide layer of a small map has more weights than numbers in the maps of a part of the batch. Summed part by part its gradient would be
//! written and read as a whole for each part; so would be the sums over parts.

use std::ops::Range;

use super::arena::Src;
use super::cells::{Axis, GROUPS};
use super::convolve::{Scratch, tile_count};
use super::kernels::{Factors, Kernels, STRIDED, Tiles};
use super::program::{Algorithm, Conv, Kind, Program, Step};

/// Blocks of 16 output channels that one task multiplies, so that what it reads of the input's factors serves several products.
const TOGETHER: usize = 4;

/// A convolution whose gradient comes late.
#[derive(Clone, Debug)]
pub(crate) struct Late {
    /// Its step.
    pub step: usize,
    /// Size of its map.
    size: (usize, usize),
    /// Blocks of input and of output channels.
    blocks: (usize, usize),
    /// Floats before its factors, and of its factors, in those of one image.
    kept: (usize, usize),
}

/// All of a program.
#[derive(Clone, Debug, Default)]
pub(crate) struct LateLayout {
    pub all: Vec<Late>,
    /// Floats that all factors of an image take.
    pub kept: usize,
    /// Which one, and from which output block on: tasks, whose results lie one behind the other.
    tasks: Vec<(usize, usize)>,
    /// Where the results of tasks begin and end.
    pub cuts: Vec<usize>,
}

/// Some images of a part whose factors lie together.
#[derive(Clone, Copy)]
pub(crate) struct Images {
    /// Images of the parts before, and of this part before them.
    pub before: usize,
    pub n: usize,
}

/// Where the rows of the factors of some images lie: `[channel block][point][row][16]`.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Floats before those of the images.
    at: usize,
    rows: [usize; 36],
    start: [usize; 36],
    /// Floats between channel blocks.
    stride: usize,
}

/// Points of the product of a convolution, and the transform that leads back from them.
fn points(conv: &Conv) -> Option<(usize, usize)> {
    match conv.algorithm {
        Algorithm::Winograd(np) => Some((np * np, np)),
        Algorithm::Strided { .. } => Some((GROUPS, STRIDED)),
        _ => None,
    }
}

fn axes((h, w): (usize, usize), boxes: bool) -> (Axis, Axis) {
    (Axis::new(h, boxes), Axis::new(w, boxes))
}

impl LateLayout {
    /// The convolutions of `p` with more weights than numbers in the factors of `part` images.
    pub(crate) fn new(p: &Program, part: usize) -> LateLayout {
        let mut all = LateLayout { cuts: vec![0], ..LateLayout::default() };
        for (step, Step { kind, inputs, .. }) in p.steps.iter().enumerate() {
            let Kind::Conv(conv) = kind else { continue };
            let v = &p.values[inputs[0]];
            let (size, blocks) = ((v.h, v.w), (v.cb(), conv.cout.div_ceil(16)));
            // Of an image; groups of images take a little less.
            let rows = match conv.algorithm {
                Algorithm::Winograd(np) => np * np * size.0.div_ceil(np - 2) * size.1.div_ceil(np - 2),
                Algorithm::Strided { boxes } => {
                    let (high, wide) = axes(size, boxes);
                    high.products() * wide.products() + GROUPS + 1
                }
                _ => continue,
            };
            let len = (blocks.0 + blocks.1) * rows * 16;
            if 9 * blocks.0 * blocks.1 * 256 < part * len {
                continue;
            }
            for from in (0..blocks.1).step_by(TOGETHER) {
                all.tasks.push((all.all.len(), from));
                let task = 9 * blocks.0 * (blocks.1 - from).min(TOGETHER) * 256;
                all.cuts.push(all.cuts.last().copied().unwrap_or(0) + task);
            }
            all.all.push(Late { step, size, blocks, kept: (all.kept, len) });
            all.kept += len;
        }
        all
    }

    /// The convolution of step `step`, if its gradient comes late.
    pub(crate) fn of(&self, step: usize) -> Option<&Late> {
        self.all.iter().find(|l| l.step == step)
    }

    pub(crate) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// The step whose gradient a task computes a share of.
    pub(crate) fn step(&self, task: usize) -> usize {
        self.all[self.tasks[task].0].step
    }

    /// Floats of all gradients.
    pub(crate) fn len(&self) -> usize {
        self.cuts.last().copied().unwrap_or(0)
    }
}

impl Late {
    /// The part of the factors of a part of `chunk` images that those of the images `i0..i0 + n` take.
    fn place(&self, chunk: usize, i0: usize, n: usize) -> Range<usize> {
        let at = chunk * self.kept.0 + i0 * self.kept.1;
        at..at + n * self.kept.1
    }

    fn shape(&self, conv: &Conv, at: usize, n: usize, s: &mut Scratch) -> Shape {
        let (mut rows, mut start) = ([0; 36], [0; 36]);
        let stride = match conv.algorithm {
            Algorithm::Strided { boxes } => {
                let axes = axes(self.size, boxes);
                s.cells.fill(axes, 0, n * axes.0.cells() * axes.1.cells());
                rows[..GROUPS].copy_from_slice(&s.cells.rows);
                start[..GROUPS].copy_from_slice(&s.cells.start);
                s.cells.stride
            }
            Algorithm::Winograd(np) => {
                let tiles = tile_count(np, self.size, n);
                rows[..np * np].fill(tiles);
                start.iter_mut().take(np * np).enumerate().for_each(|(p, at)| *at = p * tiles * 16);
                np * np * tiles * 16
            }
            _ => 0,
        };
        Shape { at, rows, start, stride }
    }

    /// Writes the factors of the images `i0..i0 + n` of a part of `chunk` images into those of the part, `kept`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn keep(
        &self,
        k: &Kernels,
        s: &mut Scratch,
        conv: &Conv,
        (x, gy): (Src<'_>, Src<'_>),
        (chunk, i0, n): (usize, usize, usize),
        kept: &mut [f32],
    ) {
        let shape = self.shape(conv, 0, n, s);
        let (v, d) = kept[self.place(chunk, i0, n)].split_at_mut(self.blocks.0 * shape.stride);
        match conv.algorithm {
            Algorithm::Winograd(np) => {
                let of = |blocks| {
                    let (t1, ps, bs) = (shape.rows[0], shape.rows[0] * 16, shape.stride);
                    Tiles { n: np, t0: 0, t1, from: 0, blocks, ps, bs }
                };
                k.wino_in(x, of(self.blocks.0), v);
                k.wino_adj(gy, of(self.blocks.1), d);
            }
            Algorithm::Strided { boxes } => {
                k.strided_in(x, &s.cells, boxes, v);
                k.strided_adjoint(gy, &s.cells, (0, self.blocks.1), d);
            }
            _ => {}
        }
    }
}

/// The result of task `task`: `dw (+)=` the products of the factors `kept` of these images, in parts of `chunk`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn multiply(
    k: &Kernels,
    s: &mut Scratch,
    p: &Program,
    layout: &LateLayout,
    task: usize,
    (chunk, images): (usize, impl Iterator<Item = Images>),
    kept: &[f32],
    dw: &mut [f32],
    add: bool,
) {
    let (late, first) = layout.tasks[task];
    let late = &layout.all[late];
    let Kind::Conv(conv) = &p.steps[late.step].kind else { return };
    let Some((points, transform)) = points(conv) else { return };
    let (cb, kb) = (late.blocks.0, (late.blocks.1 - first).min(TOGETHER));
    let mut shapes = std::mem::take(&mut s.shapes);
    shapes.clear();
    let mut known: Option<(usize, Shape)> = None;
    for i in images {
        let at = i.before / chunk * chunk * layout.kept + late.place(chunk, i.before % chunk, i.n).start;
        let shape = match known {
            Some((n, shape)) if n == i.n => Shape { at, ..shape },
            _ => late.shape(conv, at, i.n, s),
        };
        known = Some((i.n, shape));
        shapes.push(shape);
    }
    // One line between points, so that they do not fall into the same cache sets.
    let dps = 2 * 256 + 16;
    s.tmp.reserve(36 * dps);
    for c in 0..cb {
        for from in (0..kb).step_by(2) {
            let blocks = (kb - from).min(2);
            for point in 0..points {
                s.factors.clear();
                s.factors.extend(shapes.iter().map(|shape| {
                    let of = |block: usize| shape.at + block * shape.stride + shape.start[point];
                    let (v, d) = (of(c), of(cb + first + from));
                    Factors { rows: shape.rows[point], v, vks: shape.stride, d, dks: shape.stride }
                }));
                let du = &mut s.tmp[point * dps..][..blocks * 256];
                k.gemm_tn_of(&s.factors, (1, blocks), kept, kept, du, false);
            }
            for b in 0..blocks {
                let to = &mut dw[((from + b) * 9 * cb + c) * 256..];
                k.fold(transform, &s.tmp[b * 256..], dps, cb * 16, to, add);
            }
        }
    }
    s.shapes = shapes;
}
