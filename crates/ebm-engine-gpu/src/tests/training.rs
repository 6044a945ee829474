//! Whole training steps by the operators, with all that the paper's step has, against the same steps by tensor operations in f64.

use std::path::Path;

use candle_core::Device;
use ebm_core::backend::Backend;
use ebm_core::host;
use ebm_plugins as _;
use ebm_train::{Plan, RunConfig, TrainState, step_reporting};

use super::gpu;
use super::host::installed;

pub const DIGITS_NET: &str = r#"{ kind = "digits-net", filters = 4 }"#;

fn config(energy: &str, dtype: &str, steps: usize) -> RunConfig {
    let text = format!(
        r#"
format = 1
data = {{ kind = "digits" }}
energy = {energy}
sampler = {{ kind = "chain", steps = {steps}, transition = {{ kind = "langevin", step_size = 1.0, noise = 0.05, clamp = [0.0, 1.0] }} }}
replay = {{ kind = "reservoir", capacity = 40 }}
optimiser = {{ kind = "adam", rate = 1e-3, clip_norm = 0.5, average = 0.9 }}
[run]
batch = 3
seed = 4
dtype = "{dtype}"
engine = "graph"
[chains]
restart = 0.3
transitions = [{{ kind = "simclr", smallest_area = 0.3 }}]
[objective]
kind = "contrastive"
energy_l2 = 1.0
kl = {{ trail = 1 }}
entropy = {{ bank = 4, bank_above = 5, estimator = {{ kind = "nearest-neighbour" }} }}
"#
    );
    RunConfig::from_toml(&text).unwrap()
}

/// Energies, losses and norms of gradients of three steps, and how often numbers were read in the last.
pub fn train(device: &Device, energy: &str, dtype: &str, steps: usize) -> (Vec<(String, f64)>, u64) {
    let plan = Plan::build(&config(energy, dtype, steps), Path::new("."), device, None).unwrap();
    let mut state = TrainState::new(&plan).unwrap();
    let (mut all, mut reads) = (Vec::new(), 0);
    for _ in 0..3 {
        let before = host::reads();
        let report = step_reporting(&plan, &mut state, true).unwrap();
        reads = host::reads() - before;
        let values = report.values.into_iter().filter(|(name, _)| !name.starts_with("seconds"));
        all.extend(values.filter(|(name, _)| !name.starts_with("sampler")));
    }
    (all, reads)
}

/// Reads of a step with all that it may report, none of them for a parameter or a step of the sampler: data, samples, terms, energies,
/// the squares of all gradients and those of each term, new parameters, their moments, their change, what the entropy term counted.
const MOST_READS: u64 = 27;

