//! Tests of the crate from outside, in one binary.

mod components;
mod laws;
mod numbers;
