//! `block-gibbs`: a sweep over blocks of coordinates that are independent given the others.

use ebm_core::{
    BuildCx, ChainState, Conditionals, EnergyFn, Error, Key, Law, Link, Result, Sensitivity, Settings,
    Stepped, Transition, TransitionConfig, plugin,
};

/// Gibbs moves of whole blocks, in the laws that the energy knows ([`EnergyFn::conditionals`]): hidden and then visible
/// units of an `rbm`, the colours of a lattice or graph for `ising` and `potts`. A step is a sweep over all blocks.
#[derive(Clone, Debug, Settings)]
pub struct BlockGibbs {
    /// Sweeps of a step.
    #[setting(default = 1, at_least = 1, at_most = 100_000)]
    pub sweeps: usize,
}

impl BlockGibbs {
    fn laws<'a>(&self, e: &'a dyn EnergyFn) -> Result<&'a dyn Conditionals> {
        e.conditionals().ok_or_else(|| {
            Error::capability(
                self.name(),
                "laws of coordinates given all others",
                format!("this energy of {}", e.spec().domain),
                "use `gibbs` or `gibbs-with-gradients`, which take any energy of a discrete domain",
            )
        })
    }
}

impl Transition for BlockGibbs {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let laws = self.laws(e)?;
        let mut at = state.at.clone();
        for sweep in 0..self.sweeps {
            for block in 0..laws.blocks() {
                at = at.with_x(laws.redraw(&at, block, key.at(sweep).at(block))?);
            }
        }
        Ok(Stepped::new(state.advance(at.x), Link::Cut))
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.laws(e).map(|_| ())
    }

    fn law(&self) -> Law {
        Law::Invariant { temperature: 1.0 }
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }

    fn name(&self) -> String {
        "block-gibbs".into()
    }
}

#[plugin(
    "block-gibbs",
    summary = "sweeps over blocks of coordinates in their exact laws: rbm, lattices and graphs",
    source = "Hinton 2002 for rbm; Geman, Geman 1984",
    example = "sweeps = 1"
)]
impl TransitionConfig for BlockGibbs {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(self.clone()))
    }
}
