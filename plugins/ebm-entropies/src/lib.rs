//! Entropy estimators: nearest-neighbour distances to earlier samples.
//!
//! ```
//! use ebm_core::{EntropyEstimator, Key, candle::{Device, Tensor}};
//! use ebm_entropies::NearestNeighbour;
//! let x = Tensor::new(&[[0f64, 0.0]], &Device::Cpu)?;
//! let bank = Tensor::new(&[[3f64, 4.0], [6.0, 8.0]], &Device::Cpu)?;
//! let h = NearestNeighbour::default().estimate(&x, &bank, Key::root(0))?;
//! assert!((h.value.to_vec1::<f64>()?[0] - 5f64.ln()).abs() < 1e-12);
//! # Ok::<(), ebm_core::Error>(())
//! ```

mod kozachenko_leonenko;
mod nearest_neighbour;
mod neighbours;

pub use kozachenko_leonenko::KozachenkoLeonenko;
pub use nearest_neighbour::NearestNeighbour;
