//! The sample of a convolution that reads it itself: strips of rows in which the few channels of a pixel stand beside each other.
//!
//! A block of sixteen channels for one or three of them would be mostly zeros, to be written, read and multiplied.

use super::kernels::Kernels;
use super::kernels::patches::Runs;
use super::program::Conv;

/// The values of a group of images, `(images, C, H, W)`, and where there are two streams their tangents.
#[derive(Clone, Copy)]
pub(crate) struct Sample<'a> {
    /// Values, then tangents if there are.
    pub streams: [Option<&'a [f32]>; 2],
    /// Height and width of an image.
    pub size: (usize, usize),
}

/// The same for gradients; those that nobody wants are absent.
pub(crate) struct SampleMut<'a> {
    /// In the order of the physical images.
    pub streams: [Option<&'a mut [f32]>; 2],
    /// Number of streams.
    pub count: usize,
    /// Height and width of an image.
    pub size: (usize, usize),
}

impl<'a> Sample<'a> {
    /// Physical image `i` of `len` entries.
    fn image(&self, i: usize, len: usize) -> &'a [f32] {
        let (i, stream) = match self.streams {
            [Some(x), None] => (i, x),
            [x, v] => (i / 2, if i.is_multiple_of(2) { x } else { v }.unwrap_or_default()),
        };
        &stream[i * len..(i + 1) * len]
    }
}

impl SampleMut<'_> {
    /// Physical image `i` of `len` entries, if it is wanted.
    pub(super) fn image(&mut self, i: usize, len: usize) -> Option<&mut [f32]> {
        let (i, stream) = (i / self.count, i % self.count);
        self.streams[stream].as_mut().map(|d| &mut d[i * len..(i + 1) * len])
    }

    pub(super) fn zero(&mut self) {
        self.streams.iter_mut().flatten().for_each(|d| d.fill(0.0));
    }
}

/// A strip: what `rows` rows of places from row `first` on reach of an image.
struct Strip<'a> {
    conv: &'a Conv,
    size: (usize, usize),
    first: usize,
    rows: usize,
    /// Places in a row.
    wo: usize,
}

/// Entries of a line of the strip: of what a row of `wo` places reaches.
fn line(conv: &Conv, wo: usize) -> usize {
    ((wo - 1) * conv.stride + conv.kernel) * conv.cin
}

/// Floats of a strip for `rows` rows of `wo` places, with what the kernels read behind it.
pub(super) fn strip_len(conv: &Conv, rows: usize, wo: usize) -> usize {
    ((rows - 1) * conv.stride + conv.rows().0) * line(conv, wo) + 16
}

impl Strip<'_> {
    /// Calls `f(line of the strip, offset in it, offset in the image, pixels)` for all rows and channels that lie in the image.
    fn each(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let (conv, (h, w)) = (self.conv, self.size);
        let (high, top) = conv.rows();
        let wide = (self.wo - 1) * conv.stride + conv.kernel;
        let pixels = w.min(wide.saturating_sub(conv.padding));
        if pixels == 0 {
            return;
        }
        for l in 0..(self.rows - 1) * conv.stride + high {
            let Some(row) = (self.first * conv.stride + l).checked_sub(top).filter(|r| *r < h) else {
                continue;
            };
            (0..conv.cin).for_each(|c| f(l, conv.padding * conv.cin + c, (c * h + row) * w, pixels));
        }
    }

    fn read(&self, x: &[f32], strip: &mut [f32]) {
        let (line, step) = (line(self.conv, self.wo), self.conv.cin);
        strip[..strip_len(self.conv, self.rows, self.wo)].fill(0.0);
        self.each(|l, at, from, n| {
            let (to, x) = (&mut strip[l * line..(l + 1) * line], &x[from..from + n]);
            if step == 1 {
                to[at..at + n].copy_from_slice(x);
            } else {
                to[at..].iter_mut().step_by(step).zip(x).for_each(|(to, x)| *to = *x);
            }
        });
    }

    fn add_to(&self, x: &mut [f32], strip: &[f32]) {
        let (line, step) = (line(self.conv, self.wo), self.conv.cin);
        self.each(|l, at, to, n| {
            let from = strip[l * line + at..(l + 1) * line].iter().step_by(step);
            x[to..to + n].iter_mut().zip(from).for_each(|(x, s)| *x += s);
        });
    }
}

/// Patches of rows `first..first + rows` of the places of physical image `i`: `a[inner block][pixel][16]`.
#[allow(clippy::too_many_arguments)]
pub(super) fn gather(
    k: &Kernels,
    conv: &Conv,
    x: Sample<'_>,
    i: usize,
    (first, rows, wo): (usize, usize, usize),
    a: &mut [f32],
    stride: usize,
    strip: &mut [f32],
) {
    let of = Strip { conv, size: x.size, first, rows, wo };
    of.read(x.image(i, conv.cin * x.size.0 * x.size.1), strip);
    let (line, step, run, high) = (line(conv, wo), conv.stride * conv.cin, conv.run(), conv.rows().0);
    // Block by block, row by row: what is written behind a pixel's runs is overwritten by those that stand there.
    for b in 0..conv.inner_blocks() {
        let (kh, o, count) = match run {
            1..=16 => (b * (16 / run), 0, (16 / run).min(high - b * (16 / run))),
            _ => (b / run.div_ceil(16), b % run.div_ceil(16) * 16, 1),
        };
        let runs = Runs { run: (run - o).min(16), count, line, step };
        for r in 0..rows {
            let from = &strip[(r * conv.stride + kh) * line + o..];
            k.runs_in(from, runs, wo, &mut a[b * stride + r * wo * 16..]);
        }
    }
}

/// Adjoint of [`gather`]: adds to the gradient of the image.
#[allow(clippy::too_many_arguments)]
pub(super) fn scatter(
    conv: &Conv,
    gx: &mut [f32],
    size: (usize, usize),
    (first, rows, wo): (usize, usize, usize),
    a: &[f32],
    stride: usize,
    strip: &mut [f32],
) {
    let of = Strip { conv, size, first, rows, wo };
    let strip = &mut strip[..strip_len(conv, rows, wo)];
    strip.fill(0.0);
    let (line, step, run) = (line(conv, wo), conv.stride * conv.cin, conv.run());
    for r in 0..rows {
        for q in 0..wo {
            for kh in 0..conv.rows().0 {
                let to = &mut strip[(r * conv.stride + kh) * line + q * step..][..run];
                let at = conv.run_start(kh);
                for (o, to) in to.chunks_mut(16).enumerate() {
                    let from = (at / 16 + o) * stride + (r * wo + q) * 16 + at % 16;
                    to.iter_mut().zip(&a[from..from + 16]).for_each(|(to, v)| *to += v);
                }
            }
        }
    }
    of.add_to(gx, strip);
}
