//! The commands, one a file.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod classifier;
pub(crate) mod compose;
pub(crate) mod convert;
pub(crate) mod data;
pub(crate) mod eval;
pub(crate) mod new;
pub(crate) mod parity;
pub(crate) mod plugins;
pub(crate) mod report;
pub(crate) mod restore;
pub(crate) mod resume;
pub(crate) mod sample;
mod schema;
pub(crate) mod score;
pub(crate) mod shell;
pub(crate) mod study;
pub(crate) mod train;
