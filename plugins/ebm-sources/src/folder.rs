//! `image-folder`: pictures of a folder or an archive; sub-folders are splits or classes.

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Result, Settings, plugin};
use ebm_data::folder::{Channels, FolderOptions, Pictures, Splits};
use ebm_data::patches::patches;
use ebm_data::{Parts, pictures};

use crate::images::Images;
use crate::order::Sequence;
use crate::{ImageOptions, ImageSource, data_error, placed, remark_dim, say, some_are_left};

/// Settings of `image-folder`.
#[derive(Clone, Debug, Settings)]
pub struct ImageFolder {
    /// The folder, or a zip or tar archive, TFRecord file or LMDB database of pictures; relative to the configuration file.
    pub root: PathBuf,
    /// Folder or archive of held-out pictures; absent: the folders test and val, if there are such.
    pub held_out: Option<PathBuf>,
    /// [height, width] to which images are resized; absent: all must have one size.
    #[setting(at_least = 1, at_most = 8192, unit = "pixels")]
    pub size: Option<[usize; 2]>,
    /// [height, width] of disjoint patches into which every picture is cut.
    #[setting(at_least = 1, at_most = 8192, unit = "pixels")]
    pub patch: Option<[usize; 2]>,
    /// Three channels, of grey pictures equal ones, whatever the first picture has.
    #[setting(default = false)]
    pub colour: bool,
    /// One channel, whatever the first picture has.
    #[setting(default = false)]
    pub grey: bool,
    /// Hold out every this many; 0 for none.
    #[setting(default = 0, at_least = 0)]
    pub held_out_every: usize,
    /// Words such as train and test in names of folders and files tell parts of the set; false: all folders are classes.
    #[setting(default = true)]
    pub splits: bool,
    /// Read pictures when they are drawn instead of holding all in memory.
    #[setting(default = false)]
    pub stream: bool,
    /// How images are drawn.
    #[setting(flatten, default)]
    pub options: ImageOptions,
}

#[plugin(
    "image-folder",
    summary = "pictures of a folder (png, jpeg, webp, bmp, tiff, gif, ppm, npy), a zip or tar, TFRecord or LMDB; sub-folders are splits or classes",
    source = "this project",
    example = "root = \"pictures\"\nsize = [32, 32]"
)]
impl DataConfig for ImageFolder {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let resize = self.size.map(|[h, w]| (h, w));
        let splits = if self.splits { Splits::Told } else { Splits::Ignored };
        let options = FolderOptions { channels: channels(cx, self.colour, self.grey)?, resize, splits };
        some_are_left(cx, self.held_out_every)?;
        let root = cx.resolve(&self.root);
        if let Some([h, w]) = self.patch {
            if self.size.is_some() || self.stream || self.options.labels || self.held_out.is_some() {
                let message = "cannot be had with `size`, `stream`, `labels` or `held_out`: patches are cut from whole pictures in memory";
                return Err(cx.refuse("patch", message));
            }
            let (all, report) = patches(root, (h, w), options.channels, splits).map_err(data_error)?;
            let (train, held) = match self.held_out_every {
                0 => (all, None),
                k => all.split_every(k).map(|(train, held)| (train, Some(held))).map_err(data_error)?,
            };
            say(cx, &report);
            return placed(cx, "image-folder", ImageSource::new("image-folder", train, held, self.options));
        }
        let mut parts = pictures::open(&root, &options).map_err(data_error)?;
        if let Some(path) = &self.held_out {
            let splits = if self.splits { Splits::HeldOut } else { Splits::Ignored };
            let options = FolderOptions { splits, ..options };
            let other = pictures::open(cx.resolve(path), &options).map_err(data_error)?;
            parts.report.held_out = other.report.training;
            parts.held_out = Some(other.training);
        }
        if self.held_out_every > 0 {
            if parts.held_out.is_some() {
                let message =
                    "takes images out of training, but the set has a held-out part already: leave it out";
                return Err(cx.refuse("held_out_every", message));
            }
            let (train, held) = parts.training.split_every(self.held_out_every).map_err(data_error)?;
            (parts.training, parts.held_out) = (train, Some(held));
        }
        say(cx, &parts.report);
        if self.stream { self.streamed(cx, parts) } else { self.held(cx, parts) }
    }
}

/// What the two settings of colours say together.
pub(crate) fn channels(cx: &BuildCx, colour: bool, grey: bool) -> Result<Channels> {
    match (colour, grey) {
        (true, true) => Err(cx.refuse("colour", "is true, and so is grey: leave one of them out")),
        (true, false) => Ok(Channels::Rgb),
        (false, true) => Ok(Channels::Grey),
        (false, false) => Ok(Channels::AsFirst),
    }
}

impl ImageFolder {
    /// All pictures in memory.
    fn held(&self, cx: &mut BuildCx, parts: Parts<Pictures>) -> Result<Arc<dyn DataSource>> {
        let Parts { training, held_out, .. } = parts;
        let train = training.read().map_err(data_error)?;
        remark_dim(cx, &train, |_| "then stretch them to 0 to 255".into());
        let held = held_out.map(|h| match train.shape().0 {
            3 => h.in_colour().read(),
            _ => h.read(),
        });
        let held = held.transpose().map_err(data_error)?;
        placed(cx, "image-folder", ImageSource::new("image-folder", train, held, self.options))
    }

    fn streamed(&self, cx: &BuildCx, parts: Parts<Pictures>) -> Result<Arc<dyn DataSource>> {
        let sequence = Sequence::new(self.options.order, parts.training.len().max(1));
        let held = parts.held_out.map(|h| Box::new(h) as Box<dyn Images>);
        let source =
            ImageSource::over("image-folder", Box::new(parts.training), held, self.options, sequence);
        placed(cx, "image-folder", source)
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
        let numbered = self.labels().and_then(|l| l.iter().max()).map_or(0, |m| *m as usize + 1);
        self.class_names().len().max(numbered)
    }
    fn class_names(&self) -> &[String] {
        self.class_names()
    }
    fn streams(&self) -> bool {
        true
    }
    fn read(&self, rows: &[usize]) -> Result<Vec<u8>> {
        self.images(rows).map_err(data_error)
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
