//! Weight files of PyTorch and safetensors: their tensors by name, and which of them are the weights of a network.

mod in_safetensors;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use ebm_core::{Error, Result};
use ebm_data::foreign;
use ebm_data::torch::{Item, Number, Torch};

use self::in_safetensors::Safetensors;

/// Wrappers of modules that stand within the names of parameters: `torch.compile`, data parallelism, sharding, recomputation,
/// and the modules of weight averages.
const WRAPPERS: [&str; 5] =
    ["module", "_orig_mod", "_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Words in the name of a dictionary of averaged weights.
const AVERAGES: [&str; 9] =
    ["ema", "ewma", "avg", "average", "averaged", "averages", "swa", "shadow", "polyak"];

/// Under this key Lightning's callbacks that average put the live weights, and the average in their usual place.
const LIGHTNING: (&str, &str) = ("current_model_state", "state_dict");

/// A file of named tensors.
pub struct WeightFile {
    path: PathBuf,
    source: Source,
    /// Places in the file, joined by dots, in its order.
    names: Vec<String>,
    /// Number of the tensor, by its place without wrappers.
    bare: BTreeMap<String, usize>,
}

enum Source {
    Torch(Box<Torch>, Vec<Found>),
    Safetensors(Safetensors),
}

/// A tensor of PyTorch's, or why it is none that can be read.
type Found = Result<ebm_data::torch::Tensor, String>;

/// Where the weights of a network are in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// What stands before every name of a live weight; empty for nothing.
    pub live: String,
    /// The same of their moving average, if there is one.
    pub average: Option<String>,
    /// What a user should know.
    pub remarks: Vec<String>,
}

