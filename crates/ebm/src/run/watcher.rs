//! A function of the calling program that is told what the observers of a run are told.

use std::fmt;
use std::sync::Arc;

use ebm_core::{Event, Observer, Result};

/// A function that sees the events of a run; clones share it. It is no setting: a run that is continued elsewhere goes on
/// without it.
///
/// ```
/// use ebm::run::{TrainOptions, Watcher};
/// use ebm::core::Event;
/// let told = Watcher::new(|event| {
///     if let Event::Step { report, .. } = event {
///         println!("step {} of {}", report.step, report.of);
///     }
/// });
/// let options = TrainOptions { watcher: Some(told), ..TrainOptions::default() };
/// # let _ = options;
/// ```
#[derive(Clone)]
pub struct Watcher(Arc<dyn Fn(&Event<'_>) + Send + Sync>);

impl Watcher {
    /// Tells `told` of each event, in the thread that trains.
    pub fn new(told: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Watcher(Arc::new(told))
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}

impl Observer for Watcher {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        (self.0)(event);
        Ok(())
    }

    fn name(&self) -> String {
        "the calling program".into()
    }
}
