//! Transitions without an energy: noise, restart, augmentation, mixtures.
