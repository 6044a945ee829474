//! Draws of chains: states of a program step by step, with their statistics, as measures of chains take them.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{Batch, DrawRequest, EnergyFn, Error, Key, Result, Sampler, Stepped, host};

/// Which states of a program are kept: `count` of each chain, every `thinning`-th after `burn_in` steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Draws of each chain.
    pub count: usize,
    /// Steps before the first.
    pub burn_in: usize,
    /// Steps from one draw to the next, at least 1.
    pub thinning: usize,
}

impl From<usize> for Keep {
    /// `count` states from the first step on.
    fn from(count: usize) -> Self {
        Keep { count, burn_in: 0, thinning: 1 }
    }
}

impl Keep {
    /// The same after `burn_in` steps.
    #[must_use]
    pub fn after(mut self, burn_in: usize) -> Self {
        self.burn_in = burn_in;
        self
    }

    /// The same with one draw in `thinning` steps.
    #[must_use]
    pub fn every(mut self, thinning: usize) -> Self {
        self.thinning = thinning.max(1);
        self
    }

    /// Steps of the whole program.
    pub fn steps(&self) -> usize {
        self.burn_in + self.count * self.thinning
    }

    /// Whether the state after step `index` (from 0) is kept.
    fn keeps(&self, index: usize) -> bool {
        index >= self.burn_in && (index - self.burn_in + 1).is_multiple_of(self.thinning)
    }
}

/// Draws of chains.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Draws {
    /// Samples, `(chains, draws, ...)`.
    pub x: Tensor,
    /// Statistics `(chains, draws)` by name: `energy` at the draw, in nats, and the diagnostics of the step that led to
    /// it under the names of its [`StepInfo`](crate::StepInfo), such as `accepted`.
    pub stats: BTreeMap<&'static str, Tensor>,
}

/// Tensors `(chains, ...)` draw after draw. Many are laid together: a tensor of few numbers takes a hundred times their memory.
#[derive(Default)]
struct Laid {
    count: usize,
    last: Vec<Tensor>,
    blocks: Vec<Tensor>,
}

impl Laid {
    /// Draws of a block.
    const BLOCK: usize = 256;

    fn push(&mut self, t: Tensor) -> Result<()> {
        self.count += 1;
        self.last.push(t);
        if self.last.len() == Self::BLOCK {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if !self.last.is_empty() {
            self.blocks.push(Tensor::stack(&self.last, 1)?);
            self.last.clear();
        }
        Ok(())
    }

    /// All as one, `(chains, draws, ...)`.
    fn together(mut self) -> Result<Tensor> {
        self.close()?;
        match &self.blocks[..] {
            [one] => Ok(one.clone()),
            many => Ok(Tensor::cat(many, 1)?),
        }
    }
}

impl Draws {
    /// Runs `sampler` as chains from `start` `(chains, ...)` on `e` and keeps what `keep` says. Step sizes adapt in the
    /// burn-in and are fixed from then on, so that the draws kept have the law that they are to have.
    ///
    /// A program whose steps change on the way (annealed step sizes) is no chain: what its draws say of a stationary law
    /// holds only for the part in which they do not.
    ///
    /// # Errors
    /// If sampling fails, or the program does not show each of its steps.
    pub fn of(
        sampler: &(impl Sampler + ?Sized),
        e: &dyn EnergyFn,
        start: Batch,
        keep: impl Into<Keep>,
        key: Key,
    ) -> Result<Draws> {
        let keep: Keep = keep.into();
        if keep.count == 0 {
            return Err(Error::config("draws", "are 0 a chain, wanted at least 1"));
        }
        let program = sampler.with_steps(keep.steps());
        let chains = start.chains.clone();
        let mut xs = Laid::default();
        let mut stats: BTreeMap<&'static str, Laid> = BTreeMap::new();
        let mut probe = |index: usize, step: &Stepped| -> Result<()> {
            let at = &step.state.at;
            if !keep.keeps(index) || at.chains != chains {
                return Ok(());
            }
            xs.push(at.x.clone())?;
            let energy = match &step.state.cache {
                Some(slope) => slope.energy.clone(),
                None => e.energy(at)?,
            };
            let others = step.info.iter().filter(|(name, _)| **name != "energy");
            for (name, t) in others.map(|(name, t)| (*name, t.clone())).chain([("energy", energy)]) {
                stats.entry(name).or_default().push(t)?;
            }
            Ok(())
        };
        let mut memory = BTreeMap::new();
        let mut request = DrawRequest::new(&mut probe, &mut memory).with_warm_up(keep.burn_in);
        program.draw(e, start, key, &mut request)?;
        if xs.count != keep.count {
            return Err(Error::capability(
                "draws of chains",
                format!("{} states of each", keep.count),
                format!("sampler `{}`, which showed {}", program.name(), xs.count),
                "use a program of single steps, such as `chain`",
            ));
        }
        // A statistic that only some steps have is none of every draw.
        let stats = stats.into_iter().filter(|(_, all)| all.count == keep.count);
        Ok(Draws {
            x: xs.together()?,
            stats: stats.map(|(name, all)| Ok((name, all.together()?))).collect::<Result<_>>()?,
        })
    }

