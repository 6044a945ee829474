//! Pictures of samples: sheets of images, scatters of points in the plane.

use std::path::Path;
use std::sync::Once;

use ebm_core::candle::{DType, Tensor};
use ebm_core::{Error, Result};
use ebm_data::png::Sheet;

use crate::unwritten;

/// Sheets show small images at about this many pixels a side.
const SIDE: usize = 48;
/// Side of a scatter in pixels; each of its points is two by two.
pub const SCATTER: usize = 480;

/// Whether samples of this shape can be drawn: images `(1 or 3, H, W)` or points `(2,)`.
pub fn can_draw(sample_shape: &[usize]) -> bool {
    matches!(sample_shape, [1 | 3, _, _] | [2])
}

/// Writes [`encode`]'s picture to `path`; the file appears whole or not at all.
///
/// # Errors
/// As [`encode`], and if the file cannot be written.
pub fn write(path: &Path, samples: &Tensor, background: Option<&Tensor>) -> Result<()> {
    let (sheet, pixels, shape) = lay_out(samples, background)?;
    sheet.write(path, &pixels, shape).map_err(unwritten("picture"))
}

/// Samples `(N, ...)` as the bytes of a png file: images with values in `[0, 1]` (or spins; what lies outside is black or white, which a warning says where it
/// is more than noise) as a sheet, points of the plane
/// as a scatter (blue) over the scatter of `background` points `(M, 2)` (grey), whose box sets the scale.
///
/// # Errors
/// If samples are neither images nor points of the plane.
pub fn encode(samples: &Tensor, background: Option<&Tensor>) -> Result<Vec<u8>> {
    let (sheet, pixels, shape) = lay_out(samples, background)?;
    sheet.encode(&pixels, shape).map_err(|e| Error::plugin("picture", e))
}

/// As [`encode`], with `columns` images in a row.
///
/// # Errors
/// As [`encode`].
pub fn encode_rows(samples: &Tensor, columns: usize) -> Result<Vec<u8>> {
    let (sheet, pixels, shape) = lay_out(samples, None)?;
    Sheet { columns: Some(columns), ..sheet }.encode(&pixels, shape).map_err(|e| Error::plugin("picture", e))
}

/// The pictures of several sets of samples, each as in [`encode`], as the bytes of an animated gif.
///
/// # Errors
/// As [`encode`], and if there are none.
pub fn animate(frames: &[Tensor], background: Option<&Tensor>, milliseconds: u32) -> Result<Vec<u8>> {
    let laid = frames.iter().map(|f| lay_out(f, background)).collect::<Result<Vec<_>>>()?;
    let Some((sheet, _, shape)) = laid.first() else {
        return Err(Error::config("animation", "has no frames, wanted at least one"));
    };
    let (sheet, shape) = (*sheet, *shape);
    let pixels: Vec<Vec<f32>> = laid.into_iter().map(|(_, pixels, _)| pixels).collect();
    sheet.animate(&pixels, shape, milliseconds).map_err(|e| Error::plugin("picture", e))
}

/// A sheet, its values and their shape `(N, C, H, W)`.
type Laid = (Sheet, Vec<f32>, (usize, usize, usize, usize));

fn lay_out(samples: &Tensor, background: Option<&Tensor>) -> Result<Laid> {
    let sheet = Sheet::default();
    let flat = |t: &Tensor| -> Result<Vec<f32>> { Ok(t.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?) };
    match *samples.dims() {
        [n, c @ (1 | 3), h, w] => {
            let zoom = (SIDE / h.max(w).max(1)).max(1);
            let values = grey(flat(samples)?);
            remark_upon(&values);
            Ok((Sheet { zoom, ..sheet }, values, (n, c, h, w)))
        }
        [_, 2] => {
            let background = background.map(flat).transpose()?.unwrap_or_default();
            let pixels = scatter(&background, &flat(samples)?);
            Ok((Sheet { gap: 0, ..sheet }, pixels, (1, 3, SCATTER, SCATTER)))
        }
        _ => Err(Error::shape(
            "picture",
            samples.dims(),
            "(N, 1, H, W), (N, 3, H, W) or (N, 2)",
            "samples of other shapes are written as .npy",
        )),
    }
}

/// Values as grey ones: spins as black and white.
fn grey(values: Vec<f32>) -> Vec<f32> {
    match values.iter().all(|v| v.abs() == 1.0) {
        true => values.into_iter().map(|v| v.max(0.0)).collect(),
        false => values,
    }
}

/// Share of values that a picture of `[0, 1]` shows as black or white although they are far from both: of another range, such as `[-1, 1]`.
fn far_outside(values: &[f32]) -> f64 {
    let far = values.iter().filter(|v| v.is_finite() && !(-0.5..=1.5).contains(*v)).count();
    far as f64 / values.len().max(1) as f64
}

