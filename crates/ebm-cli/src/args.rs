//! Options that several commands share: changes to the configuration.

use clap::Args;
use toml::Value;

use ebm::config::Source;
use ebm::config::{Override, Path};
use ebm::inputs::data_setting;
use ebm::{Error, Result};

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
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
}

impl Changes {
    /// The configuration of `file`, or the quick start, with the changes made; `--set` comes last.
    pub fn source(&self, file: Option<&std::path::Path>) -> Result<Source> {
        let mut source = match file {
            Some(path) if path.is_dir() => {
                return Err(Error::Usage(format!(
                    "{}: is a folder, wanted a configuration file; a run is continued by `ebm resume`",
                    path.display()
                )));
            }
            Some(path) => Source::file(path)?,
            None => Source::quick_start(),
        };
        if let Some(what) = &self.data {
            let value = data_setting(what)?;
            // Naming the kind that is there already keeps its settings.
            let kind = |v: &Value| v.get("kind").cloned();
            let same = source.document()?.get("data").is_some_and(|d| kind(d) == kind(&value));
            if !same || value.as_table().is_some_and(|t| t.len() > 1) {
                source.overrides.push(Override::new(
                    Path::default().key("data"),
                    value,
                    format!("--data {what}"),
                ));
            }
        }
        source.overrides.extend(numbers(self.steps, self.seed, self.device.as_deref())?);
        source.with(&self.set)
    }
}

/// The changes of `--steps`, `--seed` and `--device`.
pub(crate) fn numbers(steps: Option<u64>, seed: Option<u64>, device: Option<&str>) -> Result<Vec<Override>> {
    let run = Path::default().key("run");
    let whole = |name: &str, v: u64| -> Result<Override> {
        let value = i64::try_from(v)
            .map_err(|_| Error::Usage(format!("--{name} {v}: wanted at most {}", i64::MAX)))?;
        Ok(Override::new(run.key(name), value, format!("--{name} {v}")))
    };
    let mut all = Vec::new();
    if let Some(v) = steps {
        all.push(whole("steps", v)?);
    }
    if let Some(v) = seed {
        all.push(whole("seed", v)?);
    }
    if let Some(v) = device {
        all.push(Override::new(run.key("device"), v, format!("--device {v}")));
    }
    Ok(all)
}
