//! `imagenet32`: ImageNet-32 and -64 from the published pickles or archives (Chrabaszcz et al. 2017).

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Result, Settings, plugin};
use ebm_data::cifar::Part;
use ebm_data::imagenet32::{files, read};

use crate::{ImageOptions, ImageSource, apart, data_error, placed};

/// Settings of `imagenet32`.
#[derive(Clone, Debug, Settings)]
pub struct Imagenet32 {
    /// Folder of train_data_batch_1 to _10 and val_data, with or without .npz; relative to the configuration file.
    pub root: PathBuf,
    /// Without a held-out file: hold out every this many; 0 for none.
    #[setting(default = 0, at_least = 0)]
    pub held_out_every: usize,
    /// How images are drawn.
    #[setting(flatten, default)]
    pub images: ImageOptions,
}

#[plugin(
    "imagenet32",
    summary = "ImageNet downsampled to 3×32×32 (or 64) from its pickles or .npz: 1,281,167 training and 50,000 held-out images",
    source = "Chrabaszcz et al. 2017",
    example = "root = \"data/imagenet32\""
)]
impl DataConfig for Imagenet32 {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let root = cx.resolve(&self.root);
        let train = read(&root, Part::Train).map_err(data_error)?;
        let held = match files(&root, Part::Test).is_empty() {
            true => None,
            false => Some(read(&root, Part::Test).map_err(data_error)?),
        };
        cx.note("classes are counted from 0 here, from 1 in the files");
        let (train, held) = apart(cx, train, held, self.held_out_every)?;
        placed(cx, "imagenet32", ImageSource::new("imagenet32", train, held, self.images))
    }
}
