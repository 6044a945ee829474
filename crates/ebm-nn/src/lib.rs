//! Differentiable layers and network plans for energies.
