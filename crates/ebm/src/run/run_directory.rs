//! The folder of a run: made once, never overwritten, worked on by one program at a time.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ebm_train::run;

use ebm_model::checkpoint::MANIFEST;

use crate::error::{Blocked, Error, Result};

/// A run directory that this program holds.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// Whether this program made the folder.
    made: bool,
    // The lock lives as long as the file is open.
    _lock: Option<File>,
}

impl RunDirectory {
    /// Where [`RunDirectory::create`] would make a directory, which is then there and empty.
    ///
    /// # Errors
    /// As there.
    pub fn place(out: Option<&Path>, runs: &Path, name: &str, seed: u64) -> Result<PathBuf> {
        match out {
            Some(out) => {
                claim(out)?;
                Ok(out.to_path_buf())
            }
            None => free(runs, name, seed),
        }
    }

    /// Makes `out`, or the first free `<runs>/<name>-<seed>-<n>`.
    ///
    /// # Errors
    /// If `out` exists and is not an empty folder (what a program leaves that was killed before it began counts for nothing), or
    /// the folder cannot be made.
    pub fn create(out: Option<&Path>, runs: &Path, name: &str, seed: u64) -> Result<Self> {
        let made = out.is_none_or(|out| !out.exists());
        let held = Self::locked(Self::place(out, runs, name, seed)?)?;
        clear(&held.path)?;
        Ok(RunDirectory { made, ..held })
    }

    /// Removes all that is in the directory of a run that never began, and the folder if this program made it. What cannot be
    /// removed stays: the caller has an error to tell that matters more.
    pub(crate) fn discard(&self) {
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        }
        if self.made {
            let _ = std::fs::remove_dir(&self.path);
        }
    }

    /// Refuses an `out` that cannot become a run directory, before anything is computed.
    ///
    /// # Errors
    /// If `out` exists and is not an empty folder.
    pub fn check_free(out: &Path) -> Result<()> {
        match std::fs::read_dir(out) {
            Ok(mut entries) => match entries.all(|e| e.is_ok_and(|e| is_rest(&e.path()))) {
                true => Ok(()),
                false => Err(taken(out)),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) if e.kind() == ErrorKind::NotADirectory => Err(taken(out)),
            Err(e) => Err(Error::io(out)(e)),
        }
    }

    /// Takes hold of the directory of an earlier run.
    ///
    /// # Errors
    /// If it is no run directory, or another program works on it.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join("config.toml").is_file() {
            return Err(Error::unfit(
                path.display(),
                "found no config.toml in it, wanted the directory of a run, such as runs/digits-0-1",
            ));
        }
        // Its own folder would be locked, and searched for checkpoints as one of a run that never had one.
        if path.join(MANIFEST).is_file() {
            let run = path.ancestors().nth(2).filter(|run| run.join("config.toml").is_file());
            let run = run.map_or_else(String::new, |run| format!(": {}", run.display()));
            return Err(Error::unfit(
                path.display(),
                format!(
                    "is a checkpoint, wanted the directory of its run{run}; it goes on from its newest whole checkpoint"
                ),
            ));
        }
        Self::locked(path.to_path_buf())
    }

    /// Takes hold of a folder that is there; `None` if another program works on it.
    pub(crate) fn try_hold(path: &Path) -> Result<Option<Self>> {
        let file = path.join(".lock");
        let lock = File::create(&file).map_err(Error::io(&file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(RunDirectory { path: path.to_path_buf(), made: false, _lock: Some(lock) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Some network file systems have no locks; then there is no protection, as before.
            Err(TryLockError::Error(_)) => {
                Ok(Some(RunDirectory { path: path.to_path_buf(), made: false, _lock: None }))
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn locked(path: PathBuf) -> Result<Self> {
        Self::try_hold(&path)?
            .ok_or_else(|| Error::unfit(path.display(), "another program works on this run"))
    }
}

/// Whether a program that was killed before it wrote `config.toml` may have left this in a run directory.
fn is_rest(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let empty = |path: &Path| std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    match name.as_str() {
        ".lock" | run::BASE => true,
        "checkpoints" => empty(path),
        other => other.ends_with(".partial") || other.starts_with(ebm_data::atomic::UNFINISHED),
    }
}

/// Removes such rests but the lock.
fn clear(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory).map_err(Error::io(directory))?.flatten() {
        let path = entry.path();
        if path.is_file() && is_rest(&path) && !path.ends_with(".lock") {
            std::fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

fn taken(out: &Path) -> Error {
    let why = match out.join("config.toml").is_file() {
        true => Blocked::Run,
        false => Blocked::NotEmpty,
    };
    Error::Output { setting: "out", path: out.to_path_buf(), why }
}

fn claim(out: &Path) -> Result<()> {
    RunDirectory::check_free(out)?;
    std::fs::create_dir_all(out).map_err(Error::io(out))
}

fn free(runs: &Path, name: &str, seed: u64) -> Result<PathBuf> {
    std::fs::create_dir_all(runs).map_err(Error::io(runs))?;
    // A name is a part of a path, not a path.
    let name: String =
        name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    for n in 1u64.. {
        let path = runs.join(format!("{name}-{seed}-{n}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(path)(e)),
        }
    }
    Err(Error::unfit(runs.display(), "no free name for the run"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn directories_are_numbered_and_names_are_no_paths() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name| RunDirectory::create(None, folder.path(), name, 7).unwrap().path().to_path_buf();
        assert_eq!(make("a"), folder.path().join("a-7-1"));
        assert_eq!(make("a"), folder.path().join("a-7-2"));
        assert_eq!(make("../x y"), folder.path().join("..-x-y-7-1"));
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let create = |out: &Path| RunDirectory::create(Some(out), folder.path(), "x", 0);
        drop(create(&out).unwrap());
        std::fs::write(out.join("config.toml"), "").unwrap();
        let e = create(&out).unwrap_err();
        assert!(e.to_string().contains("already holds a run"), "{e}");
        let file = folder.path().join("file");
        std::fs::write(&file, "mine").unwrap();
        assert!(create(&file).unwrap_err().to_string().contains("already exists"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
        let empty = folder.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        create(&empty).unwrap();
    }

    #[test]
    fn a_checkpoint_is_no_run_and_its_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let checkpoint = run.join("checkpoints/step-00000004");
        std::fs::create_dir_all(&checkpoint).unwrap();
        for file in [run.join("config.toml"), checkpoint.join("config.toml"), checkpoint.join(MANIFEST)] {
            std::fs::write(file, "").unwrap();
        }
        let e = RunDirectory::open(&checkpoint).unwrap_err().to_string();
        assert!(e.contains("is a checkpoint") && e.contains(&format!("its run: {};", run.display())), "{e}");
        assert_eq!(std::fs::read_dir(&checkpoint).unwrap().count(), 2);
        RunDirectory::open(&run).unwrap();
    }

    #[test]
    fn one_program_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), "").unwrap();
        let held = RunDirectory::open(folder.path()).unwrap();
        let e = RunDirectory::open(folder.path()).unwrap_err().to_string();
        assert!(e.contains("another program"), "{e}");
        drop(held);
        RunDirectory::open(folder.path()).unwrap();
        assert!(
            RunDirectory::open(&folder.path().join("no")).unwrap_err().to_string().contains("no config.toml")
        );
    }
}
