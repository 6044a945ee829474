//! The framework in one crate: configuration, runs, the command line.
