//! Each chain takes one of several transitions at random.

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, BuildCx, ChainState, Chains, EnergyFn, Error, Key, Law, Link, Result, Sensitivity, Settings,
    Slope, StepInfo, Stepped, Transition, TransitionConfig, plugin,
};

use crate::children::Children;
use crate::kept::Kept;

/// At each step every chain draws one transition by its probability, from its own stream. If each
/// leaves a law invariant, so does their mixture, and it is reversible if they are.
///
/// What a transition keeps by row, such as momenta, goes with the rows that drew it: a chain that comes back finds its own. Diagnostics
/// that not all parts have are left out.
///
/// Its link is that of each row's own transition, with the choice held fixed.
pub struct Mix {
    children: Children,
    /// Sums of the probabilities up to each part; the last is 1.
    up_to: Vec<f64>,
}

impl Mix {
    /// Transitions with their weights, which need not sum to one.
    ///
    /// # Errors
    /// If there are none, or a weight is negative, or all vanish.
    pub fn new(parts: Vec<(f64, Box<dyn Transition>)>) -> Result<Self> {
        let total: f64 = parts.iter().map(|(w, _)| w).sum();
        let valid = parts.iter().all(|(w, _)| *w >= 0.0);
        if !(valid && total > 0.0 && total.is_finite()) {
            return Err(Error::config("mix.weights", "must be non-negative and not all zero"));
        }
        let mut sum = 0.0;
        let (mut up_to, mut children) = (Vec::new(), Vec::new());
        for (w, t) in parts {
            sum += w / total;
            up_to.push(sum);
            children.push(t);
        }
        Ok(Mix { children: Children::new(children), up_to })
    }

    /// Which part each chain draws.
    fn choices(&self, chains: &Chains, key: Key) -> Vec<usize> {
        let last = self.up_to.len() - 1;
        chains
            .ids()
            .iter()
            .map(|id| {
                let u = key.uniform_at(*id);
                // Rounding may leave the last sum below 1.
                self.up_to.iter().position(|s| u < *s).unwrap_or(last)
            })
            .collect()
    }
}

impl Transition for Mix {
    fn init(&self, e: &dyn EnergyFn, at: Batch, key: Key) -> Result<ChainState> {
        self.children.init(e, at, key)
    }

    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let choices = self.choices(&state.at.chains, key.at("choice"));
        let mut order: Vec<u32> = Vec::with_capacity(choices.len());
        let mut aux = state.aux.clone();
        let (mut xs, mut caches, mut infos, mut links) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for i in 0..self.children.all().len() {
            let mine: Vec<u32> =
                choices.iter().enumerate().filter(|(_, c)| **c == i).map(|(r, _)| r as u32).collect();
            if mine.is_empty() {
                continue;
            }
            let kept = Kept::of(self.children.all()[i].as_ref(), choices.len());
            for (mine, own) in kept.parts(&self.children.kept(i, &aux), &mine)? {
                let mut part = state.clone();
                part.aux = own;
                part.at = state.at.rows(&mine)?;
                let index = Tensor::from_slice(&mine, mine.len(), state.at.device())?;
                part.cache = match &state.cache {
                    Some(s) => Some(Slope {
                        energy: s.energy.index_select(&index, 0)?,
                        grad: s.grad.index_select(&index, 0)?,
                    }),
                    None => None,
                };
                let out = self.children.all()[i].step(e, &part, key.at(i))?;
                let inner = kept.joined(&self.children.kept(i, &aux), &mine, out.state.aux)?;
                aux = self.children.merged(i, &aux, inner);
                xs.push(out.state.at.x);
                caches.push(out.state.cache);
                infos.push(out.info);
                order.extend(&mine);
                links.push((mine, out.link.of_part(i)));
            }
        }
        if order.is_empty() {
            return Ok(Stepped::new(state.advance(state.at.x.clone()), Link::Identity));
        }
        // Where each row went.
        let mut back = vec![0u32; order.len()];
        order.iter().enumerate().for_each(|(place, row)| back[*row as usize] = place as u32);
        let back = Tensor::from_vec(back, order.len(), state.at.device())?;
        let join =
            |parts: &[&Tensor]| -> Result<Tensor> { Ok(Tensor::cat(parts, 0)?.index_select(&back, 0)?) };
        let mut next = state.advance(join(&xs.iter().collect::<Vec<_>>())?);
        next.aux = aux;
        if let Some(all) = caches.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() {
            next.cache = Some(Slope {
                energy: join(&all.iter().map(|s| &s.energy).collect::<Vec<_>>())?,
                grad: join(&all.iter().map(|s| &s.grad).collect::<Vec<_>>())?,
            });
        }
        let mut info = StepInfo::new();
        for name in infos[0].keys() {
            if let Some(all) = infos.iter().map(|i| i.get(name)).collect::<Option<Vec<_>>>() {
                info.insert(name, join(&all)?);
            }
        }
        let same = links.iter().all(|(_, link)| matches!(link, Link::Identity));
        let mut out = Stepped::new(next, if same { Link::Identity } else { Link::Rows(links) });
        out.info = info;
        Ok(out)
    }

    fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.children.fits(e)
    }

    fn couples_chains(&self) -> bool {
        self.children.couples_chains()
    }

    fn needs_reference(&self) -> bool {
        self.children.needs_reference()
    }

    fn law(&self) -> Law {
        Law::either(self.children.all().iter().map(|t| t.law()))
    }

    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::either(self.children.all().iter().map(|c| c.sensitivity()))
    }

    /// Where every part has a box, the smallest one around all of them.
    fn bounds(&self) -> Option<(f64, f64)> {
        let all = self.children.all().iter().map(|c| c.bounds()).collect::<Option<Vec<_>>>()?;
        all.into_iter().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    fn needs_energy(&self) -> bool {
        self.children.needs_energy()
    }

    fn carried(&self) -> Vec<String> {
        self.children.carried()
    }

    fn name(&self) -> String {
        format!("mix ({})", self.children.names())
    }
}

