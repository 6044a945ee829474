//! `npy`: an array of samples in NumPy's format.

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Result, Settings, plugin};

use crate::{ImageOptions, ImageSource, Order, PointSource, data_error, placed};

/// Settings of `npy`.
#[derive(Clone, Debug, Settings)]
pub struct NpyArray {
    /// File of training samples; relative to the configuration file.
    pub path: PathBuf,
    /// Name of the array in an .npz archive.
    pub array: Option<String>,
    /// File of held-out samples.
    pub held_out: Option<PathBuf>,
    /// Order of an epoch.
    #[setting(default = Order::Shuffle)]
    pub order: Order,
    /// Deviation of Gaussian noise added to floats afresh at each draw.
    #[setting(default = 0.0, at_least = 0.0)]
    pub noise: f64,
}

impl NpyArray {
    fn read(&self, cx: &BuildCx, path: &PathBuf) -> Result<ebm_data::npy::Npy> {
        let full = cx.resolve(path);
        if full.extension().is_some_and(|e| e == "npz") {
            let name = self.array.as_ref().ok_or_else(|| {
                cx.refuse("array", "is missing; an .npz archive needs the name of the array")
            })?;
            let mut archive = ebm_data::npz::Npz::open(&full).map_err(data_error)?;
            return archive.array(name).map_err(data_error);
        }
        ebm_data::npy::Npy::read(full).map_err(data_error)
    }
}

#[plugin(
    "npy",
    summary = "samples in a NumPy file (.npy, or one array of an .npz): floats, or bytes as images",
    source = "NumPy enhancement proposal 1",
    example = "path = \"train.npy\""
)]
impl DataConfig for NpyArray {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let archive = |p: &PathBuf| p.extension().is_some_and(|e| e == "npz");
        if self.array.is_some() && !archive(&self.path) && !self.held_out.as_ref().is_some_and(archive) {
            let message = "names an array of an .npz archive, but this is a plain .npy file: leave it out";
            return Err(cx.refuse("array", message));
        }
        let train = self.read(cx, &self.path)?;
        let held = self.held_out.as_ref().map(|p| self.read(cx, p)).transpose()?;
        if matches!(train.values(), ebm_data::npy::NpyValues::U8(_)) {
            if self.noise > 0.0 {
                let message =
                    "is added to floats, but these are bytes, which get noise within a level: set it to 0.0";
                return Err(cx.refuse("noise", message));
            }
            let options = ImageOptions { dequantise: true, order: self.order, labels: false };
            let held = held.map(|h| h.into_images().map_err(data_error)).transpose()?;
            return placed(
                cx,
                "npy",
                ImageSource::new("npy", train.into_images().map_err(data_error)?, held, options),
            );
        }
        let held = held.map(|h| h.into_array().map_err(data_error)).transpose()?;
        let train = train.into_array().map_err(data_error)?;
        placed(cx, "npy", PointSource::new("npy", train, held, self.order, self.noise))
    }
}
