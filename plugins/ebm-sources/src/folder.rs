//! `image-folder`: PNG and JPEG files; sub-folders are classes.

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Result, Settings, plugin};
use ebm_data::folder::{Channels, FolderOptions, Pictures, read};
use ebm_data::patches::patches;

use crate::images::Images;
use crate::order::Sequence;
use crate::{ImageOptions, ImageSource, data_error, placed, some_are_left};

/// Settings of `image-folder`.
#[derive(Clone, Debug, Settings)]
pub struct ImageFolder {
    /// The folder; relative to the configuration file.
    pub root: PathBuf,
    /// [height, width] to which images are resized; absent: all must have one size.
    #[setting(at_least = 1, at_most = 8192)]
    pub size: Option<[usize; 2]>,
    /// [height, width] of disjoint patches into which every picture is cut.
    #[setting(at_least = 1, at_most = 8192)]
    pub patch: Option<[usize; 2]>,
    /// One channel instead of those of the first picture.
    #[setting(default = false)]
    pub grey: bool,
    /// Hold out every this many; 0 for none.
    #[setting(default = 0, at_least = 0)]
    pub held_out_every: usize,
    /// Read pictures when they are drawn instead of holding all in memory.
    #[setting(default = false)]
    pub stream: bool,
    /// How images are drawn.
    #[setting(flatten, default)]
    pub options: ImageOptions,
}

#[plugin(
    "image-folder",
    summary = "PNG and JPEG files of a folder; sub-folders are classes",
    source = "this project",
    example = "root = \"pictures\"\nsize = [32, 32]"
)]
impl DataConfig for ImageFolder {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let options = FolderOptions {
            channels: if self.grey { Channels::Grey } else { Channels::AsFirst },
            resize: self.size.map(|[h, w]| (h, w)),
        };
        some_are_left(cx, self.held_out_every)?;
        let root = cx.resolve(&self.root);
        let mut train = match self.patch {
            Some(_) if self.size.is_some() || self.stream || self.options.labels => {
                let message = "cannot be had with `size`, `stream` or `labels`: patches are cut from whole pictures in memory";
                return Err(cx.refuse("patch", message));
            }
            Some([h, w]) => patches(root, (h, w), options.channels).map_err(data_error)?,
            None if self.stream => {
                return self.streamed(cx, Pictures::open(root, &options).map_err(data_error)?);
            }
            None => read(root, &options).map_err(data_error)?,
        };
        let mut held = None;
        if self.held_out_every > 1 {
            let (t, h) = train.split_every(self.held_out_every).map_err(data_error)?;
            (train, held) = (t, Some(h));
        }
        placed(cx, "image-folder", ImageSource::new("image-folder", train, held, self.options))
    }
}

impl ImageFolder {
    fn streamed(&self, cx: &BuildCx, all: Pictures) -> Result<Arc<dyn DataSource>> {
        let (train, held) = match self.held_out_every {
            0 | 1 => (all, None),
            k => {
                let (train, held) = all.split_every(k).map_err(data_error)?;
                (train, Some(Box::new(held) as Box<dyn Images>))
            }
        };
        let sequence = Sequence::new(self.options.order, train.len().max(1));
        placed(
            cx,
            "image-folder",
            ImageSource::over("image-folder", Box::new(train), held, self.options, sequence),
        )
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
