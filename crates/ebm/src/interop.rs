//! Published checkpoints: compared with, made runs of, written from runs.

mod compare;
mod convert;
mod torch;

pub use compare::compare;
pub use convert::{Export, Import, ImportOptions, Remark, export, import, keys};
pub use torch::{TorchExport, export_torch};
