//! `ebm score`.

use std::path::PathBuf;

use clap::Args;

use super::output::Output;
use super::{End, Failure, Outcome, settings};
use crate::{Error, Model};

#[derive(Debug, Args)]
pub(super) struct Score {
    /// The run directory.
    run: PathBuf,
    /// .npy files, pictures, or folders of pictures.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
}

impl Score {
    pub fn run(self, out: &mut Output) -> Outcome {
        let model = Model::open(&self.run, &settings::numbers(None, None, self.device.as_deref())?)?;
        let names = &model.plan().energy().spec().terms;
        // One term is the energy itself.
        let several = names.len() > 1;
        let terms = if several { format!(",{}", names.join(",")) } else { String::new() };
        out.line(format!("file,index,energy{terms}"))?;
        for path in &self.paths {
            let mut closed = None;
            let written = crate::score(&model, path, &mut |row| {
                let mut line =
                    format!("{},{},{}", field(&row.file.display().to_string()), row.index, row.energy);
                if several {
                    row.terms.iter().for_each(|t| line += &format!(",{t}"));
                }
                // The library's sink knows only errors; the reason why this one stopped is kept aside.
                out.line(line).map_err(|e| {
                    closed = Some(e);
                    Error::Usage("standard output is closed".into())
                })
            });
            match (written, closed) {
                (_, Some(failure)) => return Err(failure),
                (Err(e), None) => return Err(Failure::Error(e)),
                (Ok(()), None) => {}
            }
        }
        out.flush()?;
        Ok(End::Done)
    }
}

/// A field of a CSV line (RFC 4180).
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}
