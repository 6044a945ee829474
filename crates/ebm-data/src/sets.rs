//! What readers return: images, arrays, and the report of what was read; and how sets are divided.

pub mod array_set;
pub mod image_set;
pub mod report;
pub mod split;
pub mod split_names;
