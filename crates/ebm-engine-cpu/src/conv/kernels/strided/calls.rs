//! The safe calls of the transforms of strided convolutions.

use crate::conv::arena::{Dst, Src};
use crate::conv::cells::Cells;
use crate::conv::kernels::{Kernels, read, write};

impl Kernels {
    /// Factors of the products of a strided convolution, of a tensor, or of the box sums of one with halo.
    pub(crate) fn strided_in(&self, x: Src<'_>, cells: &Cells, boxes: bool, v: &mut [f32]) {
        let g = x.g;
        cells.check(g.n - x.i0, (g.h, g.w), boxes);
        assert!((g.halo || !boxes) && g.cb * cells.stride <= v.len(), "no halo, or scratch too small");
        let (x, f) = (read(x, 0, 1), self.t.strided_in[usize::from(boxes)]);
        // SAFETY: places and extents checked above.
        unsafe { f(x, g.cb, g.h, g.w, &cells.places, v.as_mut_ptr(), cells.stride) }
    }

    /// Adjoint of [`Kernels::strided_in`] on the channel blocks from `from` on; adds.
    pub(crate) fn strided_back(
        &self,
        m: &[f32],
        cells: &Cells,
        boxes: bool,
        (from, blocks): (usize, usize),
        gx: &mut Dst<'_>,
    ) {
        let g = gx.g;
        cells.check(g.n - gx.i0, (g.h, g.w), boxes);
        assert!(from + blocks <= g.cb && blocks * cells.stride <= m.len(), "channels outside the tensor");
        let gx = write(gx, 0, 1).block(from);
        let f = self.t.strided_back[usize::from(boxes)];
        // SAFETY: places and extents checked above.
        unsafe { f(m.as_ptr(), cells.stride, gx, blocks, g.h, g.w, &cells.places) }
    }

    /// Places of a strided convolution from its products, on the channel blocks from `from` on.
    pub(crate) fn strided_out(
        &self,
        m: &[f32],
        cells: &Cells,
        (from, blocks): (usize, usize),
        y: &mut Dst<'_>,
    ) {
        cells.check_places(&y.g, y.i0);
        assert!(from + blocks <= y.g.cb && blocks * cells.stride <= m.len(), "channels outside the tensor");
        let y = write(y, 0, 1).block(from);
        // SAFETY: places and extents checked above.
        unsafe { (self.t.strided_out)(m.as_ptr(), cells.stride, y, blocks, &cells.places) }
    }

    /// Adjoint of [`Kernels::strided_out`].
    pub(crate) fn strided_adjoint(
        &self,
        y: Src<'_>,
        cells: &Cells,
        (from, blocks): (usize, usize),
        d: &mut [f32],
    ) {
        cells.check_places(&y.g, y.i0);
        assert!(from + blocks <= y.g.cb && blocks * cells.stride <= d.len(), "channels outside the tensor");
        let y = read(y, 0, 1).block(from);
        // SAFETY: places and extents checked above.
        unsafe { (self.t.strided_adjoint)(y, blocks, &cells.places, d.as_mut_ptr(), cells.stride) }
    }
}
