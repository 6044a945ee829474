//! What makes a kind: its settings, its row of the catalogue, its configuration and what it is built with.

pub(crate) mod build;
pub mod catalogue;
pub(crate) mod config;
pub(crate) mod given;
pub(crate) mod init;
pub(crate) mod places;
pub mod settings;
