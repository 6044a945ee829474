//! GPUs: opening one, and saying why there is none.
//!
#![doc = include_str!("../README.md")]

#[cfg(any(test, feature = "nccl"))]
mod between;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod host;
#[cfg(any(test, feature = "cuda"))]
mod kernels;
#[cfg(test)]
mod tests;

mod measure;

use std::sync::Arc;

use candle_core::Device;
use ebm_core::Collective;
pub use measure::{memory_in_use, peak_flops};

/// A GPU that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gpu {
    /// The CUDA device of this number, counted as the driver does (`CUDA_VISIBLE_DEVICES` applies).
    Cuda(usize),
    /// The first Metal device.
    Metal,
}

/// Why a GPU was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The program cannot drive this kind of GPU.
    #[error("this program was built without the feature `{0}`")]
    NotBuilt(&'static str),
    /// The vendor's driver or one of its libraries is not there or does not start.
    #[error("{0}")]
    NotThere(String),
    /// There are GPUs, but none of this number.
    #[error("there is no GPU {wanted}; the driver shows {found}, counted from 0")]
    Number {
        /// The number asked for.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// The device did not open.
    #[error("{0}")]
    Candle(#[from] candle_core::Error),
}

/// Opens a GPU.
///
/// A CUDA device has one stream of its own, so work is in order whatever thread asks for it, and keeps freed memory in its pool.
///
/// # Errors
/// If the feature was not built, a library is missing, or there is no such device.
pub fn open(gpu: Gpu) -> Result<Device, GpuError> {
    match gpu {
        Gpu::Cuda(number) => cuda(number),
        Gpu::Metal => metal(),
    }
}

/// Whether GPUs may round the factors of products in f32 to TF32, which has 10 bits; off at first. It holds for the process.
pub fn round_products(yes: bool) {
    candle_core::cuda::set_gemm_reduced_precision_f32(yes);
}

/// `ranks` with their sums between GPUs, if this program was built with `nccl`, `device` is one of CUDA and there are several
/// ranks; `ranks` as they are otherwise. All ranks call it together.
///
/// # Errors
/// If NCCL is not there or does not find the group.
pub fn between(ranks: Arc<dyn Collective>, device: &Device) -> ebm_core::Result<Arc<dyn Collective>> {
    #[cfg(feature = "nccl")]
    if ranks.size() > 1 && device.is_cuda() {
        return cuda::between(ranks, device);
    }
    let _ = device;
    Ok(ranks)
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<Device, GpuError> {
    cuda::open(number)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device, GpuError> {
    Err(GpuError::NotBuilt("cuda"))
}

fn metal() -> Result<Device, GpuError> {
    if !candle_core::utils::metal_is_available() {
        return Err(GpuError::NotBuilt("metal"));
    }
    Ok(Device::new_metal(0)?)
}

#[cfg(test)]
mod opening {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gpu_opens_or_says_why_not() {
        for gpu in [Gpu::Cuda(0), Gpu::Metal] {
            match open(gpu) {
                Ok(device) => assert!(!device.is_cpu()),
                Err(why) => assert!(!why.to_string().is_empty()),
            }
        }
        // More than any machine has: never a panic inside the driver's binding.
        let why = open(Gpu::Cuda(10_000)).unwrap_err();
        if !cfg!(feature = "cuda") {
            assert!(matches!(why, GpuError::NotBuilt("cuda")));
        }
    }
}
