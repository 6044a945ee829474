//! A random part of each image, resized to the whole.

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, Result, Settings, Transition, TransitionConfig, plugin};

use crate::Augment;
use crate::kit::{Change, Dice};
use crate::kit::{View, look};

/// A part whose share of the area is uniform in (`smallest_area`, 1) and whose aspect ratio is
/// log-uniform in (1/`aspect`, `aspect`), at a uniform place; after ten tries that do not fit, the
/// largest central part of allowed ratio (Szegedy et al. 2015). Resized bilinearly.
pub(crate) struct Crop {
    pub(crate) smallest_area: f64,
    pub(crate) aspect: f64,
}

/// A part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Crop {
    pub(crate) fn part(&self, height: usize, width: usize, dice: Dice) -> Part {
        let area = (height * width) as f64;
        for attempt in 0..10 {
            let dice = dice.at("crop").numbered(attempt);
            let target = area * dice.at("area").uniform(self.smallest_area, 1.0);
            let ratio = dice.at("aspect").uniform(-self.aspect.ln(), self.aspect.ln()).exp();
            let w = (target * ratio).sqrt().round() as usize;
            let h = (target / ratio).sqrt().round() as usize;
            if w > 0 && h > 0 && w <= width && h <= height {
                let top = dice.at("top").below(height - h + 1);
                let left = dice.at("left").below(width - w + 1);
                return Part { top, left, height: h, width: w };
            }
        }
        let ratio = width as f64 / height as f64;
        let (h, w) = if ratio < 1.0 / self.aspect {
            (((width as f64 * self.aspect).round() as usize).min(height), width)
        } else if ratio > self.aspect {
            (height, ((height as f64 * self.aspect).round() as usize).min(width))
        } else {
            (height, width)
        };
        Part { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
    }
}

/// Where each of `output` pixels lies in a line of which `input` pixels from `first` on are stretched to them.
///
/// Linear weights at the place are those of PIL's triangle filter, which has its narrowest width here (a part is
/// never larger than the image) and repeats the part's edge.
fn places(first: usize, input: usize, output: usize) -> Vec<f32> {
    let (scale, last) = (input as f64 / output as f64, (input - 1) as f64);
    (0..output).map(|o| (first as f64 + ((o as f64 + 0.5) * scale - 0.5).clamp(0.0, last)) as f32).collect()
}

impl Part {
    /// The part in the size of the image.
    pub(crate) fn view(self, height: usize, width: usize) -> View {
        View { rows: places(self.top, self.height, height), columns: places(self.left, self.width, width) }
    }
}

impl Change for Crop {
    fn change(&self, x: &Tensor, dice: &[Dice]) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let views: Vec<View> =
            dice.iter().map(|d| self.part(height, width, *d).view(height, width)).collect();
        look(x, &views)
    }

    fn name(&self) -> String {
        format!("crop (area at least {})", self.smallest_area)
    }
}

/// Settings of `crop`.
#[derive(Debug, Clone, Settings)]
pub struct CropConfig {
    /// Smallest share of the image's area.
    #[setting(default = 0.08, above = 0.0, at_most = 1.0)]
    pub smallest_area: f64,
    /// Largest aspect ratio, and the inverse of the smallest.
    #[setting(default = 1.3333333333333333, at_least = 1.0)]
    pub aspect: f64,
}

/// The usual largest aspect ratio.
pub(crate) const FOUR_THIRDS: f64 = 1.3333333333333333;

#[plugin(
    "crop",
    summary = "a random part of each image, resized to the whole",
    source = "Szegedy et al. 2015; Du, Li, Tenenbaum, Mordatch 2021",
    example = "smallest_area = 0.08"
)]
impl TransitionConfig for CropConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Transition>> {
        Augment::build(cx, Crop { smallest_area: self.smallest_area, aspect: self.aspect })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::augment::tests::{Image, check, check_uniform, dice, ramp};

    fn zoom(image: &Image, part: Part) -> Vec<f32> {
        image.through(|x| look(x, &[part.view(image.height, image.width)])).data
    }

    #[test]
    fn the_whole_image_comes_back_as_it_is() {
        let image = ramp(3, 9, 7);
        let whole = Part { top: 0, left: 0, height: 9, width: 7 };
        assert_eq!(zoom(&image, whole), image.data);
    }

    /// Against the byte resizer that agrees with PIL to the last bit.
    #[test]
    fn resizing_is_that_of_pil_to_a_level() {
        for (part_h, part_w) in [(5, 8), (13, 3), (20, 17), (1, 1)] {
            let (h, w) = (20, 17);
            let bytes: Vec<u8> = (0..h * w).map(|i| ((i * 7919 + i / w * 31) % 251) as u8).collect();
            let image = Image {
                channels: 1,
                height: h,
                width: w,
                data: bytes.iter().map(|b| f32::from(*b) / 255.0).collect(),
            };
            let part = Part { top: (h - part_h) / 2, left: (w - part_w) / 3, height: part_h, width: part_w };
            let cut: Vec<u8> = (0..part_h)
                .flat_map(|y| bytes[(part.top + y) * w + part.left..][..part_w].to_vec())
                .collect();
            let want = ebm_data::resize::bilinear(&cut, (part_h, part_w), (h, w));
            for (got, want) in zoom(&image, part).iter().zip(want) {
                // Bytes are rounded after each of two passes: half a level each.
                assert!((got * 255.0 - f32::from(want)).abs() < 1.01, "{got}, {want}");
            }
        }
    }

