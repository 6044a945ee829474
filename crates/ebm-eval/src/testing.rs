//! What the tests of this crate share: reference numbers, and sets drawn of a known law.

pub(crate) mod goldens;
pub(crate) mod simulated;
