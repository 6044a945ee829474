//! `ebm eval ood`.

use std::path::{Path, PathBuf};

use clap::Args;
use ebm::eval::FEW_SCORES;
use ebm::measure::{OodOptions, OodReport, ood};
use ebm::{Error, whole_file};

use crate::args::{ForceArg, ModelArgs};
use crate::outcome::{End, Failure, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Ood {
    #[command(flatten)]
    model: ModelArgs,
    /// The inside set: a linked kind, .npy, .npz, IDX, CIFAR-10, a folder of pictures; the held-out part of the run's
    /// data without it.
    #[arg(long = "in", value_name = "NAME|PATH")]
    inside: Option<String>,
    /// Outside sets: as --in, or made from the inside set: rule:uniform, rule:constant, rule:noise[:DEVIATION],
    /// rule:blur[:SHARE OF THE SIDE], rule:interpolation[:WEIGHT].
    #[arg(long = "out", value_name = "NAME|PATH|RULE", num_args = 1.., required = true)]
    outside: Vec<String>,
    /// Scores: energy, terms (each part of the energy), term.NAME, grad-norm, typicality.
    #[arg(
        long = "score",
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "energy,terms,grad-norm,typicality"
    )]
    scores: Vec<String>,
    /// Samples of a set that are used at most, at equal distances; 0 for all.
    #[arg(long = "n", short = 'n', value_name = "N", default_value_t = 10_000)]
    count: u64,
    /// Resize images of another size and convert their colours.
    #[arg(long)]
    fit: bool,
    /// Spread bytes over their level, as in training, instead of taking its middle.
    #[arg(long)]
    dequantise: bool,
    /// Draws of the distributions of both sets that the intervals are taken over.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    resamples: usize,
    /// Level of the intervals.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    level: f64,
    /// Seed of rules, dequantisation and intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Samples that are scored together; as in training without it.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Write everything, histograms included, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw histograms: .png or .svg.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArg,
}

impl Ood {
    pub fn run(self, out: &mut Output) -> Outcome {
        whole_file::apart(&[("json", self.json.as_deref()), ("picture", self.picture.as_deref())])?;
        if let Some(path) = &self.json {
            whole_file::free("json", path, self.force.force)?;
        }
        if let Some(path) = &self.picture {
            picture(path)?;
            whole_file::free("picture", path, self.force.force)?;
        }
        let model = self.model.open()?;
        let options = OodOptions {
            inside: self.inside,
            outside: self.outside,
            scores: self.scores,
            count: (self.count > 0).then_some(self.count),
            batch: self.batch,
            fit: self.fit,
            dequantise: self.dequantise,
            resamples: self.resamples,
            level: self.level,
            seed: self.seed,
        };
        let found = ood(&model, &options)?;
        if let Some(path) = &self.json {
            whole_file::replace(path, whole_file::json(&found)?.as_bytes())?;
        }
        if let Some(path) = &self.picture {
            found.draw(path)?;
        }
        out.line(table(&found))?;
        out.flush()?;
        Ok(End::Done)
    }
}

fn picture(path: &Path) -> Result<(), Failure> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("png" | "svg") => Ok(()),
        _ => Err(Error::invalid("picture", path.display(), "a file ending in .png or .svg").into()),
    }
}

/// A line for each outside set and score: figures in percent-free form, intervals in brackets.
fn table(found: &OodReport) -> String {
    let wide = |n: usize, s: &str| format!("{s:<n$}");
    let name = found.rows.iter().map(|r| r.outside.chars().count()).max().unwrap_or(0).max(7);
    let kind = found.rows.iter().map(|r| r.score.to_string().len()).max().unwrap_or(0).max(5);
    let mut text = format!(
        "inside {}: {} samples; scores are higher for what is more outside; {:.0} % intervals\n",
        found.inside.name,
        found.inside.count,
        100.0 * found.level
    );
    if let Some((set, mean)) = &found.typicality_from {
        text += &format!("typicality is |E - {mean:.4}|, the mean energy of {set}\n");
    }
    text += &format!(
        "{} {:>6} {} {:<20} {:<20} {:<20} {:<20}\n",
        wide(name, "outside"),
        "n",
        wide(kind, "score"),
        "AUROC",
        "AUPR-in",
        "AUPR-out",
        "FPR at 95 % TPR"
    );
    for row in &found.rows {
        let n = found.outside.iter().find(|s| s.name == row.outside).map_or(0, |s| s.count);
        let f = &row.figures;
        text += &format!("{} {n:>6} {}", wide(name, &row.outside), wide(kind, &row.score.to_string()));
        for i in [f.auroc, f.aupr_in, f.aupr_out, f.fpr95] {
            text += &format!(" {:.3} [{:.3}, {:.3}]", i.value, i.low, i.high);
        }
        text.push('\n');
    }
    text += "AUPR is average precision, FPR that of the outside samples where 95 % of the inside ones pass; OpenOOD from 1.5 on and pytorch-ood take outside samples for the positives, so their FPR and AUPR-by-trapezoids are other numbers\n";
    let fewest = found.outside.iter().map(|s| s.count).fold(found.inside.count, usize::min);
    if fewest < FEW_SCORES {
        text += &format!(
            "a set of {fewest} samples: intervals of fewer than {FEW_SCORES} hold the true figure a few per cent more or less often than they say\n"
        );
    }
    text
}
