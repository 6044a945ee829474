//! Published checkpoints: compared with, made runs of, written from runs.

mod compare;
mod convert;

pub use compare::compare;
pub use convert::{Given, Remark, Taken, give, take};
