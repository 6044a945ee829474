//! `ebm train`.

use std::path::PathBuf;

use clap::Args;
use ebm::Error;
use ebm::core::agree;
use ebm::run::{Measures, TrainOptions, TrainReport};
use ebm::train::Outcome as Ended;

use crate::args::Changes;
use crate::outcome::{End, Failure, Outcome};
use crate::output::Output;
use crate::{ranks, signals};

#[derive(Debug, Args)]
pub(crate) struct Train {
    /// The configuration; without one the built-in quick start.
    config: Option<PathBuf>,
    #[command(flatten)]
    changes: Changes,
    /// The run directory, which must not exist; without it runs/<name>-<seed>-<n>.
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Train {
    pub fn run(self, out: &mut Output) -> Outcome {
        ranks::run(|ranks| {
            let source = self.changes.source(self.config.as_deref()).map_err(or_the_quick_start);
            let source = agree(ranks.as_ref(), source)?;
            let stop = signals::stop();
            let ranks = Some(ranks);
            let options = TrainOptions {
                out: self.out,
                stop,
                begun: Some(signals::begun),
                ranks,
                ..TrainOptions::default()
            };
            tell(out, &ebm::run::train(&source, &options)?, self.json)
        })
    }
}

/// A configuration that is not there, with the way that needs none.
fn or_the_quick_start(e: Failure) -> Failure {
    match e {
        Failure::Error(Error::Unread { what: "configuration", path, source })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            let message = format!(
                "{}: cannot read the configuration: {source}; without one the built-in quick start is trained",
                path.display()
            );
            Failure::Usage(message)
        }
        other => other,
    }
}

/// Prints what a run came to.
pub(crate) fn tell(out: &mut Output, trained: &TrainReport, json: bool) -> Outcome {
    let summary = &trained.summary;
    let told = if ranks::rank() > 0 {
        Ok(())
    } else if json {
        out.json(trained)
    } else {
        table(out, trained)
    };
    match &summary.outcome {
        // A run that went wrong says so even to a closed pipe.
        Ended::Diverged(why) => Err(Error::Diverged(why.clone()).into()),
        Ended::Ill(why) => Err(Error::Ill(why.clone()).into()),
        Ended::Interrupted => Ok(End::Interrupted),
        Ended::Done | Ended::Finished(_) => told.map(|()| End::Done),
    }
}

fn table(out: &mut Output, trained: &TrainReport) -> Result<(), Failure> {
    let summary = &trained.summary;
    let rate = summary.steps_now as f64 / summary.seconds.max(1e-9);
    let ended = match &summary.outcome {
        Ended::Done => "done".to_string(),
        Ended::Finished(why) => format!("finished early: {why}"),
        Ended::Interrupted => {
            format!("interrupted; continue with `ebm resume {}`", trained.directory.display())
        }
        Ended::Ill(_) => "ill, after all its steps".to_string(),
        Ended::Diverged(_) => "diverged".to_string(),
    };
    out.line(format!("run       {}", trained.directory.display()))?;
    out.line(format!("steps     {} ({:.1} s, {rate:.1}/s)", summary.step, summary.seconds))?;
    out.line(format!("ended     {ended}"))?;
    out.line(format!("health    {}", summary.health.sentence))?;
    for remark in &summary.health.remarks {
        out.line(format!("          {remark}"))?;
    }
    for back in &summary.returns {
        let factors: Vec<String> = back.factors.iter().map(|(name, f)| format!("{name} × {f}")).collect();
        out.line(format!(
            "went back from step {} to {}, on with {}: {}",
            back.from,
            back.to,
            factors.join(", "),
            back.finding.evidence
        ))?;
    }
    if let (Ended::Diverged(_) | Ended::Ill(_), Some(left)) = (&summary.outcome, &summary.healthy) {
        out.line(format!("left      {}, the last healthy state", left.display()))?;
    }
    if summary.skipped > 0 {
        out.line(format!("skipped   {} batches with numbers that were not finite", summary.skipped))?;
    }
    for (name, key) in [("E data", "energy.data"), ("E samples", "energy.samples")] {
        if let Some(v) = summary.last.get(key) {
            out.line(format!("{name:<9} {v:.4}"))?;
        }
    }
    for detached in &summary.detached {
        out.line(format!("detached  observer {detached}"))?;
    }
    if let Some(samples) = &trained.samples {
        out.line(format!("samples   {}", samples.display()))?;
    }
    if let Some(measures) = &trained.measures {
        out.line(format!("\n{}({} samples drawn from fresh starts)", quality(measures), measures.count))?;
    }
    out.flush()
}

/// The measures as a table of four lines.
fn quality(measures: &Measures) -> String {
    let mut text = format!("{:<10} {:>8} {:>8} {:>6} {:>8}\n", "", "FD-pix", "FD-sign", "near", "classes");
    let rows = [("samples", &measures.samples), ("real data", &measures.real), ("noise", &measures.noise)];
    for (name, q) in rows {
        let classes = q.classes.map_or("-".into(), |c| format!("{c:.1}"));
        text += &format!("{name:<10} {:>8.2} {:>8.2} {:>6.2} {classes:>8}\n", q.fd_pix, q.fd_sign, q.near);
    }
    text
}
