//! What a check says when a law does not hold.

use std::fmt;

/// Result of a check.
pub type Verdict<T = ()> = Result<T, Failure>;

/// A law that does not hold, in words.
pub struct Failure(String);

impl Failure {
    /// A failure with this message.
    pub fn new(text: impl Into<String>) -> Self {
        Failure(text.into())
    }

    /// Fails with `text()` unless `holds`.
    ///
    /// # Errors
    /// If the law does not hold.
    pub fn unless(holds: bool, text: impl FnOnce() -> String) -> Verdict {
        if holds { Ok(()) } else { Err(Failure(text())) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// The message, not its quoted form: this is what `unwrap` prints in a test.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<ebm_core::Error> for Failure {
    fn from(e: ebm_core::Error) -> Self {
        Failure(e.to_string())
    }
}

impl From<ebm_core::candle::Error> for Failure {
    fn from(e: ebm_core::candle::Error) -> Self {
        Failure(e.to_string())
    }
}
