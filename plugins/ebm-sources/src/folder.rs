//! `image-folder`: PNG and JPEG files; sub-folders are classes.

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Error, Param, Result, register};
use ebm_data::folder::{Channels, FolderOptions, Pictures, read};
use ebm_data::patches::patches;
use serde::{Deserialize, Serialize};

use crate::images::{DEQUANTISE, Images, yes};
use crate::order::{ORDER, Sequence};
use crate::{ImageOptions, ImageSource, Order, data_error};

/// Settings of `image-folder`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFolder {
    /// The folder.
    pub root: PathBuf,
    /// `[height, width]` to which images are resized (bilinear); absent: all must have one size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// `[height, width]` of disjoint patches into which every picture is cut, each an image of the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<[usize; 2]>,
    /// One channel instead of three.
    #[serde(default)]
    pub grey: bool,
    /// Every this many images are held out; 0 for none.
    #[serde(default)]
    pub held_out_every: usize,
    /// Read pictures when they are drawn instead of holding all in memory.
    #[serde(default)]
    pub stream: bool,
    /// Uniform dequantisation over 256 levels.
    #[serde(default = "yes")]
    pub dequantise: bool,
    /// Order of an epoch.
    #[serde(default)]
    pub order: Order,
    /// One-hot class of the sub-folder as condition.
    #[serde(default)]
    pub labels: bool,
}

#[typetag::serde(name = "image-folder")]
impl DataConfig for ImageFolder {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let options = FolderOptions {
            channels: if self.grey { Channels::Grey } else { Channels::AsFirst },
            resize: self.size.map(|[h, w]| (h, w)),
        };
        let root = cx.resolve(&self.root);
        let mut train = match self.patch {
            Some(_) if self.size.is_some() || self.stream || self.labels => {
                let message = "cannot be had with `size`, `stream` or `labels`: patches are cut from whole pictures in memory";
                return Err(Error::config(format!("{}.patch", cx.path()), message));
            }
            Some([h, w]) => patches(root, (h, w), options.channels).map_err(data_error)?,
            None if self.stream => return self.streamed(Pictures::open(root, &options).map_err(data_error)?),
            None => read(root, &options).map_err(data_error)?,
        };
        let mut held = None;
        if self.held_out_every > 1 {
            let (t, h) = train.split_every(self.held_out_every).map_err(data_error)?;
            (train, held) = (t, Some(h));
        }
        Ok(Arc::new(ImageSource::new("image-folder", train, held, self.image_options())?))
    }
}

impl ImageFolder {
    fn image_options(&self) -> ImageOptions {
        ImageOptions { dequantise: self.dequantise, order: self.order, labels: self.labels }
    }

    fn streamed(&self, all: Pictures) -> Result<Arc<dyn DataSource>> {
        let (train, held) = match self.held_out_every {
            0 | 1 => (all, None),
            k => {
                let (train, held) = all.split_every(k).map_err(data_error)?;
                (train, Some(Box::new(held) as Box<dyn Images>))
            }
        };
        let sequence = Sequence::new(self.order, train.len().max(1));
        let source =
            ImageSource::over("image-folder", Box::new(train), held, self.image_options(), sequence)?;
        Ok(Arc::new(source))
    }
}

impl Images for Pictures {
    fn len(&self) -> usize {
        self.len()
    }
    fn shape(&self) -> (usize, usize, usize) {
        self.shape()
    }
    fn labels(&self) -> Option<&[u32]> {
        self.labels()
    }
    fn classes(&self) -> usize {
        self.class_names().len()
    }
    fn read(&self, rows: &[usize]) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        rows.iter().try_for_each(|row| self.image(*row, &mut all)).map_err(data_error)?;
        Ok(all)
    }
}

register! {
    DataConfig, "image-folder" => ImageFolder,
    summary: "PNG and JPEG files of a folder; sub-folders are classes",
    source: "this project",
    example: "root = \"pictures\"\nsize = [32, 32]",
    params: [
        Param::text("root", "the folder; relative to the configuration file"),
        Param::ints("size", "[height, width] to which images are resized; absent: all must have one size").default("none").at_least(1.0),
        Param::ints("patch", "[height, width] of disjoint patches into which every picture is cut").default("none").at_least(1.0),
        Param::bool("grey", "one channel instead of those of the first picture").default("false"),
        Param::int("held_out_every", "hold out every this many; 0 for none").default("0").at_least(0.0),
        Param::bool("stream", "read pictures when they are drawn instead of holding all in memory").default("false"),
        DEQUANTISE,
        ORDER,
        Param::bool("labels", "one-hot class of the sub-folder as condition").default("false"),
    ],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Key, Split};
    use ebm_data::png::Sheet;

    use super::*;

    #[test]
    fn pictures_on_disk_are_the_batches_of_pictures_in_memory() {
        let root = tempfile::tempdir().unwrap();
        for i in 0..9 {
            let folder = root.path().join(["a", "b"][i % 2]);
            std::fs::create_dir_all(&folder).unwrap();
            let sheet = Sheet { gap: 0, ..Sheet::default() };
            sheet.write(folder.join(format!("{i}.png")), &[i as f32 / 9.0, 0.5], (1, 1, 1, 2)).unwrap();
        }
        let source = |stream: bool| {
            let mut cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0));
            let text = format!(
                "kind = 'image-folder'\nroot = {:?}\nheld_out_every = 4\nlabels = true\nstream = {stream}",
                root.path()
            );
            let config: Box<dyn DataConfig> = toml::from_str(&text).unwrap();
            config.build(&mut cx).unwrap()
        };
        let (held, streamed) = (source(false), source(true));
        assert_eq!((held.len(), held.condition()), (streamed.len(), streamed.condition()));
        let values = |s: &dyn DataSource, index| {
            let batch = s.batch(2, index, 3, Key::root(1)).unwrap();
            let cond = batch.cond.unwrap().to_vec2::<f32>().unwrap();
            (batch.x.flatten_all().unwrap().to_vec1::<f32>().unwrap(), cond)
        };
        (0..2).for_each(|i| assert_eq!(values(&*held, i), values(&*streamed, i)));
        let out = |s: &dyn DataSource| s.stored(Split::HeldOut, 9).unwrap().unwrap();
        assert_eq!(out(&*held).labels, out(&*streamed).labels);
        assert_eq!(out(&*held).x.dims(), out(&*streamed).x.dims());
    }
}
