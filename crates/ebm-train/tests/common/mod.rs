//! Small parts for tests of the trainer: a data set, an energy with a buffer, a Langevin chain, a
//! contrastive objective with a KL term, a ring buffer, and switches that make them fail.

#![allow(clippy::unwrap_used, dead_code, unused_imports)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Autograd, Batch, BuildCx, ChainStart, ChainState, Chains, Condition, DataConfig, DataSource, Demands,
    Diff, DrawRequest, Drawn, EnergyConfig, EnergyFn, EnergySpec, Error, Exactness, Forward, Init, Key,
    Labelled, Link, Needs, Objective, ObjectiveConfig, Observer, ObserverConfig, ParamSet, ReplayBuffer,
    ReplayConfig, Report, Result, RunPaths, Sampler, SamplerConfig, Sensitivity, Slope, Split, StepInput,
    ThetaGrad, Trail, Transition, TransitionConfig, View, WeightFn,
};
use ebm_optimisers as _;
use ebm_policies as _;
use ebm_train::{Plan, RunConfig, TrainState};
use serde::{Deserialize, Serialize};

mod objectives;

pub use objectives::*;

/// 37 fixed points, so that epochs wrap inside short runs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestData {
    dim: usize,
    #[serde(default)]
    labels: usize,
    /// Epoch whose values are so large that energies overflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bad_epoch: Option<u64>,
    /// Epoch whose third value of the third sample is not a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nan_epoch: Option<u64>,
}

impl ebm_core::settings::Check for TestData {}

#[typetag::serde(name = "test-data")]
impl DataConfig for TestData {
    fn make(&self, _: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        Ok(Arc::new(Points {
            shape: [self.dim],
            labels: self.labels,
            bad: self.bad_epoch,
            nan: self.nan_epoch,
        }))
    }
}

struct Points {
    shape: [usize; 1],
    labels: usize,
    bad: Option<u64>,
    nan: Option<u64>,
}

impl DataSource for Points {
    fn len(&self) -> usize {
        37
    }
    fn sample_shape(&self) -> &[usize] {
        &self.shape
    }
    fn condition(&self) -> usize {
        self.labels
    }
    fn batch(&self, epoch: u64, index: usize, size: usize, key: Key) -> Result<Batch> {
        let order = key.at("order").at(epoch).permutation(37);
        let ids: Vec<u64> = order[index * size..(index + 1) * size].iter().map(|i| *i as u64).collect();
        let x = key.at("points").normal(&Chains::from_ids(ids), &self.shape, DType::F32, &Device::Cpu)?;
        let x = if self.bad == Some(epoch) { (x * 1e30)? } else { x };
        let x = match self.nan == Some(epoch) {
            true => {
                let mut values = x.flatten_all()?.to_vec1::<f32>()?;
                values[2 * self.shape[0] + 2] = f32::NAN;
                Tensor::from_vec(values, x.shape(), &Device::Cpu)?
            }
            false => x,
        };
        let batch = Batch::new(x)?;
        if self.labels == 0 {
            return Ok(batch);
        }
        let hot: Vec<f32> = (0..size * self.labels).map(|i| f32::from(i % self.labels == 0)).collect();
        let cond = Tensor::from_vec(hot, (size, self.labels), &Device::Cpu)?;
        Ok(batch.with_cond(Some(cond)))
    }
    fn stored(&self, _: Split, limit: usize) -> Result<Option<Labelled>> {
        let values: Vec<f32> =
            (0..limit * self.shape[0]).map(|i| 0.5 + 0.5 * (i as f32 * 0.7).sin()).collect();
        let x = Tensor::from_vec(values, (limit, self.shape[0]), &Device::Cpu)?;
        Ok(Some(Labelled { x, labels: None }))
    }
    fn name(&self) -> String {
        "test-data".into()
    }
}

/// E = Σ (W x + b)² /2 + |x|²/2 with an unused buffer that counts its refreshes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestEnergy {
    width: usize,
    #[serde(default)]
    counter: bool,
    #[serde(default)]
    fail_refresh_at: u64,
    #[serde(default)]
    differences: bool,
    #[serde(default)]
    condition: usize,
}

