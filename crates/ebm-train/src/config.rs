//! The run configuration: one value holds everything a run depends on, and its text is what a run stores.

use ebm_core::{
    DataConfig, EnergyConfig, Error, ObjectiveConfig, ObserverConfig, OptimiserConfig, Param, PolicyConfig,
    ReplayConfig, Result, SamplerConfig, Settings,
};
pub use ebm_model::config::{
    ChainsSection, EngineChoice, FORMAT, Fill, From, GenerateSection, Labels, Precision, RunSection,
    Sections, Weights, tree_of,
};

pub use crate::scheduled::{Course, ScheduledSetting};

/// The settings of the top level.
pub const RUN_SECTIONS: &[Param] = RunConfig::PARAMS;

/// Everything a run depends on.
#[derive(Debug, Settings)]
pub struct RunConfig {
    /// Number of the configuration format.
    #[setting(at_least = 1, at_most = 1)]
    pub format: u32,
    /// Name, seed, length, batch, device.
    #[setting(default)]
    pub run: RunSection,
    /// Where training samples come from.
    pub data: Box<dyn DataConfig>,
    /// The energy that is trained.
    pub energy: Box<dyn EnergyConfig>,
    /// The program that samples it; objectives that need no samples do without.
    pub sampler: Option<Box<dyn SamplerConfig>>,
    /// Where chains start in a training step.
    #[setting(default)]
    pub chains: ChainsSection,
    /// Memory of earlier chains.
    pub replay: Option<Box<dyn ReplayConfig>>,
    /// What is minimised.
    pub objective: Box<dyn ObjectiveConfig>,
    /// How parameters move.
    pub optimiser: Box<dyn OptimiserConfig>,
    /// Settings that change over the run.
    #[setting(name = "schedule", default, omit_empty)]
    pub schedules: Vec<ScheduledSetting>,
    /// Sampling during and after training.
    #[setting(default)]
    pub generate: GenerateSection,
    /// What is written down.
    #[setting(name = "observer", default, omit_empty)]
    pub observers: Vec<Box<dyn ObserverConfig>>,
    /// What is decided on the way.
    #[setting(name = "policy", default, omit_empty)]
    pub policies: Vec<Box<dyn PolicyConfig>>,
}

impl RunConfig {
    /// Reads a configuration. The facade's reader gives better messages (line and suggestion); this
    /// one is for texts that a run has written itself.
    ///
    /// # Errors
    /// If the text is not TOML, a name is unknown, or a value has the wrong type.
    pub fn from_toml(text: &str) -> Result<Self> {
        let config: RunConfig =
            toml::from_str(text).map_err(|e| Error::config("configuration", e.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// The complete text: every setting with its value, defaults included. Reading it gives an equal configuration.
    ///
    /// # Errors
    /// If a plugin's settings cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::config("configuration", format!("as TOML: {e}")))
    }

    /// The configuration as a tree, in which two can be compared.
    ///
    /// # Errors
    /// If a plugin's settings cannot be written as TOML.
    pub fn tree(&self) -> Result<serde_json::Value> {
        tree_of(&self.to_toml()?)
    }

    /// Checks what the types cannot say: format number and ranges.
    ///
    /// # Errors
    /// Names the setting, the value and the range.
    pub fn check(&self) -> Result<()> {
        self.sections().check(self.format)
    }

    /// The sections that make a model.
    pub fn sections(&self) -> Sections<'_> {
        Sections {
            run: &self.run,
            energy: self.energy.as_ref(),
            sampler: self.sampler.as_deref(),
            chains: &self.chains,
            generate: &self.generate,
        }
    }
}
