//! Work that stands in no order with other work.

use crate::Result;

/// Runs works that do not touch each other's memory.
pub trait BranchOps: Send + Sync {
    /// Runs all of `works`: one after another, or, while a step is [recorded](super::TapeOps::record), so that what they start is in no order
    /// until all are done. None may write, or give back, memory that another one uses; what they read in common must outlive the call.
    ///
    /// # Errors
    /// That of the first work that fails; those after it are not run.
    fn apart(&self, works: &mut [&mut dyn FnMut() -> Result<()>]) -> Result<()>;
}
