//! Every plugin's example in the catalogue runs: it is built and used once. A kind whose example cannot be run
//! fails here, so a new one comes with an example that works, or with the file that its example names.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::kinds::{Checked, base, beside_objective, example, files, text, trains};
use crate::support::Scratch;
use ebm::core::candle::{DType, Device, Tensor};
use ebm::core::{
    Batch, Blind, BuildCx, ChainState, Chains, DrawRequest, EnergyConfig, EnergyFn, Key, SamplerConfig,
    TransitionConfig, WeightFn,
};
use ebm::core::{Component, Family, catalogue};
use ebm_plugins as _;
use toml::{Table, Value};

/// The example as something to be put into a run of two steps: what happens at every so manyth step happens at each.
fn hurried(c: &Component) -> Checked<Table> {
    let mut table = example(c)?;
    if c.params.iter().any(|p| p.name == "every") {
        table.insert("every".into(), Value::Integer(1));
    }
    Ok(table)
}

/// Shapes of samples and lengths of conditions, of which an example must fit one.
fn contexts(folder: &Path) -> impl Iterator<Item = BuildCx> {
    let shapes: [&[usize]; 7] =
        [&[2], &[10], &[1, 8, 8], &[3, 16, 16], &[3, 32, 32], &[1, 28, 28], &[3, 64, 64]];
    let all = shapes.into_iter().flat_map(|shape| [(shape, 0), (shape, 2)]);
    let folder = folder.to_path_buf();
    all.map(move |(shape, condition)| {
        BuildCx::new(shape, DType::F32, &Device::Cpu, Key::root(1))
            .with_condition(condition)
            .with_range(Some((0.0, 1.0)))
            .with_places(&folder)
    })
}

/// What `build` gives in the first context that fits, and that context.
fn built<T>(folder: &Path, build: impl Fn(&mut BuildCx) -> ebm::core::Result<T>) -> Checked<(T, BuildCx)> {
    let mut reasons = Vec::new();
    for mut cx in contexts(folder) {
        match build(&mut cx) {
            Ok(t) => return Ok((t, cx)),
            Err(e) => reasons.push(format!("{:?} with condition {}: {e}", cx.sample_shape(), cx.condition())),
        }
    }
    Err(format!("builds for no samples:\n{}", reasons.join("\n")))
}

/// `rows` samples in [0, 1) for what was built in `cx`.
fn batch(cx: &BuildCx, rows: usize) -> Batch {
    let chains = Chains::range(0, rows);
    let x = Key::root(7).uniform(&chains, cx.sample_shape(), cx.dtype(), cx.device()).unwrap();
    let cond = Tensor::ones((rows, cx.condition()), cx.dtype(), cx.device()).unwrap();
    Batch::new(x).unwrap().with_cond((cx.condition() > 0).then_some(cond))
}

fn finite(what: &str, t: &Tensor) -> Checked {
    let v = t.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1::<f64>()).map_err(text)?;
    match v.iter().find(|v| !v.is_finite()) {
        Some(v) => Err(format!("{what} has the entry {v}")),
        None => Ok(()),
    }
}

/// The five calls on three samples.
fn energy(c: &Component, folder: &Path) -> Checked {
    let config: Box<dyn EnergyConfig> = Value::Table(example(c)?).try_into().map_err(text)?;
    let (e, cx) = built(folder, |cx| cx.energy(config.as_ref()))?;
    let at = batch(&cx, 3);
    let slope = e.slope(&at).map_err(text)?;
    if slope.energy.dims() != [3] || slope.grad.dims() != at.x.dims() {
        return Err(format!("slopes have shapes {:?} and {:?}", slope.energy.dims(), slope.grad.dims()));
    }
    finite("the energy", &slope.energy)?;
    finite("the slope", &slope.grad)?;
    finite("a term", &e.terms(&at).map_err(text)?)?;
    finite("a Hessian-vector product", &e.hvp(&at, &slope.grad).map_err(text)?)?;
    let weighted = e.grad_theta(&at, &WeightFn::ones()).map_err(text)?.grads;
    let mixed = e.grad_theta_slope(&at, &slope.grad).map_err(text)?.grads;
    weighted.iter().chain(&mixed).try_for_each(|(name, g)| finite(name, g))
}

/// A toy energy on the samples of `cx`: a bowl around ½.
fn toy(cx: &BuildCx) -> impl EnergyFn + use<> {
    let none = ebm::core::ParamSet::default();
    ebm::core::Opaque::new("toy", cx.sample_shape(), none, |_, x, _| {
        Ok(x.affine(1.0, -0.5)?.sqr()?.flatten_from(1)?.sum_keepdim(1)?)
    })
}

