//! The fused engine for a device.

use std::sync::Arc;

use candle_core::Device;
use ebm_core::Engine;
use ebm_engine_cpu::CpuEngine;

/// The engine that offers fused twins of energies on `device`, if there is one.
pub fn engine(device: &Device) -> Option<Arc<dyn Engine>> {
    device.is_cpu().then(|| Arc::new(CpuEngine::default()) as Arc<dyn Engine>)
}
