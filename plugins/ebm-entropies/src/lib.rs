//! Entropy estimators.
