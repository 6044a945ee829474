//! `deep-rbm`: binary units in layers, every second layer summed over.

use std::f64::consts::LN_2;
use std::sync::Arc;

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, BuildCx, Diff, Domain, EnergyConfig, EnergyFn, EnergySpec, Forward, Init, Key, Result, Settings,
    View, host, plugin,
};

use crate::known::{Known, Laws};

/// Layers of binary units (a deep Boltzmann machine), each coupled to the next:
/// `−Σ_l b_l·x_l − Σ_l x_l·W_{l+1}·x_{l+1}`, layer 0 the visible one. Layers 1, 3, … are summed over in closed form; a sample holds
/// the others, one after the other: the visible units, then layers 2, 4, …. So energies, slopes and laws are exact.
///
/// Parameters are `weight1` `(n₀, n₁)`, `weight2`, … and `bias0`, `bias1`, …. The block Gibbs move draws the odd layers from their laws given the
/// even ones, then those. Data must be whole samples: of visible units alone take `rbm`.
#[derive(Clone, Debug, Settings)]
pub struct DeepRbm {
    /// Units of layers 1, 2, …; what is left of a sample by layers 2, 4, … are the visible units.
    #[setting(at_least = 1, at_most = 1e6)]
    pub layers: Vec<usize>,
    /// Standard deviation of initial weights.
    #[setting(default = 0.01, at_least = 0.0)]
    pub init: f64,
}

#[plugin(
    "deep-rbm",
    summary = "binary units in layers, each coupled to the next, every second layer summed over",
    source = "Salakhutdinov, Hinton 2009",
    example = "layers = [3, 1]"
)]
impl EnergyConfig for DeepRbm {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let above: usize = self.layers.iter().skip(1).step_by(2).sum();
        let visible = cx.sample_len().checked_sub(above).filter(|n| *n > 0 && !self.layers.is_empty());
        let Some(visible) = visible else {
            let message = format!(
                "are {:?}, of which layers 2, 4, … take {above} units of a sample of {}: at least one visible unit must be left, and one layer given",
                self.layers,
                cx.sample_len()
            );
            return Err(cx.refuse("layers", message));
        };
        let sizes: Vec<usize> = [&[visible], &self.layers[..]].concat();
        for (l, n) in sizes.iter().enumerate() {
            cx.param(&format!("bias{l}"), *n, Init::Constant(0.0))?;
            if l > 0 {
                cx.param(&format!("weight{l}"), (sizes[l - 1], *n), Init::Normal(self.init))?;
            }
        }
        let spec = EnergySpec::new(cx.sample_shape(), &["deep-rbm"]).on(Domain::Binary);
        let (path, params) = (cx.path().to_string(), cx.take_params()?);
        Ok(Known::build(&path, Layers { sizes }, spec, params))
    }
}

/// The forward function of layers of these sizes, the visible one first.
#[derive(Clone)]
struct Layers {
    sizes: Vec<usize>,
}

impl Layers {
    /// Layers that a sample holds (even) or that are summed over (odd).
    fn all(&self, odd: bool) -> impl Iterator<Item = usize> + use<> {
        (usize::from(odd)..self.sizes.len()).step_by(2)
    }

    /// The even layers of flat samples, by number; the odd ones are `None`.
    fn parts<V: Diff>(&self, x: &V) -> Result<Vec<Option<V>>> {
        let mut from = 0;
        let mut parts = Vec::with_capacity(self.sizes.len());
        for (l, n) in self.sizes.iter().enumerate() {
            if l % 2 == 1 {
                parts.push(None);
                continue;
            }
            parts.push(Some(x.linear(|t| t.narrow(1, from, *n))?));
            from += n;
        }
        Ok(parts)
    }

    /// Log odds of layer `l` given its neighbours among `parts`.
    fn odds<V: Diff>(&self, p: &View, parts: &[Option<V>], l: usize) -> Result<Option<V>> {
        let below = parts.get(l.wrapping_sub(1)).and_then(Option::as_ref);
        let above = parts.get(l + 1).and_then(Option::as_ref);
        let from_below = below.map(|x| x.matmul(p.get(&format!("weight{l}"))?)).transpose()?;
        let weight = |l: usize| -> Result<Tensor> { Ok(p.get(&format!("weight{l}"))?.t()?.contiguous()?) };
        let from_above = above.map(|x| x.matmul(&weight(l + 1)?)).transpose()?;
        let pull = match (from_below, from_above) {
            (Some(a), Some(b)) => Some(a.plus(&b)?),
            (one, other) => one.or(other),
        };
        pull.map(|pull| pull.shift(p.get(&format!("bias{l}"))?)).transpose()
    }
}