struct Net;
impl Forward for Net {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let h = x.matmul(p.get("w")?)?.swish()?.square()?.sum_last()?;
        h.plus(&x.square()?.sum_last()?.scale(0.5)?)
    }
}

struct WithCounter {
    inner: Autograd<Net>,
    spec: EnergySpec,
    counter: bool,
    fail_at: u64,
    refreshes: AtomicU64,
}

impl ebm_core::settings::Check for TestEnergy {}

#[typetag::serde(name = "test-energy")]
impl EnergyConfig for TestEnergy {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let dim = cx.sample_len();
        cx.param("w", (dim, self.width), Init::Normal(0.5))?;
        if self.counter {
            cx.buffer("count", (1,), Init::Constant(0.0))?;
        }
        let shape = cx.sample_shape().to_vec();
        let mut spec = EnergySpec::new(&shape, &["e"]);
        let inner = Autograd::new("test-energy", Net, spec.clone(), cx.take_params()?);
        if self.differences {
            spec.exactness = Exactness::CentralDifferences;
        }
        if self.condition > 0 {
            spec.condition = Condition::Required(self.condition);
        }
        Ok(Arc::new(WithCounter {
            inner,
            spec,
            counter: self.counter,
            fail_at: self.fail_refresh_at,
            refreshes: AtomicU64::new(0),
        }))
    }
}

impl EnergyFn for WithCounter {
    fn spec(&self) -> &EnergySpec {
        &self.spec
    }
    fn params(&self) -> &ParamSet {
        self.inner.params()
    }
    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.inner.terms(at)
    }
    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.inner.slope(at)
    }
    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        self.inner.grad_theta(at, w)
    }
    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.inner.grad_theta_slope(at, v)
    }
    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.inner.hvp(at, v)
    }
    fn refreshed_buffers(&self) -> Result<BTreeMap<String, Tensor>> {
        if self.fail_at > 0 && self.refreshes.fetch_add(1, Ordering::Relaxed) + 1 == self.fail_at {
            return Err(Error::config("test-energy", "refresh fails on purpose"));
        }
        if !self.counter {
            return Ok(BTreeMap::new());
        }
        let count = self.inner.params().get("count").unwrap();
        Ok(BTreeMap::from([("count".to_string(), (count + 1.0)?)]))
    }
}

/// Unadjusted Langevin steps whose size is carried in the sampler's memory and shrinks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestChain {
    steps: usize,
    #[serde(default)]
    blind: bool,
    #[serde(default)]
    adapts: bool,
}

impl ebm_core::settings::Check for TestChain {}

#[typetag::serde(name = "test-chain")]
impl SamplerConfig for TestChain {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Sampler>> {
        Ok(Box::new(self.clone()))
    }
}

impl Sampler for TestChain {
    fn draw(&self, e: &dyn EnergyFn, from: Batch, key: Key, request: &mut DrawRequest<'_>) -> Result<Drawn> {
        let mut size = 0.05;
        if self.adapts {
            let old = request.memory.get("size").map_or(0.1, |t| t.to_scalar::<f64>().unwrap());
            size = 0.999 * old;
            request.memory.insert("size".into(), Tensor::new(size, &Device::Cpu)?);
        }
        let (mut at, mut trail) = (from, Trail::default());
        let mut info = BTreeMap::new();
        for k in 0..self.steps {
            let slope = e.slope(&at)?;
            let noise = key.at(k).normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
            let x = ((&at.x - slope.grad.affine(size, 0.0)?)? + noise.affine(0.1, 0.0)?)?;
            if request.trail > 0 {
                let link = Link::Descent { at: at.clone(), scale: size, pass: None, active: None };
                trail.push(link, request.trail);
            }
            info.insert("grad_square", slope.grad.sqr()?.mean(1)?);
            at = at.with_x(x);
        }
        Ok(Drawn::new(ChainState::new(at), trail, info))
    }
    fn sensitivity(&self, _: usize) -> Sensitivity {
        if self.blind { Sensitivity::Unknown(self.name()) } else { Sensitivity::Exact }
    }
    fn steps(&self) -> usize {
        self.steps
    }
    fn with_steps(&self, steps: usize) -> Box<dyn Sampler> {
        Box::new(TestChain { steps, ..self.clone() })
    }
    fn name(&self) -> String {
        "test-chain".into()
    }
}

