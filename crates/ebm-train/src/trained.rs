//! Trained energies from run directories: for sampling and measuring, and as the energy kind `checkpoint`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    BuildCx, Conditioned, EnergyConfig, EnergyFn, Engine, Error, Frozen, Key, Param, Result, Sampler,
    register,
};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Contents, Manifest};
use crate::config::{RunConfig, Weights};
use crate::generate::Generator;
use crate::run::checkpoints_of;
use crate::starts::Starts;

/// A trained energy with what is needed to sample it. The data of its run are not touched.
pub struct Trained {
    /// The energy with the weights that were asked for.
    pub energy: Arc<dyn EnergyFn>,
    /// The configuration of its run.
    pub config: RunConfig,
    /// The numbers of its checkpoint.
    pub manifest: Manifest,
    /// The checkpoint that was read.
    pub path: PathBuf,
    /// Newer checkpoints that are damaged, with the reason.
    pub damaged: Vec<(PathBuf, String)>,
    /// The program for generation.
    pub sampler: Box<dyn Sampler>,
    /// Makes fresh starts.
    pub starts: Starts,
    /// What the sampler learnt in training.
    pub memory: BTreeMap<String, Tensor>,
}

impl std::fmt::Debug for Trained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trained")
            .field("path", &self.path)
            .field("step", &self.manifest.step)
            .finish_non_exhaustive()
    }
}

impl Trained {
    /// Loads the newest whole checkpoint of the run directory `path`, or the checkpoint at `path`.
    ///
    /// `dtype` replaces the run's own number type; `engine` offers a fused twin.
    ///
    /// # Errors
    /// If there is no whole checkpoint, a plugin of its configuration is not linked, or the weights
    /// do not fit. `Weights::Average` gives the live weights where the run kept no average.
    pub fn load(
        path: &Path,
        weights: Weights,
        dtype: Option<DType>,
        device: &Device,
        engine: Option<Arc<dyn Engine>>,
    ) -> Result<Self> {
        let (contents, damaged) = find(path)?;
        let config = RunConfig::from_toml(&contents.config)?;
        let m = &contents.manifest;
        // They round f32 only.
        let products = config.run.dtype.products();
        let dtype = dtype.unwrap_or(config.run.dtype.dtype());
        let key = Key::root(config.run.seed);
        let context = |part: &str| {
            BuildCx::new(&m.sample_shape, dtype, device, key.at(part))
                .with_condition(m.condition)
                .with_products(products)
                .with_range(m.range)
                .with_base(&m.base)
                .with_path(part)
        };
        let energy = context("energy").with_engine(engine).energy(config.energy.as_ref())?;
        let mut tensors = contents.part("params");
        if weights == Weights::Average {
            tensors.extend(contents.part("average"));
        }
        let tensors = tensors
            .into_iter()
            .map(|(k, v)| Ok((k, v.to_dtype(dtype)?.to_device(device)?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        energy.params().restore(&tensors)?;
        let sampler = match &config.generate.sampler {
            Some(own) => own.build(&mut context("generate.sampler"))?,
            None => config.sampler.build(&mut context("sampler"))?.with_steps(config.generate.steps),
        };
        let chains = &config.chains;
        let starts = Starts::build(
            &mut context("chains"),
            chains.start.as_deref(),
            &chains.transitions,
            chains.restart,
        )?;
        let memory = contents.part("sampler");
        let (path, manifest) = (contents.path, contents.manifest);
        Ok(Trained { energy, config, manifest, path, damaged, sampler, starts, memory })
    }

    /// A generator of samples with the run's own program, `batch` rows at a time.
    pub fn generator(&self, batch: usize) -> Generator<'_> {
        Generator {
            energy: self.energy.as_ref(),
            sampler: self.sampler.as_ref(),
            starts: &self.starts,
            memory: self.memory.clone(),
            reference: None,
            batch,
        }
    }
}

/// The checkpoint at `path`, or the newest whole one of the run directory `path`.
fn find(path: &Path) -> Result<(Contents, Vec<(PathBuf, String)>)> {
    if path.join("state.json").exists() {
        return Ok((checkpoint::read(path)?, Vec::new()));
    }
    if !path.is_dir() {
        return Err(Error::data(path, "is not a run directory; give the directory of a training"));
    }
    let newest = checkpoint::newest(&checkpoints_of(path))?;
    Ok((newest.contents, newest.damaged))
}

/// Settings of the energy `checkpoint`: the trained energy of another run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointEnergy {
    /// The run directory, or one checkpoint.
    path: PathBuf,
    /// Which weights.
    #[serde(default)]
    weights: Weights,
    /// A fixed condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    condition: Option<Vec<f64>>,
    /// Whether training may change the weights.
    #[serde(default)]
    trainable: bool,
}

#[typetag::serde(name = "checkpoint")]
impl EnergyConfig for CheckpointEnergy {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let path = cx.resolve(&self.path);
        let loaded = Trained::load(&path, self.weights, Some(cx.dtype()), cx.device(), cx.engine().cloned())?;
        for (folder, why) in &loaded.damaged {
            cx.note(format!("passed over {}: {why}", folder.display()));
        }
        cx.note(format!("weights of step {} from {}", loaded.manifest.step, loaded.path.display()));
        let mut energy = loaded.energy;
        let shape = &energy.spec().sample_shape;
        if shape != cx.sample_shape() {
            let hint = format!("{} was trained on another shape", path.display());
            return Err(Error::shape(
                cx.path(),
                cx.sample_shape(),
                format!("{shape:?} for one sample"),
                hint,
            ));
        }
        if let Some(condition) = &self.condition {
            energy = Arc::new(Conditioned::new(energy, condition.clone())?);
        }
        Ok(if self.trainable { energy } else { Arc::new(Frozen::new(energy)) })
    }
}

register! {
    EnergyConfig, "checkpoint" => CheckpointEnergy,
    summary: "the trained energy of another run, so that runs are parts of other energies",
    source: "composition of trained energies: Du, Mordatch 2019 (arXiv 1903.08689), section 4.5",
    example: "path = \"runs/digits-0-1\"\nweights = \"average\"",
    params: [
        Param::text("path", "the run directory, or one of its checkpoints"),
        Param::choice("weights", &["average", "live"], "which weights").default("\"average\""),
        Param::floats("condition", "a fixed condition; absent: that of the batch").default("none"),
        Param::bool("trainable", "whether training may change the weights").default("false"),
    ],
}
