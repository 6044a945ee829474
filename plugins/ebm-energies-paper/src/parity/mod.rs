//! Comparison with golden files of the published program: one training iteration on given weights and
//! noises, quantity by quantity, each isolated from the errors of the one before.
//!
//! [`check_file`] builds the network that a file describes, optionally through a fused engine, and
//! compares energies, input gradients, every Langevin step, the whole chain, each loss term, the
//! gradients of every loss term (with exact second derivatives), the clipped Adam step, the weight
//! average and the power-iteration vectors.

mod block;
mod compare;
mod golden;
mod gradients;
mod iteration;
mod report;
mod subject;
mod update;

use std::path::Path;
use std::sync::Arc;

use ebm_core::candle::DType;
use ebm_core::{Engine, Result};

pub use report::Row;

/// How to compute what is compared.
#[derive(Clone)]
pub struct Mode {
    /// `F32` with the tolerances of a correct f32 program, or `F64` with 1e−6 throughout.
    pub dtype: DType,
    /// A fused engine to put in the graph's place where it can. Single-precision tolerances double:
    /// fast convolution transforms round two to three times as much as direct sums.
    pub engine: Option<Arc<dyn Engine>>,
}

impl Mode {
    /// The graph in single precision.
    pub fn f32() -> Self {
        Mode { dtype: DType::F32, engine: None }
    }

    /// The graph in double precision.
    pub fn f64() -> Self {
        Mode { dtype: DType::F64, engine: None }
    }

    /// The same through `engine`.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = Some(engine);
        self
    }
}

/// Compares every quantity of a golden file. The energy's own word on its engine is the quantity
/// `engine: ...` of the first row.
///
/// # Errors
/// If the file cannot be read, describes no known network, or an operation fails; a deviation is a row,
/// not an error.
pub fn check_file(path: impl AsRef<Path>, mode: &Mode) -> Result<Vec<Row>> {
    let golden = golden::Golden::open(path.as_ref(), mode.dtype)?;
    match golden.text("net")? {
        "CondResBlock" => block::check(&golden, mode),
        _ => iteration::check(&golden, mode),
    }
}

/// Rows as text, one a line, failures marked.
pub fn table(rows: &[Row]) -> String {
    rows.iter().map(|r| format!("{r}\n")).collect()
}
