//! Opens the device that a configuration names, from what is linked.

use ebm_core::backend::{self, NotOpened, Opened};
// What a program has without a word of its own; another crate's backend is linked in the same way.
use ebm_engine_cpu as _;
use ebm_engine_gpu as _;

use crate::error::{Error, Result};

/// Opens the device of a word that a linked backend knows, such as `auto`, `cpu` or `cuda:0`. Without a number a rank takes the device
/// of its place on its host.
///
/// `auto` takes the first device that this program was built for and that is there, and logs which, and why not an earlier one; where
/// it was built for the processor alone there is nothing to tell.
///
/// # Errors
/// [`Error::Unfit`] for another word; [`Error::Device`] if the device is not there.
pub fn open_device(name: &str) -> Result<Opened> {
    let opened = backend::open(name, own_number()).map_err(|e| match e {
        NotOpened::Unknown { .. } => Error::unfit("run.device", e.to_string()),
        NotOpened::Refused { word, why } => Error::Device { device: word, message: why.to_string() },
    })?;
    if name == "auto" {
        let name = opened.backend.name();
        match &opened.instead {
            Some(why) => tracing::info!("device: {name} ({why})"),
            None if opened.device.is_cpu() => tracing::debug!("device: {name}"),
            None => tracing::info!("device: {name}"),
        }
    }
    Ok(opened)
}

/// `opened` by the word `name`, if it has the numbers that a run wants: where it lacks f64, `auto` takes the processor.
///
/// # Errors
/// [`Error::Unfit`] for a named device without f64 where `wanted`.
pub(crate) fn with_doubles(name: &str, opened: Opened, wanted: bool) -> Result<Opened> {
    if !wanted || opened.backend.has_doubles() {
        return Ok(opened);
    }
    let found = opened.backend.name();
    if name == "auto" {
        tracing::info!("device: cpu ({found} has no numbers in f64)");
        return open_device("cpu");
    }
    let message = format!(
        "found f64 on device {name}: {found} has no numbers in f64; use run.dtype = \"f32\" or run.device = \"cpu\""
    );
    Err(Error::unfit("run.dtype", message))
}

/// The number of this process's device: its rank on its host, 0 if nothing launched several.
fn own_number() -> usize {
    ebm_ranks::Launch::detect().and_then(|launch| launch.local).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::Device;
    use ebm_core::backend::{Backend, NoDevice};

    use super::*;

    #[test]
    fn words_that_are_no_device_are_usage_errors_with_the_words_there_are() {
        for word in ["gpu", "cuda:", "cuda0", "cuda:x", "CPU", ""] {
            let e = open_device(word).err().unwrap();
            let wanted = format!("run.device: found \"{word}\", wanted auto, cpu, cuda, cuda:N or metal");
            assert!(matches!(e, Error::Unfit { .. }) && e.to_string() == wanted, "{e}");
        }
    }

    /// A device like Metal.
    struct Single;

    impl Backend for Single {
        fn name(&self) -> &'static str {
            "single"
        }
        fn words(&self) -> &'static [&'static str] {
            &["single"]
        }
        fn open(&self, _: usize) -> std::result::Result<Device, NoDevice> {
            Ok(Device::Cpu)
        }
        fn has_doubles(&self) -> bool {
            false
        }
    }

    #[test]
    fn f64_is_refused_where_a_device_has_none() {
        let opened = || Opened { device: Device::Cpu, backend: &Single, instead: None };
        assert_eq!(with_doubles("single", opened(), false).unwrap().backend.name(), "single");
        let e = with_doubles("single", opened(), true).err().unwrap();
        assert!(matches!(e, Error::Unfit { .. }) && e.to_string().contains("run.dtype"), "{e}");
        assert_eq!(with_doubles("auto", opened(), true).unwrap().backend.name(), "cpu");
        assert_eq!(with_doubles("cpu", open_device("cpu").unwrap(), true).unwrap().backend.name(), "cpu");
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_only_if_named() {
        let cpu = open_device("cpu").unwrap();
        assert!(cpu.device.is_cpu() && cpu.engine().is_some_and(|e| e.name() == "cpu"));
        open_device("auto").unwrap();
        if !candle_core::utils::cuda_is_available() {
            let e = open_device("cuda:0").err().unwrap();
            assert_eq!(e.to_string(), "device cuda:0: this program was built without the feature `cuda`");
        }
    }
}
