//! Tests of the crate from outside, in one binary.

mod conformance;
mod programs;
mod trails;
