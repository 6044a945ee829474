//! `ising`: spins with couplings and fields on a lattice or any graph.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, plugin};

use crate::graph::GraphSettings;
use crate::pairwise::{Given, build};

/// `E(s) = −Σ J_ij s_i s_j − Σ h_i s_i` of spins s = ±1 over the edges of a graph.
///
/// Parameters are `coupling`, one for each edge, and `field`, one for each spin; at zero they are learnt from there. Block
/// Gibbs moves redraw the sites of one colour at a time (the checkerboard of a lattice of even sides).
#[derive(Clone, Debug, Settings)]
pub struct Ising {
    /// Coupling J of each edge, over the temperature; positive aligns.
    #[setting(default = 0.0)]
    pub coupling: f64,
    /// Coupling of each edge, in the order of the edges, in place of one for all.
    pub couplings: Option<Vec<f64>>,
    /// Field h on each spin; positive turns it to +1.
    #[setting(default = 0.0)]
    pub field: f64,
    /// Field on each spin in place of one for all.
    pub fields: Option<Vec<f64>>,
    /// Whether couplings and fields receive gradients.
    #[setting(default = true)]
    pub trainable: bool,
    /// Which spins are coupled.
    #[setting(flatten, default)]
    pub graph: GraphSettings,
}

#[plugin(
    "ising",
    summary = "spins with couplings and fields on a lattice or any graph",
    source = "Ising 1925; Ackley, Hinton, Sejnowski 1985 for learnt couplings",
    example = "coupling = 0.3"
)]
impl EnergyConfig for Ising {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let graph = self.graph.build(cx, cx.sample_shape())?;
        let couplings =
            Given { names: ("coupling", "couplings"), one: self.coupling, list: self.couplings.as_deref() };
        let fields = Given { names: ("field", "fields"), one: self.field, list: self.fields.as_deref() };
        build(cx, "ising", graph, 1, (couplings, fields), self.trainable)
    }
}