/// Spins with couplings on the samples of `cx`, and some of them, for what does not move real samples.
fn spins(cx: &BuildCx) -> Checked<(Arc<dyn EnergyFn>, Batch)> {
    let config: Box<dyn EnergyConfig> = toml::from_str("kind = 'ising'\ncoupling = 0.1").map_err(text)?;
    let mut own = BuildCx::new(cx.sample_shape(), cx.dtype(), cx.device(), Key::root(1));
    let (e, chains) = (config.build(&mut own).map_err(text)?, Chains::range(0, 4));
    let start = e.spec().domain.uniform(&chains, cx.sample_shape(), cx.dtype(), cx.device(), Key::root(7));
    let start = start.map_err(text)?.ok_or("spins have a uniform law")?;
    Ok((e, Batch::new(start).map_err(text)?))
}

/// Two steps on a toy energy, or on spins if it moves those alone, with reference samples at hand.
fn transition(c: &Component, folder: &Path) -> Checked {
    let config: Box<dyn TransitionConfig> = Value::Table(example(c)?).try_into().map_err(text)?;
    let (t, cx) = built(folder, |cx| config.build(cx))?;
    let (mut e, mut at): (Arc<dyn EnergyFn>, Batch) = (Arc::new(toy(&cx)), batch(&cx, 4));
    if t.fits(e.as_ref()).is_err() {
        (e, at) = spins(&cx)?;
        t.fits(e.as_ref()).map_err(text)?;
    }
    let e = e.as_ref();
    let bank = at.x.clone();
    let mut state: ChainState = t.init(e, at, Key::root(1)).map_err(text)?;
    state.reference = Some(bank);
    state.of = 2;
    for k in 0..2usize {
        let out = t.step(e, &state, Key::root(2).at(k)).map_err(text)?;
        finite("the sample", &out.state.at.x)?;
        out.info.iter().try_for_each(|(name, v)| finite(name, v))?;
        if out.state.at.x.dims() != state.at.x.dims() || out.state.step != k + 1 {
            return Err(format!("a step leads to step {} and {:?}", out.state.step, out.state.at.x.dims()));
        }
        state = out.state;
    }
    Ok(())
}

/// The whole program on a toy energy.
fn sampler(c: &Component, folder: &Path) -> Checked {
    let config: Box<dyn SamplerConfig> = Value::Table(example(c)?).try_into().map_err(text)?;
    let (s, cx) = built(folder, |cx| config.build(cx))?;
    let at = batch(&cx, 4);
    let (mut blind, mut memory, bank) = (Blind, BTreeMap::new(), at.x.clone());
    let mut request = DrawRequest::new(&mut blind, &mut memory).with_reference(Some(&bank));
    // A walk over noise levels is one of an energy that has them.
    let levels = "kind = 'noise-conditioned'\nenergy = { kind = 'mlp', hidden = [4], conditional = true }";
    let levels: Box<dyn EnergyConfig> = toml::from_str(levels).map_err(text)?;
    let drawn = match c.kind {
        "probability-flow" => {
            let mut cx = BuildCx::new(cx.sample_shape(), cx.dtype(), cx.device(), Key::root(1));
            let e = cx.energy(levels.as_ref()).map_err(text)?;
            s.draw(e.as_ref(), at, Key::root(3), &mut request)
        }
        _ => s.draw(&toy(&cx), at, Key::root(3), &mut request),
    };
    let drawn = drawn.map_err(text)?;
    finite("the sample", &drawn.last.at.x)?;
    drawn.info.iter().try_for_each(|(name, v)| finite(name, v))?;
    drawn.curves.iter().try_for_each(|(name, v)| finite(name, v))
}

