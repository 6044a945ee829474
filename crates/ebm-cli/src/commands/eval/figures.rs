//! Figures of `ebm eval` as a table, and in a file where one is named.

use std::path::PathBuf;

use clap::Args;
use ebm::{Result, whole_file};
use serde::Serialize;

use crate::args::ForceArg;
use crate::outcome::{End, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Figures {
    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArg,
}

impl Figures {
    /// Checks, before work begins, that the file can be written.
    pub fn free(&self) -> Result<()> {
        self.json.as_ref().map_or(Ok(()), |path| whole_file::free("json", path, self.force.force))
    }

    /// Whether files that are there may be replaced.
    pub fn replaces(&self) -> bool {
        self.force.force
    }

    /// Writes the file, if there is one, and the table.
    pub fn write(&self, out: &mut Output, found: &impl Serialize, table: String) -> Outcome {
        if let Some(path) = &self.json {
            whole_file::replace(path, whole_file::json(found)?.as_bytes())?;
        }
        out.line(table)?;
        out.flush()?;
        Ok(End::Done)
    }
}
