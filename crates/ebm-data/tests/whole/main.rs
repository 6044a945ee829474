//! Tests of the crate from outside, in one binary.

mod as_distributed;
mod real_files;
mod tables;
