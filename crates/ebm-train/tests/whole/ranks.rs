//! The laws of ranks, on threads: what a run computes does not depend on how many ranks share its shards (to the
//! bit) or the rows of a shard (to rounding); checkpoints go on on any number; ranks fail together.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::common::{bits, timeless};
use ebm_core::candle::{DType, Device};
use ebm_core::{
    BuildCx, Collective, DrawRequest, Drawn, EnergyFn, Error, Event, Key, Look, Observer, Report, Result,
    Sampler, SamplerConfig, Sensitivity,
};
use ebm_ranks::Threads;
use ebm_train::run::{self, Options};
use ebm_train::{Outcome, Plan, RunConfig, TrainState, checkpoint};
use serde::{Deserialize, Serialize};
use {
    ebm_energies_net as _, ebm_entropies as _, ebm_objectives as _, ebm_policies as _, ebm_replays as _,
    ebm_samplers as _, ebm_sources as _,
};

const LANGEVIN: &str = "[sampler]\nkind = \"chain\"\nsteps = 3\n\
    transition = { kind = \"langevin\", step_size = 0.1, noise = 0.1, clamp = [0.0, 1.0] }\n";

const PLAIN: &str = "[objective]\nkind = \"contrastive\"\nenergy_l2 = 0.5\n";

/// Five rows do not divide evenly; the bank is on after the second step.
const TERMS: &str = "[objective]\nkind = \"contrastive\"\nenergy_l2 = 0.5\nkl = { trail = 2, rows = 5 }\n\
    entropy = { bank = 6, bank_above = 30, estimator = { kind = \"nearest-neighbour\" } }\n";

const RING: &str = "[replay]\nkind = \"ring\"\ncapacity = 40\n";

const RESERVOIR: &str = "[replay]\nkind = \"reservoir\"\ncapacity = 60\nstorage = \"bytes\"\n";

fn config(shards: usize, run: &str, sections: &str) -> RunConfig {
    let text = format!(
        "format = 1\n[run]\nseed = 2\nsteps = 8\nbatch = 16\nshards = {shards}\nreport_every = 3\n{run}\n\
         [data]\nkind = \"digits\"\n[energy]\nkind = \"mlp\"\nhidden = [12, 8]\n\
         [optimiser]\nkind = \"adam\"\nrate = 1e-3\nclip_norm = 0.5\naverage = 0.99\n{sections}"
    );
    RunConfig::from_toml(&text).unwrap()
}

fn plan(config: &RunConfig, ranks: Arc<dyn Collective>) -> Result<Plan> {
    Plan::build(config, Path::new("."), &Device::Cpu, None)?.with_ranks(ranks)
}

/// What a run came to on one rank.
struct Ended {
    bits: BTreeMap<String, Vec<u64>>,
    last: Report,
    outcome: Outcome,
    skipped: u64,
}

/// Trains on so many ranks, from the newest checkpoint in `directory` if there is one.
fn trained(config: &RunConfig, size: usize, until: u64, directory: &Path) -> Vec<Result<Ended>> {
    let rank = |ranks: Arc<dyn Collective>| -> Result<Ended> {
        let plan = plan(config, ranks.clone())?;
        let found = checkpoint::list(&run::checkpoints_of(directory)).is_empty();
        // All look before the first writes.
        ranks.gather(&[])?;
        let mut state = if found { TrainState::new(&plan)? } else { run::resume(&plan, directory)?.0 };
        let directory = (ranks.rank() == 0).then_some(directory);
        let options = Options { directory, until: Some(until), ..Options::default() };
        let summary = run::run(&plan, &mut state, options)?;
        let (last, skipped) = (timeless(summary.last), summary.skipped);
        Ok(Ended { bits: bits(&state), last, outcome: summary.outcome, skipped })
    };
    Threads::run(size, rank)
}

