//! Tests of the whole program. One binary, for each more of them is one more time that the whole program is linked.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/kinds.rs"]
mod kinds;
#[path = "support/placed.rs"]
mod placed;
mod support;

mod bad_inputs;
mod beginnings;
mod catalogue;
mod classifier;
mod compose;
mod convert;
mod detect;
mod discrete;
mod doors;
mod draws;
mod generate;
mod goes_on;
mod guard;
mod known_data;
mod layers;
mod measure;
mod misfits;
mod moved;
mod noise_levels;
mod numbers;
mod old_runs;
mod paper;
mod parity;
mod publish;
mod ranks;
mod report;
mod runs;
mod streams;
mod survives;
mod sweep;
mod tables;
mod tensorboard;
mod torch;
