//! The energy under test: the network that a golden file describes, with its weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{
    Batch, BuildCx, EnergyConfig, EnergyFn, Error, Key, Map, Part, PullBack, Result, Separable, Sum,
};

use super::Mode;
use super::golden::Golden;
use crate::names::{PARTS, published_of};
use crate::{CifarResnet, DigitsNet, FacesNet, ImagenetNet, Scale};

/// The energy, its label, and the power-iteration vectors of every forward pass of an iteration.
pub(crate) struct Subject {
    pub energy: Arc<dyn EnergyFn>,
    label: Option<Tensor>,
    /// Entry `i` holds the vectors after `i` forward passes; empty without spectral norm.
    vectors: Vec<BTreeMap<String, Tensor>>,
}

fn config(golden: &Golden, scale: Scale) -> Result<Box<dyn EnergyConfig>> {
    let filters = golden.count("filter_dim")?;
    let (attention, norm, spectral) = (golden.is("self_attn"), golden.is("norm"), golden.is("spec_norm"));
    let (alias, square, sigmoid) = (golden.is("alias"), golden.is("square_energy"), golden.is("sigmoid"));
    let conditional = golden.is("cond");
    match golden.text("net")? {
        "ResNetModel" => Ok(Box::new(CifarResnet {
            scale,
            filters,
            attention,
            norm,
            spectral,
            alias,
            square,
            sigmoid,
            conditional,
        })),
        "CelebAModel" => Ok(Box::new(FacesNet {
            scale,
            filters,
            attention,
            norm,
            spectral,
            alias,
            square,
            sigmoid,
            conditional,
        })),
        "ImagenetModel" => {
            Ok(Box::new(ImagenetNet { scale, filters, attention, alias, square, sigmoid, conditional }))
        }
        "MNISTModel" => Ok(Box::new(DigitsNet { filters })),
        other => Err(Error::config("golden.net", format!("`{other}` is no published network"))),
    }
}

impl Subject {
    pub fn new(golden: &Golden, mode: &Mode) -> Result<Self> {
        let label = if golden.is("cond") { Some(golden.input("label")?) } else { None };
        let condition = label.as_ref().map_or(Ok(0), |l| l.dim(1))?;
        let side = golden.count("im_size")?;
        let shape = [golden.count("image_channels")?, side, side];
        let mut cx = BuildCx::new(&shape, golden.dtype(), &Device::Cpu, Key::root(0))
            .with_condition(condition)
            .with_engine(mode.engine.clone());
        let energy: Arc<dyn EnergyFn> = if golden.is("multiscale") {
            let mut parts = Vec::new();
            for (name, scale) in PARTS {
                let config = config(golden, scale)?;
                let part = if scale == Scale::Main {
                    cx.part(name, &shape, config.as_ref())?
                } else {
                    let map = Separable::pyramid(&shape, scale.halvings())?;
                    let inner = cx.part(name, map.output_shape(), config.as_ref())?;
                    Arc::new(PullBack::new(Arc::new(map), inner)?)
                };
                parts.push(Part::new(name, part));
            }
            Arc::new(Sum::new(parts)?)
        } else {
            cx.energy(config(golden, Scale::Main)?.as_ref())?
        };
        load(golden, energy.as_ref())?;
        let mut subject = Subject { energy, label, vectors: Vec::new() };
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
            Error::config("golden", format!("has no weight `{published}` for the parameter `{name}`"))
        })?;
        e.params().set(name, &value)?;
    }
    match weights.keys().next() {
        None => Ok(()),
        Some(extra) => Err(Error::config("golden", format!("the network has no parameter `{extra}`"))),
    }
}
