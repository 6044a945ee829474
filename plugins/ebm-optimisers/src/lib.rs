//! Optimisers with explicit state.
//!
//! ```
//! use std::collections::BTreeMap;
//! use ebm_core::candle::{DType, Device, Tensor};
//! use ebm_core::{BuildCx, Key, OptimiserConfig, OptimiserState, ParamSet, Role, Update};
//! use ebm_optimisers as _;
//!
//! let config: Box<dyn OptimiserConfig> = serde_json::from_str(r#"{"kind": "adam", "rate": 0.1}"#)?;
//! let adam = config.build(&mut BuildCx::new(&[2], DType::F64, &Device::Cpu, Key::root(0)))?;
//! let params = ParamSet::new([("w".to_string(), Tensor::new(&[1f64, 1.0], &Device::Cpu)?, Role::Trainable)])?;
//! let grads = BTreeMap::from([("w".to_string(), Tensor::new(&[3f64, -0.2], &Device::Cpu)?)]);
//! let done = adam.update(&Update::new(&params, &grads, &OptimiserState::default(), 0.1))?;
//! // The first step of Adam with β₁ = 0 has the size of the rate, whatever the gradient.
//! let new = done.params["w"].to_vec1::<f64>()?;
//! assert!((new[0] - 0.9).abs() < 1e-8 && (new[1] - 1.1).abs() < 1e-7 && done.state.step == 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adam;
mod common;
mod moments;
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
