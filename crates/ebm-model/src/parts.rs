//! The live parts of a model, built in one place for training and for use.

use std::sync::Arc;

use ebm_core::candle::{DType, Device};
use ebm_core::{BuildCx, DataSource, EnergyFn, Engine, Key, Places, Result, Sampler};

use crate::absent::Absent;
use crate::config::{EngineChoice, RunSection, Sections};
use crate::engine_watch::EngineWatch;
use crate::facts::Facts;
use crate::starts::Starts;

/// What all parts of a run are built for.
#[derive(Clone)]
pub struct Setup<'a> {
    /// The samples.
    pub facts: &'a Facts,
    /// Seed, precision and engine of the run.
    pub run: &'a RunSection,
    /// Number type of parameters and samples.
    pub dtype: DType,
    /// Where tensors are.
    pub device: &'a Device,
    /// Where files are looked for.
    pub places: &'a Places,
    /// The data of a run that trains.
    pub data: Option<&'a Arc<dyn DataSource>>,
}

impl<'a> Setup<'a> {
    /// In the run's own number type.
    pub fn new(run: &'a RunSection, facts: &'a Facts, places: &'a Places, device: &'a Device) -> Self {
        Setup { facts, run, dtype: run.dtype.dtype(), device, places, data: None }
    }

    /// The same for a run on these data.
    #[must_use]
    pub fn with_data(mut self, data: &'a Arc<dyn DataSource>) -> Self {
        self.data = Some(data);
        self
    }

    /// The root of the run's random streams.
    pub fn key(&self) -> Key {
        Key::root(self.run.seed)
    }

    /// The context in which the part at the dotted path `part` of the configuration is built.
    pub fn context(&self, part: &str) -> BuildCx {
        self.context_of(part, &self.facts.sample_shape, self.key().at(part))
    }

    /// The same for a part that handles rows of another shape, with random numbers of its own.
    pub fn context_of(&self, part: &str, shape: &[usize], key: Key) -> BuildCx {
        let cx = BuildCx::new(shape, self.dtype, self.device, key);
        // Rows that hold more than samples are of no domain.
        let cx = match self.facts.domain {
            Some(domain) if shape == self.facts.sample_shape => {
                cx.with_domain(domain, self.facts.mean.clone())
            }
            _ => cx,
        };
        let cx = cx
            .with_condition(self.facts.condition)
            // They round f32 only.
            .with_products(self.run.dtype.products())
            .with_range(self.facts.range)
            .with_places(self.places)
            .with_path(part);
        match self.data {
            Some(data) => cx.with_data(data.clone()),
            None => cx,
        }
    }
}

/// The live parts of a model.
pub struct Parts {
    /// The energy, with initial weights.
    pub energy: Arc<dyn EnergyFn>,
    /// The program of a training step.
    pub sampler: Box<dyn Sampler>,
    /// The program for generation.
    pub generator: Box<dyn Sampler>,
    /// Whether there is a program for generation: one that is absent refuses to draw.
    pub draws: bool,
    /// Makes fresh starts.
    pub starts: Starts,
    /// Remarks of the parts.
    pub notes: Vec<String>,
}

impl Parts {
    /// Builds the parts; `engine` offers fused twins of the energy, and `run.engine` says whether they are used.
    ///
    /// # Errors
    /// The error of a part that cannot be built.
    pub fn build(
        sections: &Sections<'_>,
        setup: &Setup<'_>,
        engine: Option<Arc<dyn Engine>>,
    ) -> Result<Self> {
        let (energy, mut notes) = Self::energy(sections, setup, engine)?;
        let mut cx = setup.context("sampler");
        let sampler = match sections.sampler {
            Some(own) => own.build(&mut cx)?,
            None => Box::new(Absent::default()),
        };
        notes.extend_from_slice(cx.notes());
        let draws = sections.sampler.is_some() || sections.generate.sampler.is_some();
        if !draws {
            notes.push(
                "generate: there is neither [sampler] nor generate.sampler, so nothing is drawn".into(),
            );
        }
        let generator = match &sections.generate.sampler {
            Some(own) => own.build(&mut setup.context("generate.sampler"))?,
            None => sampler.with_steps(sections.generate.steps),
        };
        let (mut cx, chains) = (setup.context("chains"), sections.chains);
        let starts = Starts::build(&mut cx, chains.start.as_deref(), &chains.transitions, chains.restart)?;
        notes.extend_from_slice(cx.notes());
        let parts = Parts { energy, sampler, generator, draws, starts, notes };
        parts.fit()?;
        Ok(parts)
    }

    /// Whether the programs and what makes starts can move chains of the energy.
    ///
    /// # Errors
    /// Names the first part that cannot, and what it needs.
    pub fn fit(&self) -> Result<()> {
        self.sampler.fits(self.energy.as_ref())?;
        self.generator.fits(self.energy.as_ref())?;
        self.starts.fits(self.energy.as_ref())
    }

    /// Parts that were given as values; generation takes `steps` steps of the sampler.
    pub fn given(
        energy: Arc<dyn EnergyFn>,
        sampler: Option<Box<dyn Sampler>>,
        steps: usize,
        starts: Starts,
    ) -> Self {
        let draws = sampler.is_some();
        let sampler = sampler.unwrap_or_else(|| Box::new(Absent::default()));
        let generator = sampler.with_steps(steps);
        Parts { energy, sampler, generator, draws, starts, notes: Vec::new() }
    }

    /// The energy alone, with the remarks of its parts. The same settings give the same initial weights.
    ///
    /// # Errors
    /// If it cannot be built, or `run.engine = "require"` finds no twin.
    pub fn energy(
        sections: &Sections<'_>,
        setup: &Setup<'_>,
        engine: Option<Arc<dyn Engine>>,
    ) -> Result<(Arc<dyn EnergyFn>, Vec<String>)> {
        let watch = engine.filter(|_| setup.run.engine != EngineChoice::Graph).map(EngineWatch::new);
        let mut cx = setup.context("energy").with_engine(watch.clone().map(|w| w as Arc<dyn Engine>));
        let energy = cx.energy(sections.energy)?;
        if setup.run.engine == EngineChoice::Require {
            EngineWatch::require(watch.as_ref(), energy.as_ref())?;
        }
        Ok((energy, cx.notes().to_vec()))
    }
}
