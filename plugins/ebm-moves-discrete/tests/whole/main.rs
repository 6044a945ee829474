//! Tests of the crate from outside, in one binary.

mod conformance;
mod laws;
mod numbers;
mod parts;
