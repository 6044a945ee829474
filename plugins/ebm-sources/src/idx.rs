//! `idx`: image files in the format of MNIST, plain or gzipped.

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Param, Result, register};
use serde::{Deserialize, Serialize};

use crate::images::{DEQUANTISE, LABELS, yes};
use crate::order::ORDER;
use crate::{ImageOptions, ImageSource, Order, data_error};

/// Settings of `idx`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdxImages {
    /// Folder the other names are relative to; itself relative to the configuration file.
    #[serde(default)]
    pub root: PathBuf,
    /// Training images.
    pub images: PathBuf,
    /// Their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_file: Option<PathBuf>,
    /// Held-out images; without them every `held_out_every`-th training image is held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_images: Option<PathBuf>,
    /// Their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_labels: Option<PathBuf>,
    /// `[height, width]` to which images are resized (bilinear).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Every this many images are held out if there is no held-out file; 0 for none.
    #[serde(default)]
    pub held_out_every: usize,
    /// Uniform dequantisation over 256 levels.
    #[serde(default = "yes")]
    pub dequantise: bool,
    /// Order of an epoch.
    #[serde(default)]
    pub order: Order,
    /// One-hot label as condition.
    #[serde(default)]
    pub labels: bool,
}

#[typetag::serde(name = "idx")]
impl DataConfig for IdxImages {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let at = |name: &PathBuf| cx.resolve(self.root.join(name));
        let read = |images: &PathBuf, labels: &Option<PathBuf>| {
            let labels = labels.as_ref().map(at);
            let set = ebm_data::idx::read_images(at(images), labels.as_deref());
            match self.size {
                Some([h, w]) => set.and_then(|s| s.resize((h, w))).map_err(data_error),
                None => set.map_err(data_error),
            }
        };
        let mut train = read(&self.images, &self.label_file)?;
        let mut held = None;
        if let Some(path) = &self.held_out_images {
            held = Some(read(path, &self.held_out_labels)?);
        } else if self.held_out_every > 1 {
            let (t, h) = train.split_every(self.held_out_every).map_err(data_error)?;
            (train, held) = (t, Some(h));
        }
        let options = ImageOptions { dequantise: self.dequantise, order: self.order, labels: self.labels };
        Ok(Arc::new(ImageSource::new("idx", train, held, options)?))
    }
}

register! {
    DataConfig, "idx" => IdxImages,
    summary: "byte images in IDX files (the format of MNIST), plain or gzipped",
    source: "LeCun, Cortes, Burges 1998",
    example: "images = \"train-images-idx3-ubyte.gz\"\nlabel_file = \"train-labels-idx1-ubyte.gz\"",
    params: [
        Param::text("root", "folder the other names are relative to; itself relative to the configuration file").default("\"\""),
        Param::text("images", "file of training images"),
        Param::text("label_file", "file of their labels").default("none"),
        Param::text("held_out_images", "file of held-out images").default("none"),
        Param::text("held_out_labels", "file of their labels").default("none"),
        Param::ints("size", "[height, width] to which images are resized; absent: as they are").default("none").at_least(1.0),
        Param::int("held_out_every", "without a held-out file: hold out every this many; 0 for none").default("0").at_least(0.0),
        DEQUANTISE,
        ORDER,
        LABELS,
    ],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::{DType, Device};
    use ebm_core::Key;

    #[test]
    fn images_are_resized_where_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_base(folder.path());
        std::fs::write(folder.path().join("x"), [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9])
            .unwrap();
        let config: IdxImages = toml::from_str("images = \"x\"\nsize = [4, 3]").unwrap();
        assert_eq!(config.build(&mut cx).unwrap().sample_shape(), [1, 4, 3]);
    }

    #[test]
    fn a_missing_and_a_truncated_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_base(folder.path());
        let config: IdxImages = toml::from_str("images = \"x\"").unwrap();
        let text = config.build(&mut cx).err().unwrap().to_string();
        assert!(text.contains("/x"), "{text}");
        std::fs::write(folder.path().join("x"), [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1]).unwrap();
        let text = config.build(&mut cx).err().unwrap().to_string();
        assert!(text.contains("/x") && text.contains("4"), "{text}");
        let config: IdxImages = toml::from_str("root = \"sub\"\nimages = \"x\"").unwrap();
        let text = config.build(&mut cx).err().unwrap().to_string();
        assert!(text.contains("/sub/x"), "{text}");
    }
}
