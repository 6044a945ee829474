//! Notes which energies got a fused twin, so that `engine = "require"` can insist.

use std::sync::{Arc, Mutex, PoisonError};

use ebm_core::{Accelerated, EnergyFn, Engine, Error, Result};

/// An engine that remembers its answers.
pub(crate) struct EngineWatch {
    inner: Arc<dyn Engine>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    twins: usize,
    /// Reasons for energies that have a layer plan and still got no twin.
    refused: Vec<String>,
}

impl EngineWatch {
    /// Watches `inner`.
    pub(crate) fn new(inner: Arc<dyn Engine>) -> Arc<Self> {
        Arc::new(EngineWatch { inner, seen: Mutex::default() })
    }

    /// Insists that `energy` was built with a twin for every part that has a plan, and at least one.
    pub(crate) fn require(watch: Option<&Arc<Self>>, energy: &dyn EnergyFn) -> Result<()> {
        let refuse = |from: &str, why: &str| {
            let hint = format!("{why}; set run.engine = \"auto\" to run on the graph");
            Err(Error::capability("run.engine = \"require\"", "a fused twin of the energy", from, hint))
        };
        let Some(watch) = watch else {
            return refuse("this program", "it was built without an engine for this device");
        };
        let seen = watch.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match (seen.refused.first(), seen.twins) {
            (Some(why), _) => refuse(watch.inner.name(), why),
            (None, 0) => {
                refuse(watch.inner.name(), &format!("the energy has no layer plan ({})", energy.engine()))
            }
            _ => Ok(()),
        }
    }
}

impl Engine for EngineWatch {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn parts_instead(&self, energy: &Arc<dyn EnergyFn>) {
        if energy.plan().is_some() {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).refused.pop();
        }
        self.inner.parts_instead(energy);
    }

    fn accelerate(&self, energy: &Arc<dyn EnergyFn>) -> Result<Accelerated> {
        let answer = self.inner.accelerate(energy)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &answer {
            Accelerated::Twin(_) => seen.twins += 1,
            Accelerated::Graph(why) if energy.plan().is_some() => seen.refused.push(why.clone()),
            Accelerated::Graph(_) => {}
        }
        Ok(answer)
    }
}
