//! Parts that were given as values stand in a configuration by their names alone.

use std::sync::Arc;

use ebm_core::{
    BuildCx, DataConfig, DataSource, EnergyConfig, EnergyFn, Error, Objective, ObjectiveConfig, Optimiser,
    OptimiserConfig, Result, Sampler, SamplerConfig, settings::Check, typetag,
};
use serde::{Deserialize, Serialize};

/// The place of a part that was given as a value: a run with it is continued by the program that gives it again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    name: String,
}

impl Given {
    /// The place of the part of this name.
    pub fn boxed(name: impl Into<String>) -> Box<Self> {
        Box::new(Given { name: name.into() })
    }

    fn refusal(&self, cx: &BuildCx) -> Error {
        let message =
            format!("was `{}`, given as a value; open this run by the program that trained it", self.name);
        Error::config(cx.path(), message)
    }
}

impl Check for Given {}

macro_rules! given {
    ($($config:ident => $live:ty),*) => {$(
        #[typetag::serde(name = "given")]
        impl $config for Given {
            fn make(&self, cx: &mut BuildCx) -> Result<$live> {
                Err(self.refusal(cx))
            }
        }
    )*};
}

given! {
    DataConfig => Arc<dyn DataSource>,
    EnergyConfig => Arc<dyn EnergyFn>,
    SamplerConfig => Box<dyn Sampler>,
    ObjectiveConfig => Box<dyn Objective>,
    OptimiserConfig => Box<dyn Optimiser>
}
