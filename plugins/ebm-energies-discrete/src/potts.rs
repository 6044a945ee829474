//! `potts`: sites of several states with couplings and fields on a lattice or any graph.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};

use crate::graph::GraphSettings;
use crate::pairwise::{Given, build};

/// `E(x) = −Σ J_ij [x_i = x_j] − Σ h_i(x_i)` of sites in one of q states, one-hot along the last axis of a sample.
///
/// Parameters are `coupling`, one for each edge, and `field`, one for each state of each site.
#[derive(Clone, Debug, Settings)]
pub struct Potts {
    /// Coupling J of each edge, over the temperature; positive makes neighbours alike.
    #[setting(default = 0.0)]
    pub coupling: f64,
    /// Coupling of each edge, in the order of the edges, in place of one for all.
    pub couplings: Option<Vec<f64>>,
    /// Field h on each state of each site, in the order of the coordinates; zero if absent.
    pub fields: Option<Vec<f64>>,
    /// Whether couplings and fields receive gradients.
    #[setting(default = true)]
    pub trainable: bool,
    /// Which sites are coupled.
    #[setting(flatten, default)]
    pub graph: GraphSettings,
}

#[plugin(
    "potts",
    summary = "sites of several states with couplings and fields on a lattice or any graph",
    source = "Potts 1952",
    example = "coupling = 0.5"
)]
impl EnergyConfig for Potts {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let shape = cx.sample_shape().to_vec();
        let Some((states, sites)) = shape.split_last().filter(|(states, _)| **states >= 2) else {
            let hint = "states stand one-hot along the last axis, which must be at least 2";
            return Err(ebm_core::Error::shape(cx.path(), &shape, "(..., states)", hint));
        };
        let graph = self.graph.build(cx, sites)?;
        let couplings =
            Given { names: ("coupling", "couplings"), one: self.coupling, list: self.couplings.as_deref() };
        let fields = Given { names: ("fields", "fields"), one: 0.0, list: self.fields.as_deref() };
        build(cx, "potts", graph, *states, (couplings, fields), self.trainable)
    }
}
