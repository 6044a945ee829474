//! `idx`: image files in the format of MNIST, plain or gzipped.

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Result, Settings, plugin};

use crate::points::too_many;
use crate::{ImageOptions, ImageSource, data_error, placed, remark_dim, some_are_left};

/// Settings of `idx`.
#[derive(Clone, Debug, Settings)]
pub struct IdxImages {
    /// Folder the other names are relative to; itself relative to the configuration file.
    #[setting(default)]
    pub root: PathBuf,
    /// File of training images.
    pub images: PathBuf,
    /// File of their labels.
    pub label_file: Option<PathBuf>,
    /// File of held-out images.
    pub held_out_images: Option<PathBuf>,
    /// File of their labels.
    pub held_out_labels: Option<PathBuf>,
    /// [height, width] to which images are resized; absent: as they are.
    #[setting(at_least = 1, at_most = 8192, unit = "pixels")]
    pub size: Option<[usize; 2]>,
    /// Without a held-out file: hold out every this many; 0 for none.
    #[setting(default = 0, at_least = 0)]
    pub held_out_every: usize,
    /// How images are drawn.
    #[setting(flatten, default)]
    pub options: ImageOptions,
}

#[plugin(
    "idx",
    summary = "byte images in IDX files (the format of MNIST), plain or gzipped",
    source = "LeCun, Cortes, Burges 1998",
    example = "images = \"train-images-idx3-ubyte.gz\"\nlabel_file = \"train-labels-idx1-ubyte.gz\""
)]
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
        if self.held_out_images.is_none() && self.held_out_labels.is_some() {
            let message = "are labels of held-out images, but there are none: give held_out_images too";
            return Err(cx.refuse("held_out_labels", message));
        }
        if self.held_out_images.is_some() && self.held_out_every > 0 {
            let message =
                "takes held-out images out of training, but held_out_images gives others: leave one out";
            return Err(cx.refuse("held_out_every", message));
        }
        some_are_left(cx, self.held_out_every)?;
        let mut train = read(&self.images, &self.label_file)?;
        if let Some(file) = self.label_file.as_ref().filter(|_| self.options.labels) {
            let place = |row| format!("the label of row {row} of {}", at(file).display());
            if let Some(message) = too_many(train.labels().unwrap_or(&[]), train.classes(), place) {
                return Err(cx.refuse("labels", message));
            }
        }
        let mut held = None;
        if let Some(path) = &self.held_out_images {
            held = Some(read(path, &self.held_out_labels)?);
        } else if self.held_out_every > 1 {
            let (t, h) = train.split_every(self.held_out_every).map_err(data_error)?;
            (train, held) = (t, Some(h));
        }
        remark_dim(cx, &train, |_| "then stretch them to 0 to 255".into());
        placed(cx, "idx", ImageSource::new("idx", train, held, self.options))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ebm_core::Key;
    use ebm_core::candle::{DType, Device};

    #[test]
    fn images_are_resized_where_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_places(folder.path());
        std::fs::write(folder.path().join("x"), [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9])
            .unwrap();
        let config: IdxImages = toml::from_str("images = \"x\"\nsize = [4, 3]").unwrap();
        assert_eq!(config.build(&mut cx).unwrap().sample_shape(), [1, 4, 3]);
    }

    #[test]
    fn a_missing_and_a_truncated_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_places(folder.path());
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
