//! Opens the device that a configuration names.

use candle_core::Device;

use crate::{Error, Result};

/// Opens `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
///
/// `auto` takes a GPU where this program was built for one and it is there, else the CPU, and logs why.
///
/// # Errors
/// [`Error::Usage`] for another word; [`Error::Device`] if an explicitly named device is not there.
pub fn open_device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(automatic()),
        "metal" => metal().map_err(|why| missing(name, &why)),
        _ => match name.strip_prefix("cuda").map(|rest| rest.strip_prefix(':').unwrap_or(rest)) {
            Some("") if name == "cuda" => cuda(0).map_err(|why| missing(name, &why)),
            Some(number) if name.contains(':') && number.parse::<usize>().is_ok() => {
                cuda(number.parse().unwrap_or(0)).map_err(|why| missing(name, &why))
            }
            _ => Err(Error::Usage(format!(
                "run.device: found \"{name}\", wanted auto, cpu, cuda, cuda:N (such as cuda:0) or metal"
            ))),
        },
    }
}

fn missing(device: &str, why: &str) -> Error {
    Error::Device { device: device.into(), message: format!("{why}; use `--device cpu` or `--device auto`") }
}

fn automatic() -> Device {
    for (name, opened) in [("cuda:0", cuda(0)), ("metal", metal())] {
        match opened {
            Ok(device) => {
                tracing::info!("device: {name}");
                return device;
            }
            Err(why) => tracing::debug!("device auto: no {name}, {why}"),
        }
    }
    tracing::info!("device: cpu (no GPU: {})", cuda(0).err().unwrap_or_default());
    Device::Cpu
}

fn cuda(number: usize) -> Result<Device, String> {
    if !candle_core::utils::cuda_is_available() {
        return Err("this program was built without the feature `cuda`".into());
    }
    guarded(move || Device::new_cuda(number))
}

fn metal() -> Result<Device, String> {
    if !candle_core::utils::metal_is_available() {
        return Err("this program was built without the feature `metal`".into());
    }
    guarded(|| Device::new_metal(0))
}

/// A driver library that is not installed makes its binding panic instead of saying so.
fn guarded(
    open: impl FnOnce() -> candle_core::Result<Device> + std::panic::UnwindSafe,
) -> Result<Device, String> {
    match std::panic::catch_unwind(open) {
        Ok(Ok(device)) => Ok(device),
        Ok(Err(e)) => Err(e.to_string().lines().next().unwrap_or_default().to_string()),
        Err(_) => Err("its driver could not be loaded".into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_that_are_no_device_are_usage_errors() {
        for word in ["gpu", "cuda:", "cuda0", "cuda:x", "CPU", ""] {
            assert_eq!(open_device(word).unwrap_err().exit_code(), 2, "{word}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_only_if_named() {
        assert!(matches!(open_device("cpu").unwrap(), Device::Cpu));
        open_device("auto").unwrap();
        if !candle_core::utils::cuda_is_available() {
            let e = open_device("cuda:0").unwrap_err();
            assert_eq!(e.exit_code(), 5);
            assert_eq!(
                e.to_string(),
                "device cuda:0: this program was built without the feature `cuda`; use `--device cpu` or `--device auto`"
            );
        }
    }
}
