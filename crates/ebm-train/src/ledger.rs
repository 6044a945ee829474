//! The ledger of a run: what its observers had written when each checkpoint was made, with digests, so that a run that goes
//! on, or a report of it, can say what has changed since. It speaks of files that only grow and have the same bytes in every
//! run of the same settings, so it has the same bytes itself, whatever happened to the run on its way. Of files with wall
//! times it has the number of entries. What was once found missing stays in it, for reports made later.

mod changes;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use ebm_core::{Error, Result};
use ebm_model::digest::hexadecimal;
use sha2::{Digest as _, Sha256};

use crate::checkpoint::list;
use crate::run::checkpoints_of;

use changes::{changed, digested};
pub use changes::{changes, has_ends, note_ends};
pub(crate) use stored::Counts;
use stored::{Extent, Found, Stored, unknown};

/// No more losses are kept: a run has a handful, if any.
const MOST_LOSSES: usize = 1000;

/// A file as far as it was read.
struct Seen {
    bytes: u64,
    digest: Sha256,
}

/// Keeps the ledger while a run goes on.
pub(crate) struct Ledger {
    directory: PathBuf,
    /// What observers write of this kind, by [`ebm_core::RunPaths::growing`].
    claims: Vec<String>,
    stored: Stored,
    seen: BTreeMap<String, Seen>,
    /// What observers had written at the step after which the run goes on.
    counted: Counts,
}

