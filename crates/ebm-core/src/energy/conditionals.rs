//! What some energies of discrete samples know in closed form: laws of coordinates given all others.

use std::sync::Arc;

use candle_core::Tensor;

use crate::{Batch, EnergyFn, Key, Result};

/// Exact conditional draws, and the path from independent coordinates to the energy: what block Gibbs moves and annealed
/// importance sampling of such energies need ([`EnergyFn::conditionals`]).
pub trait Conditionals: Send + Sync {
    /// Number of blocks that one sweep redraws, one after the other.
    fn blocks(&self) -> usize;

    /// The samples of `at` `(B, ...)` with block `block` redrawn from its law given all others. Coordinates of a
    /// block are independent given the others, or given units that the energy has summed over, which are drawn first. A row's
    /// numbers depend on `key` and its chain alone.
    ///
    /// # Errors
    /// If the batch does not fit the energy or an operation fails.
    fn redraw(&self, at: &Batch, block: usize, key: Key) -> Result<Tensor>;

    /// The energy at `beta` of a path from independent coordinates in the `fields` (shape of a sample; log odds of binary
    /// ones, half of them for spins, unnormalised log probabilities of states) at 0 to this energy at 1. It has conditionals
    /// too.
    ///
    /// # Errors
    /// If the fields do not fit or an operation fails.
    fn along(&self, beta: f64, fields: &Tensor) -> Result<Arc<dyn EnergyFn>>;

    /// Log Z of that path's beginning, in nats.
    ///
    /// # Errors
    /// If the fields do not fit.
    fn log_z_of_fields(&self, fields: &Tensor) -> Result<f64>;

    /// Couplings of pairs, where the energy is made of them and of fields alone.
    ///
    /// # Errors
    /// If parameters cannot be read.
    fn pairs(&self) -> Result<Option<Pairs>> {
        Ok(None)
    }
}

/// The energy `−Σ J_ij [x_i, x_j] − Σ h_i·x_i`: `[a, b]` is the product of spins, and 1 or 0 for equal or other states.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    /// Sites i and j with their coupling.
    pub couplings: Vec<(usize, usize, f64)>,
    /// One for each coordinate of a sample: of a spin, or of each state of a site.
    pub fields: Vec<f64>,
}
