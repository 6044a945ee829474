//! CUDA graphs: the work that a step starts, recorded once and started as a whole from then on.
//!
//! A step is some hundred small kernels, each of which costs the processor more than the GPU. Within a graph memory is allocated and
//! freed too, as long as all that a step allocates is freed by its end. Weights move with every update, so a graph serves one walk.

use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::CudaDevice;
use candle_core::cuda::cudarc::driver::{CudaGraph, DriverError, result, sys};

/// How many steps were started out of graphs.
pub static PLAYED: AtomicU64 = AtomicU64::new(0);

/// How it went.
pub enum Outcome {
    /// All steps were run.
    Done,
    /// A step cannot be recorded; so many are left to run.
    Unrecordable {
        /// The reason.
        why: String,
        /// How many.
        left: usize,
    },
}

/// Runs `step`, records what it starts the second time, and starts that for each of the steps that are left.
///
/// # Errors
/// If the step that is run fails, or the device while it runs the graph.
pub fn repeat(
    device: &CudaDevice,
    times: usize,
    step: &mut dyn FnMut() -> ebm_core::Result<()>,
) -> ebm_core::Result<Outcome> {
    // Shapes and strides that candle uploads with its kernels come from a cache while this lives; the first step fills it.
    let _uploads = device.enable_cuda_graph_htod_cache();
    step()?;
    let left = times - 1;
    let graph = match record(device, step) {
        Ok(graph) => graph,
        Err(why) => return Ok(Outcome::Unrecordable { why, left }),
    };
    PLAYED.fetch_add(left as u64, Ordering::Relaxed);
    for _ in 0..left {
        graph.launch().map_err(candle_core::Error::wrap)?;
    }
    // A graph under way is destroyed by the driver when it is done (cuGraphExecDestroy), so nothing waits here. What fails in it would be
    // told to the next call that may fail, whatever it is about.
    drop(graph);
    device.cuda_stream().context().check_err().map_err(candle_core::Error::wrap)?;
    Ok(Outcome::Done)
}

/// Gives back what earlier graphs took for their own and no longer use: it is apart from the pool of everything else.
///
/// # Errors
/// If the driver refuses.
pub fn trim(device: &CudaDevice) -> candle_core::Result<()> {
    let stream = device.cuda_stream();
    let context = stream.context();
    context.bind_to_thread().map_err(candle_core::Error::wrap)?;
    // SAFETY: the device is open.
    let done = unsafe { sys::cuDeviceGraphMemTrim(context.cu_device()) };
    done.result().map_err(candle_core::Error::wrap)
}

/// The graph of what `step` starts, which does not run it.
fn record(device: &CudaDevice, step: &mut dyn FnMut() -> ebm_core::Result<()>) -> Result<CudaGraph, String> {
    let stream = device.cuda_stream();
    let text = |e: DriverError| e.to_string();
    // Other threads go on with what they do elsewhere; none may work on this stream meanwhile, which would be recorded too.
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(text)?;
    let recorded = step();
    // What failed while memory was given back in the recording is told later, to a call that has nothing to do with it: here that would
    // be the end of the recording, which would go on.
    let freed = stream.context().check_err();
    let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags);
    if graph.is_err()
        && stream.capture_status() != Ok(sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
    {
        // SAFETY: ends what was begun on this stream; a recording that broke has no graph.
        _ = unsafe { result::stream::end_capture(stream.cu_stream()) };
    }
    // The end's own failure was returned.
    _ = stream.context().check_err();
    recorded.map_err(|e| e.to_string())?;
    freed.map_err(|e| format!("memory that the step did not take was given back in it: {e}"))?;
    graph.map_err(text)?.ok_or_else(|| "nothing was recorded".into())
}
