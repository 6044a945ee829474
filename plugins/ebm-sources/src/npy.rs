//! `npy`: an array of samples in NumPy's format.

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{BuildCx, DataConfig, DataSource, Error, Param, Result, register};
use serde::{Deserialize, Serialize};

use crate::order::ORDER;
use crate::{ImageOptions, ImageSource, Order, PointSource, data_error};

/// Settings of `npy`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NpyArray {
    /// File of training samples: floats `(N, D, ...)`, or bytes `(N, H, W)` or `(N, C, H, W)`; `.npz` with `array`.
    pub path: PathBuf,
    /// Name of the array in an `.npz` archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<String>,
    /// File of held-out samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<PathBuf>,
    /// Order of an epoch.
    #[serde(default)]
    pub order: Order,
    /// Deviation of Gaussian noise added to floats afresh at each draw.
    #[serde(default)]
    pub noise: f64,
}

impl NpyArray {
    fn read(&self, cx: &BuildCx, path: &PathBuf) -> Result<ebm_data::npy::Npy> {
        let full = cx.resolve(path);
        if full.extension().is_some_and(|e| e == "npz") {
            let name = self.array.as_ref().ok_or_else(|| {
                Error::config("npy.array", "is missing; an .npz archive needs the name of the array")
            })?;
            let mut archive = ebm_data::npz::Npz::open(&full).map_err(data_error)?;
            return archive.array(name).map_err(data_error);
        }
        ebm_data::npy::Npy::read(full).map_err(data_error)
    }
}

#[typetag::serde(name = "npy")]
impl DataConfig for NpyArray {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let train = self.read(cx, &self.path)?;
        let held = self.held_out.as_ref().map(|p| self.read(cx, p)).transpose()?;
        if matches!(train.values(), ebm_data::npy::NpyValues::U8(_)) {
            let options = ImageOptions { dequantise: true, order: self.order, labels: false };
            let held = held.map(|h| h.into_images().map_err(data_error)).transpose()?;
            return Ok(Arc::new(ImageSource::new(
                "npy",
                train.into_images().map_err(data_error)?,
                held,
                options,
            )?));
        }
        let held = held.map(|h| h.into_array().map_err(data_error)).transpose()?;
        let train = train.into_array().map_err(data_error)?;
        Ok(Arc::new(PointSource::new("npy", train, held, self.order, self.noise)?))
    }
}

register! {
    DataConfig, "npy" => NpyArray,
    summary: "samples in a NumPy file (.npy, or one array of an .npz): floats, or bytes as images",
    source: "NumPy enhancement proposal 1",
    example: "path = \"train.npy\"",
    params: [
        Param::text("path", "file of training samples; relative to the configuration file"),
        Param::text("array", "name of the array in an .npz archive").default("none"),
        Param::text("held_out", "file of held-out samples").default("none"),
        ORDER,
        Param::float("noise", "deviation of Gaussian noise added to floats afresh at each draw").default("0.0").at_least(0.0),
    ],
}
