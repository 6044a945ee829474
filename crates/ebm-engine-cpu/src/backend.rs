//! What this crate registers: the processor, with its engine.

use std::sync::Arc;

use candle_core::Device;
use ebm_core::backend::{Backend, Entry, NoDevice};
use ebm_core::{Engine, Result, inventory};

use crate::CpuEngine;
use crate::peak::peak_flops;

/// The processor.
struct Cpu;

inventory::submit! { Entry { backend: &Cpu, origin: env!("CARGO_PKG_NAME") } }

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn words(&self) -> &'static [&'static str] {
        &["cpu"]
    }

    fn open(&self, _: usize) -> std::result::Result<Device, NoDevice> {
        Ok(Device::Cpu)
    }

    /// After everything else.
    fn automatic(&self) -> Option<u8> {
        Some(u8::MAX)
    }

    fn engine(&self) -> Option<Arc<dyn Engine>> {
        Some(Arc::new(CpuEngine::new()))
    }

    fn peak_flops(&self, device: &Device) -> Result<Option<f64>> {
        Ok(device.is_cpu().then(peak_flops).flatten())
    }
}
