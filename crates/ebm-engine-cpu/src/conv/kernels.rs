//! Kernels on the channel-blocked layout, one table of functions per instruction set, and the safe
//! calls that check extents before they hand out pointers.
//!
//! With `simd`, `arena` and `attention` this is all the unsafe code of the path. Every kernel
//! reads and writes only pixels inside the geometry it is given; the checks here make that geometry
//! fit the memory.

// Register arrays are indexed by constants that unroll; iterators would hide which register is meant.
#![allow(clippy::needless_range_loop)]

pub(crate) mod affine;
mod boxes;
mod gemm;
pub(crate) mod moments;
pub(crate) mod patches;
mod strided;
mod table;
mod wino;

use crate::conv::arena::{Dst, Geom, Src};
use crate::conv::attention::{Grads, Qkv, Size};
use crate::simd::Isa;
pub(crate) use gemm::Factors;
use patches::{Reach, Runs};
use table::Table;

/// A strided view: pointer to pixel (0, 0) of the first image, channel block 0. `cs`, `is`, `rs`:
/// floats between channel blocks, images, rows; `ts`: from a value to its tangent.
#[derive(Clone, Copy)]
pub(crate) struct View {
    p: *mut f32,
    cs: usize,
    is: usize,
    rs: usize,
    ts: usize,
}

impl View {
    #[inline(always)]
    unsafe fn at(&self, c: usize, n: usize, h: usize, w: usize) -> *mut f32 {
        // SAFETY: the kernels stay inside the checked geometry.
        unsafe { self.p.add(c * self.cs + n * self.is + h * self.rs + w * 16) }
    }
    /// The same from channel block `c` on.
    fn block(self, c: usize) -> View {
        View { p: self.p.wrapping_add(c * self.cs), ..self }
    }
    /// One row up and one column left of pixel (0, 0): the start of the halo.
    #[inline(always)]
    unsafe fn halo(&self, c: usize, n: usize) -> *mut f32 {
        // SAFETY: only called on tensors with a halo.
        unsafe { self.p.add(c * self.cs + n * self.is).sub(self.rs + 16) }
    }
}

/// `streams` physical images make one image of the kernel (value, tangent).
fn view(p: *mut f32, g: Geom, i0: usize, streams: usize) -> View {
    View {
        p: p.wrapping_add(g.base() + i0 * g.is()),
        cs: g.cs(),
        is: g.is() * streams,
        rs: g.rs(),
        ts: g.is(),
    }
}

fn read(x: Src<'_>, n: usize, streams: usize) -> View {
    assert!(x.i0 + n * streams <= x.g.n && x.g.len() <= x.d.len(), "tensor too small");
    // The kernels only read through views made here.
    view(x.d.as_ptr().cast_mut(), x.g, x.i0, streams)
}

fn write(x: &mut Dst<'_>, n: usize, streams: usize) -> View {
    assert!(x.i0 + n * streams <= x.g.n && x.g.len() <= x.d.len(), "tensor too small");
    view(x.d.as_mut_ptr(), x.g, x.i0, streams)
}

/// Last index of a strided block structure must lie inside `len`.
fn fits(len: usize, blocks: usize, stride: usize, rows: usize) {
    assert!(blocks == 0 || (blocks - 1) * stride + rows * 16 <= len, "matrix too small");
}

/// The kernels of one instruction set. Each method is the safe form of the kernel of that name.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    isa: Isa,
    t: &'static Table,
}

/// A matrix of 16-column blocks: rows 16 floats apart, blocks `stride` floats apart, from `at` on.
#[derive(Clone, Copy)]
pub(crate) struct Blocks {
    /// Floats before the first entry.
    pub at: usize,
    /// Floats between blocks.
    pub stride: usize,
}

/// The transform of weights of a strided convolution, where others have their size: see [`cells`](crate::conv::cells).
pub(crate) const STRIDED: usize = 5;

/// Different transformed weights along an axis.
pub(crate) const fn side(n: usize) -> usize {
    if n == STRIDED { crate::conv::cells::WEIGHTS } else { n }
}

