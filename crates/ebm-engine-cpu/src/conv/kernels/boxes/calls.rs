//! The safe calls of box sums.

use crate::conv::arena::{Dst, Geom, Src};
use crate::conv::kernels::{Blocks, Kernels, fits, read, write};

impl Kernels {
    /// Box sums of rows `r0..r1` of image `i` into `a[at..]`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn box_in(
        &self,
        x: Src<'_>,
        i: usize,
        rows: (usize, usize),
        a: &mut [f32],
        ab: Blocks,
        tmp: &mut [f32],
    ) {
        let g = x.g;
        check_box(&g, rows, a.len(), ab, tmp.len());
        assert!(g.halo, "box sums need a halo");
        let x = read(x, i + 1, 1);
        // SAFETY: extents checked above.
        unsafe {
            let a = a.as_mut_ptr().add(ab.at);
            (self.t.box_in)(x, g.cb, i, g.h, g.w, rows.0, rows.1, a, ab.stride, tmp.as_mut_ptr());
        }
    }

    /// Adjoint of [`Kernels::box_in`]; adds.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn box_out(
        &self,
        gx: &mut Dst<'_>,
        i: usize,
        rows: (usize, usize),
        a: &[f32],
        ab: Blocks,
        tmp: &mut [f32],
    ) {
        let g = gx.g;
        check_box(&g, rows, a.len(), ab, tmp.len());
        let gx = write(gx, i + 1, 1);
        // SAFETY: extents checked above.
        unsafe {
            let a = a.as_ptr().add(ab.at);
            (self.t.box_out)(gx, g.cb, i, g.h, g.w, rows.0, rows.1, a, ab.stride, tmp.as_mut_ptr());
        }
    }
}

fn check_box(g: &Geom, rows: (usize, usize), len: usize, ab: Blocks, tmp: usize) {
    assert!(
        rows.0 <= rows.1 && rows.1 <= g.h.div_ceil(2) && tmp >= 3 * (g.w + 2) * 16,
        "rows outside the map"
    );
    fits(len.saturating_sub(ab.at), 9 * g.cb, ab.stride, (rows.1 - rows.0) * g.w.div_ceil(2));
}
