//! What a run survives: kills at any point, lost files, signals, names that would hurt other files.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::{Ran, SMALL, Scratch, copy, logged, terminals_are_heard};
use serde_json::Value;

/// Every observer, none at the steps of another.
const OBSERVERS: &str = "[[observer]]\nkind = 'csv'\nevery = 2\ncolumns = ['energy.data', 'grad']\n\
                         [[observer]]\nkind = 'histogram'\nevery = 2\nrows = 8\nbins = 4\n\
                         [[observer]]\nkind = 'sheet'\nevery = 4\ncount = 4\nwhat = 'both'\n";

fn with_observers() -> Scratch {
    Scratch::with(&format!("{SMALL}{OBSERVERS}"))
}

/// What must be the same in two runs, by file: all but wall times.
fn contents(run: &Path) -> BTreeMap<String, Vec<u8>> {
    fn timeless(line: &str) -> Value {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let values = if line["last"].is_null() { &mut line["values"] } else { &mut line["last"]["values"] };
        values.as_object_mut().unwrap().retain(|name, _| !name.starts_with("seconds"));
        for own in ["seconds", "steps_now"] {
            line.as_object_mut().unwrap().remove(own);
        }
        line
    }
    fn walk(root: &Path, folder: &Path, all: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() {
                walk(root, &path, all);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let text = || String::from_utf8(bytes.clone()).unwrap();
            let bytes = match name.as_str() {
                ".lock" => continue,
                "metrics.jsonl" => {
                    text().lines().map(|l| format!("{}\n", timeless(l))).collect::<String>().into()
                }
                "summary.json" => timeless(&text()).to_string().into(),
                _ => bytes,
            };
            all.insert(name, bytes);
        }
    }
    let mut all = BTreeMap::new();
    walk(run, run, &mut all);
    all
}

