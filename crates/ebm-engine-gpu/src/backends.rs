//! What this crate registers: CUDA and Metal devices.

#[cfg(feature = "nccl")]
use std::sync::Arc;

use candle_core::Device;
#[cfg(feature = "nccl")]
use ebm_core::Collective;
use ebm_core::backend::{Backend, Entry, NoDevice};
use ebm_core::{Result, inventory};

use crate::measure;

/// NVIDIA's GPUs, counted as the driver does (`CUDA_VISIBLE_DEVICES` applies).
///
/// A device has one stream of its own, so work is in order whatever thread asks for it, and keeps freed memory in its pool.
pub struct Cuda;

/// Apple's first GPU, with candle's operations and none of ours.
pub struct Metal;

inventory::submit! { Entry { backend: &Cuda, origin: env!("CARGO_PKG_NAME") } }
inventory::submit! { Entry { backend: &Metal, origin: env!("CARGO_PKG_NAME") } }

impl Backend for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn words(&self) -> &'static [&'static str] {
        &["cuda", "cuda:N"]
    }

    #[cfg(feature = "cuda")]
    fn open(&self, number: usize) -> std::result::Result<Device, NoDevice> {
        crate::cuda::open(number)
    }

    #[cfg(not(feature = "cuda"))]
    fn open(&self, _: usize) -> std::result::Result<Device, NoDevice> {
        Err(NoDevice::NotBuilt("cuda"))
    }

    fn automatic(&self) -> Option<u8> {
        Some(0)
    }

    #[cfg(feature = "nccl")]
    fn between(&self, ranks: Arc<dyn Collective>, device: &Device) -> Result<Arc<dyn Collective>> {
        if ranks.size() > 1 && device.is_cuda() { crate::cuda::between(ranks, device) } else { Ok(ranks) }
    }

    fn round_products(&self, yes: bool) {
        candle_core::cuda::set_gemm_reduced_precision_f32(yes);
    }

    fn peak_flops(&self, device: &Device) -> Result<Option<f64>> {
        Ok(device.is_cuda().then(|| measure::peak_flops(device)).transpose()?)
    }

    fn memory_in_use(&self, device: &Device) -> Option<u64> {
        measure::memory_in_use(device)
    }
}

impl Backend for Metal {
    fn name(&self) -> &'static str {
        "metal"
    }

    fn words(&self) -> &'static [&'static str] {
        &["metal"]
    }

    fn open(&self, _: usize) -> std::result::Result<Device, NoDevice> {
        if !candle_core::utils::metal_is_available() {
            return Err(NoDevice::NotBuilt("metal"));
        }
        Ok(Device::new_metal(0)?)
    }

    fn automatic(&self) -> Option<u8> {
        Some(1)
    }

    /// The language of its kernels has no such type.
    fn has_doubles(&self) -> bool {
        false
    }

    fn peak_flops(&self, device: &Device) -> Result<Option<f64>> {
        Ok(device.is_metal().then(|| measure::peak_flops(device)).transpose()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gpu_opens_or_says_why_not() {
        for backend in [&Cuda as &dyn Backend, &Metal] {
            match backend.open(0) {
                Ok(device) => assert!(!device.is_cpu()),
                Err(why) => assert!(!why.to_string().is_empty()),
            }
        }
        // More than any machine has: never a panic inside the driver's binding.
        let why = Cuda.open(10_000).unwrap_err();
        if !cfg!(feature = "cuda") {
            assert!(matches!(why, NoDevice::NotBuilt("cuda")));
        }
    }
}
