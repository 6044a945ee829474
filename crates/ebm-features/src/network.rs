//! A feature network ready to run: description, weights, and the name that its measures bear.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{D, DType, Device, Tensor};
use ebm_eval::Features;
use sha2::{Digest, Sha256};

use crate::description::Description;
use crate::error::{FeatureError, Result};
use crate::input::prepare;
use crate::ops::{Runner, Weights};

/// SHA-256 of `pt_inception-2015-12-05-6726825d.pth`, the weights that `pytorch-fid` publishes (95,628,359 bytes): those
/// of the TensorFlow graph of 2015-12-05 that the Fréchet inception distance is defined by (Heusel et al. 2017).
pub const STANDARD_INCEPTION: &str = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2";

/// Values that go through a network together at most.
const TOGETHER: usize = 1 << 20;

/// What a network says about samples.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Features, a row a sample.
    pub features: Vec<f32>,
    /// Probabilities of the classes, a row a sample; where the network has logits.
    pub probabilities: Option<Vec<f32>>,
}

/// A feature network.
#[derive(Debug)]
pub struct Network {
    description: Description,
    weights: Weights,
    device: Device,
    width: usize,
    classes: Option<usize>,
    file_digest: Option<String>,
}

impl Network {
    /// Opens a folder with `network.toml`, or a description file; the weights are the safetensors file that it names,
    /// beside it.
    ///
    /// # Errors
    /// If a file is not there or is damaged, a weight is missing or does not fit.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let (description, weights) = Self::files(path)?;
        let bytes = ebm_data::regular::read(&weights)?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| {
            FeatureError::description(weights.display(), format!("is no safetensors file: {e}"))
        })?;
        Self::new(description, tensors.into_iter().collect(), Some(sha256(&bytes)), device)
    }

    /// The description of [`Network::open`]'s `path`, and where its weights lie.
    ///
    /// # Errors
    /// If the description is not there or is wrong.
    pub fn files(path: &Path) -> Result<(Description, PathBuf)> {
        let file = if path.is_dir() { path.join("network.toml") } else { path.to_path_buf() };
        let description = Description::read(&file)?;
        let weights = file.parent().unwrap_or(Path::new("")).join(&description.weights);
        Ok((description, weights))
    }

    /// A network of tensors by name; `file_digest` is the SHA-256 of the file that they came from, if they came from
    /// one.
    ///
    /// # Errors
    /// If a weight is missing or does not fit, or features or logits are no vectors when flattened.
    pub fn new(
        description: Description,
        tensors: BTreeMap<String, Tensor>,
        file_digest: Option<String>,
        device: &Device,
    ) -> Result<Self> {
        let weights = tensors
            .into_iter()
            .map(|(name, t)| Ok((name, t.to_dtype(DType::F32)?.to_device(device)?)))
            .collect::<Result<Weights>>()?;
        let mut network =
            Network { description, weights, device: device.clone(), width: 0, classes: None, file_digest };
        // One black sample: whether all weights are there and fit, and how wide the values are.
        let [c, h, w] = network.description.input;
        let (features, logits) = network.forward(vec![0.0; c * h * w], 1)?;
        network.width = features.elem_count();
        network.classes = logits.map(|l| l.elem_count());
        let named = network.description.classes.len();
        if let Some(classes) = network.classes
            && named != 0
            && named != classes
        {
            return Err(FeatureError::description(
                format!("network {}", network.name()),
                format!("classes: found {named} names, wanted {classes}, as there are logits"),
            ));
        }
        Ok(network)
    }

    /// The description.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The weights by name.
    pub fn weights(&self) -> &BTreeMap<String, Tensor> {
        &self.weights
    }

    /// Name, as in its description.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Numbers a sample.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of classes, where it has logits.
    pub fn classes(&self) -> Option<usize> {
        self.classes
    }

    /// Name of class `i`: as described, or its number.
    pub fn class(&self, i: usize) -> String {
        self.description.classes.get(i).cloned().unwrap_or_else(|| i.to_string())
    }

    /// What stands in the brackets of a measure's name: `digits-cnn 64`.
    pub fn label(&self) -> String {
        format!("{} {}", self.name(), self.width)
    }

    /// The name of a Fréchet distance on these features: `FID` for the built-in Inception-v3 with the standard weights
    /// ([`STANDARD_INCEPTION`]) and for nothing else, `Frechet[label]` otherwise.
    pub fn frechet_name(&self) -> String {
        match self.is_standard_inception() {
            true => "FID".into(),
            false => format!("Frechet[{}]", self.label()),
        }
    }

    /// Whether this is the network that the Fréchet inception distance is defined by.
    pub fn is_standard_inception(&self) -> bool {
        self.file_digest.as_deref() == Some(STANDARD_INCEPTION)
            && crate::inception()
                .is_ok_and(|d| Description { weights: d.weights.clone(), ..self.description.clone() } == d)
    }

    /// SHA-256 over the tensors in the order of their names: name, a zero byte, number of axes and sizes (u64, little
    /// endian), values (f32, little endian). The same for the same weights in any file.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn digest(&self) -> Result<String> {
        let mut sum = Sha256::new();
        for (name, t) in &self.weights {
            sum.update(name.as_bytes());
            sum.update([0]);
            sum.update((t.rank() as u64).to_le_bytes());
            t.dims().iter().for_each(|d| sum.update((*d as u64).to_le_bytes()));
            for v in t.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()? {
                sum.update(v.to_le_bytes());
            }
        }
        Ok(hex(&sum.finalize()))
    }

    /// Features and probabilities of samples `(n, C, H, W)` with values in `[0, 1]`, a piece at a time.
    ///
    /// # Errors
    /// If samples do not fit, or hold a value that is not finite.
    pub fn see(&self, samples: &[f32], shape: [usize; 3]) -> Result<Seen> {
        let len = shape.iter().product::<usize>().max(1);
        let own = self.description.input.iter().product::<usize>();
        let rows = (TOGETHER / own.max(len)).max(1);
        let mut features = Vec::with_capacity(samples.len() / len * self.width);
        let mut probabilities = self.classes.map(|_| Vec::new());
        for piece in samples.chunks(rows * len) {
            let x = prepare(&self.description, piece, shape)?;
            let (f, logits) = self.forward(x, piece.len() / len)?;
            features.extend(f.flatten_all()?.to_vec1::<f32>()?);
            if let (Some(all), Some(logits)) = (&mut probabilities, logits) {
                all.extend(candle_nn::ops::softmax(&logits, D::Minus1)?.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        Ok(Seen { features, probabilities })
    }

    /// A table of features, and one of probabilities, of all samples at once.
    ///
    /// # Errors
    /// As [`Network::see`].
    pub fn tables(&self, samples: &[f32], shape: [usize; 3]) -> Result<(Features, Option<Features>)> {
        let seen = self.see(samples, shape)?;
        let n = seen.features.len() / self.width.max(1);
        let wide = |v: Vec<f32>| v.into_iter().map(f64::from).collect::<Vec<f64>>();
        let probabilities = match (seen.probabilities, self.classes) {
            (Some(p), Some(k)) => Some(Features::new(wide(p), n, k)?),
            _ => None,
        };
        Ok((Features::new(wide(seen.features), n, self.width)?, probabilities))
    }

    /// Values at the two taps for prepared inputs, `(n, ...)`.
    fn forward(&self, x: Vec<f32>, n: usize) -> Result<(Tensor, Option<Tensor>)> {
        let d = &self.description;
        let [c, h, w] = d.input;
        let x = Tensor::from_vec(x, (n, c, h, w), &self.device)?;
        let wanted: Vec<&str> =
            [Some(&d.features), d.logits.as_ref()].into_iter().flatten().map(String::as_str).collect();
        let mut runner = Runner {
            network: &d.name,
            weights: &self.weights,
            patches: false,
            wanted: &wanted,
            taps: BTreeMap::new(),
        };
        runner.run(&d.ops, x, "ops")?;
        let mut at = |tap: &str| -> Result<Tensor> {
            match runner.taps.get(tap) {
                Some(t) => Ok(t.reshape((n, t.elem_count() / n.max(1)))?),
                None => Err(FeatureError::description(
                    format!("network {}", d.name),
                    format!("tap `{tap}` was not reached"),
                )),
            }
        };
        let logits = d.logits.as_deref().map(&mut at).transpose()?;
        Ok((at(&d.features)?, logits))
    }
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "format = 1\nname = 'two'\ninput = [1, 2, 2]\nfeatures = 'f'\nlogits = 'l'\nops = [{ op = 'flatten' }, \
        { op = 'tap', name = 'f' }, { op = 'linear', at = 'c' }, { op = 'tap', name = 'l' }]";

    fn linear() -> BTreeMap<String, Tensor> {
        let w =
            Tensor::new(&[[0f32, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]], &Device::Cpu)
                .unwrap();
        let b = Tensor::new(&[0f32, 0.0, 1.0], &Device::Cpu).unwrap();
        [("c.weight".into(), w), ("c.bias".into(), b)].into()
    }

    #[test]
    fn features_and_probabilities_are_those_of_the_formula() {
        let d = Description::parse(TEXT, "t").unwrap();
        let n = Network::new(d, linear(), None, &Device::Cpu).unwrap();
        assert_eq!((n.width(), n.classes(), n.label()), (4, Some(3), "two 4".into()));
        let (f, p) = n.tables(&[0.5, 0.0, 0.0, 0.25], [1, 2, 2]).unwrap();
        assert_eq!(f.row(0), [0.5, 0.0, 0.0, 0.25]);
        let e = [1.0, 0.5f64.exp(), 1.5f64.exp()];
        for (p, e) in p.unwrap().row(0).iter().zip(e) {
            assert!((p - e / (1.0 + 0.5f64.exp() + 1.5f64.exp())).abs() < 1e-6);
        }
        assert_eq!(n.frechet_name(), "Frechet[two 4]");
    }

    #[test]
    fn files_are_found_and_what_is_wrong_with_them_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Network::open(folder.path(), &Device::Cpu);
        assert!(open().unwrap_err().to_string().contains("network.toml"));
        std::fs::write(folder.path().join("network.toml"), TEXT).unwrap();
        assert!(open().unwrap_err().to_string().contains("weights.safetensors"));
        let weights = folder.path().join("weights.safetensors");
        #[cfg(unix)]
        {
            // A device without an end: nothing of it is read.
            std::os::unix::fs::symlink("/dev/zero", &weights).unwrap();
            assert!(open().unwrap_err().to_string().contains("is no regular file"));
            std::fs::remove_file(&weights).unwrap();
        }
        std::fs::write(&weights, "no").unwrap();
        assert!(open().unwrap_err().to_string().contains("is no safetensors file"));
        let tensors: std::collections::HashMap<_, _> = linear().into_iter().collect();
        candle_core::safetensors::save(&tensors, &weights).unwrap();
        let digest = open().unwrap().digest().unwrap();
        let d = Description::parse(TEXT, "t").unwrap();
        // The digest is of the tensors, not of a file.
        assert_eq!(Network::new(d.clone(), linear(), None, &Device::Cpu).unwrap().digest().unwrap(), digest);
        let mut other = linear();
        other.insert("c.bias".into(), Tensor::new(&[0f32, 0.0, 2.0], &Device::Cpu).unwrap());
        assert_ne!(Network::new(d.clone(), other, None, &Device::Cpu).unwrap().digest().unwrap(), digest);
        let text = |d: Description| Network::new(d, linear(), None, &Device::Cpu).unwrap_err().to_string();
        assert!(text(Description { classes: vec!["a".into()], ..d }).contains("found 1 names, wanted 3"));
    }

    #[test]
    fn only_the_standard_weights_in_the_built_in_network_are_called_fid() {
        let d = Description::parse(TEXT, "t").unwrap();
        let own = Network::new(d, linear(), Some(STANDARD_INCEPTION.into()), &Device::Cpu).unwrap();
        assert_eq!(own.frechet_name(), "Frechet[two 4]", "another network with the digest claimed");
        let named = |digest: Option<&str>| Network {
            description: crate::inception().unwrap(),
            weights: Weights::new(),
            device: Device::Cpu,
            width: 2048,
            classes: Some(1008),
            file_digest: digest.map(String::from),
        };
        assert_eq!(named(Some(STANDARD_INCEPTION)).frechet_name(), "FID");
        assert_eq!(named(None).frechet_name(), "Frechet[inception-v3-fid 2048]");
        assert_eq!(named(Some(&sha256(b"x"))).frechet_name(), "Frechet[inception-v3-fid 2048]");
        let mut other = named(Some(STANDARD_INCEPTION));
        other.description.normalise.mean = vec![0.4];
        assert_eq!(other.frechet_name(), "Frechet[inception-v3-fid 2048]");
    }
}
