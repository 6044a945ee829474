//! The framework as a Python package: a thin layer over [`ebm`](https://docs.rs/ebm) that speaks NumPy.
//!
//! The Python package `ebm_candle` stands in `python/`; this crate is its module `_native`. Every call reads its arrays, lets
//! go of the interpreter's lock, computes, and takes the lock again for the result; an error keeps its words as `EbmError`, and
//! a panic is one too.
#![cfg(feature = "python")]

mod arrays;
mod callable;
mod chains;
mod configuration;
mod energy;
mod error;
mod measures;
mod model;
mod pictures;
mod training;
mod watched;

use ebm_plugins as _;
use pyo3::prelude::*;

/// The compiled half of the package; its classes and functions are documented where `ebm_candle` wraps them.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::chains::{chains, summarise};
    #[pymodule_export]
    use crate::energy::Energy;
    #[pymodule_export]
    use crate::error::EbmError;
    #[pymodule_export]
    use crate::measures::{detection, frechet, log_z, mmd, quadrature};
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::pictures::png;
    #[pymodule_export]
    use crate::training::{resume, train};

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::error::log();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
