//! `gibbs`: sites at random are redrawn from their laws given all others.

use ebm_core::{
    Batch, BuildCx, ChainState, EnergyFn, Key, Law, Link, Result, Sensitivity, Settings, Stepped, Transition,
    TransitionConfig, host, plugin,
};

use crate::sites::{Sites, pick, rows, with_rows};

/// Random-scan Gibbs moves: each chain redraws `sites` of its sites, one after the other, from the law given all others,
/// which energies of all states of the site give. One energy a state and site (one a site for two states, and one more for
/// the start); any energy of a discrete domain.
#[derive(Clone, Debug, Settings)]
pub struct Gibbs {
    /// Sites that a step redraws, each chosen at random.
    #[setting(default = 1, at_least = 1, at_most = 1e7)]
    pub sites: usize,
}

impl Transition for Gibbs {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let sites = Sites::of(e, &self.name())?;
        let mut at = state.at.clone();
        let (mut x, width) = rows(&at)?;
        let mut energy = match &state.cache {
            Some(slope) => host::numbers(&slope.energy)?,
            None => host::numbers(&e.energy(&at)?)?,
        };
        let (rows, k) = (at.len(), sites.states);
        let ids = at.chains.ids().to_vec();
        for scan in 0..self.sites {
            let key = key.at(scan);
            let site = |row: usize| key.at("site").below(ids[row], sites.count(width));
            // Other states of the site, those of all rows one after the other.
            let others = (1..k).map(|ahead| {
                let mut moved = x.clone();
                for (row, values) in moved.chunks_mut(width).enumerate() {
                    let site = site(row);
                    sites.set(values, site, (sites.state(values, site) + ahead) % k);
                }
                with_rows(&at, moved)
            });
            let others = others.collect::<Result<Vec<Batch>>>()?;
            let energies = host::numbers(&e.energy(&Batch::cat(&others.iter().collect::<Vec<_>>())?)?)?;
            for (row, values) in x.chunks_mut(width).enumerate() {
                let there =
                    |ahead: usize| if ahead == 0 { energy[row] } else { energies[(ahead - 1) * rows + row] };
                let law: Vec<f64> = (0..k).map(|ahead| -there(ahead)).collect();
                let ahead = pick(&law, key.at("state").uniform_at(ids[row]));
                let site = site(row);
                sites.set(values, site, (sites.state(values, site) + ahead) % k);
                energy[row] = -law[ahead];
            }
            at = with_rows(&at, x.clone())?;
        }
        let energy = ebm_core::candle::Tensor::from_vec(energy, rows, &ebm_core::candle::Device::Cpu)?;
        let energy = energy.to_dtype(at.dtype())?.to_device(at.device())?;
        Ok(Stepped::new(state.advance(at.x), Link::Cut).with("energy", energy))
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        e.spec().domain.discrete_for(self.name())
    }

    fn law(&self) -> Law {
        Law::Invariant { temperature: 1.0 }
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }

    fn name(&self) -> String {
        "gibbs".into()
    }
}

#[plugin(
    "gibbs",
    summary = "sites at random redrawn from their laws given all others, for any energy of a discrete domain",
    source = "Geman, Geman 1984",
    example = "sites = 1"
)]
impl TransitionConfig for Gibbs {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(self.clone()))
    }
}
