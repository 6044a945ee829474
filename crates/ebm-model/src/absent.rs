//! The program of a run that has none: its objective samples nothing, and nobody said how its energy is to be sampled.

use ebm_core::{Batch, DrawRequest, Drawn, EnergyFn, Error, Key, Result, Sampler, Sensitivity};

/// Refuses to draw.
pub(crate) struct Absent;

impl Sampler for Absent {
    fn draw(&self, _: &dyn EnergyFn, _: Batch, _: Key, _: &mut DrawRequest<'_>) -> Result<Drawn> {
        Err(Error::config(
            "generate.sampler",
            "is missing, and so is the section [sampler]: add one of them to say how the energy is sampled",
        ))
    }

    fn fits(&self, _: &dyn EnergyFn) -> Result<()> {
        Ok(())
    }

    fn sensitivity(&self, trail: usize) -> Sensitivity {
        // Who asks for no step is told the truth about none.
        if trail == 0 { Sensitivity::Exact } else { Sensitivity::Unknown(self.name()) }
    }

    fn steps(&self) -> usize {
        0
    }

    fn with_steps(&self, _: usize) -> Box<dyn Sampler> {
        Box::new(Absent)
    }

    fn name(&self) -> String {
        "none".into()
    }
}
