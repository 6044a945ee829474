//! `ebm report`.

use std::path::PathBuf;

use clap::Args;
use ebm::Error;
use ebm::report::{Report, ReportOptions};
use ebm::whole_file::{free, replace};

use crate::args::{ForceArg, RunChanges};
use crate::outcome::{End, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct ReportCommand {
    /// Run directories; several are compared.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    #[command(flatten)]
    force: ForceArg,
    /// Leave out what needs the model and its data: histograms of energies, surfaces of the plane.
    #[arg(long)]
    no_energies: bool,
    /// Also write energies and gradients, each as .png and .svg, into this folder, which is there; earlier ones are replaced.
    #[arg(long, value_name = "FOLDER")]
    charts: Option<PathBuf>,
    /// Most megabytes of pictures of one kind of a run; more are thinned evenly over the steps.
    #[arg(long, value_name = "MB", default_value_t = 4)]
    pictures: u64,
    #[command(flatten)]
    changes: RunChanges,
}

impl ReportCommand {
    pub fn run(self, out: &mut Output) -> Outcome {
        free("out", &self.out, self.force.force)?;
        if let Some(folder) = self.charts.as_ref().filter(|f| !f.is_dir()) {
            return Err(Error::invalid("charts", folder.display(), "a folder that is there").into());
        }
        let options = ReportOptions {
            picture_bytes: self.pictures.saturating_mul(1 << 20),
            energies: !self.no_energies,
            changes: self.changes.list()?,
            data: self.changes.data.clone(),
        };
        let report = Report::read(&self.runs, &options)?;
        let page = report.html()?;
        replace(&self.out, page.as_bytes())?;
        for (name, health) in report.health() {
            out.line(format!("{name}: {}", health.sentence))?;
        }
        if let Some(folder) = &self.charts {
            for file in report.charts(folder)? {
                out.line(format!("wrote {}", file.display()))?;
            }
        }
        out.line(format!("wrote {} ({:.1} MB)", self.out.display(), page.len() as f64 / 1e6))?;
        out.flush()?;
        Ok(End::Done)
    }
}
