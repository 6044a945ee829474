//! `swendsen-wang`: clusters of like sites change as a whole.

use ebm_core::{
    BuildCx, ChainState, EnergyFn, Error, Key, Law, Link, Pairs, Result, Sensitivity, Settings, Stepped,
    Transition, TransitionConfig, plugin,
};

use crate::sites::{Sites, pick, rows, with_rows};

/// Each pair that its coupling favours is bound with probability `1 − exp(−gain)`, the gain being what the pair would lose if it
/// came apart (2|J| of spins, J of states); then each cluster of bound sites is redrawn as a whole from its law in the fields.
/// Leaves `exp(−E)` as it is, in few steps where single sites take very many: at the critical point of a lattice. Of spins couplings
/// may have any sign (with frustration clusters percolate and the move gains nothing), of states none is negative.
#[derive(Clone, Debug, Settings)]
pub struct SwendsenWang {}

impl SwendsenWang {
    fn pairs(&self, e: &dyn EnergyFn) -> Result<Pairs> {
        let pairs = e.conditionals().map(|laws| laws.pairs()).transpose()?.flatten();
        pairs.ok_or_else(|| {
            Error::capability(
                self.name(),
                "an energy of couplings between pairs of spins or states",
                format!("this energy of {}", e.spec().domain),
                "use `block-gibbs`, `gibbs` or `gibbs-with-gradients`",
            )
        })
    }
}

/// The root of a site's cluster; shortens the way there.
fn root(parents: &mut [usize], mut site: usize) -> usize {
    while parents[site] != site {
        parents[site] = parents[parents[site]];
        site = parents[site];
    }
    site
}

impl Transition for SwendsenWang {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let (sites, pairs) = (Sites::of(e, &self.name())?, self.pairs(e)?);
        let (mut x, width) = rows(&state.at)?;
        let (n, k) = (sites.count(width), sites.states);
        let spins = width == n;
        if let Some((i, j, c)) = pairs.couplings.iter().find(|(.., c)| !spins && *c < 0.0) {
            return Err(Error::capability(
                self.name(),
                "couplings of states that are not negative",
                format!("this energy, which couples sites {i} and {j} by {c}"),
                "use `block-gibbs`, which takes any",
            ));
        }
        let mut coins = vec![0f32; pairs.couplings.len()];
        for (row, id) in x.chunks_mut(width).zip(state.at.chains.ids()) {
            key.at("bonds").fill_uniform(*id, &mut coins);
            let mut parents: Vec<usize> = (0..n).collect();
            for ((i, j, c), coin) in pairs.couplings.iter().zip(&coins) {
                let gain = match spins {
                    true => 2.0 * c * row[*i] * row[*j],
                    false if sites.state(row, *i) == sites.state(row, *j) => *c,
                    false => 0.0,
                };
                if f64::from(*coin) < 1.0 - (-gain).exp() {
                    let (a, b) = (root(&mut parents, *i), root(&mut parents, *j));
                    parents[a.max(b)] = a.min(b);
                }
            }
            // Law of each cluster: of spins of staying (1) or turning over (0), of states of each.
            let mut law = vec![0.0; n * k];
            #[allow(clippy::needless_range_loop)] // Sites are of tables, rows and fields at once.
            for site in 0..n {
                let top = root(&mut parents, site);
                match spins {
                    true => {
                        law[top * k] -= pairs.fields[site] * row[site];
                        law[top * k + 1] += pairs.fields[site] * row[site];
                    }
                    false => (0..k).for_each(|s| law[top * k + s] += pairs.fields[site * k + s]),
                }
            }
            let stream = key.at("clusters").at(*id);
            #[allow(clippy::needless_range_loop)]
            for site in 0..n {
                let top = root(&mut parents, site);
                let chosen = pick(&law[top * k..][..k], stream.uniform_at(top as u64));
                match spins {
                    true => row[site] *= if chosen == 1 { 1.0 } else { -1.0 },
                    false => sites.set(row, site, chosen),
                }
            }
        }
        let at = with_rows(&state.at, x)?;
        Ok(Stepped::new(state.advance(at.x), Link::Cut))
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        e.spec().domain.discrete_for(self.name())?;
        self.pairs(e).map(|_| ())
    }

    fn law(&self) -> Law {
        Law::Invariant { temperature: 1.0 }
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Unknown(self.name())
    }

    fn name(&self) -> String {
        "swendsen-wang".into()
    }
}

#[plugin(
    "swendsen-wang",
    summary = "whole clusters of like sites change: spins and states at their critical point",
    source = "Swendsen, Wang 1987",
    example = ""
)]
impl TransitionConfig for SwendsenWang {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(self.clone()))
    }
}
