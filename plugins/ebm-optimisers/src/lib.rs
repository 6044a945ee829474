//! Optimisers with explicit state.
//!
#![doc = include_str!("../README.md")]

mod adam;
mod common;
mod moments;
mod products;
mod sgd;
mod soap;

pub use adam::Adam;
pub use common::Common;
pub use sgd::Sgd;
pub use soap::Soap;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A value made in code has what a file with its rate alone gives.
    #[test]
    fn plain_values_have_the_defaults_of_the_settings() {
        fn read<T: serde::de::DeserializeOwned + std::fmt::Debug>() -> String {
            format!("{:?}", serde_json::from_str::<T>(r#"{"rate": 0.25}"#).unwrap())
        }
        assert_eq!(format!("{:?}", Adam::new(0.25)), read::<Adam>());
        assert_eq!(format!("{:?}", Sgd::new(0.25)), read::<Sgd>());
        assert_eq!(format!("{:?}", Soap::new(0.25)), read::<Soap>());
    }
}
