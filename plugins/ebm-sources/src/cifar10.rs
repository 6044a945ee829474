//! `cifar10`: the binary version of CIFAR-10 (Krizhevsky 2009).

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Param, Result, register};
use ebm_data::cifar::{Part, read_cifar10};
use serde::{Deserialize, Serialize};

use crate::images::{DEQUANTISE, LABELS, yes};
use crate::order::ORDER;
use crate::{ImageOptions, ImageSource, Order, data_error};

/// Settings of `cifar10`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cifar10 {
    /// Folder with `data_batch_1.bin` … `data_batch_5.bin` and `test_batch.bin`.
    pub root: PathBuf,
    /// Uniform dequantisation over 256 levels.
    #[serde(default = "yes")]
    pub dequantise: bool,
    /// Order of an epoch.
    #[serde(default)]
    pub order: Order,
    /// One-hot label as condition.
    #[serde(default)]
    pub labels: bool,
    /// Only images of these classes, 0 to 9; absent: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<u32>>,
}

#[typetag::serde(name = "cifar10")]
impl DataConfig for Cifar10 {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let root = cx.resolve(&self.root);
        let read = |part| match &self.only {
            None => read_cifar10(&root, part),
            Some(classes) => read_cifar10(&root, part)?.of_classes(classes),
        };
        let train = read(Part::Train).map_err(data_error)?;
        let held = read(Part::Test).map_err(data_error)?;
        let options = ImageOptions { dequantise: self.dequantise, order: self.order, labels: self.labels };
        Ok(Arc::new(ImageSource::new("cifar10", train, Some(held), options)?))
    }
}

register! {
    DataConfig, "cifar10" => Cifar10,
    summary: "CIFAR-10 from its binary files: 50,000 training and 10,000 held-out images of 3×32×32",
    source: "Krizhevsky 2009",
    example: "root = \"data/cifar10\"",
    params: [
        Param::text("root", "folder of the five data_batch files and test_batch.bin; relative to the configuration file"),
        DEQUANTISE,
        ORDER,
        LABELS,
        Param::ints("only", "only images of these classes, 0 to 9 (the others to be held out of training)").default("none").at_least(0.0),
    ],
}
