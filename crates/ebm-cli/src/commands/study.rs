//! `ebm study`.

use std::path::PathBuf;

use clap::Args;
use ebm::study::{Study, StudyOptions};

use crate::outcome::{End, Outcome};
use crate::output::Output;
use crate::{args, say, signals};

#[derive(Debug, Args)]
pub(crate) struct StudyCommand {
    /// The study: base configuration, variants, seeds, limits.
    file: PathBuf,
    /// The folder of its runs; without it runs/study-<name>. What is finished there is not run again.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Run only this variant; several programs may work on one study.
    #[arg(long, value_name = "VARIANT")]
    only: Option<String>,
    /// Run only this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Change one setting of every run, such as `data.root=/data/cifar10`; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Run nothing; write table and pictures of what is finished.
    #[arg(long)]
    report: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl StudyCommand {
    pub fn run(self, out: &mut Output) -> Outcome {
        let study = Study::file(&self.file)?;
        // Each of its runs is on disk from its first moment on.
        signals::begun();
        let options = StudyOptions {
            out: self.out,
            only: self.only,
            seed: self.seed,
            changes: args::set(&self.set)?,
            report: self.report,
            stop: signals::stop(),
        };
        let studied = study.work(&options)?;
        if self.json {
            out.json(&studied)?;
        } else {
            out.line(studied.summary.markdown())?;
            out.line(format!(
                "{} of {} runs finished in {}",
                studied.finished,
                studied.of,
                studied.directory.display()
            ))?;
            if !studied.elsewhere.is_empty() {
                out.line(format!("another program works on {}", studied.elsewhere.join(", ")))?;
            }
            for failed in &studied.failed {
                out.line(format!("{} failed: {}", failed.run, say::message(&failed.error)))?;
            }
            for file in &studied.files {
                out.line(format!("wrote {}", file.display()))?;
            }
            out.flush()?;
        }
        Ok(match studied.failed.first() {
            _ if studied.interrupted => End::Interrupted,
            Some(failed) => End::With(say::exit_code(&failed.error)),
            None => End::Done,
        })
    }
}
