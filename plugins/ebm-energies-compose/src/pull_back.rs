//! `pull-back`: an energy of another resolution, crop or pyramid level of the sample.

use std::sync::Arc;

use ebm_core::{
    BuildCx, EnergyConfig, EnergyFn, Error, Family, Map, Param, PullBack, Result, Separable, register,
};
use serde::{Deserialize, Serialize};

/// `E(g(x))` for a linear map `g` of images.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullBackConfig {
    /// The map.
    pub view: View,
    /// The energy of the mapped image.
    pub energy: Box<dyn EnergyConfig>,
}

/// What the inner energy sees; exactly one setting is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// `[height, width]` after bilinear interpolation (pixel centres aligned, no anti-aliasing when enlarging,
    /// area-weighted triangle when shrinking).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<[usize; 2]>,
    /// `[top, left, height, width]` of a crop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<[usize; 4]>,
    /// Levels of the image pyramid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<usize>,
}

/// Weights of the triangle filter from `from` to `to` pixels, rows summing to 1.
fn triangle(from: usize, to: usize) -> Vec<Vec<f64>> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    (0..to)
        .map(|o| {
            let centre = (o as f64 + 0.5) * scale;
            let row: Vec<f64> =
                (0..from).map(|i| (1.0 - ((i as f64 + 0.5 - centre) / support).abs()).max(0.0)).collect();
            let sum: f64 = row.iter().sum();
            row.iter().map(|w| w / sum).collect()
        })
        .collect()
}

fn window(from: usize, start: usize, length: usize) -> Vec<Vec<f64>> {
    (0..length).map(|o| (0..from).map(|i| f64::from(u8::from(i == start + o))).collect()).collect()
}

impl View {
    fn map(&self, cx: &BuildCx) -> Result<Separable> {
        let (c, h, w) = cx.image_shape()?;
        match (self.resize, self.crop, self.pool) {
            (Some([to_h, to_w]), None, None) if to_h > 0 && to_w > 0 => {
                Ok(Separable::new(c, triangle(h, to_h), triangle(w, to_w)))
            }
            (None, Some([top, left, height, width]), None)
                if height > 0 && width > 0 && top + height <= h && left + width <= w =>
            {
                Ok(Separable::new(c, window(h, top, height), window(w, left, width)))
            }
            (None, None, Some(levels)) => Separable::pyramid(cx.sample_shape(), levels),
            _ => Err(Error::config(
                format!("{}.view", cx.path()),
                format!(
                    "is {self:?}; give exactly one of resize = [h, w], crop = [top, left, h, w] inside {h}×{w}, pool = n"
                ),
            )),
        }
    }
}

#[typetag::serde(name = "pull-back")]
impl EnergyConfig for PullBackConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let map = self.view.map(cx)?;
        let inner = cx.part("inner", map.output_shape(), &*self.energy)?;
        Ok(Arc::new(PullBack::new(Arc::new(map), inner)?))
    }
}

register! {
    EnergyConfig, "pull-back" => PullBackConfig,
    summary: "an energy of a resized, cropped or pooled view of the image",
    source: "this project",
    example: "view = { resize = [16, 16] }\nenergy = { kind = \"mlp\", hidden = [8] }",
    params: [
        Param::table("view", const { &[
            Param::ints("resize", "[height, width], bilinear").default("none").at_least(1.0),
            Param::ints("crop", "[top, left, height, width]").default("none").at_least(0.0),
            Param::int("pool", "levels of the image pyramid").default("none").at_least(0.0),
        ] }, "what the inner energy sees; exactly one setting"),
        Param::part("energy", Family::Energy, "the energy of the mapped image"),
    ],
}
