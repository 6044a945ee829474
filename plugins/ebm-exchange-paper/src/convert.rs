//! Checkpoints of the published program, both ways: `ebm convert` finds this through the catalogue.

use std::collections::BTreeMap;
use std::path::Path;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Error, OptimiserState, ParamSet, Result, inventory};
use ebm_energies_paper::layout::{Layout, Network, Scale, Stage, layout};
use ebm_energies_paper::names::{PARTS, StateOptions, published_of, published_state};
use ebm_exchange::{Exchange, Incoming, Outgoing, WeightFile, Written};
use serde_json::Value;

use crate::checkpoint::{average_of, fit, published};

inventory::submit! {
    Exchange {
        name: "du-2021",
        about: "the program of Du, Li, Tenenbaum, Mordatch 2021: .pth, or safetensors under its names",
        fits: |energy| Published::of(energy).is_some(),
        read,
        write,
        origin: env!("CARGO_PKG_NAME"),
    }
}

/// What the configuration of a published energy says.
#[derive(Debug, PartialEq)]
struct Published {
    network: Network,
    options: StateOptions,
    alias: bool,
}

impl Published {
    /// Of one network at full scale, or of its three scales under `multi-scale`; `None` for other energies.
    fn of(energy: &Value) -> Option<Self> {
        if energy.get("kind")?.as_str()? != "multi-scale" {
            return Self::alone(energy, Scale::Main);
        }
        let parts = energy.get("parts")?.as_array()?;
        if parts.len() != PARTS.len() {
            return None;
        }
        let mut last = None;
        for (part, (name, scale)) in parts.iter().zip(PARTS) {
            let plain = part.get("weight").and_then(Value::as_f64).is_none_or(|w| w == 1.0);
            if part.get("name")?.as_str()? != name || !plain {
                return None;
            }
            last = Some(Self::alone(part.get("energy")?, scale)?);
        }
        // The last part is the main network: all options show there.
        last.filter(|p| p.network != Network::Digits).map(|mut p| {
            p.options.multiscale = true;
            p
        })
    }

    fn alone(energy: &Value, scale: Scale) -> Option<Self> {
        let network = match energy.get("kind")?.as_str()? {
            "cifar-resnet" => Network::Cifar,
            "faces-net" => Network::Faces,
            "imagenet-net" => Network::Imagenet,
            "digits-net" => Network::Digits,
            _ => return None,
        };
        let found = energy.get("scale").and_then(Value::as_str).unwrap_or("main");
        if found
            != (match scale {
                Scale::Main => "main",
                Scale::Mid => "mid",
                Scale::Small => "small",
            })
        {
            return None;
        }
        let is = |key: &str, default: bool| energy.get(key).and_then(Value::as_bool).unwrap_or(default);
        let usual = if network == Network::Faces { 128 } else { 64 };
        let filters = energy.get("filters").and_then(Value::as_u64).unwrap_or(usual);
        let options = StateOptions {
            filters: usize::try_from(filters).ok()?,
            channels: if network == Network::Digits { 1 } else { 3 },
            multiscale: false,
            attention: is("attention", true),
            conditional: is("conditional", false),
            norm: is("norm", true),
            spectral: is("spectral", false),
        };
        Some(Published { network, options, alias: is("alias", false) })
    }

    fn scales(&self) -> &'static [Scale] {
        if self.options.multiscale { &Scale::ALL } else { &[Scale::Main] }
    }

    /// Names and channels of the constant blur filters.
    fn filters(&self) -> Vec<(String, usize)> {
        let mut all = Vec::new();
        if self.network == Network::Digits {
            return all;
        }
        all.push(("downsample.filt".to_string(), 3));
        if self.options.multiscale {
            all.push(("avg_pool.filt".to_string(), 3));
        }
        for scale in self.scales().iter().filter(|_| self.alias) {
            let Layout { stages, .. } = layout(self.network, *scale, self.options.filters);
            for stage in stages {
                if let Stage::Block { name, down: Some(to), .. } = stage {
                    all.push((format!("{}{name}.avg_pool.filt", scale.prefix()), to));
                }
            }
        }
        all
    }
}

/// [1, 2, 1]⊗[1, 2, 1]/16 for each channel, `(channels, 1, 3, 3)`.
fn blur(channels: usize) -> Result<Tensor> {
    let line = [1f32, 2.0, 1.0];
    let one: Vec<f32> = line.iter().flat_map(|a| line.map(|b| a * b / 16.0)).collect();
    Ok(Tensor::from_vec(one, (1, 1, 3, 3), &Device::Cpu)?.repeat((channels, 1, 1, 1))?)
}

