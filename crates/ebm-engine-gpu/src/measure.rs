//! What a device does at most, and how full it is.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};

/// Side of the matrices that are multiplied: large enough to fill any device.
const SIDE: usize = 4096;

/// Floating-point operations a second of the device's best matrix product in f32: the median of some products of 4096×4096.
///
/// # Errors
/// If the device has no room or fails.
pub fn peak_flops(device: &Device) -> Result<f64> {
    let a = Tensor::ones((SIDE, SIDE), DType::F32, device)?;
    let mut seconds = Vec::new();
    for _ in 0..8 {
        device.synchronize()?;
        let start = Instant::now();
        let c = a.matmul(&a)?;
        device.synchronize()?;
        seconds.push(start.elapsed().as_secs_f64());
        drop(c);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(2.0 * (SIDE as f64).powi(3) / seconds[seconds.len() / 2].max(1e-12))
}

/// Bytes of the device's memory that are in use, by all programs; `None` where the device does not tell.
pub fn memory_in_use(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            cuda.cuda_stream().context().bind_to_thread().ok()?;
            let (free, all) = candle_core::cuda::cudarc::driver::result::mem_get_info().ok()?;
            Some(all.saturating_sub(free) as u64)
        }
        _ => None,
    }
}
