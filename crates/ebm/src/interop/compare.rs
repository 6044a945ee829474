//! Comparison with files of other programs, by whatever linked crate knows them.

use std::path::Path;

use candle_core::DType;
use ebm_core::Error as Core;
use ebm_exchange::{CompareMode, Compared, comparisons};

use crate::error::{Error, Result};
use crate::run::open_device;

/// Compares all quantities of the golden file at `path`, in `dtype`, fused where an engine covers the energy or on the
/// graph.
///
/// # Errors
/// If no comparison is linked or none knows the file, or the file is not whole; a deviation is a row, not an error.
pub fn compare(path: &Path, dtype: DType, fused: bool) -> Result<Compared> {
    let known = comparisons();
    if known.is_empty() {
        return Err(Error::unfit(
            "comparison",
            "no linked crate brings one with another program; link one, such as `use ebm_plugins as _;`",
        ));
    }
    let mut mode = CompareMode::graph(dtype);
    if let Some(engine) = open_device("cpu")?.engine().filter(|_| fused) {
        mode = mode.with_engine(engine);
    }
    for comparison in &known {
        match (comparison.check)(path, &mode) {
            Ok(Some(compared)) => return Ok(compared),
            Ok(None) => {}
            Err(e @ (Core::Data { .. } | Core::DataFile(_) | Core::Absent { .. } | Core::Device { .. })) => {
                return Err(e.into());
            }
            // Whatever else went wrong, the file is what it was about.
            Err(e) => return Err(Core::data(path, e.to_string()).into()),
        }
    }
    let wants: Vec<&str> = known.iter().map(|c| c.wants).collect();
    Err(Core::data(
        path,
        format!("found a file without a golden file's settings, wanted {}", wants.join("; or ")),
    )
    .into())
}