fn read(path: &Path, key: Option<&str>, params: &ParamSet) -> Result<Incoming> {
    let mut file = WeightFile::open(path)?;
    let chosen = file.find(&published(params), key)?;
    let mut remarks = chosen.remarks;
    let (live, ignored) = fit(&mut file, &chosen.live, params)?;
    let average = match &chosen.average {
        // What is there and cannot be read is never replaced by the live weights.
        Some(prefix) => {
            let (tensors, _) = fit(&mut file, prefix, params).map_err(|e| {
                let way = format!("take the live weights alone by the key `{}`", chosen.live);
                Error::data(path, format!("the average under `{prefix}` cannot be taken: {e}; {way}"))
            })?;
            Some(average_of(params, tensors))
        }
        None => {
            remarks.push("the file holds one set of weights: live weights and average begin equal".into());
            None
        }
    };
    for (what, tensors) in [("weights", Some(&live)), ("average", average.as_ref())] {
        remarks.extend(tensors.map(|t| endless(what, t)).transpose()?.flatten());
    }
    if !ignored.is_empty() {
        let some: Vec<&str> = ignored.iter().take(3).map(String::as_str).collect();
        remarks.push(format!(
            "{} tensors of the file do not take part in this energy and are left out ({}{})",
            ignored.len(),
            some.join(", "),
            if ignored.len() > some.len() { ", …" } else { "" }
        ));
    }
    let optimiser = match moments(&mut file, &chosen.live, path, params) {
        Ok(state) => Some(("adam".to_string(), state)),
        Err(why) => {
            remarks.push(format!(
                "the optimiser begins afresh, for the file has no state that can be used: {why}"
            ));
            None
        }
    };
    let named = step_of(path);
    let step = named.or_else(|| optimiser.as_ref().map(|(_, s)| s.step));
    Ok(Incoming { live, average, optimiser, step, step_by_name: named.is_some(), remarks })
}

/// What there is to say of numbers that are not finite.
fn endless(what: &str, tensors: &BTreeMap<String, Tensor>) -> Result<Option<String>> {
    let mut bad = Vec::new();
    for (name, tensor) in tensors {
        let values = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let count = values.iter().filter(|v| !v.is_finite()).count();
        if count > 0 {
            bad.push((name, count, values.len()));
        }
    }
    Ok(bad.first().map(|(name, count, of)| {
        let more = if bad.len() > 1 { format!(", and of {} more", bad.len() - 1) } else { String::new() };
        format!("of the {what}, {count} of {of} numbers of `{name}`{more} are not finite: no sample can be drawn from them")
    }))
}

/// Adam's moments out of a published checkpoint. PyTorch numbers the parameters; the model's dictionary has them in the
/// same order, with buffers among them.
fn moments(file: &mut WeightFile, live: &str, path: &Path, params: &ParamSet) -> Result<OptimiserState> {
    let optimiser = file.optimiser()?;
    let buffer = |n: &String| ["weight_u", "weight_v", ".filt"].iter().any(|end| n.ends_with(end));
    let names: Vec<String> = file.below(live).into_iter().filter(|n| !buffer(n)).collect();
    if names.len() != optimiser.moments.len() {
        let found = optimiser.moments.len();
        let message = format!("it counts {found} parameters, the model has {}", names.len());
        return Err(Error::data(path, message));
    }
    let here: BTreeMap<String, &str> = params.trainable().map(|n| (published_of(n), n)).collect();
    let mut state = OptimiserState::default();
    for (name, moments) in names.into_iter().zip(optimiser.moments) {
        let (Some(local), Some(moments)) = (here.get(&name), moments) else { continue };
        state.step = state.step.max(moments.step.unwrap_or(0));
        for (kind, value) in moments.tensors {
            // Without momentum the first moment is the last gradient, which nobody reads.
            let unread = kind == "exp_avg" && optimiser.betas.is_some_and(|b| b.0 == 0.0);
            if unread || !["exp_avg", "exp_avg_sq"].contains(&kind.as_str()) {
                continue;
            }
            let want = params.get(local).map_or(&[][..], |t| t.dims());
            if value.dims() != want {
                let message = format!("`{kind}` of `{name}` has shape {:?}, wanted {want:?}", value.dims());
                return Err(Error::data(path, message));
            }
            state.tensors.insert(format!("{kind}.{local}"), value);
        }
    }
    match state.tensors.is_empty() || state.step == 0 {
        true => Err(Error::data(path, "it holds no moments of these parameters")),
        false => Ok(state),
    }
}

/// Words before the number of updates in a file's name.
const COUNTED: [&str; 12] = [
    "model",
    "step",
    "steps",
    "iter",
    "iters",
    "itr",
    "iteration",
    "iterations",
    "ckpt",
    "checkpoint",
    "update",
    "updates",
];

/// The number at the end of a file's name behind such a word and a delimiter, as the published program writes it: 12000 of
/// `model_12000.pth`; none of `cifar10.pth`.
fn step_of(path: &Path) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    let (before, digits) = stem.split_at(stem.trim_end_matches(|c: char| c.is_ascii_digit()).len());
    let words = before.strip_suffix(['-', '_', '.', '='])?;
    let word = words.rsplit(|c: char| !c.is_alphabetic()).next()?.to_ascii_lowercase();
    COUNTED.contains(&word.as_str()).then(|| digits.parse().ok())?
}

