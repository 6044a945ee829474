//! `ebm score`.

use std::path::PathBuf;

use clap::Args;
use ebm::model::ScoreKind;
use ebm::model::Threshold;
use ebm::model::{ArrayFiles, ScoreArrays, ScoreOptions, ScoreRow, directions};
use serde_json::json;

use crate::args::{ForceArg, RunChanges};
use crate::filter;
use crate::outcome::{End, Failure, Outcome};
use crate::output::{Output, field};

#[derive(Debug, Args)]
pub(crate) struct Score {
    /// The run directory.
    run: PathBuf,
    /// Linked kinds of data, .npy, .npz (NAME.npz:ARRAY) or IDX files, tables (.csv, .tsv, Parquet), CIFAR-10 (.bin or its
    /// folder), pictures, folders of pictures; `-` reads standard input: paths of pictures or JSON, one a line, or CSV.
    #[arg(required = true, value_name = "NAME|PATH|-")]
    inputs: Vec<String>,
    /// Say whether each sample is inside, by the run's newest threshold, one of its numbers, or a file; see `ebm eval
    /// threshold`.
    #[arg(long, value_name = "N|FILE", num_args = 0..=1, require_equals = true)]
    threshold: Option<Option<String>>,
    /// Print a line of JSON for each sample instead of CSV.
    #[arg(long)]
    json: bool,
    /// Resize images of another size and convert their colours.
    #[arg(long)]
    fit: bool,
    /// Samples that are scored together; as in training without it.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// The energies as an array (n,).
    #[arg(long, value_name = "FILE.npy")]
    energies: Option<PathBuf>,
    /// The slopes, dE/dx, as an array (n, ...).
    #[arg(long, value_name = "FILE.npy")]
    slope: Option<PathBuf>,
    /// Hessian-vector products as an array (n, ...): of one input, each sample with its row of the array V.npy.
    #[arg(long, num_args = 2, value_names = ["V.npy", "FILE.npy"])]
    hvp: Vec<PathBuf>,
    #[command(flatten)]
    force: ForceArg,
    #[command(flatten)]
    changes: RunChanges,
}

impl Score {
    pub fn run(self, out: &mut Output) -> Outcome {
        let model = self.changes.open(&self.run)?;
        let threshold = match &self.threshold {
            Some(which) => Some(Threshold::open(&model, &self.run, which.as_deref())?),
            None => None,
        };
        let (along, hvp) = match &self.hvp[..] {
            [v, file] if self.inputs.len() == 1 => (Some(directions(&model, v)?), Some(file.clone())),
            [] => (None, None),
            _ => {
                let found = self.inputs.len();
                let text =
                    format!("--hvp: found {found} inputs, wanted one, whose samples have the rows of V.npy");
                return Err(Failure::Usage(text));
            }
        };
        let (energies, slope) = (self.energies, self.slope);
        let files = ArrayFiles { energies, slope, hvp, overwrite: self.force.force };
        if files.energies.is_some() || files.slope.is_some() || files.hvp.is_some() {
            // `ebm score ... | head` still wants its arrays.
            out.go_on_without_reader();
        }
        let mut arrays = ScoreArrays::new(&model, files)?;
        let sets = filter::sets(&self.inputs)?;
        let line = Line {
            terms: ebm::model::score_terms(&model)?,
            score: threshold.as_ref().map(|t| t.score.clone()),
            json: self.json,
        };
        if !self.json {
            out.line(line.header())?;
            // Who writes lines may wait for it.
            out.flush()?;
        }
        let (slope, directions) = (arrays.wants_slope(), along);
        let options = ScoreOptions { fit: self.fit, batch: self.batch, threshold, slope, directions };
        for set in &sets {
            filter::rows(
                out,
                |row| line.of(row),
                |sink| {
                    let mut keep = |rows: &[ScoreRow]| arrays.take(rows).and_then(|()| sink(rows));
                    match set {
                        Some(set) => ebm::model::score(&model, set, &options, &mut keep),
                        None => ebm::model::score_lines(&model, std::io::stdin().lock(), &options, &mut keep),
                    }
                },
            )?;
        }
        arrays.write()?;
        out.flush()?;
        Ok(End::Done)
    }
}

/// How a row becomes a line.
struct Line {
    terms: Vec<String>,
    score: Option<ScoreKind>,
    json: bool,
}

impl Line {
    /// One term is the energy itself.
    fn several(&self) -> bool {
        self.terms.len() > 1
    }

    /// The threshold's score, unless it is the energy.
    fn other(&self) -> Option<&ScoreKind> {
        self.score.as_ref().filter(|s| **s != ScoreKind::Energy)
    }

    fn header(&self) -> String {
        let mut line = String::from("file,index,energy");
        if self.several() {
            line += &format!(",{}", self.terms.join(","));
        }
        if let Some(score) = self.other() {
            line += &format!(",{score}");
        }
        if self.score.is_some() {
            line += ",inside";
        }
        line
    }

    fn of(&self, row: &ScoreRow) -> String {
        if self.json {
            return self.object(row);
        }
        let mut line = format!("{},{},{}", field(&row.file.display().to_string()), row.index, row.energy);
        if self.several() {
            row.terms.iter().for_each(|t| line += &format!(",{t}"));
        }
        if let Some((score, inside)) = row.verdict {
            if self.other().is_some() {
                line += &format!(",{score}");
            }
            line += &format!(",{inside}");
        }
        line
    }

    fn object(&self, row: &ScoreRow) -> String {
        let mut object =
            json!({ "file": row.file.display().to_string(), "index": row.index, "energy": row.energy });
        if self.several() {
            let terms = self.terms.iter().zip(&row.terms).map(|(n, t)| (n.clone(), json!(t)));
            object["terms"] = serde_json::Value::Object(terms.collect());
        }
        if let Some((score, inside)) = row.verdict {
            if let Some(kind) = self.other() {
                object[kind.to_string()] = json!(score);
            }
            object["inside"] = json!(inside);
        }
        object.to_string()
    }
}
