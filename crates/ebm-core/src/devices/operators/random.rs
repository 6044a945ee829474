//! Random numbers on the device.

use candle_core::{Device, Result, Tensor};

use crate::{Chains, Key};

/// A law of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// Standard normal.
    Normal,
    /// Uniform in [0, 1).
    Uniform,
}

/// Random numbers with the bits of the host's.
pub trait RandomOps: Send + Sync {
    /// The numbers of [`Key::fill_normal_rows`], or of [`Key::fill_uniform`] for each chain, as `(B, width)` in f32, to the bit.
    ///
    /// # Errors
    /// If the device fails.
    fn random(
        &self,
        law: Law,
        key: Key,
        chains: &Chains,
        width: usize,
        device: &Device,
    ) -> Result<Option<Tensor>>;
}