    #[test]
    fn parts_have_the_stated_law() {
        let crop = Crop { smallest_area: 0.2, aspect: 4.0 / 3.0 };
        let (mut area, mut log_ratio, n) = (0.0, 0.0, 4000);
        for i in 0..n {
            let p = crop.part(100, 100, dice(i));
            assert!(p.top + p.height <= 100 && p.left + p.width <= 100);
            let (h, w) = (p.height as f64, p.width as f64);
            area += h * w / 1e4 / n as f64;
            log_ratio += (w / h).ln() / n as f64;
            assert!(h * w > 0.19e4 && (w / h).ln().abs() < (4.0f64 / 3.0).ln() + 0.05);
        }
        // Near-square parts of nearly full area fit more often, so the mean is a little below 0.6;
        // four standard errors of a uniform number in each case.
        assert!(area > 0.52 && area < 0.6 + 4.0 * 0.23 / (n as f64).sqrt(), "{area}");
        assert!(log_ratio.abs() < 4.0 * 0.17 / (n as f64).sqrt(), "{log_ratio}");
        // An image too narrow for any part falls back to the central one of allowed ratio.
        let p = Crop { smallest_area: 0.9, aspect: 4.0 / 3.0 }.part(100, 10, dice(0));
        assert_eq!(p, Part { top: 43, left: 0, height: 13, width: 10 });
    }

    /// Tries until a part fits make area and log ratio uniform over what fits: each bin's share of that region, by
    /// quadrature, against counts. At the smallest area 0.08 ten tries always sufficed in these draws or nearly so.
    #[test]
    fn area_and_ratio_are_uniform_over_what_fits() {
        const BINS: usize = 8;
        let (smallest, log_aspect, side, n) = (0.08, FOUR_THIRDS.ln(), 1000.0f64, 20_000);
        let crop = Crop { smallest_area: smallest, aspect: FOUR_THIRDS };
        let bin = |v: f64, low: f64, high: f64| {
            ((v - low) / (high - low) * BINS as f64).clamp(0.0, BINS as f64 - 1.0) as usize
        };
        let (mut areas, mut ratios) = ([0.0; BINS], [0.0; BINS]);
        let count = |areas: &mut [f64], ratios: &mut [f64], area: f64, ratio: f64| {
            areas[bin(area, smallest, 1.0)] += 1.0;
            ratios[bin(ratio, -log_aspect, log_aspect)] += 1.0;
        };
        for i in 0..n {
            let p = crop.part(side as usize, side as usize, dice(i));
            let (h, w) = (p.height as f64, p.width as f64);
            count(&mut areas, &mut ratios, h * w / (side * side), (w / h).ln());
        }
        let (mut want_areas, mut want_ratios, grid) = ([0.0; BINS], [0.0; BINS], 800);
        let at = |i: usize, low: f64, high: f64| low + (high - low) * (i as f64 + 0.5) / grid as f64;
        for i in 0..grid {
            for j in 0..grid {
                let (area, ratio) = (at(i, smallest, 1.0), at(j, -log_aspect, log_aspect));
                let fits = |log: f64| (side * (area * log.exp()).sqrt()).round() <= side;
                if fits(ratio) && fits(-ratio) {
                    count(&mut want_areas, &mut want_ratios, area, ratio);
                }
            }
        }
        for (got, want) in [(areas, want_areas), (ratios, want_ratios)] {
            let all: f64 = want.iter().sum();
            let shares = want.map(|w| w / all * n as f64);
            let chi2: f64 = got.iter().zip(shares).map(|(g, w)| (g - w).powi(2) / w).sum();
            // The 99.99 % quantile of χ² with 7 degrees of freedom is 29.9.
            assert!(chi2 < 29.9, "{chi2}: {got:?}, {shares:?}");
        }
    }

    #[test]
    fn places_are_uniform() {
        let crop = Crop { smallest_area: 0.25, aspect: 1.0 };
        let parts: Vec<Part> = (0..10_000).map(|i| crop.part(1000, 1000, dice(i))).collect();
        // Places are whole pixels of hundreds: the steps are small beside the test's bound of 0.02.
        let roomy = || parts.iter().filter(|p| p.height < 800);
        check_uniform(roomy().map(|p| (p.top as f64 + 0.5) / (1001 - p.height) as f64), 0.0, 1.0);
        check_uniform(roomy().map(|p| (p.left as f64 + 0.5) / (1001 - p.width) as f64), 0.0, 1.0);
    }

    #[test]
    fn the_laws_of_a_transition_hold() {
        check(&CropConfig { smallest_area: 0.08, aspect: FOUR_THIRDS });
    }
}
