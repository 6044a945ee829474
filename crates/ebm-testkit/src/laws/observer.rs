//! Everything that is asked of an observer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ebm_core::candle::{DType, Tensor};
use ebm_core::{Autograd, Batch, EnergyFn, Event, Observer, Report, Result, RunPaths, RunView};

use super::targets::{self, Sketch, numbers};
use crate::{Failure, Verdict};

/// Checks the observers that `build` makes for a run of samples of `shape`, on a run of six steps that is none:
///
/// 1. it takes every event without an error, and samples of any size that it asks for;
/// 2. it changes nothing: the parameters of the energy are the same bits after each event;
/// 3. files that only grow ([`RunPaths::claim_growing`]) have, after a kill between two checkpoints and a continuation from the older
///    one, the bytes of a run that was not killed;
/// 4. it writes below the directory of the run alone.
///
/// # Errors
/// Names the first law that fails.
pub fn observer(build: &dyn Fn(&RunPaths) -> Result<Box<dyn Observer>>, shape: &[usize]) -> Verdict {
    let folder = Folder::new()?;
    let run = Run { shape: shape.to_vec(), energy: targets::sketch_as(shape, 1.0, DType::F32)? };
    let (straight, killed) = (folder.0.join("straight"), folder.0.join("killed"));
    let growing = {
        let paths = paths(&straight)?;
        let mut o = build(&paths)?;
        tell(o.as_mut(), &straight, &run, Course { from: 0, to: 4, start: true, saves: true, ends: false })?;
        tell(o.as_mut(), &straight, &run, Course { from: 4, to: 6, start: false, saves: true, ends: true })?;
        paths.growing()
    };
    let paths = paths(&killed)?;
    let mut first = build(&paths)?;
    let name = first.name();
    tell(first.as_mut(), &killed, &run, Course { from: 0, to: 4, start: true, saves: true, ends: false })?;
    // Steps that no checkpoint has, and the end of the process: what it would write when it is dropped is not written.
    tell(first.as_mut(), &killed, &run, Course { from: 4, to: 5, start: false, saves: false, ends: false })?;
    std::mem::forget(first);
    let mut second = build(&paths)?;
    tell(second.as_mut(), &killed, &run, Course { from: 4, to: 6, start: true, saves: true, ends: true })?;
    drop(second);
    for file in growing {
        // Pictures stand in a folder that observers share.
        let (want, found) = (contents(&straight, &file), contents(&killed, &file));
        for (path, bytes) in &want {
            let other = found.get(path);
            Failure::unless(other == Some(bytes), || {
                format!(
                    "{name}: killed after a checkpoint and continued, `{}` holds {:?} bytes, without it {}, or others; be on the medium at \
                     `Saving`, and take what lies after the step of `Start` off again",
                    path.display(),
                    other.map(Vec::len),
                    bytes.len()
                )
            })?;
        }
    }
    let strangers: Vec<String> =
        names(&folder.0).into_iter().filter(|n| n != "straight" && n != "killed").collect();
    Failure::unless(strangers.is_empty(), || {
        format!(
            "{name}: wrote {strangers:?} beside the directory of the run; take places from `RunPaths::claim`"
        )
    })
}

fn paths(directory: &Path) -> Result<RunPaths> {
    fs::create_dir_all(directory).map_err(|source| ebm_core::Error::Io { path: directory.into(), source })?;
    Ok(RunPaths::new(directory))
}

/// A part of a run.
struct Course {
    from: u64,
    to: u64,
    start: bool,
    saves: bool,
    ends: bool,
}

/// Steps of the whole run.
const OF: u64 = 6;

fn tell(o: &mut dyn Observer, directory: &Path, run: &Run, course: Course) -> Verdict {
    let before = bits(run)?;
    let mut say = |event: &Event<'_>, what: &str| -> Verdict {
        o.on(event).map_err(|e| Failure::new(format!("{}: at {what}: {e}", o.name())))?;
        Failure::unless(bits(run)? == before, || {
            format!(
                "{}: at {what} the parameters of the energy changed; an observer looks and changes nothing",
                o.name()
            )
        })
    };
    if course.start {
        say(&Event::Start { step: course.from, of: OF, name: "planted", directory }, "the start")?;
    }
    for step in course.from + 1..=course.to {
        say(&Event::Step { report: &report(step), view: run }, "a step")?;
    }
    if course.saves {
        say(&Event::Saving { step: course.to }, "saving")?;
        say(&Event::Checkpoint { step: course.to, path: directory }, "a checkpoint")?;
    }
    if course.ends {
        say(&Event::Finish { report: &report(course.to), reason: "done", view: run }, "the end")?;
    }
    Ok(())
}

fn bits(run: &Run) -> Result<BTreeMap<String, Vec<u64>>> {
    let all = run.energy.params().snapshot()?;
    all.into_iter().map(|(n, t)| Ok((n, numbers(&t)?.into_iter().map(f64::to_bits).collect()))).collect()
}

/// Numbers of a step, one of which is none.
fn report(step: u64) -> Report {
    let at = step as f64;
    let values = [
        ("energy.data", -0.5 * at),
        ("energy.samples", 0.25 * at),
        ("energy.difference", -0.75 * at),
        ("loss.cd", f64::NAN),
        ("grad", 1.5),
        ("rate", 1e-3),
        ("seconds", 0.5),
    ];
    Report { step, of: OF, values: values.map(|(k, v)| (k.to_string(), v)).into() }
}

struct Run {
    shape: Vec<usize>,
    energy: Autograd<Sketch>,
}

impl Run {
    fn ramp(&self, n: usize) -> Result<Tensor> {
        let x = targets::normal(&self.shape, n, ebm_core::Key::root(3))?;
        Ok(x.affine(0.2, 0.5)?.clamp(0.0, 1.0)?.to_dtype(DType::F32)?)
    }
}

impl RunView for Run {
    fn energy(&self) -> &dyn EnergyFn {
        &self.energy
    }
    fn samples(&self, n: usize) -> Result<Tensor> {
        self.ramp(n)
    }
    fn buffered(&self, n: usize) -> Result<Option<Tensor>> {
        self.ramp(n.min(5)).map(Some)
    }
    fn data(&self, n: usize) -> Result<Option<Tensor>> {
        self.ramp(n).map(Some)
    }
    fn drawn(&self, n: usize) -> Result<Option<Batch>> {
        Ok(Some(Batch::new(self.ramp(n)?)?))
    }
    fn sample_shape(&self) -> &[usize] {
        &self.shape
    }
}

/// A file, or the files that a claim of pictures names: `sheets/<what>` are `sheets/<what>-<step>.png`.
fn contents(directory: &Path, claimed: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let whole = directory.join(claimed);
    if let Ok(bytes) = fs::read(&whole) {
        all.insert(PathBuf::from(claimed), bytes);
        return all;
    }
    let (folder, stem) = (whole.parent().unwrap_or(directory), whole.file_name().unwrap_or_default());
    let stem = stem.to_string_lossy().into_owned();
    for name in names(folder).into_iter().filter(|n| n.starts_with(&stem)) {
        if let Ok(bytes) = fs::read(folder.join(&name)) {
            all.insert(PathBuf::from(name), bytes);
        }
    }
    all
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// A new folder below that of temporary files, taken away at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let own = format!("ebm-testkit-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(own);
        fs::create_dir_all(&path).map_err(|source| ebm_core::Error::Io { path: path.clone(), source })?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
