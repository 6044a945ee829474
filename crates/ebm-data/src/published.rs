//! Published sets by the names and forms of their files.

pub mod cifar;
mod cifar_binary;
#[cfg(feature = "hub")]
pub mod hub;
pub mod imagenet32;
pub mod mnist;
pub mod svhn;