fn agrees(device: &Device) {
    let (there, reads) = train(device, DIGITS_NET, "f32", 5);
    let (here, _) = train(&Device::Cpu, DIGITS_NET, "f64", 5);
    // The third step has an entropy term: its bank is full.
    assert!(here.iter().any(|(name, v)| name == "loss.ent" && *v != 0.0), "{here:?}");
    assert_eq!(there.len(), here.len());
    let largest = here.iter().fold(0.0f64, |m, (_, v)| m.max(v.abs()));
    for ((name, a), (same, b)) in there.iter().zip(&here) {
        assert_eq!(name, same);
        // Rounding of networks in f32, which fifteen sampler steps and three updates carry on: tensor operations in f32 are off by
        // 1e-5, these by 4e-5, Winograd's form by ten times that. Differences of near numbers count as parts of what they are
        // differences of.
        let (bound, size) = (if device.is_cpu() { 3e-4 } else { 3e-3 }, b.abs().max(1e-2 * largest));
        println!("largest deviation {:.2e}, at most {bound:.0e}: {name}", (a - b).abs() / size);
        assert!((a - b).abs() <= bound * size, "{name}: {a}, {b}");
    }
    let (_, more) = train(device, DIGITS_NET, "f32", 9);
    assert_eq!(reads, more, "a sampler step reads numbers");
    // An update reads as often whatever it updates: here four parameters, and there forty.
    for layers in ["4", "4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4"] {
        let (_, of_mlp) = train(device, &format!(r#"{{ kind = "mlp", hidden = [{layers}] }}"#), "f32", 5);
        assert_eq!(reads, of_mlp, "layers {layers}: reads for each parameter");
    }
    assert!(reads <= MOST_READS, "{reads} reads a step");
}

#[test]
fn steps_by_kernels_of_the_host() {
    let Some((_alone, launched)) = installed(false) else { return };
    agrees(&Device::Cpu);
    let launched = launched.lock().unwrap();
    let all = "log_step norm_act_affine norm_act_tangent_affine kth_smallest many_elementwise many_squares many_copy";
    for kernel in all.split(' ') {
        assert!(launched.contains(kernel), "{kernel} was not used: {launched:?}");
    }
}

#[test]
fn steps_with_channels_last() {
    let Some((_alone, launched)) = installed(true) else { return };
    agrees(&Device::Cpu);
    let launched = launched.lock().unwrap();
    for kernel in
        ["last_norm_act_f4", "last_pool_f4", "last_space_f4", "last_space_back_f4", "norm_act_affine"]
    {
        assert!(launched.contains(kernel), "{kernel} was not used: {launched:?}");
    }
}

#[test]
fn steps_on_a_gpu() {
    if let Some((_alone, device)) = gpu() {
        agrees(&device);
    }
}

/// Samplers that accept or not, and objectives without a chain.
const OTHERS: [(&str, &str); 5] = [
    (
        r#"{ kind = "chain", steps = 3, transition = { kind = "mala", step_size = 0.001 } }"#,
        "{ kind = \"contrastive\" }",
    ),
    (
        r#"{ kind = "chain", steps = 2, transition = { kind = "hmc", step_size = 0.01, leapfrogs = 2 } }"#,
        "{ kind = \"contrastive\" }",
    ),
    (LANGEVIN, "{ kind = \"denoising-score-matching\", sigma = 0.1 }"),
    (LANGEVIN, "{ kind = \"sliced-score-matching\" }"),
    (LANGEVIN, "{ kind = \"energy-discrepancy\", sigma = 0.6, particles = 2 }"),
];

const LANGEVIN: &str =
    r#"{ kind = "chain", steps = 2, transition = { kind = "langevin", step_size = 1.0, noise = 0.05 } }"#;

/// The first step of others, against f64.
fn others(device: &Device, all: &[(&str, &str)]) {
    for (sampler, objective) in all {
        let first = |dtype: &str, device: &Device| {
            let text = format!(
                "format = 1\ndata = {{ kind = \"digits\" }}\nenergy = {DIGITS_NET}\nsampler = {sampler}\nobjective = {objective}\n\
                 optimiser = {{ kind = \"adam\", rate = 1e-3 }}\n[run]\nbatch = 2\nseed = 4\ndtype = \"{dtype}\"\nengine = \"graph\"\n[chains]\nfrom = \"data\"\n"
            );
            let plan =
                Plan::build(&RunConfig::from_toml(&text).unwrap(), Path::new("."), device, None).unwrap();
            let mut state = TrainState::new(&plan).unwrap();
            step_reporting(&plan, &mut state, true).unwrap().values
        };
        let (there, here) = (first("f32", device), first("f64", &Device::Cpu));
        for name in ["grad", "energy.data", "loss"] {
            let Some((a, b)) = there.get(name).zip(here.get(name)) else { continue };
            let bound = if device.is_cpu() { 1e-3 } else { 1e-2 };
            let off = (a - b).abs() / b.abs().max(1e-2);
            println!("largest deviation {off:.2e}, at most {bound:.0e}: {name} of {objective}, {sampler}");
            assert!(off <= bound, "{name} of {objective}, {sampler}: {a}, {b}");
        }
    }
}

#[test]
fn other_samplers_and_objectives_by_kernels_of_the_host() {
    let Some(_alone) = installed(true) else { return };
    others(&Device::Cpu, &OTHERS);
}

#[test]
fn other_samplers_and_objectives_on_a_gpu() {
    if let Some((_alone, device)) = gpu() {
        others(&device, &OTHERS);
    }
}

#[test]
fn steps_in_tf32_and_bf16_on_a_gpu() {
    if let Some((_alone, device)) = gpu() {
        let (here, _) = train(&Device::Cpu, DIGITS_NET, "f64", 5);
        // Of the first step, as a share of the largest: factors rounded to 10 bits and to 8, through a dozen layers, slopes and the KL
        // term's second derivative.
        for (dtype, bound) in [("tf32", 3e-2), ("bf16", 1e-1)] {
            crate::Cuda.round_products(dtype == "tf32");
            let (there, _) = train(&device, DIGITS_NET, dtype, 5);
            crate::Cuda.round_products(false);
            for name in ["energy.data", "energy.samples", "grad", "loss.kl"] {
                let first = |all: &[(String, f64)]| all.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
                let Some((a, b)) = first(&there).zip(first(&here)) else { continue };
                let off = (a - b).abs() / b.abs().max(1e-1);
                println!("largest deviation {off:.2e}, at most {bound:.0e}: {name} in {dtype}");
                assert!(off <= bound, "{name} in {dtype}: {a}, {b}");
            }
        }
    }
}
