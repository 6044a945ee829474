//! Running the program in a scratch folder.

#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A run of a few hundred parameters that takes a second.
pub const SMALL: &str = r#"format = 1
[run]
name = "small"
steps = 6
batch = 8
report_every = 3
[data]
kind = "digits"
[energy]
kind = "mlp"
hidden = [8]
[sampler]
kind = "chain"
steps = 3
transition = { kind = "langevin", step_size = 1.0, noise = 0.03, clamp = [0.0, 1.0] }
[replay]
kind = "random-overwrite"
capacity = 1000
[objective]
kind = "contrastive"
energy_l2 = 1.0
[optimiser]
kind = "adam"
rate = 1e-3
average = 0.99
[generate]
steps = 3
count = 9
[[observer]]
kind = "jsonl"
[[policy]]
kind = "checkpoint"
every = 3
"#;

/// A folder that goes away with its test.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A folder with `run.toml`.
    pub fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("run.toml"), config).unwrap();
        Scratch(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program, which will run in this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ebm-under-test"));
        command.args(arguments).current_dir(self.0.path()).env_remove("EBM_LOG").stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Starts the program with its output kept.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs the program with `text` on standard input.
    pub fn given(&self, arguments: &[&str], text: &str) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        Ran::of(child.wait_with_output().unwrap())
    }

    /// Writes an array of `dims`.
    pub fn npy(&self, name: &str, values: &[f32], dims: &[usize]) {
        ebm_data::npy::write(self.path(name), values, dims).unwrap();
    }

    /// Writes an IDX file of bytes, as of MNIST.
    pub fn idx(&self, name: &str, bytes: &[u8], dims: &[u32]) {
        let mut file = vec![0, 0, 8, dims.len() as u8];
        dims.iter().for_each(|d| file.extend(d.to_be_bytes()));
        file.extend(bytes);
        fs::write(self.path(name), file).unwrap();
    }

    /// What a file of JSON has.
    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }

    /// Names below the folder, sorted, folders with what is in them.
    pub fn tree(&self) -> Vec<String> {
        let mut all = Vec::new();
        walk(self.0.path(), self.0.path(), &mut all);
        all.sort();
        all
    }
}

fn walk(root: &Path, folder: &Path, all: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        all.push(path.strip_prefix(root).unwrap().display().to_string());
        if path.is_dir() {
            walk(root, &path, all);
        }
    }
}

/// What the program said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
        let ran = Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        ran
    }

    /// Asserts success.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Asserts one error with this exit code that says all of `parts`, and nothing on standard output.
    pub fn fails(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.err.matches("error: ").count(), 1, "{self:?}");
        assert!(self.out.is_empty(), "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "`{part}` is not in {self:?}");
        }
        self
    }
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Steps of the lines of a run's `metrics.jsonl`.
pub fn logged(run: &Path) -> Vec<u64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["step"].as_u64().unwrap())
        .collect()
}

/// Whether programs that are started here hear a closed terminal; under `nohup` they do not, which is as it should be.
pub fn terminals_are_heard() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let heard =
        ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask & 1 == 0);
    if !heard {
        println!("closed terminals were left out: the tests run under nohup");
    }
    heard
}

/// Whole numbers without pattern, 0 to 1008.
pub fn numbers() -> impl FnMut() -> u32 {
    let mut v = 1u32;
    move || {
        v = (389 * v + 7) % 1009;
        v
    }
}