/// A ring of floats that can refuse a `put`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestRing {
    capacity: usize,
    #[serde(default)]
    fail_put_at: u64,
}

pub struct Ring {
    rows: Vec<Tensor>,
    next: u32,
    puts: u64,
    config: TestRing,
}

impl ebm_core::settings::Check for TestRing {}

#[typetag::serde(name = "test-ring")]
impl ReplayConfig for TestRing {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn ReplayBuffer>> {
        Ok(Box::new(Ring { rows: Vec::new(), next: 0, puts: 0, config: self.clone() }))
    }
}

impl ReplayBuffer for Ring {
    fn len(&self) -> usize {
        self.rows.len()
    }
    fn draw(&self, n: usize, key: Key) -> Result<Option<(Vec<u64>, Tensor)>> {
        if self.rows.len() < n {
            return Ok(None);
        }
        let slots: Vec<u64> = (0..n).map(|i| key.below(i as u64, self.rows.len()) as u64).collect();
        let rows: Vec<&Tensor> = slots.iter().map(|s| &self.rows[*s as usize]).collect();
        Ok(Some((slots, Tensor::stack(&rows, 0)?)))
    }
    fn put(&mut self, _: Option<&[u64]>, x: &Tensor, _: Key) -> Result<()> {
        self.puts += 1;
        if self.config.fail_put_at == self.puts {
            return Err(Error::config("test-ring", "put fails on purpose"));
        }
        for i in 0..x.dim(0)? {
            let row = x.get(i)?;
            if self.rows.len() < self.config.capacity {
                self.rows.push(row);
            } else {
                self.rows[self.next as usize] = row;
            }
            self.next = (self.next + 1) % self.config.capacity as u32;
        }
        Ok(())
    }
    fn save(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut all = BTreeMap::from([("next".to_string(), Tensor::new(&[self.next], &Device::Cpu)?)]);
        if !self.rows.is_empty() {
            all.insert("rows".into(), Tensor::stack(&self.rows, 0)?);
        }
        Ok(all)
    }
    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.next = state["next"].to_vec1::<u32>()?[0];
        self.rows = match state.get("rows") {
            Some(rows) => (0..rows.dim(0)?).map(|i| rows.get(i)).collect::<std::result::Result<_, _>>()?,
            None => Vec::new(),
        };
        Ok(())
    }
    fn name(&self) -> String {
        "test-ring".into()
    }
}

/// Adds noise: a start and an augmentation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestNoise {
    scale: f64,
}

impl ebm_core::settings::Check for TestNoise {}

#[typetag::serde(name = "test-noise")]
impl TransitionConfig for TestNoise {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Ok(Box::new(self.clone()))
    }
}

impl Transition for TestNoise {
    fn step(&self, _: &dyn EnergyFn, state: &ChainState, key: Key) -> Result<ebm_core::Stepped> {
        let at = &state.at;
        let noise = key.normal(&at.chains, at.sample_shape(), at.dtype(), at.device())?;
        let x = (&at.x + noise.affine(self.scale, 0.0)?)?;
        Ok(ebm_core::Stepped::new(state.advance(x), Link::Identity))
    }
    fn sensitivity(&self) -> Sensitivity {
        Sensitivity::Exact
    }
    fn name(&self) -> String {
        "test-noise".into()
    }
}

/// Writes each step's report as a line; fails at a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestObserver {
    #[serde(default)]
    fail_at: u64,
    #[serde(default)]
    samples_every: u64,
}

pub struct Recorder {
    config: TestObserver,
    file: std::path::PathBuf,
}

impl ebm_core::settings::Check for TestObserver {}

