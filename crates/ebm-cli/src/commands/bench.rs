//! `ebm bench`.

use std::path::PathBuf;

use clap::Args;

use crate::args::Changes;
use crate::outcome::{End, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The configuration; without one the built-in quick start.
    config: Option<PathBuf>,
    #[command(flatten)]
    changes: Changes,
    /// Training steps before the clock starts.
    #[arg(long, default_value_t = 3, value_name = "N")]
    warm: usize,
    /// Training steps that are timed.
    #[arg(long, default_value_t = 10, value_name = "N")]
    timed: usize,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub fn run(self, out: &mut Output) -> Outcome {
        let b = ebm::run::bench(&self.changes.source(self.config.as_deref())?, self.warm, self.timed)?;
        if self.json {
            out.json(&b)?;
            return Ok(End::Done);
        }
        let ms = |s: f64| format!("{:.3} ms", s * 1e3);
        out.line(format!("{:<14} {} ({} parameters)", "energy", b.engine, b.parameters))?;
        out.line(format!("{:<14} {}", "sampler step", ms(b.langevin_step_s)))?;
        out.line(format!("{:<14} {}", "update", ms(b.update_s)))?;
        out.line(format!(
            "{:<14} {} (batch {}, {} sampler steps, median of {})",
            "training step",
            ms(b.step_s),
            b.batch,
            b.steps,
            b.timed
        ))?;
        for (stage, s) in &b.stages_s {
            out.line(format!("  {stage:<12} {} ({:.1} %)", ms(*s), 100.0 * s / b.step_s))?;
        }
        out.line(format!("{:<14} {:.1} a second", "samples", b.samples_per_s))?;
        if let Some(mib) = b.peak_rss_mib {
            out.line(format!("{:<14} {mib:.0} MiB at most", "memory"))?;
        }
        if let Some(mib) = b.device_mib {
            out.line(format!("{:<14} {mib:.0} MiB in use, by all programs", "of the GPU"))?;
        }
        if let (Some(now), Some(most)) = (b.sampler_gflops, b.peak_gflops) {
            out.line(format!(
                "{:<14} {now:.0} GFLOP/s in the sampler, {most:.0} at most: {:.0} % (fast convolutions count as direct ones)",
                "arithmetic",
                100.0 * now / most
            ))?;
        }
        out.flush()?;
        Ok(End::Done)
    }
}