impl Ledger {
    /// The ledger of a run that goes on after `step`, and what has happened since to the files that it speaks of. It says
    /// nothing of that step until [`Ledger::note`]: observers may have something to mend.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(directory: &Path, claims: Vec<String>, step: u64) -> Result<(Self, Vec<String>)> {
        let (directory, mut remarks) = (directory.to_path_buf(), Vec::new());
        let stored = match Stored::read(&directory) {
            Found::Whole(stored) => stored,
            Found::Missing => {
                remarks.extend((step > 0 && !claims.is_empty()).then(|| unknown("missing")));
                Stored::default()
            }
            Found::Damaged => {
                remarks.push(unknown("damaged"));
                Stored::default()
            }
        };
        remarks.extend(stored.at(step).filter_map(|(file, was)| changed(&directory, file, was, step)));
        let counted = stored.counts.get(&step).cloned().unwrap_or_default();
        let mut ledger = Ledger { directory, claims, stored, seen: BTreeMap::new(), counted };
        // A run that goes on ends anew.
        ledger.stored.ends.clear();
        ledger.lose(&remarks);
        ledger.forget(step)?;
        Ok((ledger, remarks))
    }

    /// What is missing of the entries of observers at `step`, after which the run goes on, if they have `counts` now.
    pub fn missing(&self, step: u64, counts: &Counts) -> Vec<String> {
        let fewer = |(name, was): (&String, &u64)| {
            let now = *counts.get(name)?;
            (now < *was).then(|| {
                format!(
                    "{name}: {} of {was} entries are missing since the checkpoint of step {step}",
                    was - now
                )
            })
        };
        self.counted.iter().filter_map(fewer).collect()
    }

    /// The entries of observers that belong to the checkpoint after which the run goes on, if they have `counts` now: what they wrote after it,
    /// such as a line of the last step when the run ended, is not among them.
    pub fn at_checkpoint(&self, mut counts: Counts) -> Counts {
        for (name, was) in &self.counted {
            if let Some(now) = counts.get_mut(name) {
                *now = (*now).min(*was);
            }
        }
        counts
    }

    /// Keeps what is lost, for reports; it is written with the next note.
    pub fn lose(&mut self, remarks: &[String]) {
        let losses = &mut self.stored.losses;
        for remark in remarks {
            if losses.len() < MOST_LOSSES && !losses.contains(remark) {
                losses.push(remark.clone());
            }
        }
    }

    /// Says nothing of this step and later ones any more: files change that were written up to it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn forget(&mut self, step: u64) -> Result<()> {
        self.seen.clear();
        let before = self.stored.steps.len();
        self.stored.steps.retain(|s| *s < step);
        // Entries of the step itself are not taken back by what an observer mends: they are what was there when it was saved.
        self.stored.counts.retain(|s, _| *s <= step);
        for all in self.stored.files.values_mut() {
            all.retain(|s, _| *s < step);
        }
        if self.stored.steps.len() == before { Ok(()) } else { self.write() }
    }

    /// Notes what the files are at `step`, and the entries that observers have `counts` of, before its checkpoint is made.
    ///
    /// # Errors
    /// If a file cannot be read, or the ledger not written.
    pub fn note(&mut self, step: u64, counts: Counts) -> Result<()> {
        let files = self.files(step);
        self.stored.steps.insert(step);
        if !counts.is_empty() {
            self.stored.counts.insert(step, counts);
        }
        // A file that is gone is missing from now on, and was told of.
        self.stored.files.retain(|file, _| files.contains(file));
        for file in files {
            let extent = self.extent(&file)?;
            let all = self.stored.files.entry(file).or_default();
            // What did not grow is as it was at the step before.
            if all.range(..=step).next_back().is_none_or(|(_, last)| *last != extent) {
                all.insert(step, extent);
            }
        }
        self.write()
    }

    /// Forgets the steps whose checkpoints are there no more.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn prune(&mut self) -> Result<()> {
        let kept: BTreeSet<u64> = list(&checkpoints_of(&self.directory)).into_iter().map(|c| c.0).collect();
        let before = self.stored.steps.len();
        self.stored.steps.retain(|step| kept.contains(step));
        self.stored.counts.retain(|step, _| kept.contains(step));
        if self.stored.steps.len() == before {
            return Ok(());
        }
        let steps: Vec<u64> = self.stored.steps.iter().copied().collect();
        for all in self.stored.files.values_mut() {
            // What is said of the steps that are left, as if there had never been others.
            let mut left = BTreeMap::new();
            for step in &steps {
                let Some((_, was)) = all.range(..=*step).next_back() else { continue };
                if left.values().next_back() != Some(was) {
                    left.insert(*step, was.clone());
                }
            }
            *all = left;
        }
        self.write()
    }

    fn write(&mut self) -> Result<()> {
        self.stored.files.retain(|_, all| !all.is_empty());
        self.stored.write(&self.directory)
    }

    /// The files that observers have written up to `step`, below the run directory, with `/` between folders. Pictures of later
    /// steps are of what a killed program did, and will be drawn again.
    fn files(&self, step: u64) -> BTreeSet<String> {
        let of = |name: &str| name.split('.').next()?.rsplit('-').next()?.parse::<u64>().ok();
        let mut found = BTreeSet::new();
        for claim in &self.claims {
            let (folder, prefix) = match claim.split_once('/') {
                Some((folder, what)) => (folder, format!("{what}-")),
                None => (claim.as_str(), String::new()),
            };
            let path = self.directory.join(folder);
            if path.is_file() {
                found.insert(claim.clone());
            }
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let whole = !name.starts_with('.') && !name.ends_with(".partial");
                let done = of(&name).is_none_or(|drawn| drawn <= step);
                if whole && done && name.starts_with(&prefix) && entry.path().is_file() {
                    found.insert(format!("{folder}/{name}"));
                }
            }
        }
        found
    }

    /// A file as it is now; of one that grew, only what is new is read.
    fn extent(&mut self, file: &str) -> Result<Extent> {
        let path = self.directory.join(file);
        let io = |e| Error::io(&path, e);
        let mut open = ebm_core::regular::open(&path).map_err(io)?;
        let bytes = open.metadata().map_err(io)?.len();
        let fresh = || Seen { bytes: 0, digest: Sha256::new() };
        let seen = self.seen.entry(file.to_string()).or_insert_with(fresh);
        if bytes < seen.bytes {
            *seen = fresh();
        }
        open.seek(SeekFrom::Start(seen.bytes)).map_err(io)?;
        seen.bytes += digested(open.take(bytes - seen.bytes), &mut seen.digest).map_err(io)?;
        Ok(Extent { bytes: seen.bytes, sha256: hexadecimal(&seen.digest.clone().finalize()) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::stored::LEDGER;
    use super::*;

    fn claims() -> Vec<String> {
        ["metrics.csv", "sheets/samples", "events"].map(String::from).to_vec()
    }

    /// A run directory with a checkpoint of each step and files that grew from one to the next.
    fn noted(steps: &[u64]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        ["sheets", "events"].iter().for_each(|name| fs::create_dir(at(name)).unwrap());
        let (mut ledger, remarks) = Ledger::open(folder.path(), claims(), 0).unwrap();
        assert!(remarks.is_empty(), "{remarks:?}");
        let mut table = String::new();
        for step in steps {
            table += &format!("{step},0.5\n");
            fs::write(at("metrics.csv"), &table).unwrap();
            fs::write(at(&format!("sheets/samples-{step}.png")), [7; 9]).unwrap();
            fs::write(at(&format!("sheets/mine-{step}.png")), "nobody's").unwrap();
            fs::write(at("events/a"), vec![1; *step as usize]).unwrap();
            ledger.note(*step, Counts::new()).unwrap();
            fs::create_dir_all(at(&format!("checkpoints/step-{step:08}"))).unwrap();
        }
        folder
    }

    fn remarks(folder: &Path, step: u64) -> Vec<String> {
        Ledger::open(folder, claims(), step).unwrap().1
    }

    #[test]
    fn whatever_happens_to_a_file_is_told_with_its_name() {
        type Damage = fn(&Path);
        let damages: [(&str, Damage); 5] = [
            ("metrics.csv: has been changed", |at| {
                let text = fs::read_to_string(at.join("metrics.csv")).unwrap();
                fs::write(at.join("metrics.csv"), text.replacen("0.5", "0.6", 1)).unwrap();
            }),
            ("metrics.csv: has 3 bytes of 12", |at| fs::write(at.join("metrics.csv"), "2,0").unwrap()),
            ("sheets/samples-2.png: is missing", |at| {
                fs::remove_file(at.join("sheets/samples-2.png")).unwrap();
            }),
            ("events/a: has 0 bytes of 4", |at| fs::write(at.join("events/a"), "").unwrap()),
            ("events/a: cannot be read", |at| {
                fs::remove_file(at.join("events/a")).unwrap();
                fs::create_dir(at.join("events/a")).unwrap();
            }),
        ];
        for (wanted, damage) in damages {
            let folder = noted(&[2, 4]);
            damage(folder.path());
            let found = remarks(folder.path(), 4);
            assert!(found.len() == 1 && found[0].starts_with(wanted), "{wanted}: {found:?}");
        }
    }

    #[test]
    fn what_came_after_a_checkpoint_and_what_an_observer_mends_is_no_change() {
        let folder = noted(&[2, 4]);
        let table = folder.path().join("metrics.csv");
        let text = fs::read_to_string(&table).unwrap();
        fs::write(&table, format!("{text}5,0.7\n")).unwrap();
        assert_eq!(remarks(folder.path(), 4), [""; 0]);
        // A program was killed after it cut the file and before it noted that: nothing is known of the step.
        fs::write(&table, "").unwrap();
        assert_eq!(remarks(folder.path(), 4), [""; 0]);
        // The checkpoint before it is another matter.
        let older = remarks(folder.path(), 2);
        assert!(
            older[0].starts_with("metrics.csv: has 0 bytes of 6 since the checkpoint of step 2"),
            "{older:?}"
        );
    }

    #[test]
    fn steps_without_a_checkpoint_are_forgotten_and_files_that_did_not_grow_stand_once() {
        let folder = noted(&[2, 4, 6, 8]);
        fs::remove_dir(folder.path().join("checkpoints/step-00000002")).unwrap();
        fs::remove_dir(folder.path().join("checkpoints/step-00000004")).unwrap();
        let (mut ledger, found) = Ledger::open(folder.path(), claims(), 8).unwrap();
        assert_eq!(found, [""; 0]);
        ledger.note(8, Counts::new()).unwrap();
        ledger.prune().unwrap();
        assert_eq!(ledger.stored.steps, BTreeSet::from([6, 8]));
        assert_eq!(ledger.stored.files["sheets/samples-2.png"].len(), 1);
        assert_eq!(ledger.stored.files["metrics.csv"].keys().copied().collect::<Vec<_>>(), [6, 8]);
        assert_eq!(changes(folder.path()), [""; 0]);
        fs::remove_file(folder.path().join("sheets/samples-6.png")).unwrap();
        assert_eq!(
            changes(folder.path()),
            ["sheets/samples-6.png: is missing since the checkpoint of step 8"]
        );
    }

    #[test]
    fn what_it_says_does_not_depend_on_the_way() {
        let straight = noted(&[2, 4, 6, 8]);
        // Stopped and killed on the way: a checkpoint of step 5, pictures of steps that are done again.
        let other = noted(&[2, 4, 5, 6]);
        let at = |name: &str| other.path().join(name);
        std::fs::write(at("metrics.csv"), "2,0.5\n4,0.5\n").unwrap();
        std::fs::write(at("events/a"), [1; 4]).unwrap();
        std::fs::remove_file(at("sheets/samples-5.png")).unwrap();
        let (mut ledger, _) = Ledger::open(other.path(), claims(), 4).unwrap();
        std::fs::remove_dir(at("checkpoints/step-00000005")).unwrap();
        ledger.note(4, Counts::new()).unwrap();
        assert!(!ledger.stored.files.contains_key("sheets/samples-6.png"));
        for step in [6, 8] {
            let lines: String = (2..=step).step_by(2).map(|s| format!("{s},0.5\n")).collect();
            std::fs::write(at("metrics.csv"), lines).unwrap();
            std::fs::write(at("events/a"), vec![1; step]).unwrap();
            std::fs::write(at(&format!("sheets/samples-{step}.png")), [7; 9]).unwrap();
            ledger.note(step as u64, Counts::new()).unwrap();
            fs::create_dir_all(at(&format!("checkpoints/step-{step:08}"))).unwrap();
        }
        let (mut plain, _) = Ledger::open(straight.path(), claims(), 9).unwrap();
        for (folder, ledger) in [(straight.path(), &mut plain), (other.path(), &mut ledger)] {
            for step in [2, 4] {
                std::fs::remove_dir(folder.join(format!("checkpoints/step-{step:08}"))).unwrap();
            }
            ledger.prune().unwrap();
        }
        let text = |folder: &Path| std::fs::read_to_string(folder.join(LEDGER)).unwrap();
        assert_eq!(text(other.path()), text(straight.path()));
    }

    #[test]
    fn entries_that_are_fewer_than_they_were_and_losses_of_before_are_told() {
        let folder = noted(&[2]);
        let counts = |n| Counts::from([("metrics.jsonl".to_string(), n), ("events".to_string(), n)]);
        std::fs::write(folder.path().join("metrics.jsonl"), "{}\n{}\n{}\n").unwrap();
        let (mut ledger, _) = Ledger::open(folder.path(), claims(), 2).unwrap();
        ledger.note(2, counts(3)).unwrap();
        assert_eq!(changes(folder.path()), [""; 0]);
        std::fs::write(folder.path().join("metrics.jsonl"), "{}\n{}\n").unwrap();
        assert_eq!(
            changes(folder.path()),
            ["metrics.jsonl: has 2 lines of 3 since the checkpoint of step 2"]
        );
        let (mut ledger, _) = Ledger::open(folder.path(), claims(), 2).unwrap();
        let missing = ledger.missing(2, &Counts::from([("metrics.jsonl".to_string(), 2)]));
        assert_eq!(missing, ["metrics.jsonl: 1 of 3 entries are missing since the checkpoint of step 2"]);
        ledger.lose(&missing);
        // A line that came after the checkpoint is none of its.
        let more = Counts::from([("metrics.jsonl".to_string(), 9), ("other".to_string(), 1)]);
        let kept = ledger.at_checkpoint(more);
        assert_eq!(kept, Counts::from([("metrics.jsonl".to_string(), 3), ("other".to_string(), 1)]));
        ledger.note(2, counts(2)).unwrap();
        // The next report says it, whatever is there now.
        assert_eq!(changes(folder.path()), missing);
        assert_eq!(Ledger::open(folder.path(), claims(), 2).unwrap().1, [""; 0]);
    }

    #[test]
    fn a_damaged_ledger_is_told_and_begun_anew() {
        let folder = noted(&[2, 4]);
        let path = folder.path().join(LEDGER);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("12", "13", 1)).unwrap();
        let found = remarks(folder.path(), 4);
        assert!(found.len() == 1 && found[0].contains("is damaged"), "{found:?}");
        let (mut ledger, _) = Ledger::open(folder.path(), claims(), 4).unwrap();
        ledger.note(4, Counts::new()).unwrap();
        assert_eq!(remarks(folder.path(), 4), [""; 0]);
    }
}
