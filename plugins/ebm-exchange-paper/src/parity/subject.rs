//! The energy under test: the network that a golden file describes, with its weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Batch, BuildCx, EnergyConfig, EnergyFn, Key, Result};
use ebm_energies_paper::layout::layout;
use ebm_energies_paper::names::{PARTS, published_of};
use ebm_energies_paper::{CifarResnet, DigitsNet, FacesNet, Form, ImagenetNet, Network, Scale};
use ebm_exchange::CompareMode;
use serde::Deserialize;

use super::golden::Golden;

/// The energy, its label, and the power-iteration vectors of every forward pass of an iteration.
pub(crate) struct Subject {
    pub energy: Arc<dyn EnergyFn>,
    /// The section `[energy]` that gives it.
    pub config: String,
    /// The network in a few words.
    pub about: String,
    label: Option<Tensor>,
    /// Entry `i` holds the vectors after `i` forward passes; empty without spectral norm.
    vectors: Vec<BTreeMap<String, Tensor>>,
}

fn network(golden: &Golden) -> Result<Network> {
    match golden.text("net")? {
        "ResNetModel" => Ok(Network::Cifar),
        "CelebAModel" => Ok(Network::Faces),
        "ImagenetModel" => Ok(Network::Imagenet),
        "MNISTModel" => Ok(Network::Digits),
        other => Err(golden.fail(format!(
            "is of the network `{other}`, wanted ResNetModel, CelebAModel, ImagenetModel, MNISTModel or CondResBlock"
        ))),
    }
}

fn config(golden: &Golden, scale: Scale) -> Result<Box<dyn EnergyConfig>> {
    let filters = golden.count("filter_dim")?;
    let (norm, spectral) = (golden.is("norm"), golden.is("spec_norm"));
    let form = Form {
        scale,
        attention: golden.is("self_attn"),
        alias: golden.is("alias"),
        square: golden.is("square_energy"),
        sigmoid: golden.is("sigmoid"),
        conditional: golden.is("cond"),
    };
    Ok(match network(golden)? {
        Network::Cifar => Box::new(CifarResnet { filters, norm, spectral, form }),
        Network::Faces => Box::new(FacesNet { filters, norm, spectral, form }),
        Network::Imagenet => Box::new(ImagenetNet { filters, form }),
        Network::Digits => Box::new(DigitsNet { filters }),
    })
}

/// A section `[energy]` as text.
#[derive(Deserialize)]
struct Section {
    energy: Box<dyn EnergyConfig>,
}

/// The section `[energy]` of a configuration that gives the file's network: what a user would write.
fn section(golden: &Golden) -> Result<String> {
    let wrong = |e: toml::ser::Error| golden.fail(format!("its settings cannot be written as TOML: {e}"));
    let part = |scale| toml::Value::try_from(config(golden, scale)?).map_err(wrong);
    let mut energy = toml::Table::new();
    if golden.is("multiscale") && golden.text("net")? != "MNISTModel" {
        let mut parts = Vec::new();
        for (name, scale) in PARTS {
            let part = toml::Table::from_iter([
                ("name".to_string(), name.into()),
                ("energy".to_string(), part(scale)?),
            ]);
            parts.push(toml::Value::Table(part));
        }
        energy.insert("kind".into(), "multi-scale".into());
        energy.insert("parts".into(), parts.into());
    } else if let toml::Value::Table(alone) = part(Scale::Main)? {
        energy = alone;
    }
    toml::to_string(&toml::Table::from_iter([("energy".to_string(), energy.into())])).map_err(wrong)
}

/// The file's first weights must have the widths that its settings name: a wrong width is refused before a
/// network of it is made.
fn widths(golden: &Golden, network: Network) -> Result<()> {
    let (filters, channels) = (golden.count("filter_dim")?, golden.count("image_channels")?);
    let scales =
        if golden.is("multiscale") && network != Network::Digits { &Scale::ALL[..] } else { &[Scale::Main] };
    for scale in scales {
        let l = layout(network, *scale, filters);
        for (name, dims) in
            [("conv1.weight", vec![l.stem, channels, 3, 3]), ("energy_map.weight", vec![1, l.head()])]
        {
            let name = format!("w.{}{name}", scale.prefix());
            golden.shaped(&name, &golden.output(&name)?, &dims)?;
        }
    }
    Ok(())
}

