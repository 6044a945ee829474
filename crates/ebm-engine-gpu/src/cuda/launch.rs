//! Our kernels on a CUDA device.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::{CudaFunction, DevicePtr, result};
use candle_core::{CudaDevice, DType, Error, Result, Storage, Tensor};
use ebm_core::operators::Recording;
use ebm_core::plan::Products;

use super::branches::Branches;
use super::graph;
use crate::launcher::{Arg, InMemory, Launcher};

/// `kernels/operators.cu`, compiled by build.rs to the text that the driver compiles for its GPU.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/operators.ptx"));

/// Launches kernels on the one stream of a device.
pub struct Cuda {
    device: CudaDevice,
    functions: Mutex<HashMap<&'static str, CudaFunction>>,
    recordings: Mutex<Recordings>,
    branches: Branches,
}

/// What is known of recordings so far.
#[derive(Default)]
struct Recordings {
    /// The shape of the samples of the last one.
    shape: Vec<usize>,
    /// Why one failed, which is told once.
    told: Option<String>,
    /// Our kernel that was started last.
    last: &'static str,
}

impl Cuda {
    /// On a device whose cuBLAS has its memory at `blas`.
    pub fn new(device: &CudaDevice, blas: u64) -> Cuda {
        Cuda {
            device: device.clone(),
            functions: Mutex::new(HashMap::new()),
            recordings: Mutex::default(),
            branches: Branches::new(blas),
        }
    }

    fn recordings(&self) -> MutexGuard<'_, Recordings> {
        self.recordings.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn place(&self, t: &Tensor) -> Result<u64> {
        let (storage, layout) = t.storage_and_layout();
        let Storage::Cuda(on_device) = &*storage else {
            candle_core::bail!("a kernel was given a tensor of another device")
        };
        if on_device.device().id() != self.device.id() {
            candle_core::bail!("a kernel was given a tensor of another GPU")
        }
        let (start, stream) = (layout.start_offset(), self.device.cuda_stream());
        // The device has one stream and tracks no events, so there is nothing to wait for.
        match t.dtype() {
            DType::F32 => Ok(on_device.as_cuda_slice::<f32>()?.device_ptr(&stream).0 + 4 * start as u64),
            DType::BF16 => {
                Ok(on_device.as_cuda_slice::<half::bf16>()?.device_ptr(&stream).0 + 2 * start as u64)
            }
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

    fn address(&self, t: &Tensor) -> Result<Option<u64>> {
        self.place(t).map(Some)
    }

    /// Where products run on tensor cores, whose kernels for channels that come last need no transposition.
    fn channels_last(&self, products: Products) -> bool {
        let rounded = products == Products::Bf16 || candle_core::cuda::gemm_reduced_precision_f32();
        cfg!(feature = "cudnn") && rounded
    }

    unsafe fn launch(&self, kernel: &'static str, blocks: u32, threads: u32, args: &[Arg<'_>]) -> Result<()> {
        let mut memory = InMemory::new(args, |t| self.place(t))?;
        let f = self.function(kernel)?;
        self.recordings().last = kernel;
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

    /// How candle rounds the factors of products in f32.
    fn mode(&self) -> u64 {
        candle_core::cuda::gemm_reduced_precision_f32().into()
    }

    /// Shapes and strides that candle uploads with its kernels come from a cache meanwhile, which the first step fills and which keeps them for
    /// as long as the thread lives.
    fn prepared(&self, walk: &mut dyn FnMut() -> ebm_core::Result<()>) -> ebm_core::Result<()> {
        let _uploads = self.device.enable_cuda_graph_htod_cache();
        walk()
    }

    fn record(
        &self,
        shape: &[usize],
        step: &mut dyn FnMut() -> ebm_core::Result<()>,
    ) -> ebm_core::Result<Option<Box<dyn Recording>>> {
        if std::mem::replace(&mut self.recordings().shape, shape.to_vec()) != shape {
            // Samples of another shape take other memory; what graphs that are gone held would stay.
            graph::trim(&self.device)?;
        }
        match graph::record(&self.device, step) {
            Ok(graph) => {
                tracing::debug!("a sampler step is recorded as a CUDA graph, of samples {shape:?}");
                Ok(Some(Box::new(graph)))
            }
            // The next walk may be another energy's, so it is tried again.
            Err(why) => {
                let mut known = self.recordings();
                if known.told.as_ref() != Some(&why) {
                    let last = known.last;
                    tracing::warn!(
                        "sampler steps are not recorded as a CUDA graph: {why} (the last of our kernels: {last})"
                    );
                    known.told = Some(why);
                }
                Ok(None)
            }
        }
    }

    fn apart(&self, works: &mut [&mut dyn FnMut() -> ebm_core::Result<()>]) -> ebm_core::Result<()> {
        self.branches.apart(&self.device, works)
    }
}
