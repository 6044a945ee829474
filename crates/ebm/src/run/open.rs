//! Opening a run: its configuration, and all its parts on its device.

use std::path::Path;

use ebm_core::backend;
use ebm_train::{Plan, checkpoint, run};

use crate::config::overrides::Override;
use crate::config::source::Source;
use crate::error::Result;
use crate::run::device::open_device;

/// The configuration of a run directory; relative paths count from where they did when it was trained.
pub(crate) fn source_of(directory: &Path, changes: &[Override]) -> Result<Source> {
    let mut source = Source::file(directory.join("config.toml"))?;
    let folder = run::checkpoints_of(directory);
    let manifests =
        checkpoint::list(&folder).into_iter().rev().filter_map(|(_, p)| checkpoint::manifest(&p).ok());
    if let Some(manifest) = manifests.take(1).next() {
        source.base = manifest.base;
    }
    source.overrides = changes.to_vec();
    Ok(source)
}

/// Builds all parts of a configuration on its device.
pub(crate) fn build(source: &Source) -> Result<Plan> {
    let config = source.read()?;
    let opened = open_device(&config.run.device)?;
    let rounded = config.run.dtype == ebm_train::Precision::Tf32;
    backend::all().iter().for_each(|b| b.round_products(rounded));
    let plan = Plan::build(&config, &source.base, &opened.device, opened.engine());
    let plan = plan.map_err(|e| source.place(e))?;
    for note in plan.notes() {
        tracing::info!("{note}");
    }
    Ok(plan)
}
