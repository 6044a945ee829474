//! `ebm eval log-z`.

use clap::Args;
use ebm::eval::LogZ as Side;
use ebm::measure::{AnnealOptions, Likelihood, LikelihoodOptions, likelihood};

use crate::args::{ModelArgs, SeedArg};
use crate::outcome::Outcome;
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct LogZ {
    #[command(flatten)]
    model: ModelArgs,
    /// Where annealing begins: an energy with a known density, in TOML; without it `uniform` over the range of the
    /// data, or a `gaussian` as wide as the data if they have none.
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
    /// Chains each way.
    #[arg(long, value_name = "N", default_value_t = 64)]
    chains: usize,
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
            anneal: AnnealOptions { chains: self.chains, rungs: self.rungs, power: self.power },
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
    text += &side("log Z, base to energy", &found.log_z.forward);
    text += &side("log Z, energy to base", &found.log_z.reverse);
    if let Some(z) = found.quadrature {
        text += &format!("{:<22} {z:>12.4}\n", "log Z by quadrature");
    }
    if let Some(rate) = found.log_z.accepted {
        text += &format!("{:<22} {:>11.1}%\n", "accepted", 100.0 * rate);
    }
    if let Some((low, high)) = found.log_likelihood {
        let name = "log-likelihood";
        text += &format!("{name:<22} {low:>12.4} to {high:.4} nats, {} held-out samples\n", found.held_out);
    }
    if let Some((high, low)) = found.bits_per_dim {
        text += &format!("{:<22} {high:>12.4} to {low:.4}\n", "bits a value");
    }
    let rest = found.log_z.reverse.log_z - found.log_z.forward.log_z;
    if rest.abs() > 1.0 || found.log_z.forward.ess < 2.0 || found.log_z.reverse.ess < 2.0 {
        text += "the sides are far apart or rest on single chains: more rungs, or moves that are accepted more often\n";
    }
    text
}
