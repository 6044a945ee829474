//! What the buffers are made of, for those of other crates: samples as floats or bytes on the device of the run ([`Store`]),
//! and buffers that differ only in where they put chains ([`Stored`]).

mod bits;
mod levels;
mod slots;
mod store;
mod stored;

pub use store::{ByteSettings, Rows, Storage, Store, StoreSettings};
pub use stored::{Placement, Stored};
