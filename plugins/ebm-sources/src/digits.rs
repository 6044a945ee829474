//! `digits`: the 1,797 UCI digits, 8×8, embedded (Alpaydin, Kaynak 1998; CC BY 4.0).

use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Param, Result, register};
use serde::{Deserialize, Serialize};

use crate::images::{LABELS, yes};
use crate::order::ORDER;
use crate::{ImageOptions, ImageSource, Order};

/// Settings of `digits`. Every fifth image is held out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digits {
    /// Uniform dequantisation over 17 levels.
    #[serde(default = "yes")]
    pub dequantise: bool,
    /// Order of an epoch.
    #[serde(default)]
    pub order: Order,
    /// One-hot label as condition.
    #[serde(default)]
    pub labels: bool,
}

impl Default for Digits {
    fn default() -> Self {
        Digits { dequantise: true, order: Order::Shuffle, labels: false }
    }
}

#[typetag::serde(name = "digits")]
impl DataConfig for Digits {
    fn make(&self, _: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let (train, held) = ebm_data_digits::split();
        let options = ImageOptions { dequantise: self.dequantise, order: self.order, labels: self.labels };
        Ok(Arc::new(ImageSource::new("digits", train, Some(held), options)?))
    }
}

register! {
    DataConfig, "digits" => Digits,
    summary: "1,797 handwritten digits of 8×8 pixels, embedded; every fifth held out",
    source: "UCI optical digits (Alpaydin, Kaynak 1998), CC BY 4.0",
    example: "labels = false",
    params: [
        Param::bool("dequantise", "x = (b + U[0,1))/17 afresh each draw; else b/16").default("true"),
        ORDER,
        LABELS,
    ],
}
