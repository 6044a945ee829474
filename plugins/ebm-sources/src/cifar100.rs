//! `cifar100`: CIFAR-100 in its binary or its Python version (Krizhevsky 2009).

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Result, Settings, plugin};
use ebm_data::cifar::{Granularity, Part, read_cifar100};

use crate::{ImageOptions, ImageSource, data_error, placed};

/// Settings of `cifar100`.
#[derive(Clone, Debug, Settings)]
pub struct Cifar100 {
    /// Folder of train.bin and test.bin, or of the pickles train, test and meta, or the folder above; relative to the configuration file.
    pub root: PathBuf,
    /// How images are drawn.
    #[setting(flatten, default)]
    pub images: ImageOptions,
    /// Which labels: 100 classes or 20 groups of them.
    #[setting(default = Classes::Fine)]
    pub classes: Classes,
}

/// Which labels of CIFAR-100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Classes {
    /// 100 classes.
    #[default]
    Fine,
    /// 20 groups of them.
    Coarse,
}

#[plugin(
    "cifar100",
    summary = "CIFAR-100 from its binary files or its pickles: 50,000 training and 10,000 held-out images of 3×32×32",
    source = "Krizhevsky 2009",
    example = "root = \"data/cifar100\""
)]
impl DataConfig for Cifar100 {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let root = cx.resolve(&self.root);
        let which = match self.classes {
            Classes::Fine => Granularity::Fine,
            Classes::Coarse => Granularity::Coarse,
        };
        let train = read_cifar100(&root, Part::Train, which).map_err(data_error)?;
        let held = read_cifar100(&root, Part::Test, which).map_err(data_error)?;
        placed(cx, "cifar100", ImageSource::new("cifar100", train, Some(held), self.images))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Key;
    use ebm_core::candle::{DType, Device};

    use super::*;

    #[test]
    fn both_labels_are_conditions() {
        let root = tempfile::tempdir().unwrap();
        let record = |coarse, fine| [&[coarse, fine][..], &[fine; 3072]].concat();
        std::fs::write(root.path().join("train.bin"), [record(19, 99), record(0, 1)].concat()).unwrap();
        std::fs::write(root.path().join("test.bin"), record(3, 4)).unwrap();
        for (classes, n) in [("fine", 100), ("coarse", 20)] {
            let text =
                format!("kind = 'cifar100'\nroot = {:?}\nlabels = true\nclasses = '{classes}'", root.path());
            let config: Box<dyn DataConfig> = toml::from_str(&text).unwrap();
            let source =
                config.build(&mut BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0))).unwrap();
            let batch = source.batch(0, 0, 2, Key::root(0)).unwrap();
            assert_eq!((batch.x.dims(), batch.cond.unwrap().dims()), (&[2, 3, 32, 32][..], &[2, n][..]));
        }
    }
}
