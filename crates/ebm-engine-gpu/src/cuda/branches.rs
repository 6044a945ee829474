//! Parts of a recorded step that stand in no order, so that small ones run beside a large one: the scales of an image.
//!
//! candle gives a device one stream, which would put them one after another. A recording is no stream, though, but a graph whose next node
//! hangs on those that the stream names: set back to where the parts began, the next part hangs there too, and after the last what follows hangs on
//! all their ends. That is what a fork and a join of streams by events would have recorded, memory that a part takes and gives back included.
//! Libraries have memory of their own for each part, for they keep it by the handle and trust in one stream's order.

use std::cell::Cell;
use std::ffi::c_uint;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda::cudarc::driver::{DriverError, sys};
use candle_core::{CudaDevice, Error, Result};
use libloading::Symbol;

use super::{DRIVER, load, workspace};

/// The variable that asks for it. It is off without: what a race does to numbers may show once in a thousand steps, and nothing of this has
/// met a GPU.
const ASKS: &str = "EBM_GPU_BRANCHES";

thread_local!(static AT: Cell<usize> = const { Cell::new(0) });

/// The part that this thread starts work of: libraries' memory is kept by it.
pub(super) fn current() -> usize {
    AT.get()
}

/// While a part is started, whose panic ends it too.
struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        AT.set(0);
    }
}

/// Parts of steps on a device.
pub(super) struct Branches {
    calls: Option<Calls>,
    /// Addresses of cuBLAS's memory, one a part.
    blas: Mutex<Vec<u64>>,
}

/// The driver's two calls, under names that it has in every version since 11.3; the binding has those of one version.
#[derive(Clone, Copy)]
struct Calls {
    info: unsafe extern "C" fn(
        sys::CUstream,
        *mut sys::CUstreamCaptureStatus,
        *mut u64,
        *mut sys::CUgraph,
        *mut *const sys::CUgraphNode,
        *mut usize,
    ) -> sys::CUresult,
    update: unsafe extern "C" fn(sys::CUstream, *mut sys::CUgraphNode, usize, c_uint) -> sys::CUresult,
}

/// Put in place of what the stream hung on (cuStreamUpdateCaptureDependencies).
const INSTEAD: c_uint = 1;

impl Calls {
    fn of_the_driver() -> Option<Calls> {
        let driver = load(DRIVER)?;
        // SAFETY: the functions have these signatures (CUDA driver interface, stream management).
        let calls = unsafe {
            let info: Symbol<'_, _> = driver.get(b"cuStreamGetCaptureInfo_v2\0").ok()?;
            let update: Symbol<'_, _> = driver.get(b"cuStreamUpdateCaptureDependencies\0").ok()?;
            Calls { info: *info, update: *update }
        };
        // Never unloaded: the binding uses it.
        std::mem::forget(driver);
        Some(calls)
    }

    /// What the next node of a recording hangs on; `None` while nothing is recorded.
    fn hangs_on(
        self,
        stream: sys::CUstream,
    ) -> std::result::Result<Option<Vec<sys::CUgraphNode>>, DriverError> {
        let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        let (mut id, mut graph, mut nodes, mut count) = (0, ptr::null_mut(), ptr::null(), 0);
        // SAFETY: all are places to write to; the nodes are the driver's until its next call, and copied.
        unsafe {
            (self.info)(stream, &raw mut status, &raw mut id, &raw mut graph, &raw mut nodes, &raw mut count)
                .result()?;
            if status != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE {
                return Ok(None);
            }
            if nodes.is_null() || count == 0 {
                return Ok(Some(Vec::new()));
            }
            Ok(Some(std::slice::from_raw_parts(nodes, count).to_vec()))
        }
    }

    fn hang_on(
        self,
        stream: sys::CUstream,
        nodes: &mut [sys::CUgraphNode],
    ) -> std::result::Result<(), DriverError> {
        // SAFETY: the nodes are of the graph that the stream records.
        unsafe { (self.update)(stream, nodes.as_mut_ptr(), nodes.len(), INSTEAD) }.result()
    }
}

impl Branches {
    /// Those of a device whose cuBLAS has its first memory at `blas`.
    pub fn new(blas: u64) -> Branches {
        let asked = match std::env::var(ASKS).as_deref() {
            Ok("1") => true,
            Ok("0") | Err(_) => false,
            Ok(other) => {
                tracing::warn!(
                    "{ASKS} is {other:?}, must be 0 or 1; the scales of a step run one after another"
                );
                false
            }
        };
        let calls = if asked { Calls::of_the_driver() } else { None };
        if asked && calls.is_none() {
            tracing::warn!("{ASKS}: the driver cannot record work in no order");
        }
        Branches { calls, blas: Mutex::new(vec![blas]) }
    }

    /// See [`Launcher::apart`](crate::Launcher::apart).
    pub fn apart(
        &self,
        device: &CudaDevice,
        works: &mut [&mut dyn FnMut() -> ebm_core::Result<()>],
    ) -> ebm_core::Result<()> {
        // What parts are made of stays in the order of its part. The parts count from 1; 0 is what is none.
        let Some(calls) = self.calls.filter(|_| works.len() > 1 && current() == 0) else {
            return works.iter_mut().try_for_each(|work| work());
        };
        let stream = device.cuda_stream();
        let stream = stream.cu_stream();
        let mut start = calls.hangs_on(stream).map_err(Error::wrap)?;
        let mut ends = Vec::new();
        for (k, work) in works.iter_mut().enumerate() {
            if let Some(start) = &mut start {
                calls.hang_on(stream, start).map_err(Error::wrap)?;
            }
            self.enter(device, 1 + k)?;
            let inside = Inside;
            let done = work();
            drop(inside);
            self.enter(device, 0)?;
            done?;
            ends.extend(calls.hangs_on(stream).map_err(Error::wrap)?.into_iter().flatten());
        }
        if start.is_some() {
            // A part that started nothing ends where it began.
            ends.sort_unstable();
            ends.dedup();
            calls.hang_on(stream, &mut ends).map_err(Error::wrap)?;
        }
        Ok(())
    }

    /// Gives libraries the memory of part `k`. The first walk runs a step before it records one, so nothing is taken in a recording.
    fn enter(&self, device: &CudaDevice, k: usize) -> Result<()> {
        let mut blas = self.blas.lock().unwrap_or_else(PoisonError::into_inner);
        while blas.len() <= k {
            blas.push(workspace::taken(device)?);
        }
        workspace::give(device, blas[k])?;
        AT.set(k);
        Ok(())
    }
}
