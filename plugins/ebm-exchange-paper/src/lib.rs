//! The program of "Improved Contrastive Divergence Training of Energy-Based Models" (Du, Li, Tenenbaum, Mordatch, ICML 2021): its
//! checkpoints both ways, and golden files of one of its training iterations.
//!
#![doc = include_str!("../README.md")]

mod checkpoint;
mod convert;
pub mod parity;

pub use checkpoint::{Imported, import_checkpoint};
