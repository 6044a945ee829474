//! Samplers on densities with known moments: effective draws a second and a gradient, R-hat, bias, one line of JSON a run.
//!
//! Processor time is that of the calling thread: run it with EBM_THREADS=1 and RAYON_NUM_THREADS=1.
//!
//! Chains from N(0, I), in f32 unless `--f64`; a warm-up in which step size and metric are learnt, which is not timed; then draws by what
//! it found. HMC takes 30 leapfrog steps on the Gaussians and 10 elsewhere, with a step size uniform in ±40 % (it breaks up orbits; the
//! number of gradients stays). `z` are errors of means and of second moments in Monte Carlo errors of the run, coordinate by coordinate.

#[path = "../cpu.rs"]
mod cpu;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use ebm::core::candle::{DType, Device};
use ebm::core::{
    Batch, BuildCx, Chains, EnergyConfig, EnergyFn, Key, Learning, Transition, TransitionConfig, host,
};
use ebm::{Result, Source, eval};
use ebm_plugins as _;
use serde_json::{Map, Value, json};

/// Name, settings of the energy, width, leapfrog steps.
const TARGETS: [(&str, &str, usize, usize); 8] = [
    ("gauss100", "kind = \"ill-conditioned-gaussian\"", 100, 30),
    ("axes100", "kind = \"gaussian\"", 100, 30),
    ("funnel10", "kind = \"funnel\"", 10, 10),
    ("banana", "kind = \"banana\"", 2, 10),
    ("dwell", "kind = \"double-well\"", 4, 10),
    ("grid25", "kind = \"grid25\"", 2, 10),
    ("schools", "kind = \"eight-schools\"", 10, 10),
    ("schools-c", "kind = \"eight-schools\"\ncentred = true", 10, 10),
];

/// Name and settings; `{L}` stands for the leapfrog steps of the target.
const SAMPLERS: [(&str, &str); 8] = [
    ("mala", "kind = \"mala\"\nstep_size = 0.005\ntarget_acceptance = 0.574"),
    ("mala-dense", "kind = \"mala\"\nstep_size = 0.005\ntarget_acceptance = 0.574\nmetric = \"dense\""),
    ("hmc", "kind = \"hmc\"\nstep_size = 0.1\nleapfrogs = {L}\njitter = 0.4\ntarget_acceptance = 0.8"),
    (
        "hmc-diagonal",
        "kind = \"hmc\"\nstep_size = 0.1\nleapfrogs = {L}\njitter = 0.4\ntarget_acceptance = 0.8\nmetric = \"diagonal\"",
    ),
    ("nuts", "kind = \"nuts\""),
    ("nuts-dense", "kind = \"nuts\"\nmetric = \"dense\""),
    ("nuts-auto", "kind = \"nuts\"\nmetric = \"auto\""),
    ("nuts-chain", "kind = \"nuts\"\nper_chain = true"),
];

/// Samplers on densities with known moments, one line of JSON a run.
#[derive(Parser)]
struct Arguments {
    /// Targets.
    #[arg(long, value_delimiter = ',', default_value = "gauss100,funnel10,banana,dwell,grid25")]
    targets: Vec<String>,
    /// Samplers: names of this program, or settings of a transition, such as 'kind = "ula", step_size = 0.1'.
    #[arg(long, default_values = ["mala", "hmc", "nuts"])]
    sampler: Vec<String>,
    /// Seeds.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    seeds: Vec<u64>,
    /// Chains.
    #[arg(long, default_value_t = 16)]
    chains: usize,
    /// Steps of the warm-up.
    #[arg(long, default_value_t = 500)]
    warm_up: usize,
    /// Draws of each chain.
    #[arg(long, default_value_t = 1000)]
    draws: usize,
    /// Acceptance towards which step sizes move, in place of the sampler's.
    #[arg(long)]
    accept: Option<f64>,
    /// In f64.
    #[arg(long)]
    f64: bool,
}

fn main() -> std::process::ExitCode {
    let a = Arguments::parse();
    for target in &a.targets {
        for sampler in &a.sampler {
            for seed in &a.seeds {
                match run(target, sampler, *seed, &a) {
                    Ok(line) => println!("{}", Value::Object(line)),
                    Err(e) => {
                        eprintln!("error: {target}, {sampler}: {e}");
                        return std::process::ExitCode::FAILURE;
                    }
                }
            }
        }
    }
    std::process::ExitCode::SUCCESS
}

/// The kernel of this name, or of these settings.
fn transition(
    sampler: &str,
    leapfrogs: usize,
    accept: Option<f64>,
    cx: &mut BuildCx,
) -> Result<Box<dyn Transition>> {
    let known = SAMPLERS.iter().find(|s| s.0 == sampler).map(|s| s.1);
    let mut text = match known {
        Some(text) => text.replace("{L}", &leapfrogs.to_string()),
        None => sampler.replace(", ", "\n"),
    };
    if let Some(accept) = accept {
        let others = text.lines().filter(|l| !l.starts_with("target_acceptance"));
        text =
            others.chain([format!("target_acceptance = {accept}").as_str()]).collect::<Vec<_>>().join("\n");
    }
    let source = Source::text(sampler, format!("[transition]\n{text}\n"));
    let config: Box<dyn TransitionConfig> = source.read_part("transition", ebm::core::Family::Transition)?;
    Ok(config.build(cx)?)
}

