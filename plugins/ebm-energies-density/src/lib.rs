//! Closed-form energies with exact log-density and draws.
