//! `ebm parity`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ebm::core::candle::DType;
use ebm::exchange::Compared;
use serde_json::json;

use crate::outcome::{End, Failure, Outcome};
use crate::output::{self, Output};
use crate::say;

/// Exit code if a quantity is over its tolerance.
const OVER: u8 = 1;

#[derive(Debug, Args)]
pub(crate) struct Parity {
    /// Golden files: safetensors with one training iteration of the published program.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Number type of the computation.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Type,
    /// How to compute; without it fused in f32, on the graph in f64.
    #[arg(long, value_enum)]
    engine: Option<Way>,
    /// Print only the worst quantity of each file and what is over.
    #[arg(long)]
    brief: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Type {
    F32,
    F64,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Way {
    /// Fused kernels of the processor.
    Fused,
    /// Tensor operations one by one.
    Graph,
}

impl Parity {
    pub fn run(self, out: &mut Output) -> Outcome {
        let way = self.engine.unwrap_or(if self.dtype == Type::F32 { Way::Fused } else { Way::Graph });
        if (self.dtype, way) == (Type::F64, Way::Fused) {
            return Err(Failure::Usage(
                "--engine fused: computes in f32 only; leave out --dtype f64 or use --engine graph".into(),
            ));
        }
        let dtype = if self.dtype == Type::F32 { DType::F32 } else { DType::F64 };
        let (mut over, mut broken, mut all) = (0, None, Vec::new());
        for file in &self.files {
            let name = file.display().to_string();
            match ebm::interop::compare(file, dtype, way == Way::Fused) {
                Ok(found) => {
                    over += found.rows.iter().filter(|r| !r.pass).count();
                    if self.json {
                        let pass = found.rows.iter().all(|r| r.pass);
                        all.push(
                            json!({ "file": name, "dtype": dtype.as_str(), "pass": pass, "compared": found }),
                        );
                    } else {
                        self.table(out, &name, dtype, &found)?;
                    }
                }
                Err(e) => {
                    // The other files are still compared.
                    output::say(&format!("error: {}", say::message(&e)));
                    all.push(json!({ "file": name, "error": say::message(&e) }));
                    broken = broken.or(Some(say::exit_code(&e)));
                }
            }
        }
        if self.json {
            out.json(&all)?;
        } else if broken.is_none() {
            let files = self.files.len();
            let word = if files == 1 { "file" } else { "files" };
            out.line(match over {
                0 => format!("{files} {word}: everything agrees"),
                n => format!("{files} {word}: {n} quantities are over their tolerance"),
            })?;
        }
        out.flush()?;
        Ok(match (broken, over) {
            (Some(code), _) => End::With(code),
            (None, 0) => End::Done,
            (None, _) => End::With(OVER),
        })
    }

    fn table(&self, out: &mut Output, file: &str, dtype: DType, found: &Compared) -> Result<(), Failure> {
        out.line(format!("{file}: {}", found.subject))?;
        out.line(format!("  {} on engine: {}", dtype.as_str(), found.engine))?;
        let worst = |r: &ebm::exchange::Quantity| r.error / r.tolerance.max(f64::MIN_POSITIVE);
        let first = found.rows.iter().max_by(|a, b| worst(a).total_cmp(&worst(b)));
        out.line(format!("  {:<50} {:>10} {:>10}", "quantity", "error", "tolerance"))?;
        for row in &found.rows {
            let shown = !self.brief || !row.pass || first.is_some_and(|f| std::ptr::eq(f, row));
            if shown {
                let verdict = if row.pass { "ok" } else { "OVER" };
                out.line(format!(
                    "  {:<50} {:>10.2e} {:>10.1e}  {verdict}",
                    row.quantity, row.error, row.tolerance
                ))?;
            }
        }
        if self.brief {
            out.line(format!("  {} quantities compared", found.rows.len()))?;
        }
        out.line("")
    }
}