    /// Number of chains, and of draws of each.
    pub fn dims(&self) -> (usize, usize) {
        (self.x.dims()[0], self.x.dims()[1])
    }

    /// A statistic as numbers, chain by chain.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let Some(t) = self.stats.get(name) else {
            let known = self.stats.keys().copied().collect::<Vec<_>>().join(", ");
            return Err(Error::config("draws", format!("have no statistic `{name}`, but {known}")));
        };
        host::numbers(t)
    }

    /// Coordinate `index` of the flattened samples as numbers, chain by chain.
    ///
    /// # Errors
    /// If samples have fewer.
    pub fn coordinate(&self, index: usize) -> Result<Vec<f64>> {
        let flat = self.x.flatten_from(2)?;
        let width = flat.dims()[2];
        if index >= width {
            let message = format!("have {width} coordinates, found {index} (they count from 0)");
            return Err(Error::config("draws", message));
        }
        host::numbers(&flat.narrow(2, index, 1)?.contiguous()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{DType, Device};

    use super::*;
    use crate::{
        Autograd, ChainState, Chains, Diff, Drawn, EnergySpec, Forward, Link, ParamSet, Sensitivity, Trail,
        View,
    };

    struct Bowl;
    impl Forward for Bowl {
        fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
            x.square()?.sum_last()?.scale(0.5)
        }
    }

    /// Adds one to each coordinate at each step; shows every step, or the last alone.
    struct Counting(usize, bool);
    impl Sampler for Counting {
        fn draw(
            &self,
            _: &dyn EnergyFn,
            from: Batch,
            _: Key,
            request: &mut DrawRequest<'_>,
        ) -> Result<Drawn> {
            let mut state = ChainState::new(from);
            for k in 0..self.0 {
                state = state.advance((&state.at.x + 1.0)?);
                let half = Tensor::new(&[0.5, 0.5], &Device::Cpu)?;
                let step = Stepped::new(state.clone(), Link::Identity).with("accepted", half);
                if self.1 || k + 1 == self.0 {
                    request.probe.on_step(k, &step)?;
                }
            }
            Ok(Drawn::new(state, Trail::default(), BTreeMap::new()))
        }
        fn sensitivity(&self, _: usize) -> Sensitivity {
            Sensitivity::Exact
        }
        fn steps(&self) -> usize {
            self.0
        }
        fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
            Box::new(Counting(steps, self.1))
        }
        fn name(&self) -> String {
            "counting".into()
        }
    }

    fn start() -> Batch {
        let x = Tensor::new(&[[0.0, 0.0, 0.0], [10.0, 10.0, 10.0]], &Device::Cpu).unwrap();
        Batch::new(x).unwrap().with_chains(Chains::range(4, 2))
    }

    #[test]
    fn draws_are_the_states_that_were_asked_for_with_their_statistics() {
        let e = Autograd::new("bowl", Bowl, EnergySpec::new(&[3], &["bowl"]), ParamSet::default());
        let keep = Keep::from(3).after(2).every(2);
        let draws = Draws::of(&Counting(1, true), &e, start(), keep, Key::root(0)).unwrap();
        assert_eq!((draws.dims(), draws.x.dims()), ((2, 3), &[2, 3, 3][..]));
        assert_eq!(draws.coordinate(1).unwrap(), [4.0, 6.0, 8.0, 14.0, 16.0, 18.0]);
        assert_eq!(draws.numbers("energy").unwrap()[..2], [1.5 * 16.0, 1.5 * 36.0]);
        assert_eq!(draws.numbers("accepted").unwrap(), [0.5; 6]);
        let text = draws.numbers("speed").unwrap_err().to_string();
        assert!(text.contains("`speed`") && text.contains("accepted, energy"), "{text}");
        assert!(draws.coordinate(3).is_err());
        let plain = (&Counting(1, true) as &dyn Sampler).draws(&e, start(), 4, Key::root(0)).unwrap();
        assert_eq!((plain.dims(), plain.x.dtype()), ((2, 4), DType::F64));
    }

    #[test]
    fn draws_of_several_blocks_stand_in_their_order() {
        let e = Autograd::new("bowl", Bowl, EnergySpec::new(&[3], &["bowl"]), ParamSet::default());
        let n = 2 * Laid::BLOCK + 3;
        let draws = Counting(1, true).draws(&e, start(), n, Key::root(0)).unwrap();
        assert_eq!((draws.dims(), draws.x.dims()), ((2, n), &[2, n, 3][..]));
        let wanted = [0.0, 10.0].into_iter().flat_map(|first| (1..=n).map(move |k| first + k as f64));
        assert_eq!(draws.coordinate(2).unwrap(), wanted.collect::<Vec<_>>());
        assert_eq!(draws.numbers("accepted").unwrap().len(), 2 * n);
    }

    #[test]
    fn a_program_that_hides_its_steps_is_refused() {
        let e = Autograd::new("bowl", Bowl, EnergySpec::new(&[3], &["bowl"]), ParamSet::default());
        let text = Counting(1, false).draws(&e, start(), 4, Key::root(0)).unwrap_err().to_string();
        assert!(text.contains("4 states of each") && text.contains("showed 1"), "{text}");
    }
}
