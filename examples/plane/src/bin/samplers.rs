//! MALA and HMC on densities with known moments: effective draws a second, R-hat and bias, one line of JSON a run.
//!
//! Processor time is that of the calling thread: run it with EBM_THREADS=1 and RAYON_NUM_THREADS=1.
//!
//! 16 chains from N(0, I) in f32; 500 steps in which the step size moves to its acceptance, which are not timed; 1000
//! kept steps at the geometric mean of the second half's step sizes. HMC takes 30 leapfrog steps on the Gaussian and
//! 10 elsewhere, with a step size uniform in ±40 % (it breaks up orbits; the number of gradients stays).

#[path = "../cpu.rs"]
mod cpu;

use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use ebm::core::candle::{DType, Device};
use ebm::core::{Batch, BuildCx, ChainState, Chains, EnergyConfig, EnergyFn, Key, Transition};
use ebm::{Result, Source, eval};
use ebm_plugins as _;
use ebm_samplers::{Hmc, Mala};
use serde_json::{Map, Value, json};

const CHAINS: usize = 16;
const WARMUP: usize = 500;
const DRAWS: usize = 1000;

/// Name, settings of the energy, width, leapfrog steps.
const TARGETS: [(&str, &str, usize, usize); 5] = [
    ("gauss100", "kind = \"ill-conditioned-gaussian\"", 100, 30),
    ("funnel10", "kind = \"funnel\"", 10, 10),
    ("banana", "kind = \"banana\"", 2, 10),
    ("dwell", "kind = \"double-well\"", 4, 10),
    ("grid25", "kind = \"grid25\"", 2, 10),
];

/// MALA and HMC on densities with known moments, one line of JSON a run.
#[derive(Parser)]
struct Arguments {
    /// Targets.
    #[arg(long, value_delimiter = ',', default_value = "gauss100,funnel10,banana,dwell,grid25")]
    targets: Vec<String>,
    /// Samplers.
    #[arg(long, value_delimiter = ',', default_value = "mala,hmc")]
    samplers: Vec<String>,
    /// Seeds.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    seeds: Vec<u64>,
    /// Relative spread of HMC's step size.
    #[arg(long, default_value_t = 0.4)]
    jitter: f64,
}

