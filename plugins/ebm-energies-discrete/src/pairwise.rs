//! Energies of pairs of spins or of sites with several states, with the laws of a site given its neighbours.

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Batch, BuildCx, Diff, Domain, EnergyFn, EnergySpec, Forward, Key, Pairs, Result, Role, View};
use std::sync::Arc;

use crate::graph::Graph;
use crate::known::{Known, Laws, like, rows};

/// `−Σ J_e [x_i, x_j] − Σ h·x` over the edges of a graph.
#[derive(Clone)]
pub(crate) struct Pairwise {
    graph: Arc<Graph>,
    /// States of a site; 1 for spins, whose product stands in place of equality.
    states: usize,
    /// Both ends of the edges.
    ends: (Tensor, Tensor),
}

/// Numbers of one kind of parameter as they are configured.
pub(crate) struct Given<'a> {
    /// Settings of the one number for all, and of the list.
    pub names: (&'static str, &'static str),
    /// Number for all.
    pub one: f64,
    /// A list in its place.
    pub list: Option<&'a [f64]>,
}

impl Given<'_> {
    fn values(&self, cx: &BuildCx, n: usize, what: &str) -> Result<Tensor> {
        let all = match self.list {
            Some(list) if list.len() != n => {
                let message = format!("has {} numbers, must have {n}: one for each {what}", list.len());
                return Err(cx.refuse(self.names.1, message));
            }
            Some(_) if self.one != 0.0 => {
                let message = format!("gives all numbers, and {} too: leave one out", self.names.0);
                return Err(cx.refuse(self.names.1, message));
            }
            Some(list) => list.to_vec(),
            None => vec![self.one; n],
        };
        Ok(Tensor::from_vec(all, n, &Device::Cpu)?)
    }
}

/// The energy of these couplings (one for each edge) and fields (one for each coordinate), called `term`.
pub(crate) fn build(
    cx: &mut BuildCx,
    term: &str,
    graph: Graph,
    states: usize,
    (couplings, fields): (Given<'_>, Given<'_>),
    trainable: bool,
) -> Result<Arc<dyn EnergyFn>> {
    let role = if trainable { Role::Trainable } else { Role::Buffer };
    let coupling = couplings.values(cx, graph.edges.len(), "edge")?;
    let field = fields.values(cx, graph.sites * states, "coordinate")?;
    cx.value("coupling", &coupling, role)?;
    cx.value("field", &field, role)?;
    let end = |of: fn(&(usize, usize)) -> usize| -> Result<Tensor> {
        let all: Vec<u32> = graph.edges.iter().map(|e| of(e) as u32).collect();
        let n = all.len();
        Ok(Tensor::from_vec(all, n, cx.device())?)
    };
    let ends = (end(|e| e.0)?, end(|e| e.1)?);
    let domain = if states == 1 { Domain::Spins } else { Domain::Categorical(states) };
    let spec = EnergySpec::new(cx.sample_shape(), &[term]).on(domain);
    let net = Pairwise { graph: Arc::new(graph), states, ends };
    let path = cx.path().to_string();
    Ok(Known::build(&path, net, spec, cx.take_params()?))
}

impl Forward for Pairwise {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let x = x.flatten()?;
        let own = x.times(p.get("field")?)?.sum_last()?;
        if self.graph.edges.is_empty() {
            return own.scale(-1.0);
        }
        let (rows, q) = (x.value().dims()[0], self.states);
        let end = |ends: &Tensor| {
            x.linear(|t| t.reshape((rows, self.graph.sites, q))?.contiguous()?.index_select(ends, 1))
        };
        let equal = end(&self.ends.0)?.mul(&end(&self.ends.1)?)?.linear(|t| t.sum(2))?;
        equal.times(p.get("coupling")?)?.sum_last()?.plus(&own)?.scale(-1.0)
    }

    fn python(&self) -> Option<String> {
        let (sites, states) = (self.graph.sites, self.states);
        let pairs = format!(
            "sites = x.reshape(len(x), {sites}, {states})\n\
             pairs = (sites[:, self.one_end] * sites[:, self.other_end]).sum(2)\n\
             own = (x.flatten(1) * self.field).sum(1)\n\
             return -(pairs * self.coupling).sum(1) - own"
        );
        Some(pairs)
    }

    fn constants(&self) -> Vec<(String, Tensor)> {
        vec![("one_end".into(), self.ends.0.clone()), ("other_end".into(), self.ends.1.clone())]
    }
}

