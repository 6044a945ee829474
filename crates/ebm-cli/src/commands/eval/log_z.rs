//! `ebm eval log-z`.

use clap::Args;
use ebm::eval::{ChainAdvice, FEW_CHAINS, LogZ as Side, PlaneIntegral};
use ebm::measure::{AnnealOptions, Likelihood, LikelihoodOptions, SequentialOptions, likelihood};

use crate::args::{ModelArgs, SeedArg};
use crate::outcome::Outcome;
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct LogZ {
    #[command(flatten)]
    model: ModelArgs,
    /// Where annealing begins: an energy with a known density, in TOML; without it `uniform` over the range of the
    /// data, or a `gaussian` around their mean and as wide as they are if they have none.
    #[arg(long, value_name = "TOML")]
    base: Option<String>,
    /// The move at each rung, a transition in TOML that leaves exp(-E) as it is; without it `hmc` of ten steps, whose size
    /// adapts.
    #[arg(long, value_name = "TOML")]
    moves: Option<String>,
    /// Distributions between base and energy.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    rungs: usize,
    /// Rungs at (j/N)^POWER: more than 1 puts them nearer to the base.
    #[arg(long, default_value_t = 2.0)]
    power: f64,
    /// Chains each way; of a population, with --sequential.
    #[arg(long, value_name = "N", default_value_t = 64)]
    chains: usize,
    /// Sequential Monte Carlo: populations whose chains are resampled, on rungs that are found; --rungs and --power do not count.
    #[arg(long)]
    sequential: bool,
    /// Populations of --sequential.
    #[arg(long, value_name = "N", default_value_t = SequentialOptions::default().populations, requires = "sequential")]
    populations: usize,
    /// Moves at each rung of --sequential.
    #[arg(long, value_name = "N", default_value_t = SequentialOptions::default().moves, requires = "sequential")]
    moves_each: usize,
    /// Share of a population that is effective after a rung of --sequential: the larger, the more rungs.
    #[arg(long, value_name = "SHARE", default_value_t = SequentialOptions::default().effective, requires = "sequential")]
    effective: f64,
    /// Temperature T of exp(-E/T).
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    #[command(flatten)]
    seed: SeedArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl LogZ {
    pub fn run(self, out: &mut Output) -> Outcome {
        let model = self.model.open()?;
        let options = LikelihoodOptions {
            base: self.base,
            moves: self.moves,
            anneal: AnnealOptions {
                chains: self.chains,
                rungs: self.rungs,
                power: self.power,
                sequential: self.sequential.then_some(SequentialOptions {
                    populations: self.populations,
                    moves: self.moves_each,
                    effective: self.effective,
                }),
            },
            temperature: self.temperature,
            seed: self.seed.seed,
        };
        let found = likelihood(&model, &options)?;
        out.found(self.json, &found, || table(&found))
    }
}

/// The figures as lines.
fn table(found: &Likelihood) -> String {
    let side = |name: &str, z: &Side| {
        format!(
            "{name:<22} {:>12.4}  [{:.4}, {:.4}]  effective chains {:.1}\n",
            z.log_z, z.interval.0, z.interval.1, z.ess
        )
    };
    let mut text = format!("base {}; moves {}; temperature {}\n", found.base, found.moves, found.temperature);
    if found.log_z.moves > 1 {
        let z = &found.log_z;
        text += &format!("{:<22} {:>12} of {} moves each\n", "rungs that were found", z.rungs, z.moves);
    }
    text += &side("log Z, base to energy", &found.log_z.forward);
    text += &side("log Z, energy to base", &found.log_z.reverse);
    let (low, high) = found.bracket.bounds;
    text += &format!("{:<22} {low:>12.4} to {high:.4}\n", "log Z lies in");
    if let Some(exact) = found.exact {
        text += &format!("{:<22} {exact:>12.4}  over all samples\n", "log Z by summation");
    }
    if let Some(p) = &found.plane {
        text += &format!("{:<22} {:>12.4}  {}\n", "log Z by quadrature", p.log_z, over(p));
    }
    if let Some(why) = &found.no_quadrature {
        text += &format!("log Z by quadrature: none; {why}\n");
    }
    if let Some(rate) = found.log_z.accepted {
        text += &format!("{:<22} {:>11.1}%\n", "accepted", 100.0 * rate);
    }
    if let Some((base, energy)) = found.log_z.step_sizes {
        let (name, h) = ("step size", base.mean);
        text += &format!(
            "{name:<22} {h:>12.4e} at the base to {:.4e} at the energy, found by other chains\n",
            energy.mean
        );
    }
    if let Some((diverged, of)) = found.log_z.divergences {
        text += &format!("{:<22} {diverged:>12} of {of} moves\n", "divergent");
    }
    if let Some((low, high)) = found.log_likelihood {
        let name = "log-likelihood";
        text += &format!("{name:<22} {low:>12.4} to {high:.4} nats, {} held-out samples\n", found.held_out);
    }
    if let Some(((low, high), units)) = found.log_likelihood.zip(found.own_units) {
        let (name, low, high) = ("in the table's units", low - units, high - units);
        text += &format!("{name:<22} {low:>12.4} to {high:.4} nats, of densities a unit of each column\n");
    }
    if let Some((low, high)) = found.bits_per_dim {
        text += &format!("{:<22} {low:>12.4} to {high:.4}\n", "bits a value");
    }
    let rest = found.log_z.reverse.log_z - found.log_z.forward.log_z;
    if let Some((diverged, of)) = found.log_z.divergences.filter(|d| d.0 > 0) {
        let adapted = found.log_z.step_sizes.is_some();
        text += &format!("{}\n", ChainAdvice::Divergent { diverged, of, adapted });
    }
    if found.bracket.contradictory {
        text += "the sides contradict each other: the chains do not mix, or the way back did not start on samples of the energy\n";
    }
    if rest.abs() > 1.0 || found.log_z.forward.ess < 2.0 || found.log_z.reverse.ess < 2.0 {
        text += "the sides are far apart or rest on single chains: more rungs, or moves that are accepted more often\n";
    } else if found.bracket.few {
        text += &format!(
            "fewer than {FEW_CHAINS} effective chains: the intervals rest on log weights being normal; more chains or rungs\n"
        );
    }
    text
}

/// What a quadrature was taken over, in words.
pub(super) fn over(p: &PlaneIntegral) -> String {
    let side = |a: usize| format!("[{:.3}, {:.3}]", p.centre[a] - p.half[a], p.centre[a] + p.half[a]);
    format!(
        "over {} x {}, {} cells from {:.2e}; outside {:.1e}, cells {:.1e} of the mass; {}",
        side(0),
        side(1),
        p.cells,
        p.smallest[0].min(p.smallest[1]),
        p.outside,
        p.error,
        match p.places {
            0 => "a peak that is narrower than the cells around it may not be seen".to_string(),
            n => format!(
                "a peak that is narrower than the cells around it and far from {n} samples may not be seen"
            ),
        }
    )
}
