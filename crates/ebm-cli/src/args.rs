//! Arguments that several commands share: a configuration and its changes, a trained model, where to compute.

use std::path::{Path, PathBuf};

use clap::Args;
use ebm::config::{self, Override};
use ebm::core::Given;
use ebm::inputs::data_setting_from;
use ebm::{Model, Source};
use toml::Value;

use crate::outcome::Failure;

/// Where to compute.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DeviceArg {
    // The words of what is linked.
    #[arg(long, help = format!("{}.", ebm::core::backend::words()))]
    pub device: Option<String>,
}

impl DeviceArg {
    /// The change of the configuration that it stands for.
    pub fn changes(&self) -> Vec<Override> {
        let change = |v: &String| Override::new(run("device"), v.clone(), format!("--device {v}"));
        self.device.iter().map(change).collect()
    }
}

/// Changes to what a run says, for commands that open its model or read its data.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RunChanges {
    /// Change one setting, such as `generate.steps=60`; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// The data where they are now, or others: a linked kind, a folder of images, an .npy or an IDX file.
    #[arg(long, value_name = "NAME|PATH")]
    pub data: Option<String>,
    /// Draw and score under this condition: a class by its number or its name, or numbers such as [0, 1].
    #[arg(long, value_name = "CLASS")]
    given: Option<String>,
    #[command(flatten)]
    device: DeviceArg,
}

impl RunChanges {
    /// The changes of settings; `--set` comes last.
    pub fn list(&self) -> Result<Vec<Override>, Failure> {
        let mut all = self.device.changes();
        all.extend(self.given.as_deref().map(given).transpose()?);
        all.extend(set(&self.set)?);
        Ok(all)
    }

    /// Opens the model that `target` names.
    pub fn open(&self, target: &Path) -> Result<Model, Failure> {
        Ok(Model::open_on(target, &self.list()?, self.data.as_deref())?)
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        let given = self.given.is_some() || self.data.is_some();
        given || !self.set.is_empty() || self.device.device.is_some()
    }
}

/// A trained model, and where to compute.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArgs {
    /// A run directory, a configuration (whose energy may name the weights of runs), or a composition: a line such as
    /// 'runs/a given 3 and not 0.3 * runs/b' (see `ebm compose --help`).
    #[arg(value_name = "RUN|CONFIG.toml")]
    pub target: PathBuf,
    #[command(flatten)]
    changes: RunChanges,
}

impl ModelArgs {
    /// Opens the model.
    pub fn open(&self) -> Result<Model, Failure> {
        self.changes.open(&self.target)
    }
}

/// The seed of what is drawn from a model.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct SeedArg {
    /// Seed; that of the run without it.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// How samples are drawn from a model.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DrawArgs {
    /// Steps of the program; as configured without it.
    #[arg(long)]
    pub steps: Option<usize>,
    #[command(flatten)]
    pub seed: SeedArg,
}

/// Whether files that are there may be replaced.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ForceArg {
    /// Replace files that are there.
    #[arg(long)]
    pub force: bool,
}

/// Changes to a configuration.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Changes {
    /// Change one setting, such as `sampler.steps=60` or `observer[0].every=10`; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Train on other data: a linked kind, a folder of images, an .npy or an IDX file.
    #[arg(long, value_name = "NAME|PATH")]
    data: Option<String>,
    /// Number of training updates.
    #[arg(long)]
    steps: Option<u64>,
    /// Seed of all random numbers.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    device: DeviceArg,
}

impl Changes {
    /// The changes of settings, for a model that is opened and not trained.
    pub fn listed(&self) -> Result<Vec<Override>, Failure> {
        if self.data.is_some() || self.steps.is_some() || self.seed.is_some() {
            let text = "--data, --steps, --seed: found a model that is written down, wanted none of them";
            return Err(Failure::Usage(text.into()));
        }
        let mut all = self.device.changes();
        all.extend(set(&self.set)?);
        Ok(all)
    }

    /// The configuration of `file`, or the quick start, with the changes made; `--set` comes last.
    pub fn source(&self, file: Option<&Path>) -> Result<Source, Failure> {
        let mut source = match file {
            Some(path) if path.is_dir() => {
                return Err(Failure::Usage(format!(
                    "{}: is a folder, wanted a configuration file; a run is continued by `ebm resume`",
                    path.display()
                )));
            }
            Some(path) => Source::file(path)?,
            None => Source::quick_start(),
        };
        if let Some(what) = &self.data {
            let value = data_setting_from(source.places.first(), what)?;
            // Naming the kind that is there already keeps its settings.
            let kind = |v: &Value| v.get("kind").cloned();
            let same = source.document()?.get("data").is_some_and(|d| kind(d) == kind(&value));
            if !same || value.as_table().is_some_and(|t| t.len() > 1) {
                let path = config::Path::default().key("data");
                source.overrides.push(Override::new(path, value, format!("--data {what}")));
                if let Some(name) = file.is_none().then(|| word_of(what)).flatten() {
                    source.overrides.push(Override::new(run("name"), name, format!("--data {what}")));
                }
            }
        }
        source.overrides.extend(steps(self.steps)?);
        source.overrides.extend(self.seed.map(|v| whole("seed", v)).transpose()?);
        source.overrides.extend(self.device.changes());
        source.overrides.extend(set(&self.set)?);
        Ok(source)
    }
}

/// What data are called: their kind, or the name of the file or folder without its ending.
fn word_of(what: &str) -> Option<String> {
    let path = what.split_once(':').map_or(what, |(kind, _)| kind);
    Path::new(path).file_stem().and_then(|name| name.to_str()).map(String::from)
}

/// The changes that `--set` names.
pub(crate) fn set(changes: &[String]) -> Result<Vec<Override>, Failure> {
    let change = |text: &String| -> Result<Override, Failure> {
        let mut change = Override::parse(text).map_err(Failure::Usage)?;
        change.text = format!("--set {text}");
        Ok(change)
    };
    changes.iter().map(change).collect()
}

/// The change that `--given` stands for.
fn given(text: &str) -> Result<Override, Failure> {
    let value =
        Value::try_from(Given::from(text)).map_err(|e| Failure::Usage(format!("--given {text}: {e}")))?;
    let path = config::Path::default().key("generate").key("given");
    Ok(Override::new(path, value, format!("--given {text}")))
}

/// The change that `--steps` of training stands for.
pub(crate) fn steps(steps: Option<u64>) -> Result<Option<Override>, Failure> {
    steps.map(|v| whole("steps", v)).transpose()
}

fn whole(name: &str, v: u64) -> Result<Override, Failure> {
    let value =
        i64::try_from(v).map_err(|_| Failure::Usage(format!("--{name} {v}: wanted at most {}", i64::MAX)))?;
    Ok(Override::new(run(name), value, format!("--{name} {v}")))
}

fn run(name: &str) -> config::Path {
    config::Path::default().key("run").key(name)
}
