//! `progress`: how far a run has come, on standard error.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use ebm_core::{Event, Observer, ObserverConfig, Report, Result, RunPaths, Settings, plugin};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar where standard error is a terminal, else a plain line every few seconds. Nothing goes to standard output.
#[derive(Clone, Debug, Settings)]
pub struct ProgressConfig {
    /// Seconds between plain lines.
    #[setting(default = 10.0, above = 0.0, unit = "seconds")]
    pub seconds: f64,
}

struct Progress {
    seconds: f64,
    bar: Option<ProgressBar>,
    started: Instant,
    first: u64,
    told: Instant,
    name: String,
}

impl Progress {
    fn start(&mut self, step: u64, of: u64, name: &str) {
        self.first = step;
        self.started = Instant::now();
        self.told = self.started;
        self.name = name.to_string();
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::stderr_with_hz(8));
            let template = "{prefix} {bar:24} {pos}/{len} {per_sec} {eta} {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(self.name.clone());
            bar.set_position(step);
            bar.reset_eta();
            self.bar = Some(bar);
        }
    }

    fn step(&mut self, report: &Report) {
        if let Some(bar) = &self.bar {
            bar.set_position(report.step);
            // Words cost more than a small step: only as often as the bar is drawn.
            if self.told.elapsed() > Duration::from_millis(120) {
                self.told = Instant::now();
                bar.set_message(words(report));
            }
        } else if self.told.elapsed().as_secs_f64() >= self.seconds {
            self.told = Instant::now();
            self.line(report);
        }
    }

    fn line(&self, report: &Report) {
        let done = report.step.saturating_sub(self.first);
        let rate = done as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let left = report.of.saturating_sub(report.step) as f64 / rate.max(1e-9);
        say(&format!(
            "{}: step {}/{}, {rate:.1}/s, {} left, {}",
            self.name,
            report.step,
            report.of,
            duration(if done == 0 { f64::INFINITY } else { left }),
            words(report)
        ));
    }
}

/// Writes a line to standard error; a closed terminal is no reason to stop.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Energies and loss terms of a report.
fn words(report: &Report) -> String {
    let mut text = String::new();
    for (name, key) in [("E data", "energy.data"), ("E samples", "energy.samples"), ("grad", "grad")] {
        if let Some(v) = report.get(key) {
            let _ = write!(text, "{name} {v:.4} ");
        }
    }
    for (key, v) in report.values.iter().filter(|(k, _)| k.starts_with("loss.")) {
        let _ = write!(text, "{} {v:.4} ", &key["loss.".len()..]);
    }
    text.trim_end().to_string()
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() || s > 1e7 => "unknown".into(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

impl Observer for Progress {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Start { step, of, name, .. } => self.start(*step, *of, name),
            Event::Step { report, .. } => self.step(report),
            Event::Finish { report, reason, .. } => match self.bar.take() {
                Some(bar) => {
                    bar.set_position(report.step);
                    bar.abandon_with_message(format!("{reason} {}", words(report)));
                }
                None => {
                    self.line(report);
                    say(&format!("{}: {reason}", self.name));
                }
            },
            _ => {}
        }
        Ok(())
    }

    fn name(&self) -> String {
        "progress".into()
    }
}

#[plugin(
    "progress",
    summary = "a progress bar on a terminal, plain lines elsewhere",
    source = "this project",
    example = "seconds = 10.0"
)]
impl ObserverConfig for ProgressConfig {
    fn make(&self, _: &RunPaths) -> Result<Box<dyn Observer>> {
        let now = Instant::now();
        let name = String::new();
        Ok(Box::new(Progress { seconds: self.seconds, bar: None, started: now, first: 0, told: now, name }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fake_tests as fake;

    #[test]
    fn words_name_energies_and_terms() {
        let mut report = fake::report(3, 9);
        report.values.insert("loss.cd".into(), 0.125);
        assert_eq!(words(&report), "E data -0.5000 E samples 0.2500 cd 0.1250 kl NaN");
    }

    #[test]
    fn durations_read_well() {
        let said: Vec<String> = [3.2, 600.0, 9000.0, f64::INFINITY].map(duration).to_vec();
        assert_eq!(said, ["3 s", "10 min", "2.5 h", "unknown"]);
    }

    #[test]
    fn a_run_is_followed_without_a_terminal() {
        let folder = tempfile::tempdir().unwrap();
        let config: Box<dyn ObserverConfig> = toml::from_str("kind = 'progress'\nseconds = 0.001").unwrap();
        let mut progress = config.build(&RunPaths::new(folder.path())).unwrap();
        fake::run(&mut *progress, folder.path(), 0, 3, "done").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
