//! Jumps by the difference of two other points: moves between modes without a gradient.

use ebm_core::candle::Tensor;
use ebm_core::{
    Batch, BuildCx, ChainState, EnergyFn, Error, Key, Law, Link, Result, Sensitivity, Settings, Stepped,
    Transition, TransitionConfig, plugin,
};

use crate::kit::{Decision, outside, rows};

/// Where the two points of a jump come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Pairs {
    /// Other chains of the batch.
    Chains,
    /// The reference samples of the request, such as training data.
    Bank,
}

/// `x′ = x + γ(dᵢ − dⱼ)`, `i ≠ j` uniform, taken with probability `min(1, exp(−ΔE/T))`
/// (ter Braak 2006, differential evolution Markov chain).
///
/// Both orders of a pair are equally likely and the pair does not depend on `x`, so the proposal
/// is symmetric. With pairs from the *batch* that needs care: if all chains moved at once, each
/// pair would depend on chains that move too. The rows are therefore cut in two halves, and
/// each half jumps in turn with pairs of the other, which stands still: every move is a Metropolis
/// step of the product law (Goodman, Weare 2010). A chain's path then depends on its batch; it
/// does not with pairs from the *bank*, which are constants.
///
/// Jumps alone reach only points that differences of the set can reach; mix them with local moves.
///
/// Its link holds pairs and decisions fixed: with pairs from the bank `dx′ = dx`, with pairs from the batch it cannot tell.
///
/// Diagnostics: `energy` at the new state, `accepted` (mean over the jumps of a step).
#[derive(Clone, Debug)]
pub struct DifferenceJump {
    pairs: Pairs,
    jumps: usize,
    scale: f64,
    temperature: f64,
    range: Option<(f64, f64)>,
}

impl DifferenceJump {
    /// One jump of full length at temperature 1.
    pub fn new(pairs: Pairs) -> Self {
        DifferenceJump { pairs, jumps: 1, scale: 1.0, temperature: 1.0, range: None }
    }

    /// The same with `jumps` jumps a step, each one energy.
    #[must_use]
    pub fn times(mut self, jumps: usize) -> Self {
        self.jumps = jumps;
        self
    }

    /// The same at temperature T.
    #[must_use]
    pub fn at_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// Jumps the rows of `at` with energies `energy` by pairs of `points`.
    fn jump(
        &self,
        e: &dyn EnergyFn,
        at: &Batch,
        energy: &Tensor,
        points: &Tensor,
        key: Key,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let m = points.dims().first().copied().unwrap_or(0);
        if m < 2 {
            return Err(Error::config(
                "difference-jump",
                format!(
                    "needs at least 2 points to take differences of, found {m}; use more chains or a larger bank"
                ),
            ));
        }
        let mut first = Vec::with_capacity(at.len());
        let mut second = Vec::with_capacity(at.len());
        let (of_first, of_second) = (key.at("first"), key.at("second"));
        for id in at.chains.ids() {
            let i = of_first.below(*id, m);
            // Uniform over the others.
            let j = (i + 1 + of_second.below(*id, m - 1)) % m;
            first.push(i as u32);
            second.push(j as u32);
        }
        let proposal = match rows::differences(&at.x, points, (&first, &second), self.scale)? {
            Some(proposal) => proposal,
            None => {
                let pick = |index: Vec<u32>| -> Result<Tensor> {
                    let index = Tensor::from_vec(index, at.len(), points.device())?;
                    Ok(points.index_select(&index, 0)?)
                };
                let step = (pick(first)? - pick(second)?)?.affine(self.scale, 0.0)?;
                (&at.x + step.to_dtype(at.dtype())?)?
            }
        };
        let there = e.energy(&at.with_x(proposal.clone()))?;
        let log_ratio = match rows::jump_ratio(energy, &there, &proposal, self.temperature, self.range)? {
            Some(log_ratio) => log_ratio,
            None => {
                let gain = (energy - &there)?.affine(1.0 / self.temperature, 0.0)?;
                match outside(&proposal, self.range)? {
                    Some(barrier) => (gain + barrier)?,
                    None => gain,
                }
            }
        };
        let decision = Decision::draw(&log_ratio, &at.chains, key.at("accept"))?;
        Ok((decision.select(&proposal, &at.x)?, decision.select(&there, energy)?, decision.accepted))
    }

