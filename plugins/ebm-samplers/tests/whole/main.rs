//! Tests of the crate from outside, in one binary.

mod alone;
mod conformance;
mod laws;
mod rows;
mod tempering;