/// Uses the example once, as its family is used.
fn used(c: &Component, folder: &Path) -> Checked {
    let directory = folder.join("out").join(format!("{}-{}", c.family.name(), c.kind));
    let mut config = base();
    if c.family == Family::Objective {
        beside_objective(&mut config, c.kind);
    }
    let mut with = |section: &str, part: Table| config.insert(section.into(), Value::Table(part));
    match c.family {
        Family::Energy => return energy(c, folder),
        Family::Transition => return transition(c, folder),
        Family::Sampler => return sampler(c, folder),
        Family::Entropy => {
            let mut term: Table = "weight = 0.3\nbank = 16\nbank_above = 0".parse().map_err(text)?;
            term.insert("estimator".into(), Value::Table(example(c)?));
            let mut objective: Table = "kind = 'contrastive'".parse().map_err(text)?;
            objective.insert("entropy".into(), Value::Table(term));
            with("objective", objective);
        }
        Family::Objective => {
            if c.kind == "label" {
                with("data", "kind = 'digits'\nlabels = true".parse().map_err(text)?);
            }
            if ["pseudo-likelihood", "ratio-matching"].contains(&c.kind) {
                with("data", "kind = 'digits'\nbinary = 'threshold'".parse().map_err(text)?);
                with("energy", "kind = 'rbm'\nhidden = 4".parse().map_err(text)?);
                let moves = "kind = 'chain'\nsteps = 2\ntransition = { kind = 'block-gibbs' }";
                with("sampler", moves.parse().map_err(text)?);
            }
            with("objective", example(c)?);
        }
        Family::Replay => drop(with("replay", example(c)?)),
        Family::Data => drop(with("data", example(c)?)),
        Family::Optimiser => drop(with("optimiser", example(c)?)),
        Family::Observer => {
            config.insert("observer".into(), Value::Array(vec![Value::Table(hurried(c)?)]));
        }
        Family::Policy => {
            config.insert("policy".into(), Value::Array(vec![Value::Table(hurried(c)?)]));
        }
    }
    trains(config, folder, &directory)
}

#[test]
fn every_example_runs() {
    let s = Scratch::with(crate::support::SMALL);
    files(&s.path(""));
    let all = catalogue::components();
    assert!(all.len() > 70, "the standard set is linked: {}", all.len());
    let failed: Vec<String> = all
        .iter()
        .filter_map(|c| {
            let began = std::time::Instant::now();
            let result = used(c, &s.path(""));
            println!("{} {}: {:.2} s", c.family.name(), c.kind, began.elapsed().as_secs_f64());
            Some(format!("{} `{}`: {}", c.family.name(), c.kind, result.err()?))
        })
        .collect();
    assert!(failed.is_empty(), "{} examples do not run:\n{}", failed.len(), failed.join("\n"));
    // Those that write do.
    for written in ["out/observer-jsonl/metrics.jsonl", "out/observer-csv/metrics.csv"] {
        assert!(s.path(written).is_file(), "{written} in {:?}", s.tree());
    }
}

/// The laws of a component hold for all kinds; that of a trained run is checked where a run is made (`ebm-model`).
#[test]
fn every_kind_keeps_the_laws() {
    let all =
        catalogue::components().into_iter().filter(|c| c.kind != "checkpoint" || c.family != Family::Energy);
    let broken: Vec<String> =
        all.filter_map(|c| ebm_testkit::check_component(c).err()).map(|e| e.to_string()).collect();
    assert!(broken.is_empty(), "{} kinds break a law:\n{}", broken.len(), broken.join("\n"));
}

/// What `ebm plugins show` says of each kind: its line, source, every setting with default and range, the example.
#[test]
fn every_kind_is_shown_in_full() {
    let s = Scratch::with(crate::support::SMALL);
    for c in catalogue::components() {
        let name = format!("{}/{}", c.family.name(), c.kind);
        let out = s.run(&["plugins", "show", &name]).ok().out;
        let mut wanted = vec![c.summary.to_string(), c.source.to_string(), format!("kind = \"{}\"", c.kind)];
        wanted.extend(c.example.lines().map(str::to_string));
        let mut settings: Vec<(String, &ebm::core::Param)> =
            c.params.iter().map(|p| (p.name.to_string(), p)).collect();
        while let Some((path, p)) = settings.pop() {
            let default = match p.default {
                None => "required".to_string(),
                Some("none") => "optional".to_string(),
                Some(d) => format!("default {d}"),
            };
            wanted.extend([format!("{path}  ({default})"), p.doc.to_string(), p.range()]);
            if let ebm::core::ParamKind::Table(inner) | ebm::core::ParamKind::Tables(inner) = p.kind {
                settings.extend(inner.iter().map(|p| (format!("{path}.{}", p.name), p)));
            }
        }
        for part in wanted {
            assert!(out.contains(&part), "`ebm plugins show {name}` lacks `{part}`:\n{out}");
        }
    }
}

/// Examples of data sources name files; with these at hand they keep the laws of their family.
#[test]
fn data_sources_keep_the_laws() {
    let s = Scratch::with(crate::support::SMALL);
    files(&s.path(""));
    ebm_testkit::Conformance::of("ebm-sources").folder(s.path("")).check().unwrap();
}
