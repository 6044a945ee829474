//! Tests of the crate from outside, in one binary.

mod known;

mod inception;
mod nets;
mod ops;
