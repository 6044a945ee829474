//! Tests of the crate from outside, in one binary.

mod components;
mod programs;
mod trails;
