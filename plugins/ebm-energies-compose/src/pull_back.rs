//! `pull-back`: an energy of another resolution, crop or pyramid level of the sample.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Map, PullBack, Result, Separable, Settings, plugin};

/// `E(g(x))` for a linear map `g` of images.
#[derive(Debug, Settings)]
pub struct PullBackConfig {
    /// What the inner energy sees; exactly one setting.
    pub view: View,
    /// The energy of the mapped image.
    pub energy: Box<dyn EnergyConfig>,
}

/// What the inner energy sees; exactly one setting is given.
#[derive(Clone, Debug, Settings)]
pub struct View {
    /// `[height, width]` after bilinear interpolation (pixel centres aligned, no anti-aliasing when
    /// enlarging, area-weighted triangle when shrinking).
    #[setting(at_least = 1, at_most = 65_536, unit = "pixels")]
    pub resize: Option<[usize; 2]>,
    /// `[top, left, height, width]` of a crop.
    #[setting(at_most = 65_536)]
    pub crop: Option<[usize; 4]>,
    /// Levels of the image pyramid.
    #[setting(at_most = 65_536)]
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
            (None, None, Some(levels)) => Separable::pyramid(cx.sample_shape(), levels).map_err(|e| cx.relocate("view.pool", e)),
            _ => Err(cx.refuse("view", format!(
                    "is {self:?}; give exactly one of resize = [h, w], crop = [top, left, h, w] inside {h}×{w}, pool = n"
                ),
            )),
        }
    }
}

#[plugin(
    "pull-back",
    summary = "an energy of a resized, cropped or pooled view of the image",
    source = "this project",
    example = "view = { resize = [16, 16] }\nenergy = { kind = \"mlp\", hidden = [8] }"
)]
impl EnergyConfig for PullBackConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let map = self.view.map(cx)?;
        let inner = cx.part("inner", "energy", map.output_shape(), &*self.energy)?;
        Ok(Arc::new(PullBack::new(Arc::new(map), inner).map_err(|e| cx.relocate("view", e))?))
    }
}
