//! Arrays of numbers as files hold them: NumPy's, IDX, MATLAB's, and inside of pickles.

pub mod idx;
mod idx_rows;
pub mod mat;
pub mod npy;
mod npy_classes;
pub(crate) mod npy_header;
mod npy_rows;
mod npy_values;
mod npy_write;
pub mod npz;
pub mod passes;
pub mod pickle;
pub mod torch;