impl Forward for Layers {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let parts = self.parts(&x.flatten()?)?;
        let mut sum: Option<V> = None;
        let mut add = |term: V| -> Result<()> {
            sum = Some(match &sum {
                Some(sum) => sum.plus(&term)?,
                None => term,
            });
            Ok(())
        };
        for l in self.all(false) {
            if let Some(part) = &parts[l] {
                add(part.times(p.get(&format!("bias{l}"))?)?.sum_last()?)?;
            }
        }
        for l in self.all(true) {
            if let Some(odds) = self.odds(p, &parts, l)? {
                add(odds.softplus()?.sum_last()?)?;
            }
        }
        match sum {
            Some(sum) => sum.scale(-1.0),
            None => x.flatten()?.sum_last()?.scale(0.0),
        }
    }

    fn python(&self) -> Option<String> {
        let held: Vec<usize> = self.all(false).map(|l| self.sizes[l]).collect();
        let mut text = format!(
            "# the layers that a sample holds, and those that are summed over\nv = x.flatten(1).split({held:?}, 1)\nlog_p = 0\n"
        );
        for l in self.all(false) {
            text += &format!("log_p = log_p + (v[{}] * self.bias{l}).sum(1)\n", l / 2);
        }
        for l in self.all(true) {
            let above = match l + 1 < self.sizes.len() {
                true => format!(" + v[{}] @ self.weight{}.T", l.div_ceil(2), l + 1),
                false => String::new(),
            };
            text += &format!(
                "log_p = log_p + F.softplus(v[{}] @ self.weight{l}{above} + self.bias{l}).sum(1)\n",
                l / 2
            );
        }
        Some(text + "return -log_p")
    }
}

impl Laws for Layers {
    fn blocks(&self) -> usize {
        1
    }

    fn redraw(&self, p: &View, at: &Batch, _: usize, key: Key) -> Result<Tensor> {
        let mut parts = self.parts(&at.x.flatten_from(1)?)?;
        let draw = |odds: &Tensor, l: usize| -> Result<Tensor> {
            let chance = odds.sigmoid()?;
            let coins = key.at(l).uniform(&at.chains, &chance.dims()[1..], at.dtype(), at.device())?;
            Ok(coins.lt(&chance)?.to_dtype(at.dtype())?)
        };
        for odd in [true, false] {
            let drawn =
                self.all(odd).map(|l| Ok((l, self.odds(p, &parts, l)?.map(|o| draw(&o, l)).transpose()?)));
            for (l, new) in drawn.collect::<Result<Vec<_>>>()? {
                parts[l] = new;
            }
        }
        let even: Vec<Tensor> = self.all(false).filter_map(|l| parts[l].clone()).collect();
        Ok(Tensor::cat(&even, 1)?.reshape(at.x.dims())?)
    }

    fn along(&self, p: &View, beta: f64, fields: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let (mut all, mut from) = (Vec::new(), 0);
        for (l, n) in self.sizes.iter().enumerate() {
            let name = format!("bias{l}");
            let mut bias = p.get(&name)?.affine(beta, 0.0)?;
            if l % 2 == 0 {
                let own = fields.narrow(0, from, *n)?.to_dtype(bias.dtype())?;
                bias = (bias + own.affine(1.0 - beta, 0.0)?)?;
                from += n;
            }
            all.push((name, bias));
            if l > 0 {
                let name = format!("weight{l}");
                let weight = p.get(&name)?.affine(beta, 0.0)?;
                all.push((name, weight));
            }
        }
        Ok(all)
    }

    fn log_z_of_fields(&self, _: &View, fields: &Tensor) -> Result<f64> {
        let summed: usize = self.all(true).map(|l| self.sizes[l]).sum();
        let own = host::scalar(&host::wide(fields)?.softplus()?.sum_all()?)?;
        Ok(own + summed as f64 * LN_2)
    }
}
