//! Every reader against files that are nearly right: changed, cut, spliced copies of small valid files. None panics, hangs, or takes
//! memory that the file does not account for.
//!
//! With the tests some hundred cases of each run, the same ones each time. `EBM_FUZZ_SECONDS=60` runs each reader for that time with
//! `EBM_FUZZ_SEED` (`scripts/soak.sh`); what was read last is then in the file that `EBM_FUZZ_LAST` names.

#![allow(clippy::unwrap_used)]

mod support;
#[path = "../crates/ebm-data/tests/support/watched.rs"]
mod watched;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ebm::Source;
use ebm::core::{Event, ObserverConfig, RunPaths};
use ebm::data::folder::FolderOptions;
use ebm::data::parquet::{ParquetImages, ParquetOptions};
use ebm::data::table::{Table, TableOptions, Take};
use ebm::data::{idx, mat, npy, npz, pickle, pictures};
use ebm::features::Description;
use ebm::inputs::Fit;
use ebm::report::{Report, ReportOptions};
use ebm::study::Study;
use ebm::train::checkpoint;
use ebm_plugins as _;
use support::{SMALL, Scratch, copy};
use watched::LARGEST;

/// A picture of the most pixels that are read takes half of it; nothing else comes near.
const MOST: usize = 600 << 20;
/// The files here have at most 360 KB.
const LONGEST: Duration = Duration::from_secs(20);
/// Cases of a reader with the tests.
const CASES: usize = 50;

/// Random numbers of the test (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A file that is nearly `bytes`.
fn changed(bytes: &[u8], others: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        // Heads and ends of files are where sizes stand.
        let end = out.len();
        let near = [(0, end.min(300)), (end.saturating_sub(300), end), (0, end)];
        let (from, to) = *dice.of(&near);
        let at = from + dice.below(to - from);
        let left = end - at.min(end);
        match dice.below(8) {
            0 if left > 0 => out[at] ^= 1 << dice.below(8),
            1 if left > 0 => out[at] = *dice.of(&[0, 1, 0x7f, 0x80, 0xff, b'0', b'9', b'-', b'[', b'"']),
            2 | 3 if left > 7 => {
                let number = *dice.of(&[0, 1, 255, 65_535, 1 << 31, u64::MAX >> 1, u64::MAX, 1 << 40]);
                let (width, big) = (*dice.of(&[2, 4, 8]), dice.below(2) == 0);
                let number = if big {
                    (number << (64 - 8 * width as u32)).to_be_bytes()
                } else {
                    number.to_le_bytes()
                };
                out[at..at + width].copy_from_slice(&number[..width]);
            }
            4 => drop(out.drain(at..at + dice.below(left.min(64) + 1))),
            5 => {
                let again = out[at..at + dice.below(left.min(64) + 1)].to_vec();
                out.splice(at..at, again);
            }
            6 => {
                let other = dice.of(others);
                let from = dice.below(other.len());
                let piece = &other[from..(from + dice.below(256)).min(other.len())];
                out.splice(at..at, piece.iter().copied());
            }
            _ if dice.below(3) == 0 => out.truncate(at),
            _ => {
                // A number in text becomes another.
                if let Some(digit) = (at..end).find(|i| out[*i].is_ascii_digit()) {
                    let last = (digit..end).find(|i| !out[*i].is_ascii_digit()).unwrap_or(end);
                    let number =
                        *dice.of(&["0", "-1", "1e308", "4294967296", "9223372036854775807", "nan", "0.5"]);
                    out.splice(digit..last, number.bytes());
                }
            }
        }
    }
    out
}

/// A reader: what it is called, its valid files, and how it reads one to the last value.
struct Reader<'a> {
    name: &'a str,
    files: Vec<PathBuf>,
    read: Box<dyn Fn(&Path) + 'a>,
}

fn root(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(below)
}

/// The files below a folder with these endings, or without any if there are no endings.
fn below(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if path.is_dir() {
            out.extend(below(&path, endings));
        } else if endings.contains(&ending) || (endings.is_empty() && ending.is_empty()) {
            out.push(path);
        }
    }
    out.sort();
    out
}

/// Tells an observer that a run goes on whose files are in `folder`.
fn observed(kind: &str, folder: &Path) {
    let config: Box<dyn ObserverConfig> = toml::from_str(&format!("kind = '{kind}'")).unwrap();
    let mut observer = config.build(&RunPaths::new(folder)).unwrap();
    drop(observer.on(&Event::Start { step: 4, of: 9, name: "run", directory: folder }));
}

