//! The report of a study as Markdown, CSV and JSON.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::record::Ended;
use super::summary::Summary;
use crate::error::Result;
use crate::report::charts::{self, Charted};
use crate::whole_file::replace;

/// Energies on the charts are cut at this many times the bound, or a run that blows up in one step leaves no room for
/// the others.
const BEYOND: f64 = 10.0;

/// Figures of the table, with their heads; those that no run has are left out.
const COLUMNS: [(&str, &str); 11] = [
    ("difference", "E data − E samples"),
    ("energy", "E samples"),
    ("grad.cd", "‖grad cd‖"),
    ("grad.kl", "‖grad kl‖"),
    ("grad.ent", "‖grad ent‖"),
    ("grad.reg", "‖grad reg‖"),
    ("kl/cd", "kl / cd"),
    ("seconds", "ms a step"),
    ("fd_pix", "FD-pix"),
    ("near", "near"),
    ("classes", "classes"),
];

impl Summary {
    /// The table of the variants.
    pub fn markdown(&self) -> String {
        let seen: BTreeSet<&str> =
            self.variants.iter().flat_map(|v| v.medians.keys().map(String::as_str)).collect();
        let own = COLUMNS.iter().filter(|(name, _)| seen.contains(name)).copied();
        let asked = self.columns.iter().map(|name| (name.as_str(), name.as_str()));
        let asked = asked.filter(|(name, _)| !COLUMNS.iter().any(|(own, _)| own == name));
        let columns: Vec<(&str, &str)> = own.chain(asked).collect();
        let late = self.variants.iter().any(|v| v.out_of_time > 0);
        let ill = self.variants.iter().any(|v| v.ill > 0);
        let mut head = vec!["variant", "runs", "blown up", "at step", "p"];
        if ill {
            head.push("ill at the end");
        }
        if late {
            head.push("out of time");
        }
        head.extend(columns.iter().map(|(_, title)| *title));
        let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
        for v in &self.variants {
            let mut cells = vec![
                v.name.clone(),
                v.runs.to_string(),
                v.blown_up.to_string(),
                v.blow_up_step.map_or("–".into(), |s| format!("{s:.0}")),
                v.p.map_or("–".into(), short),
            ];
            if ill {
                cells.push(v.ill.to_string());
            }
            if late {
                cells.push(v.out_of_time.to_string());
            }
            for (name, _) in &columns {
                let scale = if *name == "seconds" { 1e3 } else { 1.0 };
                cells.push(v.medians.get(*name).map_or("–".into(), |x| short(x * scale)));
            }
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text
    }

    /// One line a run.
    fn csv(&self) -> String {
        let names: BTreeSet<&String> =
            self.runs.iter().flat_map(|r| r.figures.keys().chain(r.record.measures.keys())).collect();
        let mut text = "variant,seed,ended,health,steps,skipped".to_string();
        names.iter().for_each(|n| text += &format!(",{n}"));
        text += ",reason\n";
        for r in &self.runs {
            let ended = serde_json::to_value(r.record.ended).ok();
            let ended = ended.as_ref().and_then(|v| v.as_str()).unwrap_or_default();
            let health = r.record.health.and_then(|level| serde_json::to_value(level).ok());
            let health = health.as_ref().and_then(|v| v.as_str()).unwrap_or_default();
            text += &format!(
                "{},{},{ended},{health},{},{}",
                r.record.variant, r.record.seed, r.record.steps, r.record.skipped
            );
            for name in &names {
                let value = r.figures.get(*name).or_else(|| r.record.measures.get(*name));
                text += &format!(",{}", value.map_or(String::new(), f64::to_string));
            }
            text += &format!(",\"{}\"\n", r.record.reason.replace('"', "\"\""));
        }
        text
    }

    /// Writes `report.md`, `runs.csv`, `report.json` and the pictures into `directory`.
    pub(super) fn write(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let settings: String = self
            .variants
            .iter()
            .filter(|v| !v.settings.is_empty())
            .map(|v| format!("- {}: `{}`\n", v.name, v.settings.join("`, `")))
            .collect();
        let settings = if settings.is_empty() { settings } else { format!("\n{settings}") };
        let heading = format!(
            "# Study {}\n\n{} steps a run; |mean energy| above {} or numbers that are not finite count as a blow-up. \
             Medians over the runs of medians over a run's last tenth (energies) or all its reports; p: Fisher's \
             exact test of blow-ups against the first variant, two-sided.\n\n",
            self.name, self.steps, self.max_energy
        );
        let json = serde_json::to_string_pretty(self).map_err(|e| ebm_core::Error::plugin("study", e))?;
        let mut files = Vec::new();
        for (name, text) in [
            ("report.md", heading + &self.markdown() + &settings),
            ("runs.csv", self.csv()),
            ("report.json", json + "\n"),
        ] {
            let path = directory.join(name);
            replace(&path, text.as_bytes())?;
            files.push(path);
        }
        let legend: Vec<String> = self.variants.iter().map(|v| v.name.clone()).collect();
        let charted: Vec<Charted<'_>> = self
            .runs
            .iter()
            .filter_map(|run| {
                let group = legend.iter().position(|v| *v == run.record.variant)?;
                Some(Charted { series: &run.series, group, cross: run.record.ended == Ended::BlownUp })
            })
            .collect();
        files.extend(charts::write(&charted, &legend, BEYOND * self.max_energy, directory)?);
        Ok(files)
    }
}

/// Three digits that matter.
fn short(v: f64) -> String {
    let size = v.abs();
    match size {
        _ if v == 0.0 => "0".into(),
        _ if !(1e-3..1e5).contains(&size) => format!("{v:.1e}"),
        _ => format!("{v:.*}", (2 - size.log10().floor() as i32).clamp(0, 5) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (v, want) in [
            (0.0, "0"),
            (1.0, "1.00"),
            (-0.012345, "-0.0123"),
            (123.45, "123"),
            (0.00012, "1.2e-4"),
            (99999.0, "99999"),
            (2e6, "2.0e6"),
        ] {
            assert_eq!(short(v), want);
        }
    }
}
