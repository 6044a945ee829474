//! The gradient of a node while its readers hand theirs back.

use candle_core::Tensor;
use ebm_core::Result;
use ebm_core::operators::Parts;

/// A sum of at most two parts, which a kernel may read as they are.
pub(super) struct Gradient(Tensor, Option<Tensor>);

impl Gradient {
    /// Adds a reader's.
    ///
    /// # Errors
    /// If parts do not fit each other.
    pub fn add(to: &mut Option<Gradient>, g: Tensor) -> Result<()> {
        *to = Some(match to.take() {
            None => Gradient(g, None),
            Some(Gradient(first, None)) => Gradient(first, Some(g)),
            Some(there) => Gradient(there.whole()?, Some(g)),
        });
        Ok(())
    }

    /// As they are.
    pub fn parts(&self) -> Parts<'_> {
        Parts(&self.0, self.1.as_ref())
    }

    /// As one.
    ///
    /// # Errors
    /// If the parts do not fit each other.
    pub fn whole(&self) -> Result<Tensor> {
        match &self.1 {
            None => Ok(self.0.clone()),
            Some(more) => Ok((&self.0 + more)?),
        }
    }
}
