//! `ebm compose`.

use std::path::{Path, PathBuf};

use clap::Args;
use ebm::whole_file;

use crate::args::ForceArg;
use crate::outcome::{End, Outcome};
use crate::output::{Output, say};

#[derive(Debug, Args)]
pub(crate) struct Compose {
    /// Runs with `and`, `or`, `not`, weights (0.5 * RUN), temperatures (RUN at 2), conditions (RUN given 3) and parentheses,
    /// such as 'runs/digits given 3 and not 0.2 * runs/blurred'. Runs of smaller images see the sample resized. Other commands
    /// take such a line in place of a run.
    #[arg(value_name = "COMPOSITION")]
    text: String,
    /// The configuration to write; without it standard output.
    #[arg(long, value_name = "FILE.toml")]
    out: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArg,
}

impl Compose {
    pub fn run(self, out: &mut Output) -> Outcome {
        let Some(file) = self.out else {
            out.line(ebm::model::compose(&self.text, Path::new("."))?)?;
            out.flush()?;
            return Ok(End::Done);
        };
        whole_file::free("out", &file, self.force.force)?;
        let folder = file.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let toml = ebm::model::compose(&self.text, folder)?;
        whole_file::replace(&file, toml.as_bytes())?;
        say(&format!("{}: `ebm sample {}` draws from it", file.display(), file.display()));
        Ok(End::Done)
    }
}
