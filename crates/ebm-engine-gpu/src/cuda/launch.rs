//! Our kernels on a CUDA device.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::cuda::cudarc::driver::{CudaFunction, DevicePtr, result};
use candle_core::{CudaDevice, DType, Error, Result, Storage, Tensor};

use super::graph::{self, Outcome};
use crate::launcher::{Arg, InMemory, Launcher};

/// `kernels/operators.cu`, compiled by build.rs to the text that the driver compiles for its GPU.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/operators.ptx"));

/// Launches kernels on the one stream of a device.
pub struct Cuda {
    device: CudaDevice,
    functions: Mutex<HashMap<&'static str, CudaFunction>>,
    /// A step could not be recorded, so none is any more.
    unrecordable: AtomicBool,
}

impl Cuda {
    pub fn new(device: &CudaDevice) -> Cuda {
        Cuda {
            device: device.clone(),
            functions: Mutex::new(HashMap::new()),
            unrecordable: AtomicBool::new(false),
        }
    }

    fn function(&self, kernel: &'static str) -> Result<CudaFunction> {
        let mut known = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(f) = known.get(kernel) {
            return Ok(f.clone());
        }
        let f = self.device.get_or_load_custom_func(kernel, "ebm-operators", PTX)?.into_cuda_function();
        known.insert(kernel, f.clone());
        Ok(f)
    }

    /// Where the numbers of `t` begin, which is on this device.
    fn address(&self, t: &Tensor) -> Result<u64> {
        let (storage, layout) = t.storage_and_layout();
        let Storage::Cuda(on_device) = &*storage else {
            candle_core::bail!("a kernel was given a tensor of another device")
        };
        let (start, stream) = (layout.start_offset(), self.device.cuda_stream());
        // The device has one stream and tracks no events, so there is nothing to wait for.
        match t.dtype() {
            DType::F32 => Ok(on_device.as_cuda_slice::<f32>()?.device_ptr(&stream).0 + 4 * start as u64),
            DType::U32 => Ok(on_device.as_cuda_slice::<u32>()?.device_ptr(&stream).0 + 4 * start as u64),
            DType::I64 => Ok(on_device.as_cuda_slice::<i64>()?.device_ptr(&stream).0 + 8 * start as u64),
            other => candle_core::bail!("no kernel takes {other:?}"),
        }
    }
}

impl Launcher for Cuda {
    fn name(&self) -> &str {
        if cfg!(feature = "cudnn") { "cuda kernels, cuDNN" } else { "cuda kernels" }
    }

    unsafe fn launch(&self, kernel: &'static str, blocks: u32, threads: u32, args: &[Arg<'_>]) -> Result<()> {
        let mut memory = InMemory::new(args, |t| self.address(t))?;
        let f = self.function(kernel)?;
        let stream = self.device.cuda_stream();
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        // SAFETY: passed on; the tensors of the addresses are freed in the order of this stream.
        unsafe {
            result::launch_kernel(
                f.cu_function(),
                (blocks, 1, 1),
                (threads, 1, 1),
                0,
                stream.cu_stream(),
                &mut memory.pointers(),
            )
        }
        .map_err(Error::wrap)
    }

    fn repeat(&self, times: usize, step: &mut dyn FnMut() -> ebm_core::Result<()>) -> ebm_core::Result<()> {
        if times < 3 || self.unrecordable.load(Ordering::Relaxed) {
            return (0..times).try_for_each(|_| step());
        }
        match graph::repeat(&self.device, times, step)? {
            Outcome::Done => Ok(()),
            Outcome::Unrecordable { why, left } => {
                self.unrecordable.store(true, Ordering::Relaxed);
                tracing::warn!("sampler steps are not recorded as a CUDA graph: {why}");
                (0..left).try_for_each(|_| step())
            }
        }
    }
}