/// The energy of the section `config`, with weights of its own.
fn build(golden: &Golden, config: &str, mode: &CompareMode) -> Result<Arc<dyn EnergyFn>> {
    let condition = if golden.is("cond") { golden.input("label")?.dim(1)? } else { 0 };
    let side = golden.count("im_size")?;
    let shape = [golden.count("image_channels")?, side, side];
    let mut cx = BuildCx::new(&shape, golden.dtype(), &Device::Cpu, Key::root(0))
        .with_condition(condition)
        .with_engine(mode.engine.clone());
    let read: Section = toml::from_str(config).map_err(|e| {
        golden.fail(format!(
            "its network cannot be read from its configuration ({}); is the crate that brings `multi-scale` linked?",
            e.message().trim()
        ))
    })?;
    cx.energy(read.energy.as_ref())
}

/// The energy of the file's settings with weights of its own.
#[cfg(test)]
pub(crate) fn fresh(golden: &Golden) -> Result<Arc<dyn EnergyFn>> {
    build(golden, &section(golden)?, &CompareMode::graph(golden.dtype()))
}

/// The network in a few words.
fn about(golden: &Golden) -> Result<String> {
    let mut text = format!(
        "{}, filter_dim {}, images {}×{s}×{s}, K = {}",
        golden.text("net")?,
        golden.count("filter_dim")?,
        golden.count("image_channels")?,
        golden.count("steps")?,
        s = golden.count("im_size")?
    );
    for (key, word) in [
        ("multiscale", "three scales"),
        ("self_attn", "attention"),
        ("cond", "labels"),
        ("norm", "norm"),
        ("spec_norm", "spectral norm"),
        ("alias", "anti-aliased pooling"),
        ("square_energy", "squared"),
        ("sigmoid", "sigmoid"),
        ("anneal", "annealed noise"),
    ] {
        if golden.is(key) {
            text += ", ";
            text += word;
        }
    }
    Ok(text)
}

impl Subject {
    /// The network of the file, built as a configuration of a user would build it, with the file's weights.
    pub fn new(golden: &Golden, mode: &CompareMode) -> Result<Self> {
        widths(golden, network(golden)?)?;
        let label = if golden.is("cond") { Some(golden.input("label")?) } else { None };
        let config = section(golden)?;
        let energy = build(golden, &config, mode)?;
        load(golden, energy.as_ref())?;
        let mut subject = Subject { energy, config, about: about(golden)?, label, vectors: Vec::new() };
        if golden.is("spec_norm") {
            subject.advance(golden.count("steps")? + 4)?;
        }
        Ok(subject)
    }

    /// Computes the vectors of `passes` forward passes, each after one power iteration more.
    fn advance(&mut self, passes: usize) -> Result<()> {
        let stored = self.energy.params().snapshot()?;
        let first = self.energy.refreshed_buffers()?;
        self.vectors.push(stored.into_iter().filter(|(name, _)| first.contains_key(name)).collect());
        for _ in 0..passes {
            let next = self.energy.refreshed_buffers()?;
            for (name, value) in &next {
                self.energy.params().set(name, value)?;
            }
            self.vectors.push(next);
        }
        Ok(())
    }

    /// Puts the vectors of the forward pass number `pass` (from 1; 0: as stored) in place.
    pub fn pass(&self, pass: usize) -> Result<()> {
        let Some(vectors) = self.vectors.get(pass) else { return Ok(()) };
        vectors.iter().try_for_each(|(name, value)| self.energy.params().set(name, value))
    }

    /// The vectors after the whole iteration, under published names.
    pub fn last_vectors(&self) -> BTreeMap<String, Tensor> {
        let last = self.vectors.last().cloned().unwrap_or_default();
        last.into_iter().map(|(name, t)| (published_of(&name), t)).collect()
    }

    /// The rows `x` with their labels (the first ones).
    pub fn batch(&self, x: &Tensor) -> Result<Batch> {
        let rows = x.dim(0)?;
        let label = self.label.as_ref().map(|l| l.narrow(0, 0, rows)).transpose()?;
        Ok(Batch::new(x.clone())?.with_cond(label))
    }
}

/// Writes the file's weights; every parameter must have one, and every weight a parameter.
fn load(golden: &Golden, e: &dyn EnergyFn) -> Result<()> {
    let mut weights = golden.group("w")?;
    for name in e.params().names() {
        let published = published_of(name);
        let value = weights.remove(&published).ok_or_else(|| {
            golden.fail(format!("has no weight `w.{published}` for the parameter `{name}`"))
        })?;
        let dims = e.params().get(name).map_or(&[][..], |t| t.dims());
        golden.shaped(&format!("w.{published}"), &value, dims)?;
        e.params().set(name, &value)?;
    }
    match weights.keys().next() {
        None => Ok(()),
        Some(extra) => Err(golden.fail(format!(
            "has the weight `w.{extra}`, of which the network of its settings has none; do the settings fit?"
        ))),
    }
}
