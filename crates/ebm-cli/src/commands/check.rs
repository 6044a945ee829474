//! `ebm check`.

use std::path::PathBuf;

use clap::Args;

use crate::args::Changes;
use crate::outcome::{End, Outcome};
use crate::output::{Output, classes};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration; without one the built-in quick start.
    config: Option<PathBuf>,
    #[command(flatten)]
    changes: Changes,
    /// Print the complete configuration, every default written out, and nothing else.
    #[arg(long)]
    resolved: bool,
    /// Print what the engine chose for each layer as well.
    #[arg(long)]
    layers: bool,
    /// Do not time anything.
    #[arg(long)]
    no_timing: bool,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(self, out: &mut Output) -> Outcome {
        let checked = ebm::run::check(
            &self.changes.source(self.config.as_deref())?,
            !(self.no_timing || self.resolved),
        )?;
        if self.json {
            out.json(&checked)?;
            return Ok(End::Done);
        }
        if self.resolved {
            out.line(&checked.resolved)?;
            out.flush()?;
            return Ok(End::Done);
        }
        for (section, what) in &checked.parts {
            out.line(format!("{section:<13} {what}"))?;
        }
        out.line(format!(
            "{:<13} {} samples of shape {:?}, {} held out",
            "data set", checked.samples, checked.sample_shape, checked.held_out
        ))?;
        if let Some(classes) = classes(checked.condition, &checked.class_names) {
            out.line(format!("{:<13} {classes}", "condition"))?;
        }
        out.line(format!("{:<13} {}", "parameters", checked.parameters))?;
        out.line(format!("{:<13} {}", "terms", checked.terms.join(", ")))?;
        out.line(format!("{:<13} {}", "engine", checked.engine))?;
        if self.layers {
            out.line(checked.layers.trim_end())?;
        }
        for note in &checked.notes {
            out.line(format!("{:<13} {note}", "note"))?;
        }
        if let Some(cost) = &checked.cost {
            let replay =
                cost.replay_bytes.map_or(String::new(), |b| format!(", full replay buffer {}", size(b)));
            let peak = cost.peak_bytes.map_or(String::new(), |b| format!(", whole program now {}", size(b)));
            let layers = cost
                .activation_bytes
                .map_or(String::new(), |b| format!(", activations about {}", size(b as usize)));
            out.line(format!("{:<13} state {}{layers}{replay}{peak}", "memory", size(cost.state_bytes)))?;
            if let (Some(one), Some(all)) = (cost.step_seconds, cost.run_seconds) {
                let how = if cost.measured { "timed" } else { "estimated from a few input gradients" };
                out.line(format!(
                    "{:<13} {} a step ({how}), {} for the run",
                    "time",
                    short(one),
                    duration(all)
                ))?;
            }
        }
        out.line("the configuration is sound")?;
        out.flush()?;
        Ok(End::Done)
    }
}

fn size(bytes: usize) -> String {
    match bytes as f64 {
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

fn short(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { duration(seconds) }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}
