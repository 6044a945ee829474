//! What data sources are made of, for those of other crates: images that need not be in memory ([`Images`], drawn by
//! [`ImageSource::over`](crate::ImageSource::over)), and the order of an epoch ([`Sequence`]).

pub use crate::images::Images;
pub use crate::order::Sequence;
