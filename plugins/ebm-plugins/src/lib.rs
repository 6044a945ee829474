//! The standard set of plugins.
