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
#[cfg(test)]
mod variants_tests;

use std::path::Path;

use ebm_core::candle::DType;
use ebm_core::{Result, inventory};
use ebm_exchange::Comparison;

pub use ebm_exchange::{CompareMode, Compared, Quantity};

/// Compares every quantity of a golden file: `F32` with the tolerances of a correct f32 program, `F64` with 1e−6
/// throughout. Through an engine single-precision tolerances double: fast convolution transforms round two to
/// three times as much as direct sums.
///
/// A file of three scales needs the energy `multi-scale` to be linked.
///
/// # Errors
/// If the file cannot be read, describes no known network, or lacks something; a deviation is a row, not an error.
pub fn check_file(path: impl AsRef<Path>, mode: &CompareMode) -> Result<Compared> {
    let golden = golden::Golden::open(path.as_ref(), mode.dtype)?;
    match golden.text("net")? {
        "CondResBlock" => block::check(&golden, mode),
        _ => {
            let double = (mode.dtype != DType::F64).then(|| golden::Golden::open(path.as_ref(), DType::F64));
            iteration::check(&golden, double.transpose()?.as_ref(), mode)
        }
    }
}

/// Rows as text, one a line, failures marked.
pub fn table(rows: &[Quantity]) -> String {
    rows.iter()
        .map(|r| {
            let verdict = if r.pass { "ok  " } else { "FAIL" };
            format!("{verdict} {:<44} {:.2e} (allowed {:.1e})\n", r.quantity, r.error, r.tolerance)
        })
        .collect()
}

/// Whether the file at `path` has a golden file's settings.
fn known(path: &Path) -> Result<bool> {
    golden::settings(path).map(|s| s.contains_key("net"))
}

inventory::submit! {
    Comparison {
        name: "du-2021",
        wants: "a safetensors file of one training iteration of the program of Du, Li, Tenenbaum, Mordatch 2021, \
                its settings in the header",
        check: |path, mode| if known(path)? { check_file(path, mode).map(Some) } else { Ok(None) },
        origin: env!("CARGO_PKG_NAME"),
    }
}
