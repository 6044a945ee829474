//! Tests of the crate from outside, in one binary.

mod alone;
mod components;
mod laws;
mod tempering;
