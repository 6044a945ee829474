//! The standard set of plugins: linking this crate makes all their kinds known.
//!
#![doc = include_str!("../README.md")]

use ebm_energies_compose as _;
use ebm_energies_density as _;
use ebm_energies_discrete as _;
use ebm_energies_net as _;
use ebm_energies_paper as _;
use ebm_entropies as _;
use ebm_exchange_paper as _;
use ebm_moves_discrete as _;
use ebm_objectives as _;
use ebm_observers as _;
use ebm_optimisers as _;
use ebm_policies as _;
use ebm_replays as _;
use ebm_samplers as _;
#[cfg(feature = "nuts-rs")]
use ebm_samplers_nuts_rs as _;
use ebm_sources as _;
use ebm_transitions as _;
