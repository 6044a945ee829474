//! Image features that need no trained network: pixels, cell means and fixed random signs.

use crate::error::{EvalError, Result};
use crate::numeric::splitmix::splitmix64;
use crate::samples::{Features, Samples};

/// Number of projections of [`signs`].
pub const SIGNS: usize = 64;

/// Pixels of small images, means of 4x4 cells of larger ones, in the samples' own units.
///
/// The images are square, of one or three channels: `d` = 64 (8x8) gives 64 features, 784 (28x28) gives 49, 1024
/// (32x32) gives 64, 3072 (3x32x32) gives 192. Errs for other widths: use [`cell_means`] or own features.
pub fn pixels(x: Samples<'_>) -> Result<Features> {
    let square = |v: usize| {
        let side = v.isqrt();
        (side * side == v && side > 0).then_some(side)
    };
    let shape = match square(x.d()) {
        Some(side) => Some((1, side)),
        None if x.d().is_multiple_of(3) => square(x.d() / 3).map(|side| (3, side)),
        None => None,
    };
    match shape {
        Some((_, side)) if side <= 8 => Ok(x.features()),
        Some((channels, side)) if side % 4 == 0 => cell_means(x, (channels, side, side), 4),
        _ => Err(EvalError::Setting {
            what: "pixel features: width of a sample",
            found: x.d() as f64,
            wanted: "a square image of 1 or 3 channels, its side up to 8 or a multiple of 4; else use `cell_means`",
        }),
    }
}

/// Means over cells of `cell` x `cell` pixels of images `(C, H, W)`: `(n, C H/cell W/cell)`.
///
/// Errs if `C H W` is not the width of a sample or `cell` does not divide both sides.
pub fn cell_means(x: Samples<'_>, (c, h, w): (usize, usize, usize), cell: usize) -> Result<Features> {
    if c * h * w != x.d() {
        let what = "width of a sample";
        return Err(EvalError::Mismatch { what, found: x.d(), wanted: c * h * w, other: "the image shape" });
    }
    if cell == 0 || h % cell != 0 || w % cell != 0 {
        let wanted = "a divisor of both sides of the image";
        return Err(EvalError::Setting { what: "cell of the pixel means", found: cell as f64, wanted });
    }
    let (rows, cols) = (h / cell, w / cell);
    let mut out = vec![0.0; x.n() * c * rows * cols];
    for (image, means) in x.data().chunks_exact(x.d()).zip(out.chunks_exact_mut(c * rows * cols)) {
        for (line, values) in image.chunks_exact(w).enumerate() {
            let (channel, i) = (line / h, line % h / cell);
            for (j, v) in values.iter().enumerate() {
                means[(channel * rows + i) * cols + j / cell] += f64::from(*v);
            }
        }
        means.iter_mut().for_each(|m| *m /= (cell * cell) as f64);
    }
    Features::new(out, x.n(), c * rows * cols)
}

/// 64 rectified projections on fixed random signs, 4 max(0, W (x - 1/2)), for values in `[0, 1]`: `(n, 64)`.
///
/// W_ki = s / sqrt(D) with s = +1 where the top bit of `splitmix64(k D + i + 1)` is set, else -1 (random features
/// in the sense of Rahimi and Recht 2007): any program can rebuild them without a file of weights.
/// The recipes call the Fréchet distance on these features FD-sign.
pub fn signs(x: Samples<'_>) -> Result<Features> {
    let d = x.d();
    let scale = 4.0 / (d as f64).sqrt();
    let w: Vec<f64> =
        (0..SIGNS * d).map(|i| if splitmix64(i as u64 + 1) >> 63 == 1 { scale } else { -scale }).collect();
    let mut out = Vec::with_capacity(x.n() * SIGNS);
    for row in x.data().chunks_exact(d) {
        for k in w.chunks_exact(d) {
            let dot: f64 = row.iter().zip(k).map(|(v, s)| (f64::from(*v) - 0.5) * s).sum();
            out.push(dot.max(0.0));
        }
    }
    Features::new(out, x.n(), SIGNS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::goldens::{assert_close, uniforms};

    #[test]
    fn widths_choose_the_features() {
        for (d, features) in [(64, 64), (784, 49), (1024, 64), (3072, 192), (192, 192), (4, 4)] {
            let data = vec![0.5; 2 * d];
            assert_eq!(pixels(Samples::new(&data, 2, d).unwrap()).unwrap().d(), features, "{d}");
        }
        let odd = vec![0.5; 900]; // 30x30: 4 does not divide 30
        assert!(pixels(Samples::new(&odd, 1, 900).unwrap()).is_err());
        assert!(pixels(Samples::new(&odd, 450, 2).unwrap()).is_err());
    }

    #[test]
    fn cells_are_averaged_in_place() {
        // Two channels of 2x4; the value is its own position.
        let data: Vec<f32> = (0..16u8).map(f32::from).collect();
        let x = Samples::new(&data, 1, 16).unwrap();
        assert_eq!(cell_means(x, (2, 2, 4), 2).unwrap().data(), &[2.5, 4.5, 10.5, 12.5]);
        assert!(cell_means(x, (2, 2, 4), 3).is_err());
        assert!(cell_means(x, (1, 2, 4), 2).is_err());
    }

    #[test]
    fn signs_agree_with_numpy() {
        // python tests/goldens.py signs
        let data = uniforms(7, 2 * 784);
        let f = signs(Samples::new(&data, 2, 784).unwrap()).unwrap();
        let weighted = |r: &[f64]| r.iter().enumerate().map(|(i, v)| v * (i + 1) as f64).sum::<f64>();
        assert_close(weighted(f.row(0)), GOLD[0], 1e-10);
        assert_close(weighted(f.row(1)), GOLD[1], 1e-10);
    }
    const GOLD: [f64; 2] = [777.944811480386, 1035.0468586172376];
}