fn energy(target: &str, width: usize, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
    let known = TARGETS.iter().find(|t| t.0 == target).map_or("", |t| t.1);
    let mut text = format!("[energy]\n{known}\n");
    if target == "axes100" {
        // Condition 100 along the axes.
        let all = (0..width).map(|k| format!("{}", 100f64.powf(-(k as f64) / 99.0)));
        text += &format!("variances = [{}]\n", all.collect::<Vec<_>>().join(", "));
    }
    let source = Source::text(target, text);
    let config: Box<dyn EnergyConfig> = source.read_part("energy", ebm::core::Family::Energy)?;
    Ok(config.build(cx)?)
}

fn run(target: &str, sampler: &str, seed: u64, a: &Arguments) -> Result<Map<String, Value>> {
    let known = TARGETS.iter().find(|t| t.0 == target);
    let Some((_, _, width, leapfrogs)) = known else {
        return Err(ebm::Error::unfit(target, "is no target"));
    };
    let key = Key::root(seed).at(target).at(sampler);
    let dtype = if a.f64 { DType::F64 } else { DType::F32 };
    let cx = || BuildCx::new(&[*width], dtype, &Device::Cpu, key.at("energy"));
    let energy = energy(target, *width, &mut cx())?;
    let e = energy.as_ref();
    let kernel = transition(sampler, *leapfrogs, a.accept, &mut cx())?;
    let chains = Chains::range(0, a.chains);
    let x = key.at("start").normal(&chains, &[*width], dtype, &Device::Cpu)?;
    let mut state = kernel.init(e, Batch::new(x)?.with_chains(chains), key.at("init"))?;
    let began = Instant::now();
    state.learning = Learning::WarmUp;
    for k in 0..a.warm_up {
        state.warm_up_left = a.warm_up - k;
        state = kernel.step(e, &state, key.at("warm").at(k))?.state;
    }
    state.learning = Learning::Done;
    let warm_s = began.elapsed().as_secs_f64();
    let (wall, cpu) = (Instant::now(), cpu::thread_seconds());
    let mut draws = Vec::with_capacity(a.draws);
    let mut told: Map<String, Value> = Map::new();
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for k in 0..a.draws {
        let stepped = kernel.step(e, &state, key.at("draw").at(k))?;
        draws.push(stepped.state.at.x.clone());
        for name in ["accepted", "step_size", "tree_depth", "divergent", "leapfrogs"] {
            let all = stepped.info.get(name);
            let single = |v: &[f32]| v.iter().map(|v| f64::from(*v)).sum::<f64>();
            if let Some(all) = all.and_then(|t| host::on_slice(t, single, |v| v.iter().sum())) {
                *sums.entry(name).or_default() += all;
            }
        }
        state = stepped.state;
    }
    let (wall, cpu) =
        (wall.elapsed().as_secs_f64(), cpu::thread_seconds().zip(cpu).map(|(now, then)| now - then));
    let sum = |name: &str| sums.get(name).copied();
    let of = (a.draws * a.chains) as f64;
    for (name, key) in [("accepted", "accept"), ("step_size", "step"), ("tree_depth", "depth")] {
        if let Some(total) = sum(name) {
            told.insert(key.into(), json!(round(total / of)));
        }
    }
    if let Some(divergent) = sum("divergent") {
        told.insert("divergent".into(), json!(divergent));
    }
    if let Some(map) = state.aux.iter().find(|(name, _)| name.ends_with(".metric")).map(|(_, map)| map) {
        let diagonal = map.dims().last() == Some(width);
        told.insert("metric".into(), json!(if diagonal { "diagonal" } else { "dense" }));
    }
    let single = if sampler.starts_with("hmc") { *leapfrogs } else { 1 };
    let grads = sum("leapfrogs").map_or((single * a.draws) as f64, |all| all / a.chains as f64);
    let draws: Vec<Vec<f64>> = draws.iter().map(host::numbers).collect::<ebm::core::Result<_>>()?;
    let mut line = object(json!({
        "bench": "samplers", "peer": "ebm", "sampler": sampler, "target": target, "seed": seed, "chains": a.chains,
        "warmup": a.warm_up, "draws": a.draws, "sample_s": round(wall), "cpu_s": cpu.map(round),
        "warm_s": round(warm_s), "grads_per_chain": grads, "version": env!("CARGO_PKG_VERSION"),
    }));
    line.append(&mut told);
    let found = summarise(target, e, &draws, (a.chains, *width))?;
    if let Some(ess) = found.get("ess_min").and_then(Value::as_f64) {
        let cpu = cpu.unwrap_or(wall);
        line.append(&mut object(json!({
            "ess_per_s": round(ess / wall), "ess_per_cpu_s": round(ess / cpu),
            "ess_per_kgrad": round(ess / a.chains as f64 / grads * 1000.0),
        })));
    }
    line.extend(found);
    Ok(line)
}

