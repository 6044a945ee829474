//! Energies of the plane: quadrature, distance to a density, scores of a fit.

pub(crate) mod between;
pub(crate) mod cells;
pub(crate) mod distance;
#[cfg(feature = "linear-algebra")]
pub(crate) mod fit;
pub(crate) mod grid;
pub(crate) mod integral;
pub(crate) mod peaks;
pub(crate) mod quadrature;
pub(crate) mod refusal;
pub(crate) mod ridges;
#[cfg(feature = "linear-algebra")]
pub(crate) mod score;
pub(crate) mod temperature;
