//! Chains of a run's buffer, looked at without its data, objective and optimiser.

use std::path::Path;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Error, Key, ReplayConfig, Result};
use ebm_model::Setup;
use serde::Deserialize;

use crate::chains::Replay;
use crate::checkpoint;
use crate::config::{ChainsSection, RunSection};
use crate::labels::Rows;

/// The sections of a configuration that say what its buffer is.
#[derive(Deserialize)]
struct Sections {
    #[serde(default)]
    run: RunSection,
    #[serde(default)]
    chains: ChainsSection,
    replay: Option<Box<dyn ReplayConfig>>,
}

/// Up to `n` chains `(m, ...)` of the buffers of the checkpoint at `path`; `None` if it has none.
///
/// # Errors
/// If the checkpoint is damaged or the kind of its buffer is not linked.
pub fn buffered(path: &Path, n: usize, key: Key) -> Result<Option<Tensor>> {
    let contents = checkpoint::read(path)?;
    let sections: Sections =
        toml::from_str(&contents.config).map_err(|e| Error::config("configuration", e.to_string()))?;
    let (Some(config), Some(saved)) = (&sections.replay, &contents.replay) else { return Ok(None) };
    let (facts, places) = (contents.facts(), contents.places());
    let rows = Rows::new(&facts.sample_shape, facts.condition, sections.chains.labels);
    let setup = Setup::new(&sections.run, &facts, &places, &Device::Cpu);
    let of = sections.run.shards;
    let mut replay = Replay::empty(config.as_ref(), &setup, &rows, 0..of, of)?;
    replay.load(saved)?;
    let n = n.min(replay.len());
    let found = if n == 0 { None } else { replay.look(n, key)? };
    found.map(|chains| Ok(rows.split(chains)?.0)).transpose()
}
