//! Samples and data by a name or a path, as they are asked for in one line.

mod ahead;
pub(crate) mod class_names;
pub(crate) mod fit;
mod line_rows;
pub(crate) mod lines;
pub(crate) mod named;
mod other_table;
mod read;
pub(crate) mod rows;
pub(crate) mod set;
pub(crate) mod units;

pub use fit::Fit;
pub use lines::lines;
pub use named::{data_setting, data_setting_from, open_data, open_data_noting};
pub use set::{Inputs, Piece};
pub use units::Units;
