//! Devices and engines that are linked: a crate that brings one registers a [`Backend`], and programs look it up by word.
//!
//! ```
//! use ebm_core::backend::{self, Backend, Entry, NoDevice};
//! use ebm_core::candle::Device;
//! use ebm_core::inventory;
//!
//! /// The processor under another word.
//! struct Toy;
//! impl Backend for Toy {
//!     fn name(&self) -> &'static str {
//!         "toy"
//!     }
//!     fn words(&self) -> &'static [&'static str] {
//!         &["toy", "toy:N"]
//!     }
//!     fn open(&self, _number: usize) -> Result<Device, NoDevice> {
//!         Ok(Device::Cpu)
//!     }
//! }
//! inventory::submit! { Entry { backend: &Toy, origin: env!("CARGO_PKG_NAME") } }
//!
//! assert_eq!(backend::words(), "auto, toy or toy:N");
//! assert!(backend::open("toy:3", 0)?.device.is_cpu());
//! assert!(backend::open("tay", 0).is_err());
//! # Ok::<(), ebm_core::backend::NotOpened>(())
//! ```

use std::sync::Arc;

use candle_core::Device;

use crate::{Collective, Engine, Result};

/// A kind of device, and what computes on it. Everything but a name, words and how to open has a default.
pub trait Backend: Send + Sync {
    /// Its name in logs.
    fn name(&self) -> &'static str;

    /// The words that open its devices, such as `cuda`; one that ends in `:N` takes a number there.
    fn words(&self) -> &'static [&'static str];

    /// Opens the device of this number, and [installs](crate::devices::operators::install) its operators. The number is that of the word,
    /// else the place of this process on its host, 0 if nothing launched several.
    ///
    /// # Errors
    /// Why there is none.
    fn open(&self, number: usize) -> std::result::Result<Device, NoDevice>;

    /// Where it stands in the order in which `auto` tries devices, lowest first; `None`: it is opened by its words alone.
    fn automatic(&self) -> Option<u8> {
        None
    }

    /// The engine that offers fused twins of energies on its devices.
    fn engine(&self) -> Option<Arc<dyn Engine>> {
        None
    }

    /// `ranks` with their sums between devices, where `device` is its own and it has a way; `ranks` as they are otherwise. All ranks
    /// call it together.
    ///
    /// # Errors
    /// If the devices do not find one another.
    fn between(&self, ranks: Arc<dyn Collective>, device: &Device) -> Result<Arc<dyn Collective>> {
        let _ = device;
        Ok(ranks)
    }

    /// Whether its devices may round the factors of products in f32 to fewer digits than f32 has.
    fn round_products(&self, yes: bool) {
        let _ = yes;
    }

    /// Whether its devices have numbers in f64.
    fn has_doubles(&self) -> bool {
        true
    }

    /// What `device` can do at most, in floating-point operations a second; `None` if it is not its own or unknown.
    ///
    /// # Errors
    /// If the measurement fails.
    fn peak_flops(&self, device: &Device) -> Result<Option<f64>> {
        let _ = device;
        Ok(None)
    }

    /// Bytes in use on `device`; `None` if it is not its own or unknown.
    fn memory_in_use(&self, device: &Device) -> Option<u64> {
        let _ = device;
        None
    }
}

/// A backend as its crate registers it, with `inventory::submit!`.
pub struct Entry {
    /// The backend.
    pub backend: &'static dyn Backend,
    /// The crate that brings it.
    pub origin: &'static str,
}

inventory::collect!(Entry);

/// Why a backend has no device.
#[derive(Debug, thiserror::Error)]
pub enum NoDevice {
    /// The program cannot drive this kind of device.
    #[error("this program was built without the feature `{0}`")]
    NotBuilt(&'static str),
    /// The device, its driver or one of its libraries is not there or does not start.
    #[error("{0}")]
    NotThere(String),
}

impl From<candle_core::Error> for NoDevice {
    fn from(e: candle_core::Error) -> Self {
        // A driver's message may go on with a backtrace.
        NoDevice::NotThere(e.to_string().lines().next().unwrap_or_default().into())
    }
}

/// Why a word opened nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// It is no device's.
    #[error("found \"{word}\", wanted {known}")]
    Unknown {
        /// The word.
        word: String,
        /// All words that are known.
        known: String,
    },
    /// Its device is not there.
    #[error("{why}")]
    Refused {
        /// The word.
        word: String,
        /// The backend's reason.
        why: NoDevice,
    },
}

/// An open device.
#[derive(Clone)]
pub struct Opened {
    /// The device.
    pub device: Device,
    /// What opened it.
    pub backend: &'static dyn Backend,
    /// Where `auto` found no earlier device that this program was built for: which, and why.
    pub instead: Option<String>,
}

impl Opened {
    /// The engine that offers fused twins of energies on it.
    pub fn engine(&self) -> Option<Arc<dyn Engine>> {
        self.backend.engine()
    }
}

/// All backends that are linked, by name.
pub fn all() -> Vec<&'static dyn Backend> {
    let mut all: Vec<_> = inventory::iter::<Entry>.into_iter().map(|e| e.backend).collect();
    all.sort_by_key(|b| b.name());
    all
}

/// The words that [`open`] knows, to be read by users: `auto, cpu, cuda, cuda:N or metal`.
pub fn words() -> String {
    let mut words = vec!["auto"];
    words.extend(all().iter().flat_map(|b| b.words()));
    let last = words.pop().unwrap_or_default();
    if words.is_empty() { last.into() } else { format!("{} or {last}", words.join(", ")) }
}

/// Opens the device that a word names; `local` is the place of this process on its host, for words without a number. `auto` takes
/// the first device that is there.
///
/// # Errors
/// If no backend knows the word, or its device is not there.
pub fn open(word: &str, local: usize) -> std::result::Result<Opened, NotOpened> {
    if word == "auto" {
        return automatic(local);
    }
    let number = |pattern: &&str| match pattern.strip_suffix(":N") {
        Some(base) => word.strip_prefix(base)?.strip_prefix(':')?.parse().ok(),
        None => (*pattern == word).then_some(local),
    };
    let known = all().into_iter().find_map(|b| Some((b, b.words().iter().find_map(number)?)));
    let Some((backend, number)) = known else {
        return Err(NotOpened::Unknown { word: word.into(), known: words() });
    };
    let refused = |why| NotOpened::Refused { word: word.into(), why };
    Ok(Opened { device: backend.open(number).map_err(refused)?, backend, instead: None })
}

fn automatic(local: usize) -> std::result::Result<Opened, NotOpened> {
    let mut tried: Vec<_> = all().into_iter().filter(|b| b.automatic().is_some()).collect();
    tried.sort_by_key(|b| b.automatic());
    let mut reasons = Vec::new();
    for backend in tried {
        match backend.open(local) {
            Ok(device) => {
                let built = reasons.iter().find(|(_, why)| !matches!(why, NoDevice::NotBuilt(_)));
                let instead = built.map(|(not, why)| format!("no {not}: {why}"));
                return Ok(Opened { device, backend, instead });
            }
            Err(why) => reasons.push((backend.name(), why)),
        }
    }
    Err(match reasons.pop() {
        Some((word, why)) => NotOpened::Refused { word: word.into(), why },
        None => NotOpened::Unknown { word: "auto".into(), known: words() },
    })
}