fn main() -> std::process::ExitCode {
    let a = Arguments::parse();
    for target in &a.targets {
        for sampler in &a.samplers {
            for seed in &a.seeds {
                match run(target, sampler, *seed, a.jitter) {
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

/// A transition of fixed or adapting step size.
fn transition(
    sampler: &str,
    step: f64,
    leapfrogs: usize,
    jitter: f64,
    adapt: bool,
) -> Result<Box<dyn Transition>> {
    Ok(match (sampler, adapt) {
        ("mala", true) => Box::new(Mala::new(step).adapting(0.574, 0.1)),
        ("mala", false) => Box::new(Mala::new(step)),
        ("hmc", true) => Box::new(Hmc::new(step, leapfrogs).jittered(jitter).adapting(0.8, 0.1)),
        ("hmc", false) => Box::new(Hmc::new(step, leapfrogs).jittered(jitter)),
        _ => return Err(ebm::Error::unfit(sampler, "is no sampler; there are mala and hmc")),
    })
}

fn run(target: &str, sampler: &str, seed: u64, jitter: f64) -> Result<Map<String, Value>> {
    let known = TARGETS.iter().find(|t| t.0 == target);
    let Some((_, settings, width, leapfrogs)) = known else {
        return Err(ebm::Error::unfit(target, "is no target"));
    };
    let source = Source::text(target, format!("[energy]\n{settings}\n"));
    let config: Box<dyn EnergyConfig> = source.read_part("energy", ebm::core::Family::Energy)?;
    let key = Key::root(seed).at(target).at(sampler);
    let energy: Arc<dyn EnergyFn> =
        config.build(&mut BuildCx::new(&[*width], DType::F32, &Device::Cpu, key.at("energy")))?;
    let e = energy.as_ref();
    let chains = Chains::range(0, CHAINS);
    let x = key.at("start").normal(&chains, &[*width], DType::F32, &Device::Cpu)?;
    let mut state = ChainState::new(Batch::new(x)?.with_chains(chains));
    let began = Instant::now();
    let first = if sampler == "mala" { 0.005 } else { 0.1 };
    let warm = transition(sampler, first, *leapfrogs, jitter, true)?;
    let mut logs = 0.0;
    for k in 0..WARMUP {
        state = warm.step(e, &state, key.at("warm").at(k))?.state;
        let step = state.aux.values().next().map(|t| t.to_vec1::<f64>());
        let step = step.transpose().map_err(ebm::core::Error::from)?.and_then(|v| v.first().copied());
        if k >= WARMUP / 2 {
            logs += step.unwrap_or(first).ln();
        }
    }
    let step = (logs / (WARMUP - WARMUP / 2) as f64).exp();
    let warm_s = began.elapsed().as_secs_f64();
    let fixed = transition(sampler, step, *leapfrogs, jitter, false)?;
    let (wall, cpu) = (Instant::now(), cpu::thread_seconds());
    let mut draws: Vec<Vec<f32>> = Vec::with_capacity(DRAWS);
    let mut taken = 0.0;
    for k in 0..DRAWS {
        let stepped = fixed.step(e, &state, key.at("draw").at(k))?;
        let get = |t: &ebm::core::candle::Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>());
        draws.push(get(&stepped.state.at.x).map_err(ebm::core::Error::from)?);
        let accepted = stepped.info.get("accepted").map(get).transpose().map_err(ebm::core::Error::from)?;
        taken += accepted.unwrap_or_default().iter().map(|v| f64::from(*v)).sum::<f64>();
        state = stepped.state;
    }
    let (wall, cpu) =
        (wall.elapsed().as_secs_f64(), cpu::thread_seconds().zip(cpu).map(|(now, then)| now - then));
    let grads = DRAWS * if sampler == "mala" { 1 } else { *leapfrogs };
    let mut line = object(json!({
        "bench": "samplers", "peer": "ebm", "sampler": sampler, "target": target, "seed": seed, "chains": CHAINS,
        "warmup": WARMUP, "draws": DRAWS, "sample_s": round(wall), "cpu_s": cpu.map(round), "warm_s": round(warm_s),
        "grads_per_chain": grads, "version": env!("CARGO_PKG_VERSION"), "step": step,
        "accept": round(taken / (DRAWS * CHAINS) as f64),
    }));
    let found = summarise(target, e, &draws, *width)?;
    if let Some(ess) = found.get("ess_min").and_then(Value::as_f64) {
        let cpu = cpu.unwrap_or(wall);
        line.append(&mut object(json!({
            "ess_per_s": round(ess / wall), "ess_per_cpu_s": round(ess / cpu),
            "ess_per_kgrad": round(ess / CHAINS as f64 / grads as f64 * 1000.0),
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
fn summarise(target: &str, e: &dyn EnergyFn, draws: &[Vec<f32>], width: usize) -> Result<Map<String, Value>> {
    let bad =
        (0..CHAINS).filter(|c| draws.iter().any(|d| d[c * width..][..width].iter().any(|v| !v.is_finite())));
    let bad = bad.count();
    if bad > 0 {
        return Ok(object(json!({ "bad_chains": bad })));
    }
    let density = e.density().ok_or_else(|| ebm::Error::unfit(target, "has no closed form"))?;
    let judged = if target == "funnel10" { 1 } else { width };
    let mean = density.mean().unwrap_or_else(|| vec![0.0; width]);
    let variance = density.variance().unwrap_or_else(|| vec![1.0; width]);
    let (mut ess, mut rhat) = (f64::INFINITY, 0f64);
    let (mut bias_mean, mut bias_sd, mut z) = (0f64, 0f64, 0f64);
    for i in 0..judged {
        let x: Vec<f64> =
            (0..CHAINS).flat_map(|c| draws.iter().map(move |d| f64::from(d[c * width + i]))).collect();
        let squares: Vec<f64> = x.iter().map(|v| v * v).collect();
        let mut of_x = f64::INFINITY;
        for (k, values) in [&x, &squares].into_iter().enumerate() {
            let chains = eval::Traces::new(values, CHAINS, draws.len())?;
            let n = eval::ess_mean(chains);
            if k == 0 {
                of_x = n;
            }
            (ess, rhat) = (ess.min(n), rhat.max(eval::rhat(chains)));
        }
        let n = x.len() as f64;
        let m = x.iter().sum::<f64>() / n;
        let sd = (x.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / n).sqrt();
        let (mu, truth) = (mean[i], variance[i].sqrt());
        bias_mean = bias_mean.max((m - mu).abs() / truth);
        bias_sd = bias_sd.max((sd / truth - 1.0).abs());
        z = z.max((m - mu).abs() / (truth / of_x.sqrt()));
    }
    let mut out = object(json!({
        "bad_chains": 0, "ess_min": round(ess), "rhat_max": round(rhat), "bias_mean": round(bias_mean),
        "bias_sd": round(bias_sd), "z_max": round(z),
    }));
    if let Some(share) = modes(target, draws, width) {
        out.insert("modes".into(), json!(share));
    }
    Ok(out)
}

/// Share of the modes that hold at least a quarter of their mass.
fn modes(target: &str, draws: &[Vec<f32>], width: usize) -> Option<f64> {
    let (count, key): (usize, fn(&[f32]) -> usize) = match target {
        "dwell" => (16, |x| x.iter().enumerate().map(|(i, v)| usize::from(*v > 0.0) << i).sum()),
        "grid25" => (25, |x| x.iter().fold(0, |k, v| 5 * k + (v.round().clamp(-2.0, 2.0) + 2.0) as usize)),
        _ => return None,
    };
    let mut held = vec![0usize; count];
    draws.iter().flat_map(|d| d.chunks_exact(width)).for_each(|x| held[key(x)] += 1);
    let least = 0.25 / count as f64 * (draws.len() * CHAINS) as f64;
    Some(held.iter().filter(|h| **h as f64 >= least).count() as f64 / count as f64)
}
