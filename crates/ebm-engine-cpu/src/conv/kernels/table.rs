//! The generic kernels instantiated inside functions that enable an instruction set.

use super::affine::Form;
use super::gemm::Factors;
use super::patches::{Reach, Runs};
use super::{View, affine, boxes, gemm, moments, patches, strided, wino};
use crate::conv::attention::{self, Grads, Qkv, Size};
use crate::conv::cells::Place;
use crate::simd::Isa;

type Forward = unsafe fn(Form, View, usize, usize, usize, usize, *const f32, f32, Option<View>, View);
type BackwardSums = unsafe fn(Form, View, View, usize, usize, usize, usize, *const f32, f32, *mut f32, View);
type StridedIn = unsafe fn(View, usize, usize, usize, &[Place], *mut f32, usize);
type StridedBack = unsafe fn(*const f32, usize, View, usize, usize, usize, &[Place]);
type BackwardApply = unsafe fn(View, usize, usize, usize, usize, *const f32, View);

/// Activation kinds; see [`affine::code`].
const KINDS: usize = 7;

/// One function per kernel; arguments as in the generic kernels.
#[allow(clippy::type_complexity)]
pub(super) struct Table {
    pub gemm: unsafe fn(bool, usize, &[usize], usize, *const f32, *const f32, usize, *mut f32, usize, bool),
    pub gemm_tn: unsafe fn(&[Factors], usize, usize, *const f32, *const f32, *mut f32, bool),
    pub weights: unsafe fn(usize, *const f32, *mut f32),
    pub fold: unsafe fn(usize, *const f32, usize, usize, *mut f32, bool),
    pub wino_in: unsafe fn(usize, View, usize, usize, usize, usize, usize, *mut f32, usize, usize),
    pub wino_out: unsafe fn(usize, *const f32, usize, usize, View, usize, usize, usize, usize, usize, bool),
    pub wino_adj: unsafe fn(usize, View, usize, usize, usize, usize, usize, *mut f32, usize, usize),
    /// Of maps and of box sums.
    pub strided_in: [StridedIn; 2],
    pub strided_back: [StridedBack; 2],
    pub strided_out: unsafe fn(*const f32, usize, View, usize, &[Place]),
    pub strided_adjoint: unsafe fn(View, usize, &[Place], *mut f32, usize),
    pub stats: unsafe fn(View, usize, usize, usize, usize, *mut f32),
    pub tangent_sums: unsafe fn(View, usize, usize, usize, usize, *mut f32),
    pub forward: [[Forward; 2]; KINDS],
    pub backward_sums: [[BackwardSums; 2]; KINDS],
    pub backward_apply: [BackwardApply; 2],
    pub backward_scale: unsafe fn(usize, usize, usize, usize, usize, *const f32, View),
    pub scaled: unsafe fn(View, usize, usize, usize, usize, f32, bool, View),
    pub box_in: unsafe fn(View, usize, usize, usize, usize, usize, usize, *mut f32, usize, *mut f32),
    pub box_out: unsafe fn(View, usize, usize, usize, usize, usize, usize, *const f32, usize, *mut f32),
    pub patch_in: unsafe fn(View, usize, usize, usize, usize, usize, Reach, usize, usize, *mut f32, usize),
    pub patch_out: unsafe fn(View, usize, usize, usize, usize, usize, Reach, usize, usize, *const f32, usize),
    pub runs_in: unsafe fn(*const f32, Runs, usize, *mut f32),
    pub shift: unsafe fn(View, usize, usize, usize, usize, *const f32),
    pub attend: unsafe fn(Size, Qkv<'_>, Option<Qkv<'_>>, &mut [f32], &mut [f32], &mut [f32]),
    pub attend_back: unsafe fn(Size, Qkv<'_>, &[f32], &mut Grads<'_>, &mut [f32]),
    pub attend_back_two:
        unsafe fn(Size, [Qkv<'_>; 2], [&[f32]; 2], &mut Grads<'_>, &mut Grads<'_>, &mut [f32]),
}

macro_rules! wrap {
    ([$($attr:meta)?] $name:ident = $($k:ident)::+ :: <$($g:tt),*> ($($b:ident : $u:ty),*)) => {
        $(#[$attr])?
        #[allow(clippy::too_many_arguments)]
        pub(super) unsafe fn $name($($b: $u),*) {
            // SAFETY: the same promise, passed on.
            unsafe { $($k)::+::<$($g),*>($($b),*) }
        }
    };
}

macro_rules! kind {
    ([$($attr:meta)?] $m:ident, $a:literal) => {
        mod $m {
            use super::*;
            wrap!([$($attr)?] forward1 = affine::forward::<S, $a, false>(form: Form, y: View, cb: usize, n: usize, h: usize, w: usize, st: *const f32, p: f32, res: Option<View>, out: View));
            wrap!([$($attr)?] forward2 = affine::forward::<S, $a, true>(form: Form, y: View, cb: usize, n: usize, h: usize, w: usize, st: *const f32, p: f32, res: Option<View>, out: View));
            wrap!([$($attr)?] sums1 = affine::backward_sums::<S, $a, false>(form: Form, y: View, g: View, cb: usize, n: usize, h: usize, w: usize, st: *const f32, p: f32, s: *mut f32, out: View));
            wrap!([$($attr)?] sums2 = affine::backward_sums::<S, $a, true>(form: Form, y: View, g: View, cb: usize, n: usize, h: usize, w: usize, st: *const f32, p: f32, s: *mut f32, out: View));
        }
    };
}

macro_rules! table {
    ($m:ident, $S:ty, [$($attr:meta)?]) => {
        mod $m {
            use super::*;
            type S = $S;
            wrap!([$($attr)?] gemm = gemm::gemm::<S>(pair: bool, m: usize, k: &[usize], last: usize, a: *const f32, b: *const f32, np: usize, c: *mut f32, cns: usize, add: bool));
            wrap!([$($attr)?] gemm_tn = gemm::gemm_tn::<S>(parts: &[Factors], cb: usize, kb: usize, v: *const f32, d: *const f32, du: *mut f32, add: bool));
            wrap!([$($attr)?] fold = wino::fold::<S>(n: usize, du: *const f32, ps: usize, c: usize, dw: *mut f32, add: bool));
            $(#[$attr])?
            unsafe fn weights(n: usize, w: *const f32, u: *mut f32) {
                // SAFETY: the same promise, passed on.
                unsafe { wino::weights(n, w, u) }
            }
            $(#[$attr])?
            unsafe fn attend(s: Size, x: Qkv<'_>, t: Option<Qkv<'_>>, o: &mut [f32], ot: &mut [f32], work: &mut [f32]) {
                // SAFETY: the same promise, passed on.
                unsafe { attention::forward::<S>(s, x, t, o, ot, work) }
            }
            $(#[$attr])?
            unsafe fn attend_back(s: Size, x: Qkv<'_>, go: &[f32], g: &mut Grads<'_>, work: &mut [f32]) {
                // SAFETY: the same promise, passed on.
                unsafe { attention::backward::<S>(s, x, go, g, work) }
            }
            $(#[$attr])?
            unsafe fn attend_back_two(s: Size, x: [Qkv<'_>; 2], go: [&[f32]; 2], g: &mut Grads<'_>, gt: &mut Grads<'_>, work: &mut [f32]) {
                // SAFETY: the same promise, passed on.
                unsafe { attention::backward_two::<S>(s, x, go, g, gt, work) }
            }
            wrap!([$($attr)?] wino_in = wino::wino_in::<S>(n: usize, x: View, cb: usize, h: usize, w: usize, t0: usize, t1: usize, v: *mut f32, ps: usize, vks: usize));
            wrap!([$($attr)?] wino_out = wino::wino_out::<S>(n: usize, m: *const f32, ps: usize, vks: usize, y: View, kb: usize, h: usize, w: usize, t0: usize, t1: usize, add: bool));
            wrap!([$($attr)?] wino_adj = wino::wino_adj::<S>(n: usize, y: View, kb: usize, h: usize, w: usize, t0: usize, t1: usize, d: *mut f32, ps: usize, vks: usize));
            wrap!([$($attr)?] map_in = strided::strided_in::<S, false>(x: View, cb: usize, h: usize, w: usize, places: &[Place], v: *mut f32, vks: usize));
            wrap!([$($attr)?] boxes_in = strided::strided_in::<S, true>(x: View, cb: usize, h: usize, w: usize, places: &[Place], v: *mut f32, vks: usize));
            wrap!([$($attr)?] map_back = strided::strided_back::<S, false>(m: *const f32, mks: usize, gx: View, cb: usize, h: usize, w: usize, places: &[Place]));
            wrap!([$($attr)?] boxes_back = strided::strided_back::<S, true>(m: *const f32, mks: usize, gx: View, cb: usize, h: usize, w: usize, places: &[Place]));
            wrap!([$($attr)?] strided_out = strided::strided_out::<S>(m: *const f32, mks: usize, y: View, kb: usize, places: &[Place]));
            wrap!([$($attr)?] strided_adjoint = strided::strided_adjoint::<S>(y: View, kb: usize, places: &[Place], d: *mut f32, dks: usize));
            wrap!([$($attr)?] stats = moments::stats::<S>(y: View, cb: usize, n: usize, h: usize, w: usize, st: *mut f32));
            wrap!([$($attr)?] tangent_sums = moments::tangent_sums::<S>(y: View, cb: usize, n: usize, h: usize, w: usize, st: *mut f32));
            wrap!([$($attr)?] apply1 = affine::backward_apply::<S, false>(y: View, cb: usize, n: usize, h: usize, w: usize, co: *const f32, out: View));
            wrap!([$($attr)?] apply2 = affine::backward_apply::<S, true>(y: View, cb: usize, n: usize, h: usize, w: usize, co: *const f32, out: View));
            wrap!([$($attr)?] backward_scale = affine::backward_scale::<S>(cb: usize, n: usize, h: usize, w: usize, streams: usize, co: *const f32, out: View));
            wrap!([$($attr)?] scaled = affine::scaled::<S>(s: View, cb: usize, n: usize, h: usize, w: usize, a: f32, add: bool, d: View));
            wrap!([$($attr)?] box_in = boxes::box_in::<S>(x: View, cb: usize, i: usize, h: usize, w: usize, r0: usize, r1: usize, a: *mut f32, aks: usize, tmp: *mut f32));
            wrap!([$($attr)?] box_out = boxes::box_out::<S>(x: View, cb: usize, i: usize, h: usize, w: usize, r0: usize, r1: usize, a: *const f32, aks: usize, tmp: *mut f32));
            wrap!([$($attr)?] patch_in = patches::patch_in::<S>(x: View, cb: usize, i: usize, h: usize, w: usize, wo: usize, k: Reach, r0: usize, r1: usize, a: *mut f32, aks: usize));
            wrap!([$($attr)?] patch_out = patches::patch_out::<S>(x: View, cb: usize, i: usize, h: usize, w: usize, wo: usize, k: Reach, r0: usize, r1: usize, a: *const f32, aks: usize));
            wrap!([$($attr)?] runs_in = patches::runs_in::<S>(strip: *const f32, k: Runs, n: usize, a: *mut f32));
            wrap!([$($attr)?] shift = patches::shift::<S>(y: View, cb: usize, n: usize, h: usize, w: usize, bias: *const f32));
            kind!([$($attr)?] k0, 0);
            kind!([$($attr)?] k1, 1);
            kind!([$($attr)?] k2, 2);
            kind!([$($attr)?] k3, 3);
            kind!([$($attr)?] k4, 4);
            kind!([$($attr)?] k5, 5);
            kind!([$($attr)?] k6, 6);
            pub(super) static TABLE: Table = Table {
                gemm, gemm_tn, fold, weights, wino_in, wino_out, wino_adj, stats, tangent_sums, scaled, box_in, box_out,
                patch_in, patch_out, runs_in, shift, strided_out, strided_adjoint, attend, attend_back, attend_back_two,
                forward: [
                    [k0::forward1, k0::forward2], [k1::forward1, k1::forward2], [k2::forward1, k2::forward2],
                    [k3::forward1, k3::forward2], [k4::forward1, k4::forward2], [k5::forward1, k5::forward2],
                    [k6::forward1, k6::forward2],
                ],
                backward_sums: [
                    [k0::sums1, k0::sums2], [k1::sums1, k1::sums2], [k2::sums1, k2::sums2], [k3::sums1, k3::sums2],
                    [k4::sums1, k4::sums2], [k5::sums1, k5::sums2], [k6::sums1, k6::sums2],
                ],
                strided_in: [map_in, boxes_in],
                strided_back: [map_back, boxes_back],
                backward_apply: [apply1, apply2],
                backward_scale,
            };
        }
    };
}

#[cfg(target_arch = "x86_64")]
table!(avx512, crate::simd::Avx512, [target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]);
#[cfg(target_arch = "x86_64")]
table!(avx2, crate::simd::Avx2, [target_feature(enable = "avx2,fma")]);
#[cfg(target_arch = "aarch64")]
table!(neon, crate::simd::Neon, [target_feature(enable = "neon")]);
table!(portable, crate::simd::Portable, []);

/// The table of `isa`, if it was compiled for this architecture.
pub(super) fn of(isa: Isa) -> Option<&'static Table> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Some(&avx512::TABLE),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Some(&avx2::TABLE),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => Some(&neon::TABLE),
        Isa::Portable => Some(&portable::TABLE),
        #[allow(unreachable_patterns)]
        _ => None,
    }
}