    fn bank<'a>(&self, state: &'a ChainState) -> Result<&'a Tensor> {
        let bank = state.reference.as_ref().ok_or_else(|| {
            Error::capability(
                "difference-jump with pairs = \"bank\"",
                "reference samples",
                "the caller of this program",
                "give some with `DrawRequest::with_reference`, or take pairs = \"chains\"",
            )
        })?;
        if bank.dims().get(1..) != Some(state.at.sample_shape()) {
            return Err(Error::shape(
                "difference-jump",
                bank.dims(),
                format!("(M, {:?})", state.at.sample_shape()),
                "the bank must hold samples of the chain's shape",
            ));
        }
        Ok(bank)
    }
}

impl Transition for DifferenceJump {
    fn step(&self, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let mut energy = match &state.cache {
            Some(slope) => slope.energy.clone(),
            None => e.energy(&state.at)?,
        };
        let mut at = state.at.clone();
        let mut accepted = energy.zeros_like()?;
        for k in 0..self.jumps {
            let key = key.at(k);
            let (x, low, taken) = match self.pairs {
                Pairs::Bank => self.jump(e, &at, &energy, self.bank(state)?, key)?,
                Pairs::Chains => {
                    let n = at.len();
                    let half = n / 2;
                    let (a, b) = (at.narrow(0, half)?, at.narrow(half, n - half)?);
                    let (xa, ea, ta) = self.jump(e, &a, &energy.narrow(0, 0, half)?, &b.x, key)?;
                    let (xb, eb, tb) = self.jump(e, &b, &energy.narrow(0, half, n - half)?, &xa, key)?;
                    (Tensor::cat(&[xa, xb], 0)?, Tensor::cat(&[ea, eb], 0)?, Tensor::cat(&[ta, tb], 0)?)
                }
            };
            at = at.with_x(x);
            energy = low;
            accepted = (accepted + taken)?;
        }
        let link = Link::Identity;
        Ok(Stepped::new(state.advance(at.x), link)
            .with("energy", energy)
            .with("accepted", accepted.affine(1.0 / self.jumps.max(1) as f64, 0.0)?))
    }

    fn couples_chains(&self) -> bool {
        self.pairs == Pairs::Chains
    }

    fn needs_reference(&self) -> bool {
        self.pairs == Pairs::Bank
    }

    fn law(&self) -> Law {
        Law::Invariant { temperature: self.temperature }
    }

    fn sensitivity(&self) -> Sensitivity {
        match self.pairs {
            // Constants are added: dx′ = dx at fixed decisions.
            Pairs::Bank => Sensitivity::Passes,
            // A jump also moves with the other chains, which a link of rows cannot tell.
            Pairs::Chains => Sensitivity::Unknown(self.name()),
        }
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        self.range
    }

    fn name(&self) -> String {
        format!("difference-jump ({} jumps)", self.jumps)
    }
}

/// Settings of `difference-jump`.
#[derive(Debug, Clone, Settings)]
pub struct DifferenceJumpConfig {
    /// Other chains of the batch, or reference samples: in training the data batch.
    #[setting(default = Pairs::Chains)]
    pub pairs: Pairs,
    /// Jumps a step, each one energy.
    #[setting(default = 1, at_least = 1, at_most = 10_000)]
    pub jumps: usize,
    /// Factor of the difference.
    #[setting(default = 1.0, above = 0.0)]
    pub scale: f64,
    /// T of the target exp(-E/T).
    #[setting(default = 1.0, above = 0.0)]
    pub temperature: f64,
    /// Box outside of which jumps are rejected.
    pub range: Option<[f64; 2]>,
}

