//! What the KL term costs: time and memory of a training step with plain contrastive divergence, with the KL term through
//! the last sampler step, and through all of them.
//!
//! ```text
//! cargo run --release -p ebm-cli --example kl_cost            # the paper's network, 16 filters, 32 chains
//! cargo run --release -p ebm-cli --example kl_cost -- 8 16    # 8 filters, 16 chains
//! ```
//!
//! Each row is a process of its own, so that its greatest memory (VmHWM, Linux) is its own. Times are minima of a few
//! steps. "States" are the samples of all K steps, which the way back through all steps must keep or make again:
//! K · B · 3 · 32 · 32 floats.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use ebm::train::{Plan, RunConfig, TrainState, step};
use ebm_plugins as _;

const TERMS: [(&str, &str); 3] = [
    ("plain", ""),
    ("KL, last step", "kl = { weight = 1.0, trail = 1 }"),
    ("KL, all steps", "kl = { weight = 1.0, trail = 0 }"),
];
const STEPS: [usize; 3] = [10, 20, 40];
/// Steps that are timed, after one that is not.
const TIMED: usize = 3;
const PIXELS: usize = 3 * 32 * 32;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| words.get(i).map_or(Ok(default), |w| w.parse());
    if words.first().is_some_and(|w| w == "one") {
        return one(number(1, 0)?, number(2, 10)?, number(3, 16)?, number(4, 32)?);
    }
    let (filters, batch) = (number(0, 16)?, number(1, 32)?);
    println!("cifar-resnet, one scale, {filters} filters, {batch} chains\n");
    println!(
        "| K | term | s a step | times plain | peak MiB | over plain | states MiB |\n|---|---|---|---|---|---|---|"
    );
    for k in STEPS {
        let states = (k * batch * PIXELS * 4) as f64 / f64::from(1 << 20);
        let mut plain = None;
        for (term, (name, _)) in TERMS.iter().enumerate() {
            let arguments = [term, k, filters, batch].map(|n| n.to_string());
            let ran = Command::new(std::env::current_exe()?).arg("one").args(arguments).output()?;
            if !ran.status.success() {
                return Err(String::from_utf8_lossy(&ran.stderr).into());
            }
            let told = String::from_utf8(ran.stdout)?;
            let numbers: Vec<f64> = told.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            let &[seconds, peak] = numbers.as_slice() else { return Err(told.into()) };
            let (first, least) = *plain.get_or_insert((seconds, peak));
            println!(
                "| {k} | {name} | {seconds:.2} | {:.2} | {peak:.0} | {:.0} | {states:.1} |",
                seconds / first,
                peak - least
            );
        }
    }
    Ok(())
}

/// Times one setting and prints seconds a step and the process's greatest memory in MiB.
fn one(term: usize, k: usize, filters: usize, batch: usize) -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("ebm-kl-cost-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let values: Vec<f32> = (0..4 * batch * PIXELS).map(|i| (i * 7919 % 251) as f32 / 250.0).collect();
    ebm::data::npy::write(folder.join("images.npy"), &values, &[4 * batch, 3, 32, 32])?;
    let config = RunConfig::from_toml(&config(TERMS.get(term).map_or("", |t| t.1), k, filters, batch))?;
    let timed = timed(&config, &folder);
    std::fs::remove_dir_all(&folder)?;
    println!("{} {}", timed?, peak()?);
    Ok(())
}

fn timed(config: &RunConfig, folder: &Path) -> Result<f64, Box<dyn Error>> {
    let cpu = ebm::run::open_device("cpu")?;
    let plan = Plan::build(config, folder, &cpu.device, cpu.engine())?;
    let mut state = TrainState::new(&plan)?;
    step(&plan, &mut state)?;
    let mut least = f64::MAX;
    for _ in 0..TIMED {
        let began = Instant::now();
        step(&plan, &mut state)?;
        least = least.min(began.elapsed().as_secs_f64());
    }
    Ok(least)
}

fn config(kl: &str, k: usize, filters: usize, batch: usize) -> String {
    format!(
        r#"
format = 1
run = {{ steps = 100, batch = {batch}, engine = "require", report_every = 0 }}
data = {{ kind = "npy", path = "images.npy" }}
energy = {{ kind = "cifar-resnet", filters = {filters}, attention = false }}
chains = {{ restart = 0.001 }}
replay = {{ kind = "random-overwrite", capacity = 1000 }}
optimiser = {{ kind = "adam", rate = 2e-4, clip_norm = 0.5 }}
[sampler]
kind = "chain"
steps = {k}
transition = {{ kind = "langevin", step_size = 100.0, noise = 0.001, clamp = [0.0, 1.0] }}
[objective]
kind = "contrastive"
energy_l2 = 1.0
{kl}
"#
    )
}

/// The most memory this process has had, in MiB (Linux).
fn peak() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|l| l.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}
