//! Transitions inside a transition: each with its own part of the chain's state.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{Batch, ChainState, EnergyFn, Key, Result, Sensitivity, Stepped, Transition, common_bounds};

/// Several transitions; what child `i` keeps stands in the state as `i/name`.
pub(crate) struct Children(Vec<Box<dyn Transition>>);

impl Children {
    pub(crate) fn new(all: Vec<Box<dyn Transition>>) -> Self {
        Children(all)
    }

    pub(crate) fn all(&self) -> &[Box<dyn Transition>] {
        &self.0
    }

    /// What all children keep at the start, at `at`.
    pub(crate) fn init(&self, e: &dyn EnergyFn, at: Batch, key: Key) -> Result<ChainState> {
        let mut state = ChainState::new(at.clone());
        for (i, child) in self.0.iter().enumerate() {
            let inner = child.init(e, at.clone(), key.at(i))?;
            state.aux.extend(inner.aux.into_iter().map(|(name, t)| (format!("{i}/{name}"), t)));
            state.cache = state.cache.or(inner.cache);
        }
        Ok(state)
    }

    /// What child `i` keeps, of what all do.
    pub(crate) fn kept(&self, i: usize, aux: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
        let scope = format!("{i}/");
        let own = |(name, t): (&String, &Tensor)| Some((name.strip_prefix(&scope)?.to_string(), t.clone()));
        aux.iter().filter_map(own).collect()
    }

    /// What is kept after child `i` left `inner` behind.
    pub(crate) fn merged(
        &self,
        i: usize,
        outer: &BTreeMap<String, Tensor>,
        inner: BTreeMap<String, Tensor>,
    ) -> BTreeMap<String, Tensor> {
        let scope = format!("{i}/");
        let mut all = outer.clone();
        all.retain(|name, _| !name.starts_with(&scope));
        all.extend(inner.into_iter().map(|(name, t)| (scope.clone() + &name, t)));
        all
    }

    /// One step of child `i` from `state`.
    pub(crate) fn step(&self, i: usize, e: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<Stepped> {
        let mut inner = state.clone();
        inner.aux = self.kept(i, &state.aux);
        let mut out = self.0[i].step(e, &inner, key)?;
        out.state.aux = self.merged(i, &state.aux, out.state.aux);
        out.link = out.link.of_part(i);
        Ok(out)
    }

    pub(crate) fn carried(&self) -> Vec<String> {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(i, c)| c.carried().into_iter().map(move |name| format!("{i}/{name}")))
            .collect()
    }

    /// That of the children one after the other.
    pub(crate) fn sensitivity(&self) -> Sensitivity {
        Sensitivity::all(self.0.iter().map(|c| c.sensitivity()))
    }

    /// The box that all children that have one share.
    pub(crate) fn bounds(&self) -> Option<(f64, f64)> {
        common_bounds(self.0.iter().map(|c| c.bounds()))
    }

    pub(crate) fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        self.0.iter().try_for_each(|c| c.fits(e))
    }

    pub(crate) fn couples_chains(&self) -> bool {
        self.0.iter().any(|c| c.couples_chains())
    }

    pub(crate) fn needs_reference(&self) -> bool {
        self.0.iter().any(|c| c.needs_reference())
    }

    pub(crate) fn needs_energy(&self) -> bool {
        self.0.iter().any(|c| c.needs_energy())
    }

    pub(crate) fn names(&self) -> String {
        self.0.iter().map(|c| c.name()).collect::<Vec<_>>().join(", ")
    }
}