#[plugin(
    "difference-jump",
    summary = "jumps by the difference of two other chains or samples: moves between modes",
    source = "ter Braak 2006; Goodman, Weare 2010",
    example = "pairs = \"chains\"\njumps = 2"
)]
impl TransitionConfig for DifferenceJumpConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(DifferenceJump {
            pairs: self.pairs,
            jumps: self.jumps,
            scale: self.scale,
            temperature: self.temperature,
            range: cx.interval("range", self.range)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use ebm_core::candle::{DType, Device};
    use ebm_core::{Blind, Chains, DrawRequest, Opaque, ParamSet, Sampler};
    use ebm_testkit::{check_variance, moments, toy};

    use super::*;
    use crate::Chain;

    fn spread(rows: usize, sd: f64) -> Batch {
        let x = Key::root(77).normal(&Chains::range(0, rows), &[1], DType::F64, &Device::Cpu).unwrap();
        Batch::new(x.affine(sd, 0.0).unwrap()).unwrap()
    }

    /// From a start that is wrong by a factor 2 in width, jumps alone bring the law of the target.
    #[test]
    fn halves_in_turn_keep_the_target() {
        let e = toy::bowl(1, 4.0).unwrap();
        let jump = DifferenceJump::new(Pairs::Chains).times(10);
        let mut state = ChainState::new(spread(8_000, 1.0));
        for k in 0..6u64 {
            state = jump.step(&e, &state, Key::root(5).at(k)).unwrap().state;
        }
        // Chains exchange differences, so draws are not quite independent: five standard errors.
        check_variance(&state.at.x, 0.25, 5.0).unwrap();
    }

    #[test]
    fn modes_far_apart_are_filled_by_their_weight() {
        // Wells at ±10 of weight ¼ and ¾, all chains but two start in the lighter one.
        let e = Opaque::new("wells", &[1], ParamSet::default(), |_, x, _| {
            let well =
                |m: f64, w: f64| -> Result<Tensor> { Ok(((x.affine(1.0, -m)?.sqr()? * -0.5)?.exp()? * w)?) };
            Ok((well(-10.0, 0.25)? + well(10.0, 0.75)?)?.log()?.neg()?)
        });
        let bank = Tensor::new(&[[-10.0f64], [-9.7], [10.0], [10.4]], &Device::Cpu).unwrap();
        let (mut blind, mut memory) = (Blind, BTreeMap::new());
        let mut request = DrawRequest::new(&mut blind, &mut memory).with_reference(Some(&bank));
        let start = Batch::new(spread(4000, 1.0).x.affine(1.0, -10.0).unwrap()).unwrap();
        let chain = Chain::new(Box::new(DifferenceJump::new(Pairs::Bank)), 60);
        let drawn = chain.draw(&e, start, Key::root(2), &mut request).unwrap();
        let right = drawn.last.at.x.gt(0.0).unwrap().to_dtype(DType::F64).unwrap();
        let share = moments(&right).unwrap().mean;
        assert!((share - 0.75).abs() < 4.0 * (0.1875f64 / 4000.0).sqrt(), "{share}");
        assert!(memory.is_empty() && drawn.last.reference.is_none());
    }

    #[test]
    fn too_few_points_and_no_bank_are_errors() {
        let e = toy::bowl(1, 4.0).unwrap();
        let state = ChainState::new(spread(2, 1.0));
        let text = DifferenceJump::new(Pairs::Chains).step(&e, &state, Key::root(0)).unwrap_err().to_string();
        assert!(text.contains("at least 2"), "{text}");
        let text = DifferenceJump::new(Pairs::Bank).step(&e, &state, Key::root(0)).unwrap_err().to_string();
        assert!(text.contains("reference samples"), "{text}");
    }
}
