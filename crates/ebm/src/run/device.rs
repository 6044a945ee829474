//! Opens the device that a configuration names.

use candle_core::Device;
use ebm_engine_gpu::{Gpu, GpuError};

use crate::error::{Error, Result};

/// Opens `auto`, `cpu`, `cuda`, `cuda:N` or `metal`. Without a number a rank takes the GPU of its place on its host.
///
/// `auto` takes a GPU where this program was built for one and it is there, else the CPU, and logs why.
///
/// # Errors
/// [`Error::Unfit`] for another word; [`Error::Device`] if an explicitly named device is not there.
pub fn open_device(name: &str) -> Result<Device> {
    let gpu = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" => return Ok(automatic()),
        "metal" => Some(Gpu::Metal),
        "cuda" => Some(Gpu::Cuda(own_number())),
        other => other.strip_prefix("cuda:").and_then(|number| number.parse().ok()).map(Gpu::Cuda),
    };
    let gpu = gpu.ok_or_else(|| {
        let wanted = "wanted auto, cpu, cuda, cuda:N (such as cuda:0) or metal";
        Error::unfit("run.device", format!("found \"{name}\", {wanted}"))
    })?;
    ebm_engine_gpu::open(gpu).map_err(|why| Error::Device { device: name.into(), message: first_line(&why) })
}

fn automatic() -> Device {
    let mut reasons = Vec::new();
    let number = own_number();
    for (name, gpu) in [(format!("cuda:{number}"), Gpu::Cuda(number)), ("metal".into(), Gpu::Metal)] {
        match ebm_engine_gpu::open(gpu) {
            Ok(device) => {
                tracing::info!("device: {name}");
                return device;
            }
            Err(why) => reasons.push(why),
        }
    }
    // What the program was not built for is of interest only where it was built for nothing.
    let built = reasons.iter().find(|why| !matches!(why, GpuError::NotBuilt(_)));
    if let Some(why) = built.or(reasons.first()) {
        tracing::info!("device: cpu (no GPU: {})", first_line(why));
    }
    Device::Cpu
}

/// The number of this process's GPU: its rank on its host, 0 if nothing launched several.
fn own_number() -> usize {
    ebm_ranks::Launch::detect().and_then(|launch| launch.local).unwrap_or(0)
}

/// A driver's message may go on with a backtrace.
fn first_line(why: &GpuError) -> String {
    why.to_string().lines().next().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_that_are_no_device_are_usage_errors() {
        for word in ["gpu", "cuda:", "cuda0", "cuda:x", "CPU", ""] {
            assert!(matches!(open_device(word), Err(Error::Unfit { .. })), "{word}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_only_if_named() {
        assert!(matches!(open_device("cpu").unwrap(), Device::Cpu));
        open_device("auto").unwrap();
        if !candle_core::utils::cuda_is_available() {
            let e = open_device("cuda:0").unwrap_err();
            assert_eq!(e.to_string(), "device cuda:0: this program was built without the feature `cuda`");
        }
    }
}
