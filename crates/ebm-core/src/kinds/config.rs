//! Configuration twins: data that build live components. Each is a typetag trait, so that any
//! linked crate can add kinds.

use std::sync::Arc;

use crate::kinds::settings::Check;
use crate::{
    BuildCx, DataSource, EnergyFn, EntropyEstimator, Objective, Observer, Optimiser, Policy, ReplayBuffer,
    Result, Sampler, Transition,
};

macro_rules! config_twin {
    ($(#[$doc:meta])* $name:ident, $family:ident, $build:ty) => {
        $(#[$doc])*
        #[typetag::serde(tag = "kind")]
        pub trait $name: Check + std::fmt::Debug + Send + Sync {
            /// Makes the live component; authors write this, callers call `build`. Settings are in their ranges.
            ///
            /// # Errors
            /// If the configuration does not fit the context.
            fn make(&self, cx: &mut BuildCx) -> Result<$build>;

            /// Checks the settings and builds the live component.
            ///
            /// # Errors
            /// If a setting is out of its range, or the configuration does not fit the context.
            fn build(&self, cx: &mut BuildCx) -> Result<$build> {
                Check::check(self).map_err(|e| e.under(cx.path()))?;
                self.make(cx)
            }

            /// As `build`, for the component in the setting `key` of the one that is being built.
            ///
            /// # Errors
            /// As `build`; the path of an error has `key`.
            fn build_at(&self, key: &str, cx: &mut BuildCx) -> Result<$build> {
                cx.within(key, |cx| self.build(cx))
            }
        }

        impl crate::kinds::catalogue::InFamily for dyn $name {
            const FAMILY: crate::kinds::catalogue::Family = crate::kinds::catalogue::Family::$family;
        }
    };
}

config_twin!(
    /// Configuration of an energy.
    EnergyConfig, Energy, Arc<dyn EnergyFn>
);
config_twin!(
    /// Configuration of a transition.
    TransitionConfig, Transition, Box<dyn Transition>
);
config_twin!(
    /// Configuration of a sampling program.
    SamplerConfig, Sampler, Box<dyn Sampler>
);
config_twin!(
    /// Configuration of an entropy estimator.
    EntropyConfig, Entropy, Box<dyn EntropyEstimator>
);
config_twin!(
    /// Configuration of an objective.
    ObjectiveConfig, Objective, Box<dyn Objective>
);
config_twin!(
    /// Configuration of a replay buffer.
    ReplayConfig, Replay, Box<dyn ReplayBuffer>
);
config_twin!(
    /// Configuration of a data source; the context's sample shape is not yet known.
    DataConfig, Data, Arc<dyn DataSource>
);
config_twin!(
    /// Configuration of an optimiser.
    OptimiserConfig, Optimiser, Box<dyn Optimiser>
);
config_twin!(
    /// Configuration of a policy.
    PolicyConfig, Policy, Box<dyn Policy>
);

/// Configuration of an observer.
#[typetag::serde(tag = "kind")]
pub trait ObserverConfig: Check + std::fmt::Debug + Send + Sync {
    /// Makes the observer, which writes below the run directory of `paths`; authors write this, callers call `build`.
    ///
    /// # Errors
    /// If a file cannot be made.
    fn make(&self, paths: &crate::RunPaths) -> Result<Box<dyn Observer>>;

    /// Checks the settings and builds the observer.
    ///
    /// # Errors
    /// If a setting is out of its range or a file cannot be made.
    fn build(&self, paths: &crate::RunPaths) -> Result<Box<dyn Observer>> {
        Check::check(self).map_err(|e| e.under(&paths.path))?;
        self.make(paths)
    }
}

impl crate::kinds::catalogue::InFamily for dyn ObserverConfig {
    const FAMILY: crate::kinds::catalogue::Family = crate::kinds::catalogue::Family::Observer;
}

/// The path of the setting `key` of what stands at `path`.
pub(crate) fn joined(path: &str, key: &str) -> String {
    match (path, key) {
        ("", key) => key.into(),
        (path, "") => path.into(),
        (path, key) => format!("{path}.{key}"),
    }
}
