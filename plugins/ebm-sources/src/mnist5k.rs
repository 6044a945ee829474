//! `mnist-5k`: 5,000 training and 1,000 held-out images of MNIST, embedded (CC BY-SA 3.0).

use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Result, Settings, plugin};

use crate::{ImageOptions, ImageSource, placed};

/// Settings of `mnist-5k`.
#[derive(Clone, Debug, Settings)]
pub struct Mnist5k {
    /// How images are drawn.
    #[setting(flatten, default)]
    pub images: ImageOptions,
}

#[plugin(
    "mnist-5k",
    summary = "5,000 training and 1,000 held-out MNIST digits of 28×28 pixels, embedded",
    source = "MNIST (LeCun, Cortes, Burges 1998), CC BY-SA 3.0",
    example = "labels = false"
)]
impl DataConfig for Mnist5k {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let (train, held) = ebm_data_mnist5k::split();
        placed(cx, "mnist-5k", ImageSource::new("mnist-5k", train, Some(held), self.images))
    }
}
