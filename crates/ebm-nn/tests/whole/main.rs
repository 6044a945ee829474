//! Tests of the crate from outside, in one binary.

mod candle_traps;
mod five_calls;
mod plans;
mod random_plans;
