//! What the processor can do at most, to hold measured speeds against.

use std::time::Instant;

use crate::dense::RowKernels;
use crate::pool::Pool;
use crate::simd::Isa;

/// Floating-point operations a second of fused multiply-adds in registers on all threads: the
/// best of a few tries of some milliseconds. `None` if `EBM_ISA` names no instruction set.
pub(crate) fn peak_flops() -> Option<f64> {
    let (kernels, pool) = (RowKernels::new(Isa::chosen().ok()?), Pool::global());
    let rounds = 1 << 20;
    let mut best = 0f64;
    for _ in 0..5 {
        let done = std::sync::atomic::AtomicU64::new(0);
        let began = Instant::now();
        pool.run(pool.threads(), |_, _| {
            done.fetch_add(kernels.burn(rounds), std::sync::atomic::Ordering::Relaxed);
        });
        best = best.max(done.into_inner() as f64 / began.elapsed().as_secs_f64());
    }
    Some(best)
}
