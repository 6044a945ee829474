//! Tensor memory: aligned buffers and the channel-blocked layout "C16".
//!
//! A tensor is `[channel block][image][row][column][16 channels]`. Channels beyond the real count
//! hold finite rubbish that no reader uses (their weights are zero); a halo and the slack that fills
//! the last Winograd tile hold zeros that no kernel writes.

use std::ops::{Deref, DerefMut};

/// Channels in a block: one AVX-512 register.
pub(crate) const BLOCK: usize = 16;

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; BLOCK]);

/// A zeroed buffer of floats on 64-byte lines.
#[derive(Default)]
pub(crate) struct Buf {
    lines: Vec<Line>,
}

impl Buf {
    /// At least `len` floats, all zero.
    pub(crate) fn new(len: usize) -> Buf {
        let mut buf = Buf::default();
        buf.reserve(len);
        buf
    }

    /// Grows to at least `len` floats; the content is kept, what is new is zero.
    pub(crate) fn reserve(&mut self, len: usize) {
        if self.len() < len {
            let count = len.div_ceil(BLOCK);
            let mut lines = Vec::with_capacity(count);
            large_pages(&lines);
            lines.extend_from_slice(&self.lines);
            lines.resize(count, Line([0.0; BLOCK]));
            self.lines = lines;
        }
    }
}

/// Asks for pages of 2 MiB where they lie wholly inside memory that nobody has touched yet: tensors and weights pass by in
/// long rows, and each page of 4 KiB would cost a walk through the page tables and the start of a new look-ahead. Only advice, which
/// may be refused.
#[cfg(target_os = "linux")]
fn large_pages(lines: &Vec<Line>) {
    const PAGE: usize = 2 << 20;
    let begin = lines.as_ptr().addr();
    let (from, to) =
        (begin.next_multiple_of(PAGE), (begin + lines.capacity() * size_of::<Line>()) / PAGE * PAGE);
    if from < to {
        let at = lines.as_ptr().wrapping_byte_add(from - begin).cast_mut().cast();
        // SAFETY: the range lies inside the vector's own allocation, and the advice changes no content.
        unsafe { libc::madvise(at, to - from, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn large_pages(_: &Vec<Line>) {}

impl Deref for Buf {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `Line` is exactly 16 floats without padding, so the vector is `16·n` floats.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * BLOCK) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * BLOCK) }
    }
}

/// Shape and strides of a C16 tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Geom {
    /// Channel blocks.
    pub cb: usize,
    /// Images it has room for.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Whether a zero border surrounds each image (and fills its last 4×4 tile).
    pub halo: bool,
}

impl Geom {
    /// Floats between rows.
    pub(crate) fn rs(&self) -> usize {
        (if self.halo { self.w.next_multiple_of(4) + 2 } else { self.w }) * BLOCK
    }
    /// Floats between images.
    pub(crate) fn is(&self) -> usize {
        (if self.halo { self.h.next_multiple_of(4) + 2 } else { self.h }) * self.rs()
    }
    /// Floats between channel blocks.
    pub(crate) fn cs(&self) -> usize {
        self.n * self.is()
    }
    /// Floats before the first pixel.
    pub(crate) fn base(&self) -> usize {
        if self.halo { self.rs() + BLOCK } else { 0 }
    }
    /// Zeros in the border and the slack around every image; nothing without a halo.
    pub(crate) fn clear_border(&self, d: &mut [f32]) {
        if !self.halo {
            return;
        }
        let (rs, inner) = (self.rs(), (self.w + 1) * BLOCK);
        for image in d[..self.len()].chunks_exact_mut(self.is()) {
            for (r, row) in image.chunks_exact_mut(rs).enumerate() {
                if r == 0 || r > self.h {
                    row.fill(0.0);
                } else {
                    row[..BLOCK].fill(0.0);
                    row[inner..].fill(0.0);
                }
            }
        }
    }

    /// Floats of the whole tensor.
    pub(crate) fn len(&self) -> usize {
        self.cb * self.cs()
    }
    /// Index of the first channel of a pixel.
    #[inline]
    pub(crate) fn at(&self, c: usize, i: usize, r: usize, q: usize) -> usize {
        self.base() + c * self.cs() + i * self.is() + r * self.rs() + q * BLOCK
    }
}

/// A tensor to read, from image `i0` on.
#[derive(Clone, Copy)]
pub(crate) struct Src<'a> {
    /// All of the tensor's memory.
    pub d: &'a [f32],
    /// Its layout.
    pub g: Geom,
    /// The image the kernel calls its first.
    pub i0: usize,
}

/// A tensor to write, from image `i0` on.
pub(crate) struct Dst<'a> {
    /// All of the tensor's memory.
    pub d: &'a mut [f32],
    /// Its layout.
    pub g: Geom,
    /// The image the kernel calls its first.
    pub i0: usize,
}

impl Src<'_> {
    /// The 16 channels of one pixel.
    #[inline]
    pub(crate) fn px(&self, c: usize, i: usize, r: usize, q: usize) -> &[f32] {
        let o = self.g.at(c, self.i0 + i, r, q);
        &self.d[o..o + BLOCK]
    }
}

impl Dst<'_> {
    /// The 16 channels of one pixel.
    #[inline]
    pub(crate) fn px(&mut self, c: usize, i: usize, r: usize, q: usize) -> &mut [f32] {
        let o = self.g.at(c, self.i0 + i, r, q);
        &mut self.d[o..o + BLOCK]
    }
}
