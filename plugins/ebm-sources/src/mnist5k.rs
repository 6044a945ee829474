//! `mnist-5k`: 5,000 training and 1,000 held-out images of MNIST, embedded (CC BY-SA 3.0).

use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Result, register};
use serde::{Deserialize, Serialize};

use crate::images::{DEQUANTISE, LABELS, yes};
use crate::order::ORDER;
use crate::{ImageOptions, ImageSource, Order};

/// Settings of `mnist-5k`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mnist5k {
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

#[typetag::serde(name = "mnist-5k")]
impl DataConfig for Mnist5k {
    fn make(&self, _: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let (train, held) = ebm_data_mnist5k::split();
        let options = ImageOptions { dequantise: self.dequantise, order: self.order, labels: self.labels };
        Ok(Arc::new(ImageSource::new("mnist-5k", train, Some(held), options)?))
    }
}

register! {
    DataConfig, "mnist-5k" => Mnist5k,
    summary: "5,000 training and 1,000 held-out MNIST digits of 28×28 pixels, embedded",
    source: "MNIST (LeCun, Cortes, Burges 1998), CC BY-SA 3.0",
    example: "labels = false",
    params: [
        DEQUANTISE,
        ORDER,
        LABELS,
    ],
}