/// Every reader of the program; `run` is the directory of a small run.
fn readers(run: &Path) -> Vec<Reader<'_>> {
    fn reader<'a>(name: &'a str, files: Vec<PathBuf>, read: impl Fn(&Path) + 'a) -> Reader<'a> {
        Reader { name, files, read: Box::new(read) }
    }
    let data = root("crates/ebm-data/tests/data");
    let of = |endings: &[&str]| below(&data, endings);
    let archive = |path: &Path| {
        if let Ok(parts) = pictures::open(path, &FolderOptions::default()) {
            drop(parts.training.read());
        }
    };
    let picture = |path: &Path| drop(pictures::folder::read_picture(path, &FolderOptions::default()));
    let weights = || below(&root("plugins/ebm-exchange-paper/tests/golden"), &["pth", "ckpt", "safetensors"]);
    fn folder(path: &Path) -> PathBuf {
        path.parent().unwrap().to_path_buf()
    }
    // A run directory with one of its files changed.
    let within = move |name: &'static str, then: fn(&Path)| {
        move |path: &Path| {
            let here = folder(path).join("run");
            copy(run, &here);
            let target = here.join(name);
            fs::copy(path, &target).unwrap();
            then(&here);
            fs::remove_dir_all(&here).unwrap();
        }
    };
    let mut all = vec![
        reader("npy", of(&["npy"]), |p| drop(npy::Npy::read(p))),
        reader("idx", of(&["gz"]), |p| drop(idx::Idx::read(p))),
        reader("npz", of(&["npz"]), |p| {
            if let Ok(mut npz) = npz::Npz::open(p) {
                npz.names().iter().for_each(|n| drop(npz.array(n)));
            }
        }),
        reader("mat", of(&["mat"]), |p| {
            if let Ok(mat) = mat::Mat::open(p) {
                mat.names().iter().for_each(|n| drop(mat.array(n)));
            }
        }),
        reader("pickle", of(&[]), |p| {
            let bytes = fs::read(p).unwrap();
            if let Ok(pickle) = pickle::Pickle::parse(&bytes, p) {
                let values = pickle.keys().into_iter().filter_map(|k| pickle.get(k));
                values.for_each(|v| drop((v.array(), v.whole_numbers(), v.texts())));
            }
        }),
        reader("parquet", of(&["parquet"]), |p| {
            let options = ParquetOptions { labels: true, ..Default::default() };
            if let Ok(images) = ParquetImages::open(&[p], &options) {
                drop(images.read());
            }
        }),
        reader("table", of(&["csv", "parquet"]), |p| {
            let options = TableOptions::default();
            let take = |n: &String| (n.clone(), if n.starts_with('w') { Take::Words } else { Take::Numbers });
            if let Ok(names) = Table::names(p, &options) {
                drop(Table::read(p, &options, &names.iter().map(take).collect::<Vec<_>>()));
            }
        }),
        reader("zip", of(&["zip"]), archive),
        reader("tar", of(&["tar"]), archive),
        reader("tfrecord", of(&["tfrecord", "tfrecords"]), archive),
        reader("lmdb", of(&["mdb"]), archive),
        reader("png", of(&["png"]), picture),
        reader("gif", of(&["gif"]), picture),
        reader("bmp", of(&["bmp"]), picture),
        reader("pnm", of(&["pgm", "ppm"]), picture),
        reader("webp", of(&["webp"]), picture),
        reader("tiff", of(&["tif", "tiff"]), picture),
        reader("weights", weights(), |p| {
            for key in [None, Some("model_state_dict_0"), Some("ema_model_state_dict_0")] {
                drop(ebm::exchange::read_tensors(p, key));
            }
        }),
        reader("network", below(&root("crates/ebm-features"), &["toml"]), |p| drop(Description::read(p))),
        reader("configuration", below(&root("examples"), &["toml"]), |p| {
            drop(Source::file(p).and_then(|s| s.read()));
        }),
        reader("study", below(&root("examples/studies"), &["toml"]), |p| drop(Study::file(p))),
        reader("composition", below(run, &["composition"]), |p| {
            let text = String::from_utf8_lossy(&fs::read(p).unwrap()).into_owned();
            drop(ebm::model::compose(&text, Path::new("nowhere")));
        }),
        reader("lines", below(run, &["lines"]), |p| {
            let fit = Fit { resize: true, ..Fit::of_shape(&[1, 2, 2]) };
            drop(ebm::inputs::lines(fs::File::open(p).unwrap(), 4, &fit, &mut |_| Ok(())));
        }),
    ];
    const CHECKPOINT: [&str; 6] = [
        "checkpoints/step-00000006/state.json",
        "checkpoints/step-00000006/state.safetensors",
        "checkpoints/step-00000006/optimiser.safetensors",
        "checkpoints/step-00000006/replay.safetensors",
        "checkpoints/step-00000006/report.json",
        "checkpoints/step-00000006/config.toml",
    ];
    for name in CHECKPOINT {
        let read = |here: &Path| drop(checkpoint::newest(&here.join("checkpoints")));
        all.push(reader(name, vec![run.join(name)], within(name, read)));
    }
    for name in ["metrics.jsonl", "summary.json", "measures.json", "samples.png", "config.toml"] {
        let read = |here: &Path| {
            let options = ReportOptions { energies: false, ..ReportOptions::default() };
            drop(Report::read(&[here.to_path_buf()], &options).and_then(|r| r.html()));
        };
        all.push(reader(name, vec![run.join(name)], within(name, read)));
    }
    all.push(reader("jsonl observer", vec![run.join("metrics.jsonl")], |p| {
        fs::copy(p, folder(p).join("metrics.jsonl")).unwrap();
        observed("jsonl", &folder(p));
    }));
    all.push(reader("csv observer", vec![run.join("metrics.csv")], |p| {
        fs::copy(p, folder(p).join("metrics.csv")).unwrap();
        observed("csv", &folder(p));
    }));
    all.push(reader("histogram observer", vec![run.join("histograms.jsonl")], |p| {
        fs::copy(p, folder(p).join("histograms.jsonl")).unwrap();
        observed("histogram", &folder(p));
    }));
    let events = below(&run.join("tensorboard"), &["ebm"]);
    all.push(reader("tensorboard observer", events, |p| {
        let own = folder(p).join("tensorboard");
        fs::create_dir_all(&own).unwrap();
        fs::copy(p, own.join("events.out.tfevents.0000000001.0000.ebm")).unwrap();
        observed("tensorboard", &folder(p));
        fs::remove_dir_all(&own).unwrap();
    }));
    all
}

