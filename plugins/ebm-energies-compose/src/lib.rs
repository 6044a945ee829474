//! Energies over energies: sum, soft-min, multi-scale, temperature, frozen, conditioned.
