//! The sections of a run's configuration that make a model; the others are of its training.

use ebm_core::candle::DType;
use ebm_core::plan::Products;
use ebm_core::settings::Check;
use ebm_core::{EnergyConfig, Error, Given, Param, Result, SamplerConfig, Settings, TransitionConfig};

/// The format number this version reads and writes.
pub const FORMAT: u32 = 1;

/// The part of a run's configuration that a model is made of.
#[derive(Debug, Settings)]
pub struct ModelConfig {
    /// Number of the configuration format.
    #[setting(default = 1, at_least = 1, at_most = 1)]
    pub format: u32,
    /// Name, seed, length, batch, device.
    #[setting(default)]
    pub run: RunSection,
    /// The energy.
    pub energy: Box<dyn EnergyConfig>,
    /// The program that samples it; absent: only `generate.sampler` does.
    pub sampler: Option<Box<dyn SamplerConfig>>,
    /// Where chains start.
    #[setting(default)]
    pub chains: ChainsSection,
    /// Sampling during and after training.
    #[setting(default)]
    pub generate: GenerateSection,
}

/// The settings of a model: the sections of [`ModelConfig`].
pub const MODEL_SECTIONS: &[Param] = ModelConfig::PARAMS;

impl ModelConfig {
    /// Reads the sections of a model out of a run's configuration. Those of its training are passed over, so their kinds need
    /// not be linked.
    ///
    /// # Errors
    /// If the text is not TOML, a name is unknown, or a value has the wrong type or is out of range.
    pub fn from_toml(text: &str) -> Result<Self> {
        let wrong = |e: toml::de::Error| Error::config("configuration", e.to_string());
        let mut document: toml::Table = toml::from_str(text).map_err(wrong)?;
        document.retain(|section, _| MODEL_SECTIONS.iter().any(|own| own.name == section));
        let config: ModelConfig = document.try_into().map_err(wrong)?;
        config.sections().check(config.format)?;
        Ok(config)
    }

    /// These sections as a tree, in which two can be compared.
    ///
    /// # Errors
    /// If a plugin's settings cannot be written as TOML.
    pub fn tree(&self) -> Result<serde_json::Value> {
        let text = toml::to_string(self);
        tree_of(&text.map_err(|e| Error::config("configuration", format!("as TOML: {e}")))?)
    }

    /// The sections.
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

/// The sections of a model, of whatever configuration.
#[derive(Clone, Copy, Debug)]
pub struct Sections<'a> {
    /// Seed, batch, device, number type.
    pub run: &'a RunSection,
    /// The energy.
    pub energy: &'a dyn EnergyConfig,
    /// The program that samples it.
    pub sampler: Option<&'a dyn SamplerConfig>,
    /// Where chains start.
    pub chains: &'a ChainsSection,
    /// Sampling during and after training.
    pub generate: &'a GenerateSection,
}

impl Sections<'_> {
    /// Checks what the types cannot say: format number and ranges.
    ///
    /// # Errors
    /// Names the setting, the value and the range.
    pub fn check(&self, format: u32) -> Result<()> {
        if format != FORMAT {
            let message = format!("is {format}, but this version reads format {FORMAT}");
            return Err(Error::config("format", message));
        }
        if self.run.name.trim().is_empty() {
            return Err(Error::config("run.name", "is empty, wanted a word that names the run directory"));
        }
        let parts = [
            self.run.check().map_err(|e| e.under("run")),
            self.chains.check().map_err(|e| e.under("chains")),
        ];
        parts.into_iter().chain([self.generate.check().map_err(|e| e.under("generate"))]).collect()
    }
}

/// `[run]`.
#[derive(Clone, Debug, PartialEq, Settings)]
pub struct RunSection {
    /// Name of the run and of its directory.
    #[setting(default = "run")]
    pub name: String,
    /// Seed of all random numbers; files of settings hold no integer from 2^63 on.
    #[setting(default = 0, at_most = 9.223372036854774e18)]
    pub seed: u64,
    /// Training updates.
    #[setting(default = 1000, at_least = 1)]
    pub steps: u64,
    /// Updates that schedules of rates and weights go over, after which they stay at their end; `steps` without it.
    #[setting(at_least = 1)]
    pub schedule_steps: Option<u64>,
    /// Samples, and chains, in a step.
    #[setting(default = 64, at_least = 1, at_most = 1_000_000, unit = "samples")]
    pub batch: usize,
    /// Parts of the batch with chains and buffer of their own; a divisor of the batch, shared by ranks.
    ///
    /// What a run computes depends on it, and not on the number of ranks that share the work.
    #[setting(default = 1, at_least = 1, at_most = 1_000_000)]
    pub shards: usize,
    /// `auto`, `cpu`, or a device of another backend in this program, such as `cuda:1`.
    #[setting(default = "auto")]
    pub device: String,
    /// Fused twins of the energy: where its plan allows, never, or always (an error where there is none).
    #[setting(default = EngineChoice::Auto)]
    pub engine: EngineChoice,
    /// Number type of parameters and samples; tf32 and bf16 round products only.
    #[setting(default = Precision::F32)]
    pub dtype: Precision,
    /// Steps between reports with gradient norms a term; 0 for never.
    #[setting(default = 50, unit = "updates")]
    pub report_every: u64,
    /// Stop a run that is beyond repair, or go back where a policy says so, and keep its last healthy state.
    #[setting(default = true)]
    pub guard: bool,
}

