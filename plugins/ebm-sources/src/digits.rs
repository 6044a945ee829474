//! `digits`: the 1,797 UCI digits, 8×8, embedded (Alpaydin, Kaynak 1998; CC BY 4.0).

use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Result, Settings, plugin};

use crate::{ImageOptions, ImageSource, placed};

/// Settings of `digits`. Every fifth image is held out.
#[derive(Clone, Debug, Settings)]
pub struct Digits {
    /// How images are drawn.
    #[setting(flatten, default)]
    pub images: ImageOptions,
}

#[plugin(
    "digits",
    summary = "1,797 handwritten digits of 8×8 pixels, embedded; every fifth held out",
    source = "UCI optical digits (Alpaydin, Kaynak 1998), CC BY 4.0",
    example = "labels = false"
)]
impl DataConfig for Digits {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let (train, held) = ebm_data_digits::split();
        placed(cx, "digits", ImageSource::new("digits", train, Some(held), self.images))
    }
}