fn write(out: &Outgoing<'_>) -> Result<Written> {
    let unknown = || Error::config("energy", "is none of the published networks");
    let mut published = Published::of(out.energy).ok_or_else(unknown)?;
    published.options.channels = out.sample_shape.first().copied().unwrap_or(3);
    let mut weights: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, value) in out.weights {
        weights.insert(published_of(name), value.to_device(&Device::Cpu)?.contiguous()?);
    }
    let mut written = Written::default();
    let mut filled = Vec::new();
    for tensor in published_state(published.network, &published.options) {
        let value = match weights.remove(&tensor.name) {
            Some(value) => {
                if value.dims() != tensor.shape {
                    // Label maps for another number of classes than the program's.
                    written.remarks.push(format!(
                        "`{}` has shape {:?}, the published program has {:?}",
                        tensor.name,
                        value.dims(),
                        tensor.shape
                    ));
                }
                value
            }
            None if tensor.used => {
                return Err(Error::config(tensor.name, "is missing in the weights of this run"));
            }
            None => {
                filled.push(tensor.name.clone());
                // Published initial value of the one that is not zero where it matters.
                let one = if tensor.name == "heir_weight" { 1f32 } else { 0.0 };
                Tensor::full(one, tensor.shape, &Device::Cpu)?.to_dtype(DType::F32)?
            }
        };
        written.tensors.insert(tensor.name, value);
    }
    if let Some(extra) = weights.keys().next() {
        return Err(Error::config(extra, "is a parameter that the published network has not"));
    }
    for (name, channels) in published.filters() {
        written.tensors.insert(name, blur(channels)?);
    }
    if !filled.is_empty() {
        written.remarks.push(format!(
            "{} tensors that the published program loads and never uses with these settings are zero{}, among them `{}`",
            filled.len(),
            if filled.iter().any(|n| n == "heir_weight") { " (heir_weight: one)" } else { "" },
            filled[0]
        ));
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(toml: &str) -> Value {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn published_energies_are_known_by_their_configuration() {
        let alone = Published::of(&value("kind = \"cifar-resnet\"\nfilters = 16\nalias = true")).unwrap();
        assert!(alone.alias && !alone.options.multiscale && alone.options.filters == 16);
        let part = |name: &str, scale: &str| {
            format!(
                "[[parts]]\nname = \"{name}\"\nenergy = {{ kind = \"faces-net\", scale = \"{scale}\" }}\n"
            )
        };
        let three = ["small", "mid", "large"].iter().zip(["small", "mid", "main"]);
        let three: String = three.map(|(n, s)| part(n, s)).collect();
        let all = Published::of(&value(&format!("kind = \"multi-scale\"\n{three}"))).unwrap();
        assert!(all.options.multiscale && all.options.filters == 128 && all.network == Network::Faces);
        assert_eq!(
            all.filters().iter().map(|f| f.0.as_str()).collect::<Vec<_>>(),
            ["downsample.filt", "avg_pool.filt"]
        );
        for other in [
            "kind = \"mlp\"",
            "kind = \"cifar-resnet\"\nscale = \"small\"",
            &format!("kind = \"multi-scale\"\n{}", part("large", "main")),
            &format!("kind = \"multi-scale\"\n{}", three.replace("\"mid\"", "\"small\"")),
            &format!(
                "kind = \"multi-scale\"\n{}",
                three.replace("name = \"mid\"", "name = \"mid\"\nweight = 2.0")
            ),
        ] {
            assert!(Published::of(&value(other)).is_none(), "{other}");
        }
    }

    #[test]
    fn the_step_is_a_number_behind_a_word_that_counts() {
        for (name, step) in [
            ("a/model_12000.pth", 12000),
            ("step-400.pth", 400),
            ("cifar10_iter_7.pt", 7),
            ("ckpt-5.safetensors", 5),
            ("epoch=3-step=900.ckpt", 900),
            ("Checkpoint.12.pth", 12),
        ] {
            assert_eq!(step_of(Path::new(name)), Some(step), "{name}");
        }
        for name in [
            "model.pth",
            "7.safetensors",
            "cifar10.pth",
            "f16.pth",
            "epoch_9.pth",
            "model12.pth",
            "model_.pth",
            "resnet_18.pth",
        ] {
            assert_eq!(step_of(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn the_blur_sums_to_one_in_each_channel() {
        let t = blur(2).unwrap();
        assert_eq!(t.dims(), [2, 1, 3, 3]);
        assert_eq!(t.sum_all().unwrap().to_scalar::<f32>().unwrap(), 2.0);
    }
}
