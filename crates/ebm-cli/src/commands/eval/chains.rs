//! `ebm eval chains`.

use std::path::PathBuf;

use clap::Args;
use ebm::measure::{ChainMeasures, ChainOptions, measure_chain_file, measure_chains};
use ebm::model::starts;

use super::figures::Figures;
use crate::args::{RunChanges, SeedArg};
use crate::outcome::{Failure, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct ChainsCommand {
    /// A run directory or a configuration, whose generation program is run; or an .npy array (chains, draws, ...).
    #[arg(value_name = "RUN|CONFIG.toml|FILE.npy")]
    target: PathBuf,
    /// Chains; 4, or as many as there are starting points, without it.
    #[arg(long, value_name = "N")]
    chains: Option<usize>,
    /// Steps that are recorded; 1000 without it.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Steps before, in which step sizes adapt; 500 without it.
    #[arg(long, value_name = "N")]
    warm_up: Option<usize>,
    /// Record one step in N; 1 without it.
    #[arg(long, value_name = "N")]
    thin: Option<usize>,
    /// Coordinates that are recorded at most, at equal distances.
    #[arg(long, value_name = "N", default_value_t = ChainOptions::default().coordinates)]
    coordinates: usize,
    /// Where the chains start: an array (chains, ...) with the shape of samples in each row, in the units in which `ebm sample`
    /// writes samples (of a table its own); without it fresh starts, as the model's chains begin.
    #[arg(long, value_name = "FILE.npy")]
    start: Option<PathBuf>,
    /// The draws of all coordinates as an array x (chains, draws, ...), with what the steps say under ArviZ's names.
    #[arg(long, value_name = "FILE.npz")]
    draws: Option<PathBuf>,
    #[command(flatten)]
    seed: SeedArg,
    #[command(flatten)]
    changes: RunChanges,
    #[command(flatten)]
    figures: Figures,
}

impl ChainsCommand {
    pub fn run(self, out: &mut Output) -> Outcome {
        self.figures.free()?;
        let found = if self.target.extension().is_some_and(|e| e == "npy") {
            self.only_of_runs()?;
            measure_chain_file(&self.target, self.coordinates)?
        } else {
            let model = self.changes.open(&self.target)?;
            let usual = ChainOptions::default();
            let start = self.start.as_deref().map(|path| starts(&model, path)).transpose()?;
            let options = ChainOptions {
                chains: self.chains.unwrap_or(start.as_ref().map_or(usual.chains, |s| s.dims()[0])),
                steps: self.steps.unwrap_or(usual.steps),
                warm_up: self.warm_up.unwrap_or(usual.warm_up),
                thin: self.thin.unwrap_or(usual.thin),
                coordinates: self.coordinates,
                seed: self.seed.seed,
                start,
                draws: self.draws.clone(),
                overwrite: self.figures.replaces(),
            };
            measure_chains(&model, &options)?
        };
        self.figures.write(out, &found, table(&found))
    }

    /// Chains that are there are measured as they are: an option of running some would be forgotten in silence.
    fn only_of_runs(&self) -> Result<(), Failure> {
        let given = [
            ("--chains", self.chains.is_some()),
            ("--steps", self.steps.is_some()),
            ("--warm-up", self.warm_up.is_some()),
            ("--thin", self.thin.is_some()),
            ("--start", self.start.is_some()),
            ("--draws", self.draws.is_some()),
            ("--seed", self.seed.seed.is_some()),
            ("--set, --data or --device", self.changes.any()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(Failure::Usage(format!(
                "{option}: found the file {}, whose chains are measured as they are; wanted a run",
                self.target.display()
            ))),
        }
    }
}

/// A line a scalar.
fn table(found: &ChainMeasures) -> String {
    let mut text = format!(
        "{}: {} chains of {} draws, one in {}, after {} steps\n",
        found.of, found.chains, found.draws, found.thin, found.warm_up
    );
    if let Some(a) = found.accepted {
        text += &format!("accepted {:.1} %\n", 100.0 * a);
    }
    if let Some((diverged, of)) = found.divergences {
        text += &format!("divergent {diverged} of {of} moves\n");
    }
    if let Some(sizes) = found.step_sizes {
        text += &format!("{sizes}\n");
    }
    if let Some(t) = found.trajectories {
        text += &format!("{t}\n");
    }
    let wide = found.rows.iter().map(|r| r.name.len()).max().unwrap_or(0).max(6);
    text += &format!(
        "{:<wide$} {:>12} {:>10} {:>10} {:>10} {:>8} {:>10}\n",
        "", "mean", "MCSE", "ESS bulk", "ESS tail", "R-hat", "time"
    );
    for r in &found.rows {
        let cells = [
            column(r.mean, 12, 5),
            column(r.mcse, 10, 5),
            column(r.ess_bulk, 10, 1),
            column(r.ess_tail, 10, 1),
            column(r.rhat, 8, 4),
            column(r.autocorrelation_time, 10, 2),
        ];
        text += &format!("{:<wide$} {}\n", r.name, cells.join(" "));
    }
    text += "ESS tail: the smaller of the 5 % and 95 % quantiles (ArviZ 1.3: of 11 % and 89 %)\n";
    for advice in &found.advice {
        text += &format!("{advice}\n");
    }
    if found.rows.iter().any(|r| r.rhat.is_nan()) {
        text += "NaN: a scalar that does not move, which has no effective draws\n";
    }
    text
}

/// A number in a column of this width: with so many digits behind the point, or with an exponent where it is too long.
fn column(v: f64, width: usize, digits: usize) -> String {
    let plain = format!("{v:>width$.digits$}");
    if plain.len() <= width { plain } else { format!("{v:>width$.2e}") }
}
