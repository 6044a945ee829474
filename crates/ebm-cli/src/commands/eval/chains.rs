//! `ebm eval chains`.

use std::path::PathBuf;

use clap::Args;

use super::figures::Figures;
use crate::Outcome;
use crate::args;
use crate::output::Output;
use ebm::measure::ChainOptions;
use ebm::model::Model;
use ebm::{Error, Result};

#[derive(Debug, Args)]
pub(crate) struct ChainsCommand {
    /// A run directory or a configuration, whose generation program is run; or an .npy array (chains, draws, ...).
    #[arg(value_name = "RUN|CONFIG.toml|FILE.npy")]
    target: PathBuf,
    /// Chains; 4 without it.
    #[arg(long, value_name = "N")]
    chains: Option<usize>,
    /// Steps that are recorded; 1000 without it.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Steps before; 500 without it.
    #[arg(long, value_name = "N")]
    warm_up: Option<usize>,
    /// Record one step in N; 1 without it.
    #[arg(long, value_name = "N")]
    thin: Option<usize>,
    /// Coordinates that are recorded at most, at equal distances.
    #[arg(long, value_name = "N", default_value_t = ChainOptions::default().coordinates)]
    coordinates: usize,
    /// Seed; that of the run without it.
    #[arg(long)]
    seed: Option<u64>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
    #[command(flatten)]
    figures: Figures,
}

impl ChainsCommand {
    pub fn run(self, out: &mut Output) -> Outcome {
        self.figures.free()?;
        let found = if self.target.extension().is_some_and(|e| e == "npy") {
            self.only_of_runs()?;
            ebm::measure::measure_chain_file(&self.target, self.coordinates)?
        } else {
            let model = Model::open(&self.target, &args::numbers(None, None, self.device.as_deref())?)?;
            let usual = ChainOptions::default();
            let options = ChainOptions {
                chains: self.chains.unwrap_or(usual.chains),
                steps: self.steps.unwrap_or(usual.steps),
                warm_up: self.warm_up.unwrap_or(usual.warm_up),
                thin: self.thin.unwrap_or(usual.thin),
                coordinates: self.coordinates,
                seed: self.seed,
            };
            ebm::measure::measure_chains(&model, &options)?
        };
        self.figures.write(out, &found, found.table())
    }

    /// Chains that are there are measured as they are: an option of running some would be forgotten in silence.
    fn only_of_runs(&self) -> Result<()> {
        let given = [
            ("--chains", self.chains.is_some()),
            ("--steps", self.steps.is_some()),
            ("--warm-up", self.warm_up.is_some()),
            ("--thin", self.thin.is_some()),
            ("--seed", self.seed.is_some()),
            ("--device", self.device.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(Error::Usage(format!(
                "{option}: found the file {}, whose chains are measured as they are; wanted a run",
                self.target.display()
            ))),
        }
    }
}