#[typetag::serde(name = "test-observer")]
impl ObserverConfig for TestObserver {
    fn make(&self, paths: &RunPaths) -> Result<Box<dyn Observer>> {
        Ok(Box::new(Recorder { config: self.clone(), file: paths.directory.join("seen.txt") }))
    }
}

impl Observer for Recorder {
    fn on(&mut self, event: &ebm_core::Event<'_>) -> Result<()> {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.file).unwrap();
        match event {
            ebm_core::Event::Step { report, .. } if report.step == self.config.fail_at => {
                return Err(Error::config("test-observer", "fails on purpose"));
            }
            ebm_core::Event::Step { report, view } => {
                writeln!(file, "step {}", report.step).unwrap();
                let every = self.config.samples_every;
                if every > 0 && report.step.is_multiple_of(every) {
                    assert_eq!(view.samples(5)?.dims()[0], 5);
                    assert_eq!(view.data(3)?.unwrap().dims()[0], 3);
                    view.buffered(2)?;
                }
            }
            ebm_core::Event::Start { step, .. } => writeln!(file, "start {step}").unwrap(),
            ebm_core::Event::Checkpoint { step, .. } => writeln!(file, "checkpoint {step}").unwrap(),
            ebm_core::Event::Finish { reason, .. } => writeln!(file, "finish {reason}").unwrap(),
            _ => {}
        }
        Ok(())
    }
    fn name(&self) -> String {
        "test-observer".into()
    }
}

/// A configuration; `parts` replaces or adds whole sections by their first line.
pub fn config(parts: &[(&str, &str)]) -> RunConfig {
    let mut sections: BTreeMap<&str, &str> = BTreeMap::from([
        ("run", "seed = 3\nsteps = 40\nbatch = 8\nreport_every = 5"),
        ("data", "kind = \"test-data\"\ndim = 3"),
        ("energy", "kind = \"test-energy\"\nwidth = 4"),
        ("sampler", "kind = \"test-chain\"\nsteps = 3"),
        ("replay", "kind = \"test-ring\"\ncapacity = 30"),
        ("objective", "kind = \"test-cd\"\nenergy_l2 = 0.1"),
        ("optimiser", "kind = \"adam\"\nrate = 0.01\nclip_norm = 0.5\naverage = 0.9"),
    ]);
    sections.extend(parts.iter().copied());
    let mut text = String::from("format = 1\n");
    for (name, body) in sections {
        if !body.is_empty() {
            text += &format!("[{name}]\n{body}\n");
        }
    }
    RunConfig::from_toml(&text).unwrap()
}

/// A plan of [`config`].
pub fn plan(parts: &[(&str, &str)]) -> Plan {
    plan_of(parts).unwrap()
}

/// The same where it may be refused.
pub fn plan_of(parts: &[(&str, &str)]) -> Result<Plan> {
    Plan::build(&config(parts), Path::new("."), &Device::Cpu, None)
}

/// All bits of a state, by name.
pub fn bits(state: &TrainState) -> BTreeMap<String, Vec<u64>> {
    let mut all = BTreeMap::new();
    let mut put = |name: String, t: &Tensor| {
        let v = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
        all.insert(name, v.into_iter().map(f64::to_bits).collect());
    };
    for (k, t) in state.params.snapshot().unwrap() {
        put(format!("params.{k}"), &t);
    }
    for (k, t) in state.average.iter().flatten() {
        put(format!("average.{k}"), t);
    }
    for (k, t) in &state.optimiser.tensors {
        put(format!("optimiser.{k}"), t);
    }
    for (k, t) in &state.sampler {
        put(format!("sampler.{k}"), t);
    }
    for (k, t) in state.replay.iter().flat_map(|r| r.save().unwrap()) {
        put(format!("replay.{k}"), &t);
    }
    let numbers = [state.step, state.attempts, state.epoch, state.cursor as u64, state.optimiser.step];
    all.insert("numbers".into(), numbers.to_vec());
    all.insert("rate".into(), vec![state.rate_factor.to_bits()]);
    all
}

/// A report without its wall times.
pub fn timeless(mut report: Report) -> Report {
    report.values.retain(|name, _| !name.starts_with("seconds"));
    report
}
