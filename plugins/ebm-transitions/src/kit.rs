//! What augmentations are made of, for those of other crates.
//!
//! A [`Change`] says what becomes of a batch of images by the [`Dice`] of each; [`Augment`] makes a transition of it, with the
//! derivative for trails. [`look`] resamples images ([`View`]), [`along`] multiplies their lines by matrices.

pub(crate) mod augment;
mod lines;

pub use augment::{Augment, Change, Dice, Unit};
pub use lines::{View, along, look};