/// Settings of `mix`.
#[derive(Debug, Settings)]
pub struct MixConfig {
    /// The transitions.
    pub transitions: Vec<Box<dyn TransitionConfig>>,
    /// Their weights, which need not sum to one; equal if absent.
    #[setting(at_least = 0.0)]
    pub weights: Option<Vec<f64>>,
}

#[plugin(
    "mix",
    summary = "each chain takes one of several transitions at random",
    source = "Tierney 1994",
    example = r#"transitions = [{ kind = "gaussian-noise", scale = 0.1 }, { kind = "gaussian-noise", scale = 1.0 }]
weights = [0.9, 0.1]"#
)]
impl TransitionConfig for MixConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        let n = self.transitions.len();
        let weights = self.weights.clone().unwrap_or(vec![1.0; n]);
        if weights.len() != n || n == 0 {
            let message = format!("has {} weights for {n} transitions; give one for each", weights.len());
            return Err(cx.refuse("weights", message));
        }
        if weights.iter().all(|w| *w == 0.0) {
            return Err(cx.refuse("weights", "are all 0, wanted one above 0"));
        }
        let parts = self
            .transitions
            .iter()
            .zip(weights)
            .enumerate()
            .map(|(i, (t, w))| Ok((w, t.build_at(&format!("transitions[{i}]"), cx)?)))
            .collect::<Result<_>>()?;
        Ok(Box::new(Mix::new(parts)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_samplers::{Hmc, Mala, Metropolis};
    use ebm_testkit::{check_transition, check_variance, moments, run, toy};

    use super::*;
    use crate::GaussianNoise;

    fn noise(scale: f64) -> Box<dyn Transition> {
        Box::new(GaussianNoise::new(scale))
    }

    #[test]
    fn chains_draw_by_weight_and_keep_their_place() {
        let e = toy::bowl(1, 1.0).unwrap();
        let mix = Mix::new(vec![(3.0, noise(1e-6)), (1.0, noise(10.0))]).unwrap();
        let x = run(&mix, &e, 20_000, 1, Key::root(1)).unwrap().at.x;
        let moved = x.abs().unwrap().gt(1e-4).unwrap().to_dtype(ebm_core::candle::DType::F64).unwrap();
        let share = moments(&moved).unwrap().mean;
        assert!((share - 0.25).abs() < 4.0 * (0.1875f64 / 20_000.0).sqrt(), "{share}");
        // The law of a transition includes that halves of a batch give what the whole gives.
        let at = run(&*noise(1.0), &e, 6, 1, Key::root(2)).unwrap().at;
        check_transition(&mix, &e, &at, true).unwrap();
    }

    #[test]
    fn a_mixture_of_kernels_keeps_their_target() {
        let e = toy::bowl(1, 2.0).unwrap();
        let mix = Mix::new(vec![
            (0.4, Box::new(Mala::new(0.3)) as Box<dyn Transition>),
            (0.4, Box::new(Hmc::new(0.4, 2))),
            (0.2, Box::new(Metropolis::new(noise(1.0), 1.0))),
        ])
        .unwrap();
        check_variance(&run(&mix, &e, 10_000, 50, Key::root(3)).unwrap().at.x, 0.5, 4.0).unwrap();
        let Sensitivity::Unknown(part) = mix.sensitivity() else { panic!("hmc cannot tell") };
        assert!(part.starts_with("hmc"), "{part}");
    }

    #[test]
    fn caches_go_with_their_rows() {
        let e = toy::mlp(2, 4, 1, 1).unwrap();
        let mix = Mix::new(vec![
            (0.5, Box::new(Mala::new(0.3)) as Box<dyn Transition>),
            (0.5, Box::new(Hmc::new(0.4, 2))),
        ])
        .unwrap();
        let at = run(&*noise(1.0), &e, 9, 1, Key::root(2)).unwrap().at;
        check_transition(&mix, &e, &at, true).unwrap();
    }
}