/// A run with every observer, and small texts of what else is read.
fn small_run() -> Scratch {
    let observers = "[[observer]]\nkind = 'csv'\nevery = 1\n[[observer]]\nkind = 'histogram'\nevery = 2\nrows = 8\n\
                     [[observer]]\nkind = 'tensorboard'\nevery = 2\nhistograms = 2\nsheets = 3\n";
    let s = Scratch::with(&format!("{SMALL}{observers}"));
    s.run(&["train", "run.toml", "--out", "run"]).ok();
    for (name, text) in [
        ("a.composition", "runs/a and not 0.3*\"runs/b c\" or 2 * (runs/c or runs/d) at 0.5"),
        ("b.composition", "3 * runs/a and runs/b given 1"),
        (
            "a.lines",
            "{\"values\": [0.1, 0.2, 0.3, 0.4], \"id\": \"first\"}\n{\"path\": \"a.png\"}\n\na.png\n",
        ),
    ] {
        fs::write(s.path("run").join(name), text).unwrap();
    }
    s
}

/// Reads changed files until `done`; how many.
fn fuzzed(reader: &Reader<'_>, seed: u64, done: impl Fn(usize) -> bool, faults: &mut Vec<String>) -> usize {
    assert!(!reader.files.is_empty(), "{}: no valid files", reader.name);
    let all: Vec<Vec<u8>> = reader.files.iter().map(|f| fs::read(f).unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(seed);
    let last = std::env::var_os("EBM_FUZZ_LAST");
    let mut read = 0;
    while !done(read) {
        let which = dice.below(all.len());
        // The valid files themselves come first.
        let bytes = if read < all.len() { all[read].clone() } else { changed(&all[which], &all, &mut dice) };
        let name = &reader.files[if read < all.len() { read } else { which }];
        let path = folder.path().join(name.file_name().unwrap());
        fs::write(&path, &bytes).unwrap();
        if let Some(last) = &last {
            fs::write(last, &bytes).unwrap();
        }
        LARGEST.store(0, Ordering::Relaxed);
        let began = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| (reader.read)(&path)));
        let (took, most) = (began.elapsed(), LARGEST.load(Ordering::Relaxed));
        if ended.is_err() || took > LONGEST || most > MOST {
            let how = if ended.is_err() { "panic".into() } else { format!("{took:?}, {most} bytes at once") };
            let digest = ebm::train::digest::sha256(&bytes);
            faults.push(format!(
                "{}: case {read} of {} ({}): {how}",
                reader.name,
                name.display(),
                &digest[..12]
            ));
        }
        read += 1;
    }
    read
}

#[test]
fn no_reader_is_brought_down_by_a_file() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seconds = number("EBM_FUZZ_SECONDS").map(Duration::from_secs);
    let seed = number("EBM_FUZZ_SEED").unwrap_or(1);
    let s = small_run();
    let run = s.path("run");
    let (mut faults, mut cases) = (Vec::new(), 0);
    for reader in &readers(&run) {
        let began = Instant::now();
        let done = |read: usize| seconds.map_or(read >= CASES, |limit| began.elapsed() >= limit);
        let read = fuzzed(reader, seed, done, &mut faults);
        println!("{}: {read} files in {:.1} s", reader.name, began.elapsed().as_secs_f64());
        cases += read;
    }
    println!("readers: {cases} files, {} faults", faults.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
