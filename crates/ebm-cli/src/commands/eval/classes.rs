//! `ebm eval classes`.

use clap::Args;
use ebm::measure::{ClassOptions, ClassReport, classify_by_energy};

use super::figures::Figures;
use crate::args::ModelArgs;
use crate::outcome::Outcome;
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct ClassesCommand {
    #[command(flatten)]
    model: ModelArgs,
    /// Labelled samples: a linked kind, with labels=true where that is a setting, or a table with the column of classes that the run
    /// was trained with; the held-out part of the run's data without it.
    #[arg(long = "in", value_name = "NAME|PATH")]
    inside: Option<String>,
    /// Samples that are used at most, at equal distances; all without it.
    #[arg(long = "n", short = 'n', value_name = "N")]
    count: Option<usize>,
    /// Temperature T of the classes, softmax(-E(x, y)/T); of a run whose label term has another than 1, give that one.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    #[command(flatten)]
    figures: Figures,
}

impl ClassesCommand {
    pub fn run(self, out: &mut Output) -> Outcome {
        self.figures.free()?;
        let model = self.model.open()?;
        let options = ClassOptions { inside: self.inside, count: self.count, temperature: self.temperature };
        let found = classify_by_energy(&model, &options)?;
        self.figures.write(out, &found, table(&found))
    }
}

/// The figures as lines, and a line a class.
fn table(found: &ClassReport) -> String {
    let f = &found.figures;
    let mut text = format!(
        "p(y | x) = softmax(-E(x, y)/{}) on {} of {}, {} classes\n",
        found.temperature, f.count, found.set, found.classes
    );
    let (a, name) = (f.accuracy, "accuracy");
    text += &format!("{name:<24} {:>9.4}  [{:.4}, {:.4}] at 95 %\n", a.value, a.low, a.high);
    for (name, value) in [
        ("log loss, nats", f.log_loss),
        ("Brier score", f.brier),
        ("calibration error (ECE)", f.ece),
        ("largest of a bin (MCE)", f.mce),
    ] {
        text += &format!("{name:<24} {value:>9.4}\n");
    }
    let wide = found.by_class.iter().map(|c| c.0.chars().count()).max().unwrap_or(0).max(5);
    text += &format!("{:<wide$} {:>8} {:>8}\n", "class", "samples", "right");
    for (name, samples, right) in &found.by_class {
        text += &format!("{name:<wide$} {samples:>8} {right:>8}\n");
    }
    text
}