/// What one Winograd transform covers.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    /// Transform size: 6 for F(4×4), 4 for F(2×2).
    pub n: usize,
    /// First tile.
    pub t0: usize,
    /// One past the last.
    pub t1: usize,
    /// First channel block of the tensor.
    pub from: usize,
    /// Channel blocks.
    pub blocks: usize,
    /// Floats between points in the transformed tensor.
    pub ps: usize,
    /// Floats between its channel blocks.
    pub bs: usize,
}

impl Tiles {
    fn check(&self, g: &Geom, i0: usize, len: usize, halo: bool) {
        let m = self.n - 2;
        let tiles = (g.n - i0) * g.h.div_ceil(m) * g.w.div_ceil(m);
        let rows = self.t1 - self.t0;
        assert!(self.t0 <= self.t1 && self.t1 <= tiles && (g.halo || !halo), "tiles outside the tensor");
        assert!(self.from + self.blocks <= g.cb, "channels outside the tensor");
        let last = (self.n * self.n - 1) * self.ps + self.blocks.saturating_sub(1) * self.bs;
        assert!(last + rows * 16 <= len, "scratch too small");
    }
}

impl Kernels {
    /// The kernels of `isa`, if this processor has it.
    pub(crate) fn of(isa: Isa) -> Option<Kernels> {
        if !isa.available() {
            return None;
        }
        table::of(isa).map(|t| Kernels { isa, t })
    }

    /// Whether a product with `columns` blocks is packed in panels of two.
    pub(crate) fn pairs(&self, columns: usize) -> bool {
        self.isa == Isa::Avx512 && columns.is_multiple_of(2)
    }