impl WeightFile {
    /// Opens a file of `torch.save`, safetensors, or an index of several of these (`model.safetensors.index.json`).
    ///
    /// # Errors
    /// If it is none of them, or is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let head = in_safetensors::head(path)?;
        let foreign = foreign::what_is(&head, path);
        let (source, names) = if ebm_data::torch::is_torch(&head) {
            let torch = Torch::open(path).map_err(Error::data_source)?;
            let tensors = torch.entries().iter().filter_map(|(place, item)| match item {
                Item::Tensor(found) => Some((place.join("."), found.clone())),
                _ => None,
            });
            let (names, found) = tensors.unzip();
            (Source::Torch(Box::new(torch), found), names)
        } else if let Some(foreign) =
            foreign.filter(|f| !f.what.contains("safetensors") && !f.what.contains("JSON"))
        {
            let wanted = "expected weights: a file of `torch.save`, or safetensors";
            return Err(Error::data(path, format!("is {foreign}; {wanted}")));
        } else {
            let all = Safetensors::open(path)?;
            let names = all.names();
            (Source::Safetensors(all), names)
        };
        if names.is_empty() {
            return Err(Error::data(path, "holds no tensors, expected the weights of a network"));
        }
        let mut numbers = BTreeMap::new();
        for (i, name) in names.iter().enumerate() {
            if let Some(other) = numbers.insert(bare(name), i) {
                let message =
                    format!("holds `{}` and `{name}`, which are one name without wrappers", names[other]);
                return Err(Error::data(path, message));
            }
        }
        Ok(WeightFile { path: path.to_path_buf(), source, names, bare: numbers })
    }

    /// Names of all tensors, as dictionaries and lists of the file lead to them, joined by dots.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Keys of the file with the number of tensors below each, in words.
    pub fn keys(&self) -> String {
        let mut all: Vec<(&str, usize)> = Vec::new();
        for name in &self.names {
            let key = name.split_once('.').map_or("", |(key, _)| key);
            match all.iter_mut().find(|(known, _)| *known == key) {
                Some((_, n)) => *n += 1,
                None => all.push((key, 1)),
            }
        }
        const SHOWN: usize = 12;
        let some = all.iter().take(SHOWN).map(|(key, n)| match *key {
            "" => format!("{n} tensors without a key"),
            key => format!("`{key}` ({n} tensors)"),
        });
        let more = if all.len() > SHOWN { format!(" and {} more", all.len() - SHOWN) } else { String::new() };
        format!("{}{more}", some.collect::<Vec<_>>().join(", "))
    }

    /// Which dictionaries of the file hold a tensor for every one of `wanted`: live weights, and their average if one is named
    /// so. Of several that do, `key` picks one, which is then taken alone.
    ///
    /// # Errors
    /// If none does, several do, or an average lacks some.
    pub fn find(&self, wanted: &[String], key: Option<&str>) -> Result<Chosen> {
        let counts = self.prefixes(wanted);
        let whole: Vec<&str> =
            counts.iter().filter(|(_, n)| **n == wanted.len()).map(|(p, _)| p.as_str()).collect();
        if let Some(key) = key {
            return self.picked(&whole, &counts, wanted, key);
        }
        let (mut averages, mut lives): (Vec<&str>, Vec<&str>) = whole.iter().partition(|p| is_average(p));
        if let ([live], [average]) = (&under(&lives, LIGHTNING.0)[..], &under(&lives, LIGHTNING.1)[..]) {
            (lives, averages) = (vec![*live], vec![*average]);
        }
        // The first network of the published program.
        if lives.len() > 1 && lives.contains(&"model_state_dict_0") {
            lives.retain(|p| *p == "model_state_dict_0");
        }
        let mut remarks = Vec::new();
        let live = match (&lives[..], &averages[..]) {
            (&[live], _) => live,
            (&[], &[average]) => {
                remarks
                    .push(format!("only the average under `{average}` is there: live weights begin as it"));
                averages.clear();
                average
            }
            (&[], &[]) => return Err(self.none_fits(&counts, wanted)),
            _ => {
                let all: Vec<String> = whole.iter().map(|p| shown(p)).collect();
                return Err(self.choose(format!("holds several sets of these weights, {}", all.join(", "))));
            }
        };
        let average = match averages[..] {
            [] => None,
            [one] => Some(one.to_string()),
            _ => {
                let all: Vec<String> = averages.iter().map(|p| shown(p)).collect();
                return Err(self.choose(format!("holds several averages, {}", all.join(", "))));
            }
        };
        if average.is_none() {
            self.no_lame_average(&counts, wanted, live)?;
        }
        if !live.is_empty() && remarks.is_empty() {
            let also =
                average.as_ref().map_or(String::new(), |a| format!(", their average those of {}", shown(a)));
            remarks.push(format!("the weights are those of {}{also}", shown(live)));
        }
        Ok(Chosen { live: live.into(), average, remarks })
    }

    /// Refuses a file whose average of these weights is there in part, or as a list or under other names.
    fn no_lame_average(&self, counts: &BTreeMap<String, usize>, wanted: &[String], live: &str) -> Result<()> {
        let half = |(prefix, n): &(&String, &usize)| is_average(prefix) && **n * 2 >= wanted.len();
        if let Some((prefix, n)) = counts.iter().find(half) {
            let lacking = wanted.iter().find(|name| !self.bare.contains_key(&joined(prefix, name)));
            return Err(self.choose(format!(
                "has an average under {} that lacks {} of {} tensors, such as `{}`, and live weights under {}",
                shown(prefix),
                wanted.len() - n,
                wanted.len(),
                lacking.map_or("", String::as_str),
                shown(live),
            )));
        }
        let taken: BTreeSet<String> = wanted.iter().map(|name| joined(live, name)).collect();
        let mut others = BTreeMap::<String, usize>::new();
        for place in self.bare.keys().filter(|place| !taken.contains(*place)) {
            let mut way = Vec::new();
            for part in place.split('.') {
                way.push(part);
                // Adam's moments are averages, too, of gradients.
                if is_average(part) && !part.contains("exp_avg") {
                    *others.entry(way.join(".")).or_default() += 1;
                    break;
                }
            }
        }
        match others.iter().find(|(_, n)| **n * 2 >= wanted.len()) {
            None => Ok(()),
            Some((key, n)) => Err(self.choose(format!(
                "has {n} tensors under `{key}` that may be an average and are not under the names of this network, and live weights under {}",
                shown(live)
            ))),
        }
    }

    /// The error of a file of which a key has to be named.
    fn choose(&self, found: String) -> Error {
        Error::config("key", format!("{}: {found}: name the one to be taken alone", self.path.display()))
    }

    fn picked(
        &self,
        whole: &[&str],
        counts: &BTreeMap<String, usize>,
        wanted: &[String],
        key: &str,
    ) -> Result<Chosen> {
        let inside = under(whole, &bare(key));
        // The outermost, of which others may be parts.
        match inside.iter().min_by_key(|p| p.len()) {
            Some(live) => Ok(Chosen { live: (*live).to_string(), average: None, remarks: Vec::new() }),
            None => {
                let known = self.names.iter().any(|n| n == key || n.starts_with(&format!("{key}.")));
                if known {
                    return Err(self.none_fits(counts, wanted));
                }
                Err(Error::data(&self.path, format!("has no key `{key}`; it holds {}", self.keys())))
            }
        }
    }

    fn none_fits(&self, counts: &BTreeMap<String, usize>, wanted: &[String]) -> Error {
        let best = counts.iter().max_by_key(|(prefix, n)| (**n, !is_average(prefix)));
        let near = match best {
            None => format!("has no tensor `{}`", wanted.first().map_or("", String::as_str)),
            Some((prefix, n)) => {
                let lacking = wanted.iter().find(|name| !self.bare.contains_key(&joined(prefix, name)));
                let lacking = lacking.map_or("", String::as_str);
                format!("has {n} of {} tensors under {}, and no `{lacking}`", wanted.len(), shown(prefix))
            }
        };
        let message =
            format!("{near}: is it another network, or does it need a key? It holds {}", self.keys());
        Error::data(&self.path, message)
    }

    /// What may stand before `wanted`, with the number of those that are there.
    fn prefixes(&self, wanted: &[String]) -> BTreeMap<String, usize> {
        let mut last = BTreeMap::<&str, Vec<&String>>::new();
        for name in wanted {
            last.entry(name.rsplit('.').next().unwrap_or(name)).or_default().push(name);
        }
        let mut counts = BTreeMap::new();
        for place in self.bare.keys() {
            for name in last.get(place.rsplit('.').next().unwrap_or(place)).into_iter().flatten() {
                let prefix = match place.strip_suffix(name.as_str()) {
                    Some("") => Some(""),
                    Some(before) => before.strip_suffix('.'),
                    None => None,
                };
                if let Some(prefix) = prefix {
                    *counts.entry(prefix.to_string()).or_insert(0) += 1;
                }
            }
        }
        counts
    }

    /// The tensor `name` under `prefix`, on the CPU in its own number type; `None` if there is none.
    ///
    /// # Errors
    /// If it is of a type that is not read, or its numbers are damaged.
    pub fn tensor(&mut self, prefix: &str, name: &str) -> Result<Option<Tensor>> {
        let Some(at) = self.bare.get(&joined(prefix, name)).copied() else { return Ok(None) };
        self.read(at).map(Some)
    }

    /// The tensor of this place in [`names`](Self::names).
    fn read(&mut self, at: usize) -> Result<Tensor> {
        let name = &self.names[at];
        let refused = |why: &str| Error::data(&self.path, format!("the tensor `{name}` is {why}"));
        match &mut self.source {
            Source::Safetensors(all) => all.tensor(name),
            Source::Torch(torch, found) => {
                let tensor = found[at].as_ref().map_err(|why| refused(why))?;
                let bytes = torch.read(tensor).map_err(|e| refused(&format!("unreadable: {e}")))?;
                let signed = |t: Tensor| if tensor.negated { Ok(t.neg()?) } else { Ok(t) };
                let dtype = match tensor.number {
                    Number::F64 => DType::F64,
                    Number::F32 => DType::F32,
                    Number::F16 => DType::F16,
                    Number::Bf16 => DType::BF16,
                    Number::F8E4M3 => return signed(wide(&bytes, &tensor.dims)?),
                    Number::I64 => DType::I64,
                    Number::I32 => DType::I32,
                    Number::I16 => DType::I16,
                    Number::U8 => DType::U8,
                };
                signed(Tensor::from_raw_buffer(&bytes, dtype, &tensor.dims, &Device::Cpu)?)
            }
        }
    }

    /// Names below `prefix` without it and without wrappers, in the order of the file.
    pub fn below(&self, prefix: &str) -> Vec<String> {
        let all = self.names.iter().map(|name| bare(name));
        let inside = all.filter_map(|name| match prefix {
            "" => Some(name),
            prefix => Some(name.strip_prefix(prefix)?.strip_prefix('.')?.to_string()),
        });
        inside.collect()
    }

    /// Whether [`names`](Self::names) stand in the order in which they were saved; those of safetensors are sorted.
    pub fn is_in_order(&self) -> bool {
        matches!(self.source, Source::Torch(..))
    }

    /// What else the file holds than tensors; nothing of safetensors.
    pub(crate) fn items(&self) -> &[(Vec<String>, Item)] {
        match &self.source {
            Source::Torch(torch, _) => torch.entries(),
            Source::Safetensors(_) => &[],
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A tensor of PyTorch's file.
    pub(crate) fn item(&mut self, name: &str) -> Result<Option<Tensor>> {
        let at = self.names.iter().position(|n| n == name);
        at.map(|at| self.read(at)).transpose()
    }
}

/// All tensors of the file at `path` by name, without wrappers, on the CPU in their own number type; those under `key` if one
/// is given, else of a file with a single outermost key those under it. Those of a type that is not read are left out.
///
/// # Errors
/// If the file cannot be read, or has nothing under the key.
pub fn read_tensors(path: impl AsRef<Path>, key: Option<&str>) -> Result<BTreeMap<String, Tensor>> {
    let mut file = WeightFile::open(path)?;
    let prefix = key.map(bare).unwrap_or_default();
    let mut all = BTreeMap::new();
    for name in file.below(&prefix) {
        if let Ok(Some(tensor)) = file.tensor(&prefix, &name) {
            all.insert(name, tensor);
        }
    }
    match (all.is_empty(), key) {
        (false, _) => Ok(all),
        (true, Some(key)) => {
            Err(Error::data(&file.path, format!("has no tensors under `{key}`; it holds {}", file.keys())))
        }
        (true, None) => Err(Error::data(&file.path, "holds no tensors of a type that is read")),
    }
}

/// Numbers of 8 bits with 4 of them for the exponent (E4M3 without infinities) in single precision, which holds them all.
/// candle 0.11.1 converts some of them to double for ever.
fn wide(bytes: &[u8], dims: &[usize]) -> Result<Tensor> {
    let number = |byte: &u8| {
        let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7) / 8.0);
        let size = match (exponent, byte & 0x7f) {
            (_, 0x7f) => f32::NAN,
            (0, _) => fraction * 2f32.powi(-6),
            _ => (1.0 + fraction) * 2f32.powi(exponent - 7),
        };
        if byte & 0x80 == 0 { size } else { -size }
    };
    Ok(Tensor::from_vec(bytes.iter().map(number).collect::<Vec<f32>>(), dims, &Device::Cpu)?)
}

/// A name without the wrappers in it.
fn bare(name: &str) -> String {
    name.split('.').filter(|part| !WRAPPERS.contains(part)).collect::<Vec<_>>().join(".")
}

fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") }
}

fn shown(prefix: &str) -> String {
    if prefix.is_empty() { "no key".into() } else { format!("`{prefix}`") }
}

fn is_average(prefix: &str) -> bool {
    let words = prefix.split(|c: char| !c.is_alphanumeric());
    words.into_iter().any(|word| AVERAGES.contains(&word.to_ascii_lowercase().as_str()))
}

/// Those of `prefixes` that are `key` or below it.
fn under<'a>(prefixes: &[&'a str], key: &str) -> Vec<&'a str> {
    let inside = |p: &&&str| p.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    prefixes.iter().filter(inside).copied().collect()
}
