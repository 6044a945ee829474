//! Discrete data with what they become when one site changes its state.

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Batch, Domain, EnergyFn, Key, Result, StepInput, host};

use crate::numbers::total;

/// A batch of `B` data and of what each becomes by a change of one of `M` sites to each of its `K` other states: row
/// `B + (b·M + m)·K + k`.
pub(crate) struct Flips {
    pub at: Batch,
    /// Data B, sites M, other states K.
    pub counts: (usize, usize, usize),
    /// What a site of a datum counts in a mean over data of sums over sites.
    pub scale: f64,
}

impl Flips {
    /// All sites, or so many of each datum at random.
    ///
    /// # Errors
    /// If the energy's domain is not discrete.
    pub fn of(
        who: &str,
        e: &dyn EnergyFn,
        input: &StepInput<'_>,
        some: Option<usize>,
        key: Key,
    ) -> Result<Self> {
        let (data, domain) = (input.data, e.spec().domain);
        domain.discrete_for(format!("objective `{who}`"))?;
        let (x, b, k) = (host::numbers(&data.x)?, data.len(), domain.states().unwrap_or(2));
        let width = x.len() / b.max(1);
        let sites = if let Domain::Categorical(k) = domain { width / k.max(1) } else { width };
        let m = some.map_or(sites, |m| m.min(sites));
        let mut all = Vec::with_capacity(x.len() * (1 + m * (k - 1)));
        all.extend_from_slice(&x);
        for (row, id) in x.chunks(width.max(1)).zip(data.chains.ids()) {
            let chosen: Vec<usize> = match m == sites {
                true => (0..sites).collect(),
                false => key.at("sites").at(*id).permutation(sites).into_iter().take(m).collect(),
            };
            for site in chosen {
                for ahead in 1..k {
                    let start = all.len();
                    all.extend_from_slice(row);
                    turn(domain, &mut all[start..], site, ahead);
                }
            }
        }
        let shape = [&[b * (1 + m * (k - 1))], data.sample_shape()].concat();
        let x =
            Tensor::from_vec(all, shape, &Device::Cpu)?.to_dtype(data.dtype())?.to_device(data.device())?;
        let cond = |c: &Tensor| -> Result<Tensor> {
            let (_, n) = c.dims2()?;
            let copies = c.unsqueeze(1)?.broadcast_as((b, m * (k - 1), n))?.contiguous()?.flatten(0, 1)?;
            Ok(Tensor::cat(&[c, &copies], 0)?)
        };
        let at = Batch::new(x)?.with_cond(data.cond.as_ref().map(cond).transpose()?);
        let of = input.portion_of(data).of.max(1) as f64;
        let scale = sites as f64 / m.max(1) as f64 / of;
        Ok(Flips { at, counts: (b, m, k - 1), scale })
    }

    /// `E(datum) − E(changed)`, `(B·M, K)`.
    pub fn gaps((b, m, k): (usize, usize, usize), terms: &Tensor) -> Result<Tensor> {
        let e = total(terms)?;
        let changed = e.narrow(0, b, b * m * k)?.reshape((b, m * k))?;
        Ok(e.narrow(0, 0, b)?.unsqueeze(1)?.broadcast_sub(&changed)?.reshape((b * m, k))?)
    }

    /// Weights of all rows of a loss with these slopes in the gaps, `(B·M, K)`.
    pub fn weights((b, m, k): (usize, usize, usize), slopes: &Tensor) -> Result<Tensor> {
        let slopes = slopes.reshape((b, m * k))?;
        Ok(Tensor::cat(&[slopes.sum(1)?, slopes.neg()?.flatten_all()?], 0)?)
    }
}

/// Puts a site `ahead` states further.
fn turn(domain: Domain, x: &mut [f64], site: usize, ahead: usize) {
    match domain {
        Domain::Categorical(k) => {
            let own = &mut x[site * k..][..k];
            let state = own.iter().position(|v| *v > 0.5).unwrap_or(0);
            own.fill(0.0);
            own[(state + ahead) % k] = 1.0;
        }
        Domain::Spins => x[site] = -x[site],
        _ => x[site] = 1.0 - x[site],
    }
}
