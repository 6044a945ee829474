//! `image-folder`: PNG and JPEG files; sub-folders are classes.

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Param, Result, register};
use ebm_data::folder::{Channels, FolderOptions, read};
use serde::{Deserialize, Serialize};

use crate::images::yes;
use crate::{ImageOptions, ImageSource, Order, data_error};

/// Settings of `image-folder`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFolder {
    /// The folder.
    pub root: PathBuf,
    /// `[height, width]` to which images are resized (bilinear); absent: all must have one size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// One channel instead of three.
    #[serde(default)]
    pub grey: bool,
    /// Every this many images are held out; 0 for none.
    #[serde(default)]
    pub held_out_every: usize,
    /// Uniform dequantisation over 256 levels.
    #[serde(default = "yes")]
    pub dequantise: bool,
    /// Order of an epoch.
    #[serde(default)]
    pub order: Order,
    /// One-hot class of the sub-folder as condition.
    #[serde(default)]
    pub labels: bool,
}

#[typetag::serde(name = "image-folder")]
impl DataConfig for ImageFolder {
    fn build(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let options = FolderOptions {
            channels: if self.grey { Channels::Grey } else { Channels::AsFirst },
            resize: self.size.map(|[h, w]| (h, w)),
        };
        let mut train = read(cx.resolve(&self.root), &options).map_err(data_error)?;
        let mut held = None;
        if self.held_out_every > 1 {
            let (t, h) = train.split_every(self.held_out_every).map_err(data_error)?;
            (train, held) = (t, Some(h));
        }
        let options = ImageOptions { dequantise: self.dequantise, order: self.order, labels: self.labels };
        Ok(Arc::new(ImageSource::new("image-folder", train, held, options)?))
    }
}

register! {
    DataConfig, "image-folder" => ImageFolder,
    summary: "PNG and JPEG files of a folder; sub-folders are classes",
    source: "this project",
    example: "root = \"pictures\"\nsize = [32, 32]",
    params: [
        Param::text("root", "the folder; relative to the configuration file"),
        Param::ints("size", "[height, width] to which images are resized; absent: all must have one size").default("none").at_least(1.0),
        Param::bool("grey", "one channel instead of those of the first picture").default("false"),
        Param::int("held_out_every", "hold out every this many; 0 for none").default("0").at_least(0.0),
        Param::bool("dequantise", "x = (b + U[0,1))/256 afresh each draw; else b/255").default("true"),
        Param::choice("order", &["shuffle", "replacement"], "order of an epoch").default("\"shuffle\""),
        Param::bool("labels", "one-hot class of the sub-folder as condition").default("false"),
    ],
}
