//! cuBLAS's own memory.

use candle_core::cuda::cudarc::cublas::sys as cublas;
use candle_core::cuda::cudarc::driver::DevicePtr;
use candle_core::{CudaDevice, Error, Result};

/// Bytes of it, as its documentation has them for Hopper (section cublasSetWorkspace).
const BYTES: usize = 32 << 20;

/// The address of memory for cuBLAS that is never given back, as the device is never closed and recordings go on to use it.
///
/// # Errors
/// If there is none.
pub(super) fn taken(device: &CudaDevice) -> Result<u64> {
    // SAFETY: the library writes before it reads.
    let memory = unsafe { device.alloc::<u8>(BYTES)? };
    let address = memory.device_ptr(&device.cuda_stream()).0;
    std::mem::forget(memory);
    Ok(address)
}

/// Lets cuBLAS use the memory at an address of [`taken`]: what it takes by itself may differ between steps that are run and steps that are recorded,
/// and with it the algorithm and the order of its sums.
///
/// # Errors
/// If the library refuses.
pub(super) fn give(device: &CudaDevice, address: u64) -> Result<()> {
    // SAFETY: the memory is of this length and never given back.
    let given =
        unsafe { cublas::cublasSetWorkspace_v2(*device.cublas_handle().handle(), address as *mut _, BYTES) };
    given.result().map_err(|e| Error::Msg(format!("cuBLAS: {e:?}")))
}