/// Says, once a process, that pictures show less than there is.
fn remark_upon(values: &[f32]) {
    static SAID: Once = Once::new();
    let far = far_outside(values);
    if far > 0.05 {
        SAID.call_once(|| {
            tracing::warn!(
                "pictures show values from 0 (black) to 1 (white), and {:.0} % of these are far outside, where all look alike; write \
                 samples as .npy, or train on values in [0, 1], to see them",
                100.0 * far
            );
        });
    }
}

/// One picture `(3, SCATTER, SCATTER)` of two sets of points `(N, 2)`.
fn scatter(back: &[f32], front: &[f32]) -> Vec<f32> {
    let frame = Frame::around(if back.is_empty() { front } else { back });
    let mut pixels = vec![1f32; 3 * SCATTER * SCATTER];
    for (points, colour) in [(back, [0.8, 0.8, 0.8]), (front, [0.1, 0.3, 0.8])] {
        for p in points.chunks_exact(2) {
            let Some((x, y)) = frame.pixel(p[0], p[1]) else { continue };
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let at = (y + dy).min(SCATTER - 1) * SCATTER + (x + dx).min(SCATTER - 1);
                colour.iter().enumerate().for_each(|(c, v)| pixels[c * SCATTER * SCATTER + at] = *v);
            }
        }
    }
    pixels
}

/// A square of the plane.
struct Frame {
    left: f32,
    top: f32,
    scale: f32,
}

impl Frame {
    /// The smallest square around the finite points, with a tenth of its side as margin.
    fn around(points: &[f32]) -> Self {
        let range = |offset: usize| {
            let finite = points.iter().skip(offset).step_by(2).filter(|v| v.is_finite());
            let (low, high) = finite.fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            if low > high { (-1.0, 1.0) } else { (low, high) }
        };
        let ((x0, x1), (y0, y1)) = (range(0), range(1));
        let side = (x1 - x0).max(y1 - y0).max(1e-6) * 1.2;
        Frame {
            left: (x0 + x1 - side) / 2.0,
            top: (y0 + y1 + side) / 2.0,
            scale: (SCATTER as f32 - 1.0) / side,
        }
    }

    /// The pixel of a point, if it is inside.
    fn pixel(&self, x: f32, y: f32) -> Option<(usize, usize)> {
        let (px, py) = ((x - self.left) * self.scale, (self.top - y) * self.scale);
        let inside = |v: f32| (0.0..SCATTER as f32).contains(&v);
        (inside(px) && inside(py)).then_some((px as usize, py as usize))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ebm_core::candle::Device;

    #[test]
    fn a_scatter_puts_points_where_they_are() {
        // Corners of a square: the frame is 2.4 wide around the origin.
        let back = [-1.0, -1.0, 1.0, 1.0];
        let pixels = scatter(&back, &[0.0, 0.0, f32::NAN, 0.0, 1e9, 0.0]);
        let mid = (SCATTER - 1) / 2;
        let red = |x: usize, y: usize| pixels[y * SCATTER + x];
        assert_eq!(red(mid, mid), 0.1);
        let corner = ((1.0 - 0.2 / 2.4) * (SCATTER as f32 - 1.0)) as usize;
        assert_eq!(red(corner, SCATTER - 1 - corner), 0.8);
        assert_eq!(pixels.iter().filter(|v| **v == 0.1).count(), 4);
    }

    #[test]
    fn values_of_another_range_are_told_from_noise() {
        let share = |from: f32, to: f32| {
            far_outside(&(0..1000).map(|i| from + (to - from) * i as f32 / 999.0).collect::<Vec<_>>())
        };
        assert!(share(-1.0, 1.0) > 0.2 && share(0.0, 255.0) > 0.9);
        assert_eq!((share(-0.4, 1.4), far_outside(&[f32::NAN, 0.5]), far_outside(&[])), (0.0, 0.0, 0.0));
    }

    #[test]
    fn images_points_and_what_is_neither() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        for shape in [&[4, 1, 3, 3][..], &[4, 3, 3, 3], &[4, 2]] {
            write(&path, &zeros(shape), None).unwrap();
            assert!(std::fs::read(&path).unwrap().starts_with(b"\x89PNG"));
            assert!(can_draw(&shape[1..]));
        }
        let text = write(&path, &zeros(&[4, 5]), None).unwrap_err().to_string();
        assert!(text.contains("[4, 5]") && text.contains(".npy"), "{text}");
        assert!(!can_draw(&[5]));
    }
}
