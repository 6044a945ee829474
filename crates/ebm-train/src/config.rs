//! The run configuration: one value holds everything a run depends on, and its text is what a run stores.

use serde::{Deserialize, Serialize};

use ebm_core::candle::DType;
use ebm_core::plan::Products;
use ebm_core::{
    DataConfig, EnergyConfig, Error, ObjectiveConfig, ObserverConfig, OptimiserConfig, PolicyConfig,
    ReplayConfig, Result, SamplerConfig, TransitionConfig,
};

/// The format number this version reads and writes.
pub const FORMAT: u32 = 1;

/// Everything a run depends on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Number of the configuration format; 1.
    pub format: u32,
    /// Name, seed, length, batch, device.
    #[serde(default)]
    pub run: RunSection,
    /// Where training samples come from.
    pub data: Box<dyn DataConfig>,
    /// The energy that is trained.
    pub energy: Box<dyn EnergyConfig>,
    /// The program that samples it.
    pub sampler: Box<dyn SamplerConfig>,
    /// Where chains start in a training step.
    #[serde(default)]
    pub chains: ChainsSection,
    /// Memory of earlier chains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Box<dyn ReplayConfig>>,
    /// What is minimised.
    pub objective: Box<dyn ObjectiveConfig>,
    /// How parameters move.
    pub optimiser: Box<dyn OptimiserConfig>,
    /// Sampling during and after training.
    #[serde(default)]
    pub generate: GenerateSection,
    /// What is written down.
    #[serde(default, rename = "observer", skip_serializing_if = "Vec::is_empty")]
    pub observers: Vec<Box<dyn ObserverConfig>>,
    /// What is decided on the way.
    #[serde(default, rename = "policy", skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Box<dyn PolicyConfig>>,
}

/// `[run]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSection {
    /// Name of the run.
    pub name: String,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Number of training updates.
    pub steps: u64,
    /// Number of samples and of chains in a step.
    pub batch: usize,
    /// Parts of the batch, each with its share of the chains and of the replay buffer. What a run computes depends on
    /// it, and not on the number of ranks that share the work.
    pub shards: usize,
    /// `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
    pub device: String,
    /// Whether fused engines are used.
    pub engine: EngineChoice,
    /// Number type of parameters, samples and gradients.
    pub dtype: Precision,
    /// Steps between expensive reports (gradient norms a term); 0 for never.
    pub report_every: u64,
}

impl Default for RunSection {
    fn default() -> Self {
        RunSection {
            name: "run".into(),
            seed: 0,
            steps: 1000,
            batch: 64,
            shards: 1,
            device: "auto".into(),
            engine: EngineChoice::Auto,
            dtype: Precision::F32,
            report_every: 50,
        }
    }
}

/// Whether fused engines are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineChoice {
    /// Where the energy's plan allows it.
    Auto,
    /// Never.
    Graph,
    /// Always; an error where there is no twin.
    Require,
}

/// Number type of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChainsSection {
    /// Where chains of a step start.
    pub from: From,
    /// A transition that makes fresh starts from zeros; if absent, starts are uniform over the range
    /// of the data, or over [0, 1) where the data have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Box<dyn TransitionConfig>>,
    /// Probability of replacing a chain from the buffer by a fresh start.
    pub restart: f64,
    /// Transitions applied to chains from the buffer, before the sampler.
    pub transitions: Vec<Box<dyn TransitionConfig>>,
    /// What the buffer holds at the start of a run.
    pub fill: Fill,
    /// Under which condition a chain from the buffer goes on.
    pub labels: Labels,
}

impl Default for ChainsSection {
    fn default() -> Self {
        ChainsSection {
            from: From::Replay,
            start: None,
            restart: 0.05,
            transitions: Vec::new(),
            fill: Fill::None,
            labels: Labels::Data,
        }
    }
}

/// Where chains of a step start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// On chains of the replay buffer (persistent contrastive divergence, Tieleman 2008).
    Replay,
    /// On the data batch (contrastive divergence, Hinton 2002).
    Data,
    /// Afresh.
    Fresh,
}

/// What the buffer holds at the start of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Nothing.
    None,
    /// Training samples.
    Data,
    /// Fresh starts.
    Start,
}

/// Under which condition a chain from the buffer goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labels {
    /// That of the present data batch, row by row: a chain may change its label at every update (published program).
    #[default]
    Data,
    /// The one it was begun under; a restart takes that of the data batch.
    Kept,
}

/// `[generate]`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateSection {
    /// Steps of the run's sampler; ignored if `sampler` is given.
    pub steps: usize,
    /// A program of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<Box<dyn SamplerConfig>>,
    /// Which weights samples are drawn from.
    pub weights: Weights,
    /// Number of samples of a sheet.
    pub count: usize,
}

impl Default for GenerateSection {
    fn default() -> Self {
        GenerateSection { steps: 200, sampler: None, weights: Weights::Average, count: 64 }
    }
}

/// Which weights of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
        if self.format != FORMAT {
            let message = format!("is {}, but this version reads format {FORMAT}", self.format);
            return Err(Error::config("format", message));
        }
        let positive = |path: &str, v: u64| match v {
            0 => Err(Error::config(path, "is 0, must be at least 1")),
            _ => Ok(()),
        };
        if self.run.name.trim().is_empty() {
            return Err(Error::config("run.name", "is empty, wanted a word that names the run directory"));
        }
        positive("run.batch", self.run.batch as u64)?;
        positive("run.steps", self.run.steps)?;
        positive("run.shards", self.run.shards as u64)?;
        positive("generate.count", self.generate.count as u64)?;
        if !(0.0..=1.0).contains(&self.chains.restart) {
            let message = format!("is {}, must be a probability in 0 ..= 1", self.chains.restart);
            return Err(Error::config("chains.restart", message));
        }
        Ok(())
    }
}
