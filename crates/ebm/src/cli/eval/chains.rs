//! `ebm eval chains`.

use std::path::PathBuf;

use clap::Args;

use super::figures::Figures;
use crate::cli::output::Output;
use crate::cli::{Outcome, settings};
use crate::{ChainOptions, Model};

#[derive(Debug, Args)]
pub(in crate::cli) struct ChainsCommand {
    /// A run directory or a configuration, whose generation program is run; or an .npy array (chains, draws, ...).
    #[arg(value_name = "RUN|CONFIG.toml|FILE.npy")]
    target: PathBuf,
    /// Chains.
    #[arg(long, value_name = "N", default_value_t = ChainOptions::default().chains)]
    chains: usize,
    /// Steps that are recorded.
    #[arg(long, value_name = "N", default_value_t = ChainOptions::default().steps)]
    steps: usize,
    /// Steps before.
    #[arg(long, value_name = "N", default_value_t = ChainOptions::default().warm_up)]
    warm_up: usize,
    /// Record one step in N.
    #[arg(long, value_name = "N", default_value_t = ChainOptions::default().thin)]
    thin: usize,
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
            crate::measure_chain_file(&self.target, self.coordinates)?
        } else {
            let model = Model::open(&self.target, &settings::numbers(None, None, self.device.as_deref())?)?;
            let options = ChainOptions {
                chains: self.chains,
                steps: self.steps,
                warm_up: self.warm_up,
                thin: self.thin,
                coordinates: self.coordinates,
                seed: self.seed,
            };
            crate::measure_chains(&model, &options)?
        };
        self.figures.write(out, &found, found.table())
    }
}
