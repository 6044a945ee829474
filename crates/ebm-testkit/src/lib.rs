//! Checks of energies, transitions and buffers for plugin tests.
