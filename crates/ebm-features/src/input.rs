//! Samples in `[0, 1]` as a network takes them: levels, colours, size, normalisation.

use ebm_data::resize::bilinear;

use crate::description::{Description, Resize};
use crate::error::{FeatureError, Result};

/// The weights of red, green and blue in grey (ITU-R BT.601), as in Pillow.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Samples `(n, C, H, W)` as the network's `(n, input)`.
///
/// # Errors
/// If the number of values is no whole number of samples, colours or size do not fit, or a value is not finite.
pub(crate) fn prepare(d: &Description, samples: &[f32], shape: [usize; 3]) -> Result<Vec<f32>> {
    let [c, h, w] = shape;
    let [to_c, to_h, to_w] = d.input;
    let len = c * h * w;
    if len == 0 || !samples.len().is_multiple_of(len) {
        return Err(FeatureError::input(
            "samples",
            format!("{} values", samples.len()),
            format!("rows of {len}"),
        ));
    }
    if let Some(v) = samples.iter().find(|v| !v.is_finite()) {
        return Err(FeatureError::input("samples", format!("the value {v}"), "finite numbers"));
    }
    let n = &d.normalise;
    let fits = (h, w) == (to_h, to_w);
    let what = || format!("samples for the network {}", d.name);
    if c != to_c && !matches!((c, to_c), (1, 3) | (3, 1)) {
        return Err(FeatureError::input(
            &what(),
            format!("shape {shape:?}"),
            format!("{:?}, or grey or RGB", d.input),
        ));
    }
    if !fits && n.resize == Resize::None {
        let wanted = format!("{:?}; `normalise.resize` in its description would resize them", d.input);
        return Err(FeatureError::input(&what(), format!("shape {shape:?}"), wanted));
    }
    let mut out = Vec::with_capacity(samples.len() / len * to_c * to_h * to_w);
    for sample in samples.chunks_exact(len) {
        let levelled: Vec<f32> = match n.levels {
            Some(levels) => {
                let (all, top) = (levels as f32, (levels - 1) as f32);
                sample.iter().map(|v| (v * all).floor().clamp(0.0, top) / top).collect()
            }
            None => sample.to_vec(),
        };
        let coloured = match (c, to_c) {
            (1, 3) => levelled.repeat(3),
            (3, 1) => grey(&levelled, h * w),
            _ => levelled,
        };
        let sized = if fits { coloured } else { resized(&coloured, (h, w), (to_h, to_w), n.resize) };
        let of = |v: &[f64], channel: usize, none: f64| match v {
            [] => none,
            [one] => *one,
            many => many[channel],
        };
        for (channel, plane) in sized.chunks_exact(to_h * to_w).enumerate() {
            let (mean, sd) = (of(&n.mean, channel, 0.0), of(&n.sd, channel, 1.0));
            let (gain, shift) = ((n.scale / sd) as f32, (mean / sd) as f32);
            out.extend(plane.iter().map(|v| v * gain - shift));
        }
    }
    Ok(out)
}

fn grey(rgb: &[f32], pixels: usize) -> Vec<f32> {
    (0..pixels).map(|i| (0..3).map(|c| LUMA[c] * rgb[c * pixels + i]).sum()).collect()
}

fn resized(planes: &[f32], from: (usize, usize), to: (usize, usize), how: Resize) -> Vec<f32> {
    if how == Resize::BilinearPillow {
        let bytes: Vec<u8> = planes.iter().map(|v| (v * 255.0).round().clamp(0.0, 255.0) as u8).collect();
        return bilinear(&bytes, from, to).into_iter().map(|b| f32::from(b) / 255.0).collect();
    }
    let mut out = Vec::with_capacity(planes.len() / (from.0 * from.1) * to.0 * to.1);
    let (rows, columns) = (taps(from.0, to.0, how), taps(from.1, to.1, how));
    for plane in planes.chunks_exact(from.0 * from.1) {
        for (y, y1, a) in &rows {
            for (x, x1, b) in &columns {
                let at = |y: usize, x: usize| plane[y * from.1 + x];
                let above = at(*y, *x) * (1.0 - b) + at(*y, *x1) * b;
                let below = at(*y1, *x) * (1.0 - b) + at(*y1, *x1) * b;
                out.push(above * (1.0 - a) + below * a);
            }
        }
    }
    out
}

/// Two pixels and the share of the second, for each place of the output.
fn taps(from: usize, to: usize, how: Resize) -> Vec<(usize, usize, f32)> {
    let scale = from as f32 / to as f32;
    (0..to)
        .map(|o| {
            if how == Resize::Nearest {
                let i = ((o as f32 * scale) as usize).min(from - 1);
                return (i, i, 0.0);
            }
            let place = (scale * (o as f32 + 0.5) - 0.5).max(0.0);
            let i = (place as usize).min(from - 1);
            (i, (i + 1).min(from - 1), place - i as f32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn description(input: [usize; 3], normalise: &str) -> Description {
        let text = format!(
            "format = 1\nname = 'n'\ninput = {input:?}\nfeatures = 'f'\nops = [{{ op = 'tap', name = 'f' }}]\n[normalise]\n{normalise}"
        );
        Description::parse(&text, "t").unwrap()
    }

    #[test]
    fn levels_colours_and_scales_are_applied_in_order() {
        let d = description([3, 1, 1], "levels = 256\nscale = 255.0\nmean = [1.0, 2.0, 3.0]\nsd = [2.0]");
        // The middle of level 100 and beyond the range: 100 and 255.
        let x = prepare(&d, &[100.5 / 256.0, 1.25], [1, 1, 1]).unwrap();
        for (found, wanted) in x.iter().zip([49.5, 49.0, 48.5, 127.0, 126.5, 126.0]) {
            assert!((found - wanted).abs() < 1e-4, "{x:?}");
        }
        let grey = description([1, 1, 1], "");
        assert!((prepare(&grey, &[0.5, 0.5, 0.5], [3, 1, 1]).unwrap()[0] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn resizing_agrees_with_torch() {
        // torch 2: F.interpolate(torch.arange(4.).view(1, 1, 2, 2), (3, 3), mode=M), align_corners=False
        let x = [0.0, 1.0, 2.0, 3.0];
        let run = |how: &str| {
            prepare(&description([1, 3, 3], &format!("resize = '{how}'")), &x, [1, 2, 2]).unwrap()
        };
        let close = |found: Vec<f32>, wanted: [f32; 9]| {
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        };
        close(run("bilinear"), [0.0, 0.5, 1.0, 1.0, 1.5, 2.0, 2.0, 2.5, 3.0]);
        close(run("nearest"), [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 2.0, 2.0, 3.0]);
        let pillow = prepare(
            &description([1, 1, 1], "levels = 256\nresize = 'bilinear-pillow'"),
            &[0.2; 4],
            [1, 2, 2],
        );
        assert!((pillow.unwrap()[0] - 51.0 / 255.0).abs() < 1e-6);
    }

    #[test]
    fn wrong_samples_are_refused() {
        let d = description([1, 2, 2], "");
        let text = |x: &[f32], s| prepare(&d, x, s).unwrap_err().to_string();
        assert!(text(&[0.0; 9], [1, 3, 3]).contains("normalise.resize"));
        assert!(text(&[0.0; 8], [2, 2, 2]).contains("grey or RGB"));
        assert!(text(&[0.0; 5], [1, 2, 2]).contains("rows of 4"));
        assert!(text(&[f32::NAN; 4], [1, 2, 2]).contains("NaN"));
    }
}
