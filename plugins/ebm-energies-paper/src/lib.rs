//! The networks of "Improved Contrastive Divergence Training of Energy-Based Models" (Du, Li,
//! Tenenbaum, Mordatch, ICML 2021) as energies, exactly as the published program computes them.
//!
#![doc = include_str!("../README.md")]

pub mod block;
mod cifar_resnet;
mod digits_net;
mod faces_net;
mod imagenet_net;
pub mod layout;
pub mod names;

pub use block::Form;
pub use cifar_resnet::CifarResnet;
pub use digits_net::DigitsNet;
pub use faces_net::FacesNet;
pub use imagenet_net::ImagenetNet;
pub use layout::{Network, Scale};
