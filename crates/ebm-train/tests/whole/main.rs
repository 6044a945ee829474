//! Tests of the crate from outside, in one binary.

#[path = "../common/mod.rs"]
mod common;

mod checkpoint;
mod guard;
mod objectives;
mod one_piece;
mod plan;
mod ranks;
mod resume;
mod run;
mod scheduled;
mod standard_parts;
mod step;
mod training;
