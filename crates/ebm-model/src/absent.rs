//! The program of a model that has none: its objective samples nothing and nobody said how its energy is to be sampled, or what was
//! said does not fit the energy. Energies, slopes and measures of data need none.

use ebm_core::{Batch, DrawRequest, Drawn, EnergyFn, Error, Key, Result, Sampler, Sensitivity};

/// Refuses to draw.
#[derive(Clone, Default)]
pub(crate) struct Absent {
    /// Why the program that there is cannot be used: its setting, and what is wrong.
    unfit: Option<(String, String)>,
}

impl Absent {
    /// In place of the program at `setting` of the configuration, which was refused.
    pub fn refused(setting: &str, why: Error) -> Self {
        let unfit = match why {
            Error::Config { path, message } => (path, message),
            other => (setting.to_string(), other.to_string()),
        };
        Absent { unfit: Some(unfit) }
    }
}

impl Sampler for Absent {
    fn draw(&self, _: &dyn EnergyFn, _: Batch, _: Key, _: &mut DrawRequest<'_>) -> Result<Drawn> {
        let missing = || {
            let message = "is missing, and so is the section [sampler]: add one of them to say how the energy is sampled";
            ("generate.sampler".to_string(), message.to_string())
        };
        let (setting, why) = self.unfit.clone().unwrap_or_else(missing);
        Err(Error::config(setting, why))
    }

    fn fits(&self, _: &dyn EnergyFn) -> Result<()> {
        Ok(())
    }

    fn sensitivity(&self, trail: usize) -> Sensitivity {
        // Who asks for no step is told the truth about none.
        if trail == 0 { Sensitivity::Exact } else { Sensitivity::Unknown(self.name()) }
    }

    fn steps(&self) -> usize {
        0
    }

    fn with_steps(&self, _: usize) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }

    fn name(&self) -> String {
        "none".into()
    }
}
