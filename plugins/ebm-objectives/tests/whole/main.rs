//! Tests of the crate from outside, in one binary.

mod common;

mod alone;
mod conformance;
mod discrete;
mod matching;
mod random;
mod sum;
mod terms;
mod without_chains;
