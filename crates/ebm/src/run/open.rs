//! Opening a run: its configuration, its parts on their device, its data.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};
use ebm_core::{BuildCx, DataConfig, DataSource, Engine, Family, Key, backend};
use ebm_model::checkpoint;
use ebm_model::config::RunSection;
use ebm_train::{Plan, Precision, Purpose, run};

use crate::config::compared::differences;
use crate::config::overrides::Override;
use crate::config::source::Source;
use crate::error::{Error, Result};
use crate::run::device::{open_device, with_doubles};
use crate::run::work;

/// The configuration of a run directory. Files that it names are looked for where they lay from the run when it was trained,
/// in the current folder, in the run directory and in the folder around it. Where it is not that of the newest checkpoint any more
/// (edited, or cut by an accident), a warning says in what.
pub(crate) fn source_of(directory: &Path, changes: &[Override]) -> Result<Source> {
    let mut source = Source::file(directory.join("config.toml"))?;
    source.places = match checkpoint::manifest_of(directory) {
        Ok((at, manifest)) => {
            warn_of_edits(&source, &at);
            checkpoint::places(&at, &manifest.base)
        }
        Err(_) => run::first_places(directory).unwrap_or_else(|| source.places.then(".")),
    };
    source.overrides = changes.to_vec();
    Ok(source)
}

/// Says where a configuration differs from that of a checkpoint of its run.
fn warn_of_edits(source: &Source, checkpoint: &Path) {
    let Ok(before) = ebm_core::regular::read_to_string(checkpoint.join("config.toml")) else { return };
    if before == source.text {
        return;
    }
    let found = differences(&before, &source.text);
    if !found.is_empty() {
        tracing::warn!(
            "{}: differs from the configuration of the newest checkpoint, {}, in {}; what stands in it now holds",
            source.name,
            checkpoint.display(),
            found.join(", ")
        );
    }
}

/// The device of a run, and the engine that offers fused twins on it.
pub(crate) fn on_device(run: &RunSection) -> Result<(Device, Option<Arc<dyn Engine>>)> {
    let opened = with_doubles(&run.device, open_device(&run.device)?, run.dtype == Precision::F64)?;
    backend::all().iter().for_each(|b| b.round_products(run.dtype == Precision::Tf32));
    let engine = opened.engine();
    Ok((opened.device, engine))
}

/// Builds all parts of a configuration on its device, for a run from its beginning.
pub(crate) fn build(source: &Source) -> Result<Plan> {
    build_for(Purpose::Begin, source)
}

/// The same for the beginning or the continuation of a run.
pub(crate) fn build_for(purpose: Purpose, source: &Source) -> Result<Plan> {
    let config = source.read()?;
    let (device, engine) = on_device(&config.run)?;
    let plan = Plan::build_for(purpose, &config, &source.places, &device, engine);
    let plan = plan.map_err(|e| source.place(e))?;
    if purpose == Purpose::Begin {
        work::within_reach(&plan).map_err(|e| source.place(e))?;
    }
    for note in plan.notes() {
        tracing::info!("{note}");
    }
    Ok(plan)
}

/// The data of a configuration alone.
pub(crate) fn data_of(source: &Source) -> Result<Arc<dyn DataSource>> {
    if !source.document()?.contains_key("data") {
        return Err(Error::unfit(&source.name, "names no data, wanted a section [data]"));
    }
    let config: Box<dyn DataConfig> = source.read_part("data", Family::Data)?;
    let cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0).at("data"));
    let mut cx = cx.with_places(&source.places).with_path("data");
    let built = config.build(&mut cx);
    cx.located(built).map_err(|e| source.place(e))
}
