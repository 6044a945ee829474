//! CUDA graphs: the work that a step starts, recorded once and started as a whole from then on.
//!
//! A step is some hundred small kernels, each of which costs the processor more than the GPU. Within a graph memory is allocated and
//! freed too, as long as all that a step allocates is freed by its end. Parameters, what is derived from them and the tape are written over where they
//! lie, so a graph serves all walks that are alike.

use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::CudaDevice;
use candle_core::cuda::cudarc::driver::{CudaGraph, CudaStream, DriverError, result, sys};
use ebm_core::operators::Recording;

/// How many steps were started out of graphs.
pub static PLAYED: AtomicU64 = AtomicU64::new(0);

/// A graph on the stream of its device.
pub struct Graph {
    graph: Option<CudaGraph>,
    device: CudaDevice,
}

// SAFETY: the driver lets any thread use a graph as long as no two do so at once, and nobody can hold a `Graph` while another has it.
unsafe impl Send for Graph {}

impl Recording for Graph {
    fn play(&self) -> candle_core::Result<()> {
        PLAYED.fetch_add(1, Ordering::Relaxed);
        self.graph.as_ref().map_or(Ok(()), CudaGraph::launch).map_err(candle_core::Error::wrap)
    }
}

impl Drop for Graph {
    /// A graph under way is destroyed by the driver when it is done (cuGraphExecDestroy), so nothing waits here. What failed in it is told by
    /// whatever waits for the device next; a failure to destroy it would be told to a call that has nothing to do with it.
    fn drop(&mut self) {
        let stream = self.device.cuda_stream();
        let ready = stream.context().bind_to_thread();
        drop(self.graph.take());
        if let Err(e) = ready.and_then(|()| stream.context().check_err()) {
            tracing::warn!("a CUDA graph was not let go: {e}");
        }
    }
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

/// A recording on a stream, which ends with this if nothing ended it before: a step that panics would leave the stream recording, and what is
/// started later would be written down and not run.
struct UnderWay<'a>(&'a CudaStream);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if matches!(recording(self.0), Ok(false)) {
            return;
        }
        // SAFETY: ends what was begun on this stream, and lets go what nobody else knows of; a recording that broke has no graph.
        unsafe {
            if let Ok(graph) = result::stream::end_capture(self.0.cu_stream())
                && !graph.is_null()
            {
                // Whoever is told of what ended the recording has enough to hear.
                _ = result::graph::destroy(graph);
            }
        }
    }
}

/// Whether work on a stream is recorded.
pub(super) fn recording(stream: &CudaStream) -> Result<bool, DriverError> {
    Ok(stream.capture_status()? != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
}

/// The graph of what `step` starts, which does not run it; the reason where it cannot be recorded.
pub fn record(device: &CudaDevice, step: &mut dyn FnMut() -> ebm_core::Result<()>) -> Result<Graph, String> {
    let stream = device.cuda_stream();
    let text = |e: DriverError| e.to_string();
    // Other threads go on with what they do elsewhere; none may work on this stream meanwhile, which would be recorded too.
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(text)?;
    let under_way = UnderWay(&stream);
    let recorded = step();
    // What failed while memory was given back in the recording is told later, to a call that has nothing to do with it: here that would
    // be the end of the recording, which would go on.
    let freed = stream.context().check_err();
    let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let whole = recorded.is_ok() && freed.is_ok();
    let graph = whole.then(|| stream.end_capture(flags));
    drop(under_way);
    // The end's own failure was returned.
    _ = stream.context().check_err();
    recorded.map_err(|e| e.to_string())?;
    freed.map_err(|e| format!("memory that the step did not take was given back in it: {e}"))?;
    let graph = graph.transpose().map_err(text)?.flatten();
    let graph = graph.ok_or_else(|| String::from("nothing was recorded"))?;
    Ok(Graph { graph: Some(graph), device: device.clone() })
}
