//! `svhn`: cropped digits of street numbers from the published MATLAB files (Netzer et al. 2011).

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Result, Settings, plugin};
use ebm_data::svhn::read;

use crate::{ImageOptions, ImageSource, apart, data_error, placed};

/// Settings of `svhn`.
#[derive(Clone, Debug, Settings)]
pub struct Svhn {
    /// Folder of train_32x32.mat and test_32x32.mat, or one such file; relative to the configuration file.
    pub root: PathBuf,
    /// Without a held-out file: hold out every this many; 0 for none.
    #[setting(default = 0, at_least = 0)]
    pub held_out_every: usize,
    /// How images are drawn.
    #[setting(flatten, default)]
    pub images: ImageOptions,
}

#[plugin(
    "svhn",
    summary = "SVHN's cropped digits from its MATLAB files: 73,257 training and 26,032 held-out images of 3×32×32",
    source = "Netzer et al. 2011",
    example = "root = \"data/svhn\""
)]
impl DataConfig for Svhn {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let root = cx.resolve(&self.root);
        let (train, held) = match root.is_dir() {
            true => (root.join("train_32x32.mat"), Some(root.join("test_32x32.mat"))),
            false => (root, None),
        };
        let train = read(train).map_err(data_error)?;
        let held = held.filter(|path| path.exists()).map(read).transpose().map_err(data_error)?;
        let (train, held) = apart(cx, train, held, self.held_out_every)?;
        placed(cx, "svhn", ImageSource::new("svhn", train, held, self.images))
    }
}