/// The bytes of a checkpoint's files.
fn files(directory: &Path, step: u64) -> BTreeMap<String, Vec<u8>> {
    let folder = checkpoint::folder_of(&run::checkpoints_of(directory), step);
    let read = |e: std::io::Result<std::fs::DirEntry>| {
        let e = e.unwrap();
        (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

fn shared(bits: &BTreeMap<String, Vec<u64>>) -> BTreeMap<&String, &Vec<u64>> {
    bits.iter().filter(|(k, _)| !k.starts_with("replay") && !k.starts_with("sampler")).collect()
}

/// Four shards on 1, 2 and 4 ranks: the same bytes in the checkpoint, the same report, the same weights everywhere.
fn same_bytes(sections: &str) {
    same_bytes_of(&config(4, "", sections));
}

fn same_bytes_of(config: &RunConfig) {
    let mut want = None;
    for size in [1, 2, 4] {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<Ended> =
            trained(config, size, 7, folder.path()).into_iter().collect::<Result<_>>().unwrap();
        for other in &all {
            assert_eq!(shared(&other.bits), shared(&all[0].bits), "{size} ranks differ among each other");
            assert_eq!(other.last, all[0].last);
        }
        let mut files = files(folder.path(), 7);
        assert!(files.remove("state.json").is_some());
        let got = (files, all[0].last.clone());
        let want = want.get_or_insert_with(|| got.clone());
        assert_eq!(got.1, want.1, "{size} ranks report something else");
        assert!(got.0 == want.0, "{size} ranks write another checkpoint");
    }
}

#[test]
fn a_ring() {
    same_bytes(&format!("{LANGEVIN}{RING}{PLAIN}"));
}

#[test]
fn kl_and_entropy_terms_from_a_reservoir_of_bytes() {
    let replay = RESERVOIR;
    same_bytes(&format!("{LANGEVIN}{replay}{TERMS}[chains]\nfill = \"start\"\n"));
}

#[test]
fn random_overwrite_filled_with_data() {
    let replay = "[replay]\nkind = \"random-overwrite\"\ncapacity = 40\n";
    same_bytes(&format!("{LANGEVIN}{replay}{PLAIN}[chains]\nfill = \"data\"\nrestart = 0.3\n"));
}

#[test]
fn chains_in_place_with_adapted_steps() {
    let sampler = "[sampler]\nkind = \"chain\"\nsteps = 3\n\
        transition = { kind = \"mala\", step_size = 0.01, target_acceptance = 0.6 }\n";
    let replay = "[replay]\nkind = \"in-place\"\ncapacity = 32\n";
    same_bytes(&format!("{sampler}{replay}{PLAIN}[chains]\nfill = \"start\"\n"));
}

#[test]
fn a_run_that_goes_back_to_its_last_healthy_state() {
    let back =
        "[[policy]]\nkind = \"roll-back\"\nscale = [{ setting = \"optimiser.rate\", factor = 1e-9 }]\n";
    let text = config(4, "", &format!("{LANGEVIN}{RING}{PLAIN}{back}")).to_toml().unwrap();
    let absurd = RunConfig::from_toml(&text.replace("rate = 0.001", "rate = 1e6")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ended = trained(&absurd, 2, 7, folder.path()).remove(1).unwrap();
    assert_eq!((ended.last.step, ended.last.get("rolled_back")), (7, Some(1.0)), "{:?}", ended.outcome);
    same_bytes_of(&absurd);
}

#[test]
fn chains_from_the_data_without_a_buffer() {
    same_bytes(&format!("{LANGEVIN}{PLAIN}[chains]\nfrom = \"data\"\n"));
}

/// Chains that keep the label they began with, under an energy that looks at it.
const KEPT: &str = "[chains]\nlabels = \"kept\"\nfill = \"data\"\nrestart = 0.3\n\
    [replay]\nkind = \"random-overwrite\"\ncapacity = 40\n";

fn labelled(shards: usize, run: &str) -> RunConfig {
    let text = config(shards, run, &format!("{LANGEVIN}{KEPT}{PLAIN}")).to_toml().unwrap();
    let mut tree: toml::Table = toml::from_str(&text).unwrap();
    let part = |text: &str| toml::Value::Table(toml::from_str(text).unwrap());
    tree.insert("data".into(), part("kind = \"digits\"\nlabels = true"));
    let net = "kind = \"conv-net\"\nlayers = [{ filters = 2, stride = 2 }]\nhidden = [4]\nconditional = true";
    tree.insert("energy".into(), part(net));
    RunConfig::from_toml(&toml::to_string(&tree).unwrap()).unwrap()
}

#[test]
fn chains_that_keep_their_labels() {
    same_bytes_of(&labelled(4, ""));
}

#[test]
fn shared_rows_of_chains_that_keep_their_labels() {
    same_to_rounding_of(&labelled(1, "dtype = \"f64\""));
}

/// One shard whose rows are spread over ranks: the sums of a mean in another order.
fn same_to_rounding(sections: &str) {
    same_to_rounding_of(&config(1, "dtype = \"f64\"", sections));
}

fn same_to_rounding_of(config: &RunConfig) {
    let weights = |size: usize| -> Vec<f64> {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<Ended> =
            trained(config, size, 7, folder.path()).into_iter().collect::<Result<_>>().unwrap();
        for other in &all {
            // Sharers hold the whole buffer of their shard, all alike.
            assert_eq!(other.bits, all[0].bits, "{size} ranks differ among each other");
        }
        let mut numbers: Vec<f64> = Vec::new();
        for (name, v) in
            all[0].bits.iter().filter(|(k, _)| k.starts_with("params") || k.starts_with("replay"))
        {
            if !name.contains("counters") {
                numbers.extend(v.iter().map(|b| f64::from_bits(*b)));
            }
        }
        numbers.extend(all[0].last.values.values());
        numbers
    };
    let want = weights(1);
    for size in [2, 3, 4] {
        let got = weights(size);
        assert_eq!(got.len(), want.len());
        for (a, b) in got.iter().zip(&want) {
            // Seven steps of sums of a few hundred numbers in f64; replayed chains are kept in f32.
            assert!((a - b).abs() < 1e-6 * (1.0 + b.abs()), "{size} ranks: {a} against {b}");
        }
    }
}

#[test]
fn shared_rows_of_a_ring() {
    same_to_rounding(&format!("{LANGEVIN}{RING}{PLAIN}"));
}

#[test]
fn shared_rows_with_kl_and_entropy_terms() {
    same_to_rounding(&format!("{LANGEVIN}{RING}{TERMS}"));
}

#[test]
fn shared_rows_of_chains_in_place() {
    let replay = "[replay]\nkind = \"in-place\"\ncapacity = 32\n";
    same_to_rounding(&format!("{LANGEVIN}{replay}{PLAIN}[chains]\nfill = \"start\"\n"));
}

/// The gradient in a parameter of the objective is summed as those of the energy are.
#[test]
fn a_parameter_of_the_objective() {
    let sections = format!("{LANGEVIN}[objective]\nkind = \"test-nce\"\n");
    same_bytes(&sections);
    same_to_rounding(&sections);
}

/// Chains that begin on the data and have their numbers by chain know nothing of shards.
#[test]
fn the_loss_of_shards_is_the_mean_over_the_batch() {
    let sections = format!("{LANGEVIN}{PLAIN}[chains]\nfrom = \"data\"\n");
    let run = |shards| {
        let folder = tempfile::tempdir().unwrap();
        let config = config(shards, "dtype = \"f64\"", &sections);
        trained(&config, 1, 7, folder.path()).remove(0).unwrap()
    };
    let (one, four) = (run(1), run(4));
    for (name, want) in &one.last.values {
        let got = four.last.values[name];
        // Seven steps of sums of a few hundred numbers in f64 in another order.
        assert!((got - want).abs() < 1e-9 * (1.0 + want.abs()), "{name}: {got} against {want}");
    }
}

#[test]
fn a_checkpoint_goes_on_on_any_number_of_ranks() {
    let config = config(4, "", &format!("{LANGEVIN}{RING}{TERMS}"));
    let straight = tempfile::tempdir().unwrap();
    trained(&config, 1, 8, straight.path()).remove(0).unwrap();
    for (first, second) in [(2, 1), (2, 4), (4, 2), (1, 4)] {
        let folder = tempfile::tempdir().unwrap();
        trained(&config, first, 4, folder.path()).into_iter().for_each(|r| assert!(r.is_ok()));
        trained(&config, second, 8, folder.path()).into_iter().for_each(|r| assert!(r.is_ok()));
        assert!(files(folder.path(), 8) == files(straight.path(), 8), "{first} then {second} ranks");
    }
}

/// A sampler that fails for one chain from a call on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Faulty {
    /// `error`, `nan`, `panic`, `weights` or `memory`.
    how: String,
    chain: u64,
}

impl ebm_core::settings::Check for Faulty {}

#[typetag::serde(name = "faulty")]
impl SamplerConfig for Faulty {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        Ok(Box::new(self.clone()))
    }
}

impl Sampler for Faulty {
    fn draw(
        &self,
        e: &dyn EnergyFn,
        from: ebm_core::Batch,
        _: Key,
        request: &mut DrawRequest<'_>,
    ) -> Result<Drawn> {
        let mut at = from;
        if self.how == "memory" {
            let t = ebm_core::candle::Tensor::zeros(1, DType::F32, &Device::Cpu)?;
            request.memory.insert("size".into(), t);
        }
        if at.chains.ids().contains(&self.chain) {
            match self.how.as_str() {
                "error" => {
                    return Err(Error::config("faulty", format!("chain {} fails on purpose", self.chain)));
                }
                "nan" => at = at.with_x(at.x.affine(f64::NAN, 0.0)?),
                "panic" => panic!("chain {} panics on purpose", self.chain),
                "weights" => {
                    for name in e.params().names().map(str::to_string).collect::<Vec<_>>() {
                        let t = e.params().get(&name).unwrap();
                        e.params().set(&name, &t.affine(1.0, 1e-3)?)?;
                    }
                }
                _ => {}
            }
        }
        Ok(Drawn::new(ebm_core::ChainState::new(at), ebm_core::Trail::default(), BTreeMap::new()))
    }
    fn sensitivity(&self, _: usize) -> Sensitivity {
        Sensitivity::Exact
    }
    fn steps(&self) -> usize {
        1
    }
    fn with_steps(&self, _: usize) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
    fn name(&self) -> String {
        "faulty".into()
    }
}

/// Chains of a step are places of the epoch: chain 41 is in the third step, on the third of four ranks.
fn faulty(how: &str) -> String {
    format!("[sampler]\nkind = \"faulty\"\nhow = \"{how}\"\nchain = 41\n{PLAIN}{RING}")
}

#[test]
fn the_error_of_one_rank_ends_all() {
    for shards in [4, 1] {
        let folder = tempfile::tempdir().unwrap();
        let all = trained(&config(shards, "", &faulty("error")), 4, 8, folder.path());
        let errors: Vec<String> = all.into_iter().map(|r| r.err().unwrap().to_string()).collect();
        assert_eq!(errors[2], "faulty: chain 41 fails on purpose");
        for rank in [0, 1, 3] {
            assert_eq!(errors[rank], "rank 2 failed: faulty: chain 41 fails on purpose");
        }
    }
}

#[test]
fn numbers_that_are_not_finite_on_one_rank_leave_the_batch_out_on_all() {
    let config = config(4, "", &faulty("nan"));
    let mut all = Vec::new();
    for size in [1, 4] {
        let folder = tempfile::tempdir().unwrap();
        let got: Vec<Ended> =
            trained(&config, size, 5, folder.path()).into_iter().map(Result::unwrap).collect();
        assert!(got.iter().all(|e| e.skipped == 1 && e.outcome == Outcome::Interrupted));
        all.push(files(folder.path(), 5));
    }
    assert!(all[0] == all[1]);
}

#[test]
#[should_panic(expected = "on purpose")]
fn a_panic_of_one_rank_ends_all() {
    let folder = tempfile::tempdir().unwrap();
    trained(&config(4, "", &faulty("panic")), 4, 8, folder.path());
}

#[test]
fn weights_that_drift_apart_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let all = trained(&config(4, "", &faulty("weights")), 4, 8, folder.path());
    let text = all[0].as_ref().err().unwrap().to_string();
    assert!(text.contains("other weights"), "{text}");
}

#[test]
fn other_settings_are_noticed() {
    let all = Threads::run(2, |ranks| -> Result<Outcome> {
        let rate = if ranks.rank() == 1 { "0.2" } else { "0.1" };
        let sections =
            format!("{LANGEVIN}{RING}{PLAIN}").replace("step_size = 0.1", &format!("step_size = {rate}"));
        let plan = plan(&config(2, "", &sections), ranks)?;
        Ok(run::run(&plan, &mut TrainState::new(&plan)?, Options::default())?.outcome)
    });
    for ended in all {
        let text = ended.unwrap_err().to_string();
        assert!(text.contains("rank 1 has other settings"), "{text}");
    }
}

#[test]
fn what_cannot_be_spread_is_refused() {
    let refused = |config: &RunConfig, size: usize| {
        let folder = tempfile::tempdir().unwrap();
        trained(config, size, 2, folder.path()).remove(0).err().unwrap().to_string()
    };
    let sections = format!("{LANGEVIN}{RING}{PLAIN}");
    assert!(refused(&config(4, "", &sections), 3).contains("run.shards"));
    // A sampler that adapts itself to all chains of a shard.
    let text = refused(&config(1, "", &faulty("memory")), 2);
    assert!(text.contains("faulty") && text.contains("run.shards"), "{text}");
    // Chains that depend on the others of their shard: in the sampler, and where chains start.
    let jump = "{ kind = \"difference-jump\", pairs = \"chains\" }";
    let jumps = format!("[sampler]\nkind = \"chain\"\nsteps = 2\ntransition = {jump}\n{RING}{PLAIN}");
    let text = refused(&config(1, "", &jumps), 2);
    assert!(text.contains("depend on each other") && text.contains("run.shards"), "{text}");
    let text = refused(&config(1, "", &format!("{sections}[chains]\ntransitions = [{jump}]\n")), 2);
    assert!(text.contains("`chains`") && text.contains("run.shards"), "{text}");
    // A shard of a rank's own holds all of them.
    same_bytes(&jumps);
    // A buffer that shards cannot share.
    let text = refused(&config(16, "", &sections), 1);
    assert!(text.contains("replay.capacity") && text.contains("run.shards"), "{text}");
    // An objective that takes the mean of what it sees.
    let own = crate::common::config(&[]);
    let text = refused(&own, 2);
    assert!(text.contains("test-cd") && text.contains("run.shards"), "{text}");
}

/// Looks at chains of the buffer after every second step.
struct Looker(Arc<Mutex<Vec<Vec<f32>>>>);

impl Observer for Looker {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        if let Event::Step { report, view } = event
            && report.step.is_multiple_of(2)
        {
            let seen = view.buffered(6)?.map_or(Ok(vec![]), |x| x.flatten_all()?.to_vec1());
            self.0.lock().unwrap().push(seen?);
        }
        Ok(())
    }

    fn looks(&self, _: &[usize]) -> Vec<Look> {
        vec![Look { every: 2, rows: 6 }]
    }

    fn name(&self) -> String {
        "looker".into()
    }
}

#[test]
fn observers_see_the_buffers_of_all_ranks() {
    for sections in [&format!("{LANGEVIN}{RING}{PLAIN}")[..], &format!("{LANGEVIN}{RESERVOIR}{PLAIN}")] {
        let looks = |size: usize| {
            let config = config(2, "", sections);
            let seen = Arc::new(Mutex::new(Vec::new()));
            let all = Threads::run(size, |ranks: Arc<dyn Collective>| -> Result<()> {
                let first = ranks.rank() == 0;
                let plan = plan(&config, ranks)?;
                let mut state = TrainState::new(&plan)?;
                let observers: Vec<Box<dyn Observer>> =
                    if first { vec![Box::new(Looker(seen.clone()))] } else { Vec::new() };
                run::run(&plan, &mut state, Options { observers, ..Options::default() }).map(drop)
            });
            all.into_iter().collect::<Result<Vec<()>>>().unwrap();
            Arc::into_inner(seen).unwrap().into_inner().unwrap()
        };
        let alone = looks(1);
        assert_eq!((alone.len(), alone[3].len()), (4, 6 * 64));
        assert_eq!(looks(2), alone);
    }
}
