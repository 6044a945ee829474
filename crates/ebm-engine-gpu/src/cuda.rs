//! A CUDA device, after everything that candle will ask of it was seen to be there.
//!
//! The binding loads the vendor's libraries at its first call and panics where one is missing, so nothing of it is called before.

mod branches;
#[cfg(feature = "cudnn")]
mod convolution;
pub(crate) mod graph;
mod launch;
#[cfg(feature = "nccl")]
mod nccl;
mod workspace;

use std::collections::BTreeMap;
#[cfg(feature = "cudnn")]
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "nccl")]
pub use nccl::between;

use candle_core::cuda::cudarc::driver::{result, sys};
use candle_core::{CudaDevice, Device};
use ebm_core::backend::NoDevice;
#[cfg(feature = "cudnn")]
use ebm_core::operators::Operators;
use ebm_core::operators::install;
use libloading::{Library, Symbol};

use crate::kernels::operators;

const DRIVER: &[&str] = &["libcuda.so.1", "libcuda.so", "nvcuda.dll"];

/// What candle loads when it opens a device, with the newest name first.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("cuBLAS", &["libcublas.so.13", "libcublas.so.12", "libcublas.so", "cublas64_13.dll", "cublas64_12.dll"]),
    (
        "cuBLASLt",
        &[
            "libcublasLt.so.13",
            "libcublasLt.so.12",
            "libcublasLt.so",
            "cublasLt64_13.dll",
            "cublasLt64_12.dll",
        ],
    ),
    ("cuRAND", &["libcurand.so.10", "libcurand.so", "curand64_10.dll"]),
];

const CUDNN: (&str, &[&str]) = ("cuDNN", &["libcudnn.so.9", "libcudnn.so", "cudnn64_9.dll"]);

/// Devices that are open. A second one of the same number would have a stream of its own, in no order with the first one's.
static OPEN: Mutex<BTreeMap<usize, Device>> = Mutex::new(BTreeMap::new());

pub fn open(number: usize) -> Result<Device, NoDevice> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = open.get(&number) {
        return Ok(device.clone());
    }
    let device = new(number)?;
    open.insert(number, device.clone());
    Ok(device)
}

fn new(number: usize) -> Result<Device, NoDevice> {
    let found = count()?;
    if number >= found {
        let why = format!("there is no GPU {number}; the driver shows {found}, counted from 0");
        return Err(NoDevice::NotThere(why));
    }
    let device = Device::new_cuda_with_stream(number)?;
    let cuda = device.as_cuda_device()?;
    // SAFETY: this device has one stream, so no allocation needs the events that order it between streams.
    unsafe { cuda.disable_event_tracking() };
    keep_pool(cuda)?;
    let blas = workspace::taken(cuda)?;
    workspace::give(cuda, blas)?;
    let own = operators(launch::Cuda::new(cuda, blas));
    #[cfg(feature = "cudnn")]
    let own = Operators { convolutions: Some(Arc::new(convolution::CudnnOps(cuda.clone()))), ..own };
    install(&device, own);
    Ok(device)
}

/// Number of GPUs of the driver, once all libraries are there.
fn count() -> Result<usize, NoDevice> {
    let missing = |what: &str, names: &[&str]| {
        NoDevice::NotThere(format!("{what} is not there ({}); set LD_LIBRARY_PATH to where it is", names[0]))
    };
    let driver = load(DRIVER).ok_or_else(|| NoDevice::NotThere("no NVIDIA driver (libcuda.so.1)".into()))?;
    let absent =
        |e: libloading::Error| NoDevice::NotThere(format!("the NVIDIA driver lacks a function: {e}"));
    let mut found = 0;
    // SAFETY: both functions have these signatures in every version of the driver's interface.
    let (started, counted) = unsafe {
        let init: Symbol<unsafe extern "C" fn(u32) -> i32> = driver.get(b"cuInit\0").map_err(absent)?;
        let count: Symbol<unsafe extern "C" fn(*mut i32) -> i32> =
            driver.get(b"cuDeviceGetCount\0").map_err(absent)?;
        let started = init(0);
        (started, if started == 0 { count(&mut found) } else { 0 })
    };
    // Loaded for good: the binding is about to use it.
    std::mem::forget(driver);
    if started != 0 {
        return Err(NoDevice::NotThere(format!(
            "the NVIDIA driver does not start (cuInit: error {started})"
        )));
    }
    if counted != 0 || found < 1 {
        return Err(NoDevice::NotThere(format!("the NVIDIA driver shows no GPU (error {counted})")));
    }
    for (what, names) in LIBRARIES.iter().chain(cfg!(feature = "cudnn").then_some(&CUDNN)) {
        load(names).ok_or_else(|| missing(what, names))?;
    }
    Ok(usize::try_from(found).unwrap_or(0))
}

fn load(names: &[&str]) -> Option<Library> {
    // SAFETY: initialisers of the vendor's libraries run, as they will when candle opens the device.
    names.iter().find_map(|name| unsafe { Library::new(*name) }.ok())
}

/// Lets the driver's memory pool keep what is freed; it would hand it back at every synchronisation.
fn keep_pool(device: &CudaDevice) -> Result<(), NoDevice> {
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut keep = u64::MAX;
    // SAFETY: the value of this attribute is a u64 (CUDA driver interface, cuMemPoolSetAttribute).
    unsafe {
        let pool =
            result::device::get_default_mem_pool(context.cu_device()).map_err(candle_core::Error::wrap)?;
        result::mem_pool::set_attribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut keep).cast(),
        )
        .map_err(candle_core::Error::wrap)?;
    }
    Ok(())
}
