//! Published checkpoints: compared with, made runs of, written from runs.

mod compare;
mod convert;

pub use compare::compare;
pub use convert::{Export, Import, ImportOptions, Remark, export, import, keys};
