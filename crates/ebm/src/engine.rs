//! The fused engine for a device.

use std::sync::Arc;

use candle_core::Device;
use ebm_core::Engine;

/// The engine that offers fused twins of energies on `device`, if there is one.
pub fn engine(device: &Device) -> Option<Arc<dyn Engine>> {
    let _ = device;
    None
}