impl RunSection {
    /// Updates that schedules go over.
    pub fn schedule(&self) -> u64 {
        self.schedule_steps.unwrap_or(self.steps)
    }
}

/// Whether fused engines are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum EngineChoice {
    /// Where the energy's plan allows it.
    Auto,
    /// Never.
    Graph,
    /// Always; an error where there is no twin.
    Require,
}

/// Number type of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Precision {
    /// Single.
    F32,
    /// Double.
    F64,
    /// Single, with products of a GPU rounded to 10 bits (TF32). On a processor the same as single.
    Tf32,
    /// Single, with the factors and results of convolutions rounded to bfloat16 and sums in single (mixed precision).
    Bf16,
}

impl Precision {
    /// How products of networks are rounded.
    pub fn products(self) -> Products {
        if self == Precision::Bf16 { Products::Bf16 } else { Products::Full }
    }

    /// The tensor library's word for it.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F32 | Precision::Tf32 | Precision::Bf16 => DType::F32,
            Precision::F64 => DType::F64,
        }
    }
}

/// `[chains]`.
#[derive(Debug, Settings)]
pub struct ChainsSection {
    /// Where chains of a step start: on chains of the buffer, on the data batch, or afresh.
    #[setting(default = From::Replay)]
    pub from: From,
    /// Applied to zeros, makes fresh starts; absent: uniform over the range of the data, else over [0, 1).
    pub start: Option<Box<dyn TransitionConfig>>,
    /// Probability of replacing a chain from the buffer by a fresh start.
    #[setting(default = 0.05, at_least = 0.0, at_most = 1.0)]
    pub restart: f64,
    /// Applied to chains from the buffer, before the sampler (augmentation).
    #[setting(default)]
    pub transitions: Vec<Box<dyn TransitionConfig>>,
    /// What the buffer holds at the start of a run.
    #[setting(default = Fill::None)]
    pub fill: Fill,
    /// Condition under which a chain from the buffer goes on: that of the data batch (published program), or its own.
    #[setting(default = Labels::Data)]
    pub labels: Labels,
}

/// Where chains of a step start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum From {
    /// On chains of the replay buffer (persistent contrastive divergence, Tieleman 2008).
    Replay,
    /// On the data batch (contrastive divergence, Hinton 2002).
    Data,
    /// Afresh.
    Fresh,
}

/// What the buffer holds at the start of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Fill {
    /// Nothing.
    None,
    /// Training samples.
    Data,
    /// Fresh starts.
    Start,
}

/// Under which condition a chain from the buffer goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Labels {
    /// That of the present data batch, row by row: a chain may change its label at every update (published program).
    #[default]
    Data,
    /// The one it was begun under; a restart takes that of the data batch.
    Kept,
}

/// `[generate]`.
#[derive(Debug, Settings)]
pub struct GenerateSection {
    /// Steps of the run's sampler; ignored if `sampler` is given.
    #[setting(default = 200, at_most = 10_000_000)]
    pub steps: usize,
    /// A program of its own, instead of `steps`.
    pub sampler: Option<Box<dyn SamplerConfig>>,
    /// Weights that samples are drawn from.
    #[setting(default = Weights::Average)]
    pub weights: Weights,
    /// Samples of a sheet.
    #[setting(default = 64, at_least = 1, at_most = 1_000_000)]
    pub count: usize,
    /// Samples that are measured at the end of a training on images with a held-out part; 0 for none. More cost time, fewer bias the
    /// Fréchet distances.
    #[setting(default = 360, at_least = 0, at_most = 1_000_000)]
    pub measured: usize,
    /// Class or condition that samples are drawn and scored under; absent: the conditions of the first data batch in turn.
    pub given: Option<Given>,
    /// Shape of one sample, in a file that names neither data nor a run; absent: the length that the energy takes.
    #[setting(at_least = 1, at_most = 1_000_000)]
    pub shape: Option<Vec<usize>>,
}

/// Which weights of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Weights {
    /// The exponential moving average; the live weights where the optimiser keeps no average.
    #[default]
    Average,
    /// Those of the last update.
    Live,
}

/// The tree of a configuration's text, whatever plugins it names.
///
/// # Errors
/// If the text is not TOML.
pub fn tree_of(text: &str) -> Result<serde_json::Value> {
    toml::from_str(text).map_err(|e| Error::config("configuration", e.to_string()))
}
