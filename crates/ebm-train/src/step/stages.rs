//! Where the time of a training step goes.

use std::collections::BTreeMap;
use std::time::Instant;

use ebm_core::Result;
use ebm_core::candle::Device;

/// A stopwatch with a name for each lap.
pub(crate) struct Stages {
    device: Device,
    last: Instant,
    laps: Vec<(&'static str, f64)>,
}

impl Stages {
    /// Starts the watch.
    pub(crate) fn begin(device: &Device) -> Self {
        Stages { device: device.clone(), last: Instant::now(), laps: Vec::new() }
    }

    /// What ran since the last lap was `stage`; it has ended on a GPU too, which works on after a call returns.
    ///
    /// # Errors
    /// If the device failed in this stage.
    pub(crate) fn done(&mut self, stage: &'static str) -> Result<()> {
        self.device.synchronize()?;
        let now = Instant::now();
        self.laps.push((stage, (now - self.last).as_secs_f64()));
        self.last = now;
        Ok(())
    }

    /// The seconds of each stage as `seconds.<stage>`.
    pub(crate) fn report(self, values: &mut BTreeMap<String, f64>) {
        for (stage, seconds) in self.laps {
            *values.entry(format!("seconds.{stage}")).or_insert(0.0) += seconds;
        }
    }
}