#[track_caller]
fn same(a: &Path, b: &Path) {
    let (a, b) = (contents(a), contents(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let differ: Vec<&String> =
        a.iter().filter(|(name, bytes)| b[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

#[test]
fn the_end_of_a_run_is_made_up_for_as_a_whole() {
    let s = with_observers();
    // Five steps, of which the table has a line of every second one, and of the last when the run ends.
    s.run(&["train", "run.toml", "--steps", "5", "--out", "straight"]).ok();
    let gone: [&[&str]; 4] = [
        &["measures.json"],
        &["summary.json"],
        &["summary.json", "samples.png", "measures.json"],
        &["samples.png"],
    ];
    for (i, files) in gone.iter().enumerate() {
        let run = s.path(&format!("run{i}"));
        copy(&s.path("straight"), &run);
        files.iter().for_each(|file| fs::remove_file(run.join(file)).unwrap());
        s.run(&["resume", &format!("run{i}")]).ok();
        same(&run, &s.path("straight"));
    }
    // A picture that was cut is none.
    let picture = s.path("run0/samples.png");
    fs::write(&picture, &fs::read(&picture).unwrap()[..100]).unwrap();
    let ran = s.run(&["resume", "run0"]).ok();
    assert!(ran.out.contains("E samples"), "the last numbers are known: {ran:?}");
    same(&s.path("run0"), &s.path("straight"));
}

#[test]
fn a_run_that_was_killed_before_its_first_checkpoint_begins_again() {
    let s = with_observers();
    s.run(&["train", "run.toml", "--out", "straight"]).ok();
    // Its directory as it is after two steps, with what it was writing.
    let run = s.path("run");
    fs::create_dir_all(run.join("checkpoints/.step-00000003.partial")).unwrap();
    for file in [".base", "config.toml", "versions.json", "metrics.jsonl", "histograms.jsonl"] {
        fs::copy(s.path("straight").join(file), run.join(file)).unwrap();
    }
    fs::write(run.join(".writing-abc"), "half").unwrap();
    fs::write(run.join("summary.json.partial"), "half").unwrap();
    let ran = s.run(&["resume", "run"]).ok();
    assert!(ran.err.contains("before its first checkpoint"), "{ran:?}");
    same(&run, &s.path("straight"));
    // One whose checkpoints are gone does not.
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    s.run(&["resume", "run"]).fails(3, &["no whole checkpoint"]);
}

#[test]
fn a_directory_that_a_program_left_before_it_began_is_free() {
    let s = Scratch::with(SMALL);
    fs::create_dir_all(s.path("r/checkpoints")).unwrap();
    fs::write(s.path("r/.lock"), "").unwrap();
    fs::write(s.path("r/config.toml.partial"), "form").unwrap();
    s.run(&["train", "run.toml", "--out", "r", "--steps", "1"]).ok();
    assert!(!s.path("r/config.toml.partial").exists());
}

#[test]
fn what_only_the_first_step_refuses_leaves_no_directory() {
    let in_place =
        SMALL.replace("kind = \"random-overwrite\"\ncapacity = 1000", "kind = \"in-place\"\ncapacity = 4");
    let s = Scratch::with(&in_place.replace("[objective]", "[chains]\nfill = \"start\"\n[objective]"));
    let before = s.tree();
    let ran = s.run(&["train", "run.toml", "--out", "r"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(s.tree(), before);
}

#[test]
fn a_checkpoint_that_was_set_aside_is_found() {
    let s = Scratch::with(&format!("{SMALL}keep = 1\n"));
    s.run(&["train", "run.toml", "--out", "straight"]).ok();
    copy(&s.path("straight"), &s.path("run"));
    let folder = s.path("run/checkpoints");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    // As a writer leaves it that was killed between its two renames.
    fs::rename(folder.join("step-00000006"), folder.join(".step-00000006.old")).unwrap();
    s.run(&["sample", "run", "--n", "2", "--out", "x.npy"]).ok();
    s.run(&["resume", "run"]).ok();
    same(&s.path("run"), &s.path("straight"));
}

#[test]
fn files_that_end_before_the_checkpoint_say_so() {
    let s = Scratch::with(&format!("{SMALL}{OBSERVERS}[[observer]]\nkind = \"tensorboard\"\nevery = 1\n"));
    s.run(&["train", "run.toml", "--out", "straight"]).ok();
    let damages: [fn(&Path); 3] = [
        |file| fs::write(file, "").unwrap(),
        |file| fs::remove_file(file).unwrap(),
        |file| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() / 3]).unwrap();
        },
    ];
    let files = [
        "metrics.jsonl",
        "metrics.csv",
        "histograms.jsonl",
        "sheets/samples-00000004.png",
        "sheets/buffer-00000004.png",
    ];
    for file in files {
        for damage in damages {
            let run = s.path("run");
            copy(&s.path("straight"), &run);
            damage(&run.join(file));
            let ran = s.run(&["resume", "run", "--steps", "7"]).ok();
            let name = file.split('-').next().unwrap();
            assert!(ran.err.contains(&format!("WARN {name}")), "{file}: {ran:?}");
            fs::remove_dir_all(&run).unwrap();
        }
    }
    // What has the same bytes in every run is held against its digest, and a report says it too.
    let run = s.path("run");
    copy(&s.path("straight"), &run);
    let histograms = run.join("histograms.jsonl");
    let text = fs::read_to_string(&histograms).unwrap();
    fs::write(&histograms, text.replacen("\"step\":2", "\"step\":3", 1)).unwrap();
    let changed = "histograms.jsonl: has been changed since the checkpoint of step 6";
    s.run(&["report", "run", "--out", "page.html"]).ok();
    assert!(fs::read_to_string(s.path("page.html")).unwrap().contains(changed));
    assert!(s.run(&["resume", "run", "--steps", "7"]).ok().err.contains(changed));
    // Of files with wall times the number of entries is known, also in the middle.
    fs::remove_dir_all(&run).unwrap();
    copy(&s.path("straight"), &run);
    let drop_lines = |name: &str, which: &[usize]| {
        let text = fs::read_to_string(run.join(name)).unwrap();
        let kept: Vec<&str> =
            text.lines().enumerate().filter(|(n, _)| !which.contains(n)).map(|l| l.1).collect();
        fs::write(run.join(name), kept.join("\n") + "\n").unwrap();
    };
    drop_lines("metrics.jsonl", &[2, 3]);
    drop_lines("metrics.csv", &[2]);
    let missing = "metrics.jsonl: 2 of 6 entries are missing since the checkpoint of step 6";
    s.run(&["report", "run", "--out", "page.html", "--force"]).ok();
    let page = fs::read_to_string(s.path("page.html")).unwrap();
    assert!(page.contains("metrics.jsonl: has 4 lines of 6 since the checkpoint of step 6"), "{page}");
    let told = s.run(&["resume", "run", "--steps", "7"]).ok().err;
    assert!(told.contains(missing) && told.contains("metrics.csv: 1 of 4 entries are missing"), "{told}");
    // Each is told of once, and a report goes on to say it.
    assert!(!s.run(&["resume", "run", "--steps", "8"]).ok().err.contains("missing"));
    s.run(&["report", "run", "--out", "page.html", "--force"]).ok();
    assert!(fs::read_to_string(s.path("page.html")).unwrap().contains(missing));
    // Event files of a run that went on lie beside each other: one of them is taken out.
    let events = || {
        let folder = fs::read_dir(run.join("tensorboard")).unwrap();
        let mut files: Vec<_> = folder.map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    };
    assert!(events().len() > 2, "{:?}", events());
    fs::remove_file(&events()[1]).unwrap();
    let told = s.run(&["resume", "run", "--steps", "9"]).ok().err;
    assert!(told.contains("tensorboard: ") && told.contains("entries are missing since"), "{told}");
    fs::remove_file(run.join("metrics.csv")).unwrap();
    fs::remove_dir_all(run.join("tensorboard")).unwrap();
    s.run(&["report", "run", "--out", "page.html", "--force"]).ok();
    let page = fs::read_to_string(s.path("page.html")).unwrap();
    for file in ["metrics.csv", "tensorboard"] {
        assert!(page.contains(&format!("{file}: is missing since the checkpoint of step 9")), "{page}");
    }
    // What the configuration lost is told by every command that reads it.
    let whole = fs::read_to_string(run.join("config.toml")).unwrap();
    let observers = whole.find("[[observer]]").unwrap();
    fs::write(run.join("config.toml"), &whole[..observers]).unwrap();
    for command in [&["resume", "run"][..], &["sample", "run", "--n", "4", "--out", "drawn.npy"]] {
        let told = s.run(command).ok().err;
        assert!(told.contains("config.toml: differs") && told.contains("observer (missing)"), "{told}");
    }
    fs::write(run.join("config.toml"), whole).unwrap();
    for file in ["samples.png", "measures.json"] {
        fs::remove_file(run.join(file)).unwrap();
        s.run(&["report", "run", "--out", "page.html", "--force"]).ok();
        let page = fs::read_to_string(s.path("page.html")).unwrap();
        assert!(page.contains(&format!("{file}: is missing since the checkpoint of step 9")), "{page}");
    }
    // Files that are whole are not remarked on.
    assert!(!s.run(&["resume", "straight", "--steps", "7"]).ok().err.contains("WARN"));
}

/// The tables of a run grow beyond what there is room for while its checkpoints still fit: none is made that lacks lines.
#[cfg(unix)]
#[test]
fn a_run_without_room_for_its_tables_ends_and_goes_on_to_the_same_bytes() {
    let s = with_observers();
    let long = ["--set", "run.steps=90", "--set", "policy[0].every=3", "--set", "replay.capacity=16"];
    s.run(&[&["train", "run.toml", "--out", "straight"][..], &long].concat()).ok();
    let program = env!("CARGO_BIN_EXE_ebm-under-test");
    // Blocks of 512 or 1024 bytes: 90 lines of the table take some 80,000.
    let shell = "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\"";
    for command in [&[&["train", "run.toml", "--out", "r"][..], &long].concat()[..], &["resume", "r"]] {
        let mut limited = Command::new("sh");
        limited.args(["-c", shell, program]).args(command).current_dir(s.path(""));
        let ran = Ran::of(limited.output().unwrap());
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("there is no room for what observer `"), "{ran:?}");
    }
    s.run(&["resume", "r"]).ok();
    same(&s.path("r"), &s.path("straight"));
}

#[test]
fn observers_write_in_the_run_directory_and_over_nobodys_files() {
    let s = Scratch::with(SMALL);
    fs::write(s.path("table.csv"), "id,value\n1,0.5\n2,0.6\n").unwrap();
    let absolute = s.path("table.csv").display().to_string();
    let before = s.tree();
    for file in [absolute.as_str(), "../table.csv", "config.toml", "", "checkpoints", "metrics.jsonl", "a/b"]
    {
        let text = format!("{SMALL}[[observer]]\nkind = 'csv'\nfile = '{file}'\n");
        fs::write(s.path("run.toml"), text).unwrap();
        for command in [&["train", "run.toml", "--out", "r"][..], &["check", "run.toml", "--no-timing"]] {
            s.run(command).fails(2, &["observer[1].file", "run.toml:"]);
        }
        assert_eq!(s.tree(), before);
    }
    assert_eq!(fs::read_to_string(s.path("table.csv")).unwrap(), "id,value\n1,0.5\n2,0.6\n");
}

fn wait_for(file: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !fs::metadata(file).is_ok_and(|m| m.len() > 0) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

const ENDLESS: [&str; 8] =
    ["train", "run.toml", "--out", "r", "--steps", "1000000", "--set", "policy[0].every=900000"];

#[cfg(unix)]
#[test]
fn a_terminal_that_closes_twice_and_a_launcher_that_asks_again_do_not_cut_the_saving_short() {
    if !terminals_are_heard() {
        return;
    }
    for signals in [["HUP", "HUP"], ["TERM", "HUP"], ["HUP", "TERM"]] {
        let s = Scratch::with(SMALL);
        let child = s.start(&ENDLESS);
        wait_for(&s.path("r/metrics.jsonl"));
        signals.iter().for_each(|name| signal(&child, name));
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(130), "{ran:?}");
        let step = logged(&s.path("r")).len();
        assert!(s.path(&format!("r/checkpoints/step-{step:08}")).is_dir(), "{:?}", s.tree());
    }
}

#[cfg(unix)]
#[test]
fn under_nohup_a_closed_terminal_is_not_heard() {
    let s = Scratch::with(SMALL);
    let program = env!("CARGO_BIN_EXE_ebm-under-test");
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", program]).args(ENDLESS).current_dir(s.path(""));
    shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = shell.spawn().unwrap();
    wait_for(&s.path("r/metrics.jsonl"));
    signal(&child, "HUP");
    let lines = || fs::read_to_string(s.path("r/metrics.jsonl")).unwrap().lines().count();
    let (before, deadline) = (lines(), Instant::now() + Duration::from_secs(60));
    while lines() < before + 50 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(lines() >= before + 50, "the run goes on");
    signal(&child, "TERM");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
}

#[cfg(unix)]
#[test]
fn a_stop_is_heard_inside_of_a_long_step_and_the_state_before_it_is_saved() {
    for engine in ["auto", "graph"] {
        let s = Scratch::with(SMALL);
        let engine = format!("run.engine=\"{engine}\"");
        let long = ["--set", "sampler.steps=2000000", "--set", &engine];
        let child = s.start(&[&["train", "run.toml", "--out", "r"][..], &long].concat());
        wait_for(&s.path("r/config.toml"));
        std::thread::sleep(Duration::from_millis(300));
        signal(&child, "TERM");
        // A step of so many would take minutes.
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(130), "{ran:?}");
        assert!(ran.out.contains("interrupted; continue with"), "{ran:?}");
        assert!(s.path("r/checkpoints/step-00000000").is_dir(), "{:?}", s.tree());
    }
}

#[cfg(unix)]
#[test]
fn a_stop_is_heard_while_samples_are_drawn_at_the_end_and_by_observers() {
    let s = with_observers();
    s.run(&["train", "run.toml", "--out", "straight"]).ok();
    let child = s.start(&["train", "run.toml", "--out", "r", "--set", "generate.steps=2000000"]);
    // The observer draws its first sheet after step 4.
    wait_for(&s.path("r/checkpoints/step-00000003/state.json"));
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "TERM");
    assert_eq!(Ran::of(child.wait_with_output().unwrap()).code, Some(130));
    assert!(!s.path("r/sheets/samples-00000004.png").exists());
    // The sheet is made up for.
    let config = fs::read_to_string(s.path("r/config.toml")).unwrap();
    fs::write(s.path("r/config.toml"), config.replace("steps = 2000000", "steps = 3")).unwrap();
    s.run(&["resume", "r"]).ok();
    for file in ["sheets/samples-00000004.png", "sheets/buffer-00000004.png", "samples.png", "metrics.csv"] {
        assert_eq!(
            fs::read(s.path("r").join(file)).unwrap(),
            fs::read(s.path("straight").join(file)).unwrap(),
            "{file}"
        );
    }
    assert_eq!(logged(&s.path("r")), [1, 2, 3, 4, 5, 6]);
    // And so is the end.
    let quiet = Scratch::with(SMALL);
    let child = quiet.start(&["train", "run.toml", "--out", "r", "--set", "generate.steps=2000000"]);
    wait_for(&quiet.path("r/summary.json"));
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "TERM");
    assert_eq!(Ran::of(child.wait_with_output().unwrap()).code, Some(130));
    quiet.run(&["resume", "r", "--set", "generate.steps=3"]).ok();
    assert_eq!(
        fs::read(quiet.path("r/samples.png")).unwrap(),
        fs::read(s.path("straight/samples.png")).unwrap()
    );
}

#[cfg(unix)]
#[test]
fn a_run_that_is_killed_again_and_again_ends_as_one_that_is_not() {
    let s = with_observers();
    let long = ["--set", "run.steps=40"];
    s.run(&[&["train", "run.toml", "--out", "straight"][..], &long].concat()).ok();
    for round in 0..4u64 {
        let name = format!("run{round}");
        for pause in [20, 70, 45, 90, 130] {
            let here = s.path(&name).join("config.toml").exists();
            let train = [&["train", "run.toml", "--out", &name][..], &long].concat();
            let resume = ["resume", name.as_str()];
            let mut child = s.start(if here { &resume } else { &train });
            std::thread::sleep(Duration::from_millis(pause + 17 * round));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let train = [&["train", "run.toml", "--out", &name][..], &long].concat();
        if s.path(&name).join("config.toml").exists() {
            s.run(&["resume", &name]).ok();
        } else {
            s.run(&train).ok();
        }
        same(&s.path(&name), &s.path("straight"));
    }
}