    /// `C (+)= A·B` for `m` rows: `A` from `a[at..]` with its blocks at `koff`, `B` packed by
    /// `pack::panels` for `kb` column blocks. `inner` numbers of a row are not zero, all but those at the end of the last block.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn gemm(
        &self,
        m: usize,
        koff: &[usize],
        inner: usize,
        a: &[f32],
        at: usize,
        b: &[f32],
        kb: usize,
        c: &mut [f32],
        cb: Blocks,
        add: bool,
    ) {
        let last = koff.iter().copied().max().unwrap_or(0);
        assert!(at + last + m * 16 <= a.len() && koff.len() * 256 * kb <= b.len(), "factor too small");
        assert!(koff.len() == inner.div_ceil(16) && inner > 0, "not so many blocks");
        let last_channels = (inner - 1) % 16 + 1;
        fits(c.len().saturating_sub(cb.at), kb, cb.stride, m);
        let pair = self.pairs(kb);
        // SAFETY: extents checked above; the processor has the set (`of`).
        unsafe {
            (self.t.gemm)(
                pair,
                m,
                koff,
                last_channels,
                a.as_ptr().add(at),
                b.as_ptr(),
                if pair { kb / 2 } else { kb },
                c.as_mut_ptr().add(cb.at),
                cb.stride,
                add,
            );
        }
    }

    /// `du[kb][16·cb][16] (+)= vᵀ·d` over `t` rows.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn gemm_tn(
        &self,
        t: usize,
        cb: usize,
        kb: usize,
        v: &[f32],
        vb: Blocks,
        d: &[f32],
        db: Blocks,
        du: &mut [f32],
        add: bool,
    ) {
        let all = Factors { rows: t, v: vb.at, vks: vb.stride, d: db.at, dks: db.stride };
        self.gemm_tn_of(&[all], (cb, kb), v, d, du, add);
    }

    /// `du[kb][16·cb][16] (+)= vᵀ·d` over the rows of all `parts`, in their order.
    pub(crate) fn gemm_tn_of(
        &self,
        parts: &[Factors],
        (cb, kb): (usize, usize),
        v: &[f32],
        d: &[f32],
        du: &mut [f32],
        add: bool,
    ) {
        for part in parts {
            fits(v.len().saturating_sub(part.v), cb, part.vks, part.rows);
            fits(d.len().saturating_sub(part.d), kb, part.dks, part.rows);
        }
        assert!(du.len() >= kb * cb * 256, "result too small");
        // SAFETY: extents checked above; the processor has the set (`of`).
        unsafe { (self.t.gemm_tn)(parts, cb, kb, v.as_ptr(), d.as_ptr(), du.as_mut_ptr(), add) }
    }

    /// `G w Gᵀ` of 16 kernels `w[tap][16]` into `u[point][16]`; `n` is a transform size or [`STRIDED`].
    pub(crate) fn weights(&self, n: usize, w: &[[f32; 16]; 9], u: &mut [[f32; 16]; 36]) {
        assert!(n <= 6, "no transform of this size");
        // SAFETY: both arrays hold what the kernel reads and writes.
        unsafe { (self.t.weights)(n, w.as_ptr().cast(), u.as_mut_ptr().cast()) }
    }

    /// `dw[tap][c][16] (+)= Gᵀ dU G` for the first 16 of `c` channels; points of `du` are `ps` floats apart.
    pub(crate) fn fold(&self, n: usize, du: &[f32], ps: usize, c: usize, dw: &mut [f32], add: bool) {
        assert!(
            (side(n) * side(n) - 1) * ps + 256 <= du.len() && 8 * c * 16 + 256 <= dw.len(),
            "gradient too small"
        );
        // SAFETY: extents checked above; the processor has the set (`of`).
        unsafe { (self.t.fold)(n, du.as_ptr(), ps, c, dw.as_mut_ptr(), add) }
    }

    /// Winograd input transform of a tensor with halo.
    pub(crate) fn wino_in(&self, x: Src<'_>, t: Tiles, v: &mut [f32]) {
        t.check(&x.g, x.i0, v.len(), true);
        let g = x.g;
        let x = read(x, 0, 1).block(t.from);
        // SAFETY: `check` bounds tiles and scratch.
        unsafe { (self.t.wino_in)(t.n, x, t.blocks, g.h, g.w, t.t0, t.t1, v.as_mut_ptr(), t.ps, t.bs) }
    }

    /// Winograd output transform, clipped to the map.
    pub(crate) fn wino_out(&self, m: &[f32], t: Tiles, y: &mut Dst<'_>, add: bool) {
        t.check(&y.g, y.i0, m.len(), false);
        let g = y.g;
        let y = write(y, 0, 1).block(t.from);
        // SAFETY: `check` bounds tiles and scratch.
        unsafe { (self.t.wino_out)(t.n, m.as_ptr(), t.ps, t.bs, y, t.blocks, g.h, g.w, t.t0, t.t1, add) }
    }

    /// Adjoint of the output transform.
    pub(crate) fn wino_adj(&self, y: Src<'_>, t: Tiles, d: &mut [f32]) {
        t.check(&y.g, y.i0, d.len(), false);
        let g = y.g;
        let y = read(y, 0, 1).block(t.from);
        // SAFETY: `check` bounds tiles and scratch.
        unsafe { (self.t.wino_adj)(t.n, y, t.blocks, g.h, g.w, t.t0, t.t1, d.as_mut_ptr(), t.ps, t.bs) }
    }

    /// Pivots, means and variances of the channels of `n` images.
    pub(crate) fn stats(&self, y: Src<'_>, n: usize, streams: usize, st: &mut [f32]) {
        let g = y.g;
        assert!(st.len() >= n * g.cb * moments::stat::LEN * 16, "statistics too small");
        // SAFETY: extents checked here and in `read`.
        unsafe { (self.t.stats)(read(y, n, streams), g.cb, n, g.h, g.w, st.as_mut_ptr()) }
    }

    /// Channel sums of the tangents of `n` images.
    pub(crate) fn tangent_sums(&self, y: Src<'_>, n: usize, st: &mut [f32]) {
        let g = y.g;
        assert!(st.len() >= n * g.cb * moments::stat::LEN * 16, "statistics too small");
        // SAFETY: extents checked here and in `read`.
        unsafe { (self.t.tangent_sums)(read(y, n, 2), g.cb, n, g.h, g.w, st.as_mut_ptr()) }
    }

    /// `out = act(scale·(y − pivot) + shift) (+ res)`, on `streams` streams.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn affine(
        &self,
        (form, act): (affine::Form, (u8, f32)),
        y: Src<'_>,
        n: usize,
        streams: usize,
        st: &[f32],
        res: Option<Src<'_>>,
        out: &mut Dst<'_>,
    ) {
        let g = y.g;
        assert!(st.len() >= n * g.cb * moments::stat::LEN * 16, "statistics too small");
        assert!(same(&g, &out.g) && res.as_ref().is_none_or(|r| same(&g, &r.g)), "shapes differ");
        let f = self.t.forward[usize::from(act.0)][streams - 1];
        let res = res.map(|r| read(r, n, streams));
        let out = write(out, n, streams);
        // SAFETY: extents checked here and in `read`, `write`.
        unsafe { f(form, read(y, n, streams), g.cb, n, g.h, g.w, st.as_ptr(), act.1, res, out) }
    }

    /// First pass of the adjoint of [`Kernels::affine`].
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn affine_sums(
        &self,
        (form, act): (affine::Form, (u8, f32)),
        y: Src<'_>,
        grad: Src<'_>,
        n: usize,
        streams: usize,
        st: &[f32],
        sums: &mut [f32],
        out: &mut Dst<'_>,
    ) {
        let g = y.g;
        assert!(st.len() >= n * g.cb * moments::stat::LEN * 16, "statistics too small");
        assert!(sums.len() >= n * g.cb * affine::sum::LEN * 16, "sums too small");
        assert!(same(&g, &out.g) && same(&g, &grad.g), "shapes differ");
        let f = self.t.backward_sums[usize::from(act.0)][streams - 1];
        let out = write(out, n, streams);
        let (y, grad) = (read(y, n, streams), read(grad, n, streams));
        // SAFETY: extents checked here and in `read`, `write`.
        unsafe { f(form, y, grad, g.cb, n, g.h, g.w, st.as_ptr(), act.1, sums.as_mut_ptr(), out) }
    }

    /// Second pass of the adjoint of [`Kernels::affine`], in place.
    pub(crate) fn affine_apply(&self, y: Src<'_>, n: usize, streams: usize, coef: &[f32], out: &mut Dst<'_>) {
        let g = y.g;
        assert!(coef.len() >= n * g.cb * affine::coef::LEN * 16 && same(&g, &out.g), "shapes differ");
        let out = write(out, n, streams);
        let f = self.t.backward_apply[streams - 1];
        // SAFETY: extents checked here and in `read`, `write`.
        unsafe { f(read(y, n, streams), g.cb, n, g.h, g.w, coef.as_ptr(), out) }
    }

    /// Second pass of the adjoint of [`Kernels::affine`] without norm, in place.
    pub(crate) fn affine_scale(&self, n: usize, streams: usize, coef: &[f32], out: &mut Dst<'_>) {
        let g = out.g;
        assert!(coef.len() >= n * g.cb * affine::coef::LEN * 16, "coefficients too small");
        let out = write(out, n, streams);
        // SAFETY: extents checked here and in `write`.
        unsafe { (self.t.backward_scale)(g.cb, n, g.h, g.w, streams, coef.as_ptr(), out) }
    }

    /// `dst (+)= a·src` on `n` physical images.
    pub(crate) fn scaled(&self, src: Src<'_>, n: usize, a: f32, add: bool, dst: &mut Dst<'_>) {
        let g = src.g;
        assert!(same(&g, &dst.g), "shapes differ");
        let dst = write(dst, n, 1);
        // SAFETY: extents checked here and in `read`, `write`.
        unsafe { (self.t.scaled)(read(src, n, 1), g.cb, n, g.h, g.w, a, add, dst) }
    }

    /// See [`crate::conv::attention::forward`].
    pub(crate) fn attend(
        &self,
        s: Size,
        x: Qkv<'_>,
        t: Option<Qkv<'_>>,
        o: &mut [f32],
        ot: &mut [f32],
        work: &mut [f32],
    ) {
        // SAFETY: the instruction set is there (`of`); all memory is in checked slices.
        unsafe { (self.t.attend)(s, x, t, o, ot, work) }
    }

    /// See [`crate::conv::attention::backward`].
    pub(crate) fn attend_back(&self, s: Size, x: Qkv<'_>, go: &[f32], g: &mut Grads<'_>, work: &mut [f32]) {
        // SAFETY: as above.
        unsafe { (self.t.attend_back)(s, x, go, g, work) }
    }

    /// See [`crate::conv::attention::backward_two`].
    pub(crate) fn attend_back_two(
        &self,
        s: Size,
        x: [Qkv<'_>; 2],
        go: [&[f32]; 2],
        g: &mut Grads<'_>,
        gt: &mut Grads<'_>,
        work: &mut [f32],
    ) {
        // SAFETY: as above.
        unsafe { (self.t.attend_back_two)(s, x, go, g, gt, work) }
    }

    /// Patches of output rows `rows` of image `i` into `a[at..]`; `wo` places a row.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn patch_in(
        &self,
        x: Src<'_>,
        i: usize,
        reach: Reach,
        wo: usize,
        rows: (usize, usize),
        a: &mut [f32],
        ab: Blocks,
    ) {
        let g = x.g;
        check_patches(&g, reach, wo, rows, a.len(), ab);
        let x = read(x, i + 1, 1);
        // SAFETY: extents checked above.
        unsafe {
            let a = a.as_mut_ptr().add(ab.at);
            (self.t.patch_in)(x, g.cb, i, g.h, g.w, wo, reach, rows.0, rows.1, a, ab.stride);
        }
    }

    /// Adjoint of [`Kernels::patch_in`]; adds.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn patch_out(
        &self,
        gx: &mut Dst<'_>,
        i: usize,
        reach: Reach,
        wo: usize,
        rows: (usize, usize),
        a: &[f32],
        ab: Blocks,
    ) {
        let g = gx.g;
        check_patches(&g, reach, wo, rows, a.len(), ab);
        let gx = write(gx, i + 1, 1);
        // SAFETY: extents checked above.
        unsafe {
            let a = a.as_ptr().add(ab.at);
            (self.t.patch_out)(gx, g.cb, i, g.h, g.w, wo, reach, rows.0, rows.1, a, ab.stride);
        }
    }

    /// The runs of `n` pixels of a strip into `a`, 16 floats a pixel; up to 16 floats behind the last pixel are overwritten.
    pub(crate) fn runs_in(&self, strip: &[f32], k: Runs, n: usize, a: &mut [f32]) {
        let most = k.run.next_multiple_of(16);
        if n == 0 || k.count == 0 {
            return;
        }
        let read = (n - 1) * k.step + (k.count - 1) * k.line + most;
        assert!(k.count * k.run <= 16 && read <= strip.len() && (n + 1) * 16 <= a.len(), "runs too long");
        // SAFETY: extents checked above.
        unsafe { (self.t.runs_in)(strip.as_ptr(), k, n, a.as_mut_ptr()) }
    }

    /// Adds `bias` to the pixels of every `streams`-th of `n` physical images.
    pub(crate) fn shift(&self, y: &mut Dst<'_>, n: usize, streams: usize, bias: &[f32]) {
        let g = y.g;
        assert!(bias.len() >= g.cb * 16, "too few biases");
        let y = write(y, n / streams, streams);
        // SAFETY: extents checked here and in `write`.
        unsafe { (self.t.shift)(y, g.cb, n / streams, g.h, g.w, bias.as_ptr()) }
    }
}

fn same(a: &Geom, b: &Geom) -> bool {
    (a.cb, a.h, a.w) == (b.cb, b.h, b.w)
}

fn check_patches(g: &Geom, reach: Reach, wo: usize, rows: (usize, usize), len: usize, ab: Blocks) {
    assert!(rows.0 <= rows.1 && reach.stride > 0, "no rows");
    fits(len.saturating_sub(ab.at), reach.high * reach.wide * g.cb, ab.stride, (rows.1 - rows.0) * wo);
}