fn numbers(p: &View, name: &str) -> Result<Vec<f64>> {
    ebm_core::host::numbers(p.get(name)?)
}

impl Laws for Pairwise {
    fn blocks(&self) -> usize {
        self.graph.colours.len()
    }

    fn redraw(&self, p: &View, at: &Batch, block: usize, key: Key) -> Result<Tensor> {
        let (couplings, fields) = (numbers(p, "coupling")?, numbers(p, "field")?);
        let Some(sites) = self.graph.colours.get(block) else { return Ok(at.x.clone()) };
        let (mut x, width) = rows(at)?;
        let (q, mut coins) = (self.states, vec![0f32; sites.len()]);
        let mut pull = vec![0.0; q];
        for (row, chain) in x.chunks_mut(width.max(1)).zip(at.chains.ids()) {
            key.fill_uniform(*chain, &mut coins);
            for (site, coin) in sites.iter().zip(&coins) {
                pull.copy_from_slice(&fields[site * q..][..q]);
                for (other, edge) in &self.graph.neighbours[*site] {
                    for (pull, x) in pull.iter_mut().zip(&row[other * q..][..q]) {
                        *pull += couplings[*edge] * x;
                    }
                }
                let own = &mut row[site * q..][..q];
                match own {
                    [spin] => {
                        *spin =
                            if f64::from(*coin) < 1.0 / (1.0 + (-2.0 * pull[0]).exp()) { 1.0 } else { -1.0 }
                    }
                    own => pick(&pull, f64::from(*coin), own),
                }
            }
        }
        like(at, x)
    }

    fn along(&self, p: &View, beta: f64, fields: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let own = p.get("field")?;
        let field = (own.affine(beta, 0.0)? + fields.to_dtype(own.dtype())?.affine(1.0 - beta, 0.0)?)?;
        Ok(vec![("coupling".into(), p.get("coupling")?.affine(beta, 0.0)?), ("field".into(), field)])
    }

    fn log_z_of_fields(&self, _: &View, fields: &Tensor) -> Result<f64> {
        let fields = ebm_core::host::numbers(fields)?;
        // log 2 cosh h = |h| + log(1 + e^(−2|h|)).
        let spin = |h: &f64| h.abs() + (-2.0 * h.abs()).exp().ln_1p();
        let site = |h: &[f64]| {
            let most = h.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
            most + h.iter().map(|v| (v - most).exp()).sum::<f64>().ln()
        };
        Ok(match self.states {
            1 => fields.iter().map(spin).sum(),
            q => fields.chunks(q).map(site).sum(),
        })
    }

    fn pairs(&self, p: &View) -> Result<Option<Pairs>> {
        let edges = self.graph.edges.iter().zip(numbers(p, "coupling")?);
        let couplings = edges.map(|((i, j), c)| (*i, *j, c)).collect();
        Ok(Some(Pairs { couplings, fields: numbers(p, "field")? }))
    }
}

/// Makes `out` one-hot at a state of law `∝ exp(pull)`, by one uniform number.
fn pick(pull: &[f64], coin: f64, out: &mut [f64]) {
    let most = pull.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
    let total: f64 = pull.iter().map(|v| (v - most).exp()).sum();
    let (mut left, last) = (coin * total, pull.len() - 1);
    let state = pull.iter().position(|v| {
        left -= (v - most).exp();
        left < 0.0
    });
    out.fill(0.0);
    out[state.unwrap_or(last)] = 1.0;
}