fn round(v: f64) -> f64 {
    (v * 1e5).round() / 1e5
}

fn object(v: Value) -> Map<String, Value> {
    match v {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Diagnostics over coordinates and their squares; truth from the density (for the funnel its first value only).
fn summarise(
    target: &str,
    e: &dyn EnergyFn,
    draws: &[Vec<f64>],
    (m, width): (usize, usize),
) -> Result<Map<String, Value>> {
    let bad = (0..m).filter(|c| draws.iter().any(|d| d[c * width..][..width].iter().any(|v| !v.is_finite())));
    let bad = bad.count();
    if bad > 0 {
        return Ok(object(json!({ "bad_chains": bad })));
    }
    let density = e.density().ok_or_else(|| ebm::Error::unfit(target, "has no closed form"))?;
    let judged = if target == "funnel10" { 1 } else { width };
    let mean = density.mean().unwrap_or_else(|| vec![0.0; width]);
    let variance = density.variance().unwrap_or_else(|| vec![1.0; width]);
    let schools = target.starts_with("schools");
    let (mut ess, mut rhat, mut ess_mean) = (f64::INFINITY, 0f64, f64::INFINITY);
    let (mut bias_mean, mut bias_sd) = (0f64, 0f64);
    let (mut z, mut z_squares) = (Vec::new(), Vec::new());
    for i in 0..judged {
        let x: Vec<f64> = (0..m).flat_map(|c| draws.iter().map(move |d| d[c * width + i])).collect();
        let squares: Vec<f64> = x.iter().map(|v| v * v).collect();
        let (mu, v) = (mean[i], variance[i]);
        // Effective draws of the schools are those of μ, τ and θ, as others count them.
        let told: Vec<f64> = match (schools, i) {
            (true, 1) => x.iter().map(|t| t.exp()).collect(),
            (true, 2..) if target == "schools" => (0..m)
                .flat_map(|c| draws.iter().map(move |d| &d[c * width..][..width]))
                .map(|d| d[0] + d[1].exp() * d[i])
                .collect(),
            _ => x.clone(),
        };
        let told_squares: Vec<f64> = told.iter().map(|v| v * v).collect();
        for values in [&told, &told_squares] {
            let chains = eval::Traces::new(values, m, draws.len())?;
            ess = ess.min(eval::ess_mean(chains));
            rhat = rhat.max(eval::rhat(chains));
        }
        ess_mean = ess_mean.min(eval::ess_mean(eval::Traces::new(&told, m, draws.len())?));
        for (values, want, z) in [(&x, mu, &mut z), (&squares, v + mu * mu, &mut z_squares)] {
            let chains = eval::Traces::new(values, m, draws.len())?;
            let found = values.iter().sum::<f64>() / values.len() as f64;
            z.push(round((found - want) / eval::mcse_mean(chains)));
        }
        let n = x.len() as f64;
        let m = x.iter().sum::<f64>() / n;
        let sd = (x.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / n).sqrt();
        bias_mean = bias_mean.max((m - mu).abs() / v.sqrt());
        bias_sd = bias_sd.max((sd / v.sqrt() - 1.0).abs());
    }
    let z_max = z.iter().fold(0f64, |a, z| a.max(z.abs()));
    let mut out = object(json!({
        "bad_chains": 0, "ess_min": round(ess), "ess_mean": round(ess_mean), "rhat_max": round(rhat),
        "bias_mean": round(bias_mean), "bias_sd": round(bias_sd), "z_max": z_max, "z": z, "z_squares": z_squares,
    }));
    if let Some(share) = modes(target, draws, width) {
        out.insert("modes".into(), json!(share));
    }
    Ok(out)
}

/// Share of the modes that hold at least a quarter of their mass.
fn modes(target: &str, draws: &[Vec<f64>], width: usize) -> Option<f64> {
    let (count, key): (usize, fn(&[f64]) -> usize) = match target {
        "dwell" => (16, |x| x.iter().enumerate().map(|(i, v)| usize::from(*v > 0.0) << i).sum()),
        "grid25" => (25, |x| x.iter().fold(0, |k, v| 5 * k + (v.round().clamp(-2.0, 2.0) + 2.0) as usize)),
        _ => return None,
    };
    let mut held = vec![0usize; count];
    let all: Vec<&[f64]> = draws.iter().flat_map(|d| d.chunks_exact(width)).collect();
    all.iter().for_each(|x| held[key(x)] += 1);
    let least = 0.25 / count as f64 * all.len() as f64;
    Some(held.iter().filter(|h| **h as f64 >= least).count() as f64 / count as f64)
}
