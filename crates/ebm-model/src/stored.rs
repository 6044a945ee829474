//! The energy kind `checkpoint`: the trained energy of another run.

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{
    BuildCx, Conditioned, EnergyConfig, EnergyFn, Error, Frozen, Given, Result, Settings, plugin,
};

use crate::checkpoint::{self, Depth};
use crate::config::{EngineChoice, ModelConfig, Weights};
use crate::model::{Model, Opening};

/// The trained energy of another run.
#[derive(Clone, Debug, Settings)]
pub struct CheckpointEnergy {
    /// The run directory, or one of its checkpoints.
    path: PathBuf,
    /// Which weights.
    #[setting(default = Weights::Average)]
    weights: Weights,
    /// A fixed condition: a class by its number or its name, or the numbers; absent: that of the batch.
    condition: Option<Given>,
    /// Whether training may change the weights.
    #[setting(default = false)]
    trainable: bool,
}

#[plugin(
    "checkpoint",
    summary = "the trained energy of another run, so that runs are parts of other energies",
    source = "composition of trained energies: Du, Mordatch 2019 (arXiv 1903.08689), section 4.5",
    example = "path = \"runs/digits-0-1\"\nweights = \"average\""
)]
impl EnergyConfig for CheckpointEnergy {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let path = cx.resolve(&self.path);
        let read = cx.located(checkpoint::open(&path, Depth::Model))?;
        let mut config = ModelConfig::from_toml(&read.contents.config)?;
        // The run that it is a part of says how it is computed.
        config.run.engine = EngineChoice::Auto;
        // A condition that is named here stands in place of the one that the run is drawn under.
        config.generate.given = config.generate.given.filter(|_| self.condition.is_none());
        let opening = Opening {
            config: Some(config),
            weights: Some(self.weights),
            dtype: Some(cx.dtype()),
            device: cx.device(),
            engine: cx.engine().cloned(),
        };
        let loaded = Model::of(read, opening)?;
        for (folder, why) in loaded.damaged() {
            cx.note(format!("passed over {}: {why}", folder.display()));
        }
        if let (Some(step), Some(from)) = (loaded.step(), loaded.path()) {
            cx.note(format!("weights of step {step} from {}", from.display()));
        }
        let mut energy = loaded.energy().clone();
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
            let vector = loaded.facts().vector(condition, energy.as_ref());
            let vector =
                vector.map_err(|why| cx.refuse("condition", format!("is {condition}, but {why}")))?;
            let under = Conditioned::new(energy, vector);
            energy = Arc::new(under.map_err(|e| cx.relocate("condition", e))?);
        }
        Ok(if self.trainable { energy } else { Arc::new(Frozen::new(energy)) })
    }
}
