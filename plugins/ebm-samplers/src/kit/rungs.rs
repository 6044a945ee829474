//! A program on each rung of a ladder in turn, of which the coldest may have another number of steps.

use std::sync::Arc;

use ebm_core::{DrawRequest, EnergyFn, Result, Sampler};

use super::ladder::{Cooled, temperatures};

#[derive(Clone)]
pub(crate) struct Rungs {
    pub(crate) program: Arc<dyn Sampler>,
    /// The program on the coldest rung.
    pub(crate) last: Arc<dyn Sampler>,
    pub(crate) temperatures: Vec<f64>,
}

impl Rungs {
    /// `program` on each of `temperatures`, hot first, for the kind `kind`.
    ///
    /// # Errors
    /// If they are fewer than two, not positive, or do not fall.
    pub(crate) fn new(kind: &str, program: Box<dyn Sampler>, all: &[f64]) -> Result<Self> {
        let program: Arc<dyn Sampler> = program.into();
        let temperatures = temperatures(kind, Some(all), (None, None))?;
        Ok(Rungs { last: program.clone(), program, temperatures })
    }

    pub(crate) fn on(&self, rung: usize) -> &dyn Sampler {
        if rung + 1 == self.temperatures.len() { self.last.as_ref() } else { self.program.as_ref() }
    }

    /// Each rung has step sizes of its own, and so its share of the warm-up.
    pub(crate) fn warm_up(&self, rung: usize, request: &DrawRequest<'_>) -> Option<usize> {
        request.warm_up.map(|n| n.saturating_mul(self.on(rung).steps()) / self.steps().max(1))
    }

    pub(crate) fn fits(&self, e: &dyn EnergyFn) -> Result<()> {
        // Rungs see E/T, which knows no conditional laws.
        let cooled = Cooled::new(e, 2.0);
        self.program.fits(&cooled)?;
        self.last.fits(&cooled)
    }

    pub(crate) fn steps(&self) -> usize {
        (self.temperatures.len() - 1).saturating_mul(self.program.steps()).saturating_add(self.last.steps())
    }

    /// The same number on each rung; what is left over goes to the coldest.
    pub(crate) fn with_steps(&self, steps: usize) -> Self {
        let hot = self.temperatures.len() - 1;
        let each = steps / (hot + 1);
        Rungs {
            program: self.program.with_steps(each).into(),
            last: self.program.with_steps(steps - hot * each).into(),
            temperatures: self.temperatures.clone(),
        }
    }
}
