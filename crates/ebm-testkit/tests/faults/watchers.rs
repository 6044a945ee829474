//! Observers and policies, with one line wrong.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use ebm_core::{Action, Error, Event, Finding, Observer, Policy, Report, Result, RunPaths};
use ebm_testkit::{Verdict, laws};
use serde_json::Value;

use crate::{Planted, planted};

/// A line a step.
struct Lines {
    what: &'static str,
    file: PathBuf,
    waiting: String,
}

fn io(path: &std::path::Path) -> impl Fn(std::io::Error) -> Error + '_ {
    |source| Error::Io { path: path.into(), source }
}

impl Lines {
    fn flush(&mut self) -> Result<()> {
        let mut file =
            OpenOptions::new().append(true).create(true).open(&self.file).map_err(io(&self.file))?;
        file.write_all(self.waiting.as_bytes()).map_err(io(&self.file))?;
        self.waiting.clear();
        Ok(())
    }
}

impl Observer for Lines {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Start { step, .. } => {
                // What lies after the checkpoint is done again.
                let kept = fs::read_to_string(&self.file).unwrap_or_default();
                let upto = if self.what == "appends" { u64::MAX } else { *step };
                let lines = kept.lines().filter(|l| {
                    l.split(' ').next().and_then(|n| n.parse().ok()).is_some_and(|n: u64| n <= upto)
                });
                let text: String = if self.what == "begins anew" {
                    String::new()
                } else {
                    lines.map(|l| format!("{l}\n")).collect()
                };
                fs::write(&self.file, text).map_err(io(&self.file))
            }
            Event::Step { report, view } => {
                if self.what == "changes" {
                    let e = view.energy();
                    for name in e.params().trainable().map(str::to_string).collect::<Vec<_>>() {
                        if let Some(t) = e.params().get(&name) {
                            let t = t.affine(1.0, 1e-6)?;
                            e.params().set(&name, &t)?;
                        }
                    }
                }
                if self.what == "missing" && report.get("no-such-number").is_none() {
                    return Err(Error::config("observer", "finds no `no-such-number`"));
                }
                let energy = report.get("energy.data").unwrap_or(f64::NAN);
                let wall = format!("{:?}", std::time::Instant::now());
                let tail = if self.what == "wall" { wall } else { format!("{energy}") };
                self.waiting += &format!("{} {tail}\n", report.step);
                if self.what == "late" { Ok(()) } else { self.flush() }
            }
            Event::Finish { .. } => self.flush(),
            _ => Ok(()),
        }
    }
    fn name(&self) -> String {
        "lines".into()
    }
}

fn lines(what: &'static str) -> Verdict {
    let build = |paths: &RunPaths| -> Result<Box<dyn Observer>> {
        let mut file = paths.claim_growing("file", "lines.txt")?;
        if what == "beside" {
            file = paths.directory.with_extension("txt");
        }
        Ok(Box::new(Lines { what, file, waiting: String::new() }))
    };
    laws::observer(&build, &[2])
}

/// Halves the rate after `patience` steps of large energies.
struct Halving(&'static str);

static SEEN: AtomicU64 = AtomicU64::new(0);

impl Policy for Halving {
    fn decide(&self, memory: &mut Value, report: &Report) -> Result<Vec<Action>> {
        let count = match (&*memory, self.0) {
            (Value::Null, _) => 0,
            (Value::Number(n), _) => {
                n.as_u64().ok_or_else(|| Error::config("halving", "finds a memory that is not its own"))?
            }
            (other, "trusts") => {
                assert!(other.is_object(), "a memory of another");
                0
            }
            _ => return Err(Error::config("halving", "finds a memory that is not its own")),
        };
        let large = report.get("energy.samples").is_some_and(|v| v.abs() > 100.0);
        let count = match self.0 {
            "hidden" => SEEN.fetch_add(u64::from(large), Ordering::Relaxed),
            _ => count + u64::from(large),
        };
        *memory = count.into();
        if self.0 == "clock" && std::time::Instant::now().elapsed().as_nanos() < u128::MAX {
            let odd = SEEN.fetch_add(1, Ordering::Relaxed) % 2 == 1;
            return Ok(if odd { vec![Action::Checkpoint] } else { Vec::new() });
        }
        Ok(match (count, self.0) {
            (3, "zero") => vec![Action::ScaleRate(0.0)],
            (3, "nothing kept") => vec![Action::Keep { last: 0, every: 10 }],
            (3, "no reason") => vec![Action::Stop(" ".into())],
            (3, _) => vec![Action::ScaleRate(0.5)],
            _ => Vec::new(),
        })
    }
    fn answer(&self, _: &mut Value, _: &Finding) -> Result<Vec<Action>> {
        let factors =
            BTreeMap::from([("optimiser.rate".to_string(), if self.0 == "negative" { -0.5 } else { 0.5 })]);
        Ok(vec![Action::RollBack { factors }])
    }
    fn scales(&self) -> Vec<String> {
        if self.0 == "unnamed" { Vec::new() } else { vec!["optimiser.rate".into()] }
    }
    fn name(&self) -> String {
        "halving".into()
    }
}

fn halving(what: &'static str) -> Verdict {
    laws::policy(&|| Ok(Box::new(Halving(what))))
}

pub(crate) fn all() -> Vec<Planted> {
    let o = |fault, says, run: fn() -> Verdict| planted("observer", fault, says, run);
    let p = |fault, says, run: fn() -> Verdict| planted("policy", fault, says, run);
    vec![
        o("sound lines", "", || lines("")),
        o("changes parameters", "parameters of the energy changed", || lines("changes")),
        o("steps after the checkpoint stay", "killed after a checkpoint", || lines("appends")),
        o("a continued run begins the file anew", "killed after a checkpoint", || lines("begins anew")),
        o("lines kept back at `Saving`", "killed after a checkpoint", || lines("late")),
        o("wall times in a file that only grows", "killed after a checkpoint", || lines("wall")),
        o("writes beside the run", "beside the directory", || lines("beside")),
        o("fails where a number is missing", "at a step", || lines("missing")),
        p("sound halving", "", || halving("")),
        p("counts outside of its memory", "the same memory and report", || halving("hidden")),
        p("acts by the number of calls", "the same memory and report", || halving("clock")),
        p("panics on a memory of another", "panics on the memory", || halving("trusts")),
        p("multiplies the rate by 0", "multiplies the rate by 0", || halving("zero")),
        p("keeps no checkpoint", "keeps no checkpoint", || halving("nothing kept")),
        p("ends the run without a reason", "without a reason", || halving("no reason")),
        p("rolls back what `scales` does not name", "does not name", || halving("unnamed")),
        p("rolls back by a negative factor", "wanted a positive number", || halving("negative")),
    ]
}
