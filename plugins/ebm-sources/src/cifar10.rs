//! `cifar10`: CIFAR-10 in its binary or its Python version (Krizhevsky 2009).

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Result, Settings, plugin};
use ebm_data::cifar::{Part, read_cifar10};

use crate::{ImageOptions, ImageSource, data_error, placed};

/// Settings of `cifar10`.
#[derive(Clone, Debug, Settings)]
pub struct Cifar10 {
    /// Folder of the five data_batch files and test_batch, binary or pickled, the folder above, or one such file; relative to the configuration file.
    pub root: PathBuf,
    /// How images are drawn.
    #[setting(flatten, default)]
    pub images: ImageOptions,
    /// Only images of these classes, 0 to 9 (the others to be held out of training).
    #[setting(at_least = 0)]
    pub only: Option<Vec<u32>>,
}

#[plugin(
    "cifar10",
    summary = "CIFAR-10 from its binary files or its pickles: 50,000 training and 10,000 held-out images of 3×32×32",
    source = "Krizhevsky 2009",
    example = "root = \"data/cifar10\""
)]
impl DataConfig for Cifar10 {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let root = cx.resolve(&self.root);
        let read = |part| match &self.only {
            None => read_cifar10(&root, part),
            Some(classes) => read_cifar10(&root, part)?.of_classes(classes),
        };
        let train = read(Part::Train).map_err(data_error)?;
        let held = (!root.is_file()).then(|| read(Part::Test).map_err(data_error)).transpose()?;
        placed(cx, "cifar10", ImageSource::new("cifar10", train, held, self.images))
    }
}
